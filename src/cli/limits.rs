//! `--limit`: how much work an image may cost.

use clap::Args;
use qcow2_inspect::Limits;

use super::guest::size;

/// What is no limit of its own, but shares out all that bound memory.
const MEMORY: &str = "memory";

/// The limits that the user changes.
#[derive(Debug, Args)]
pub(super) struct Changes {
    /// Changes a limit on the work that one image may cost, such as `seconds=10` or `memory=256M`. Where one is
    /// reached, a finding T01 names it; `--limit help` lists them.
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = change)]
    changes: Vec<(String, u64)>,
}

impl Changes {
    /// These limits with the changes.
    pub(super) fn applied_to(&self, mut limits: Limits) -> Limits {
        for (name, value) in &self.changes {
            if name == MEMORY {
                limits = limits.within_memory(*value);
            } else {
                limits.set(name, *value);
            }
        }
        limits
    }
}

/// A limit and its new value.
pub(super) fn change(text: &str) -> Result<(String, u64), String> {
    let known = || {
        let lines = Limits::NAMES.iter().map(|(name, purpose)| {
            let value = Limits::DEFAULT.get(name).unwrap_or(u64::MAX);
            format!("  {name}={value}: {}", purpose.split(". ").next().unwrap_or_default().trim())
        });
        let memory = format!(
            "  {MEMORY}={}: Bytes of memory in all, 64M of which nothing saves: changes in proportion all of the above that \
             take memory",
            Limits::DEFAULT.memory()
        );
        lines.chain([memory]).collect::<Vec<_>>().join("\n")
    };
    if text == "help" {
        return Err(format!("the limits and their defaults are\n{}", known()));
    }
    let (name, value) = text.split_once('=').ok_or("wanted NAME=NUMBER")?;
    if name != MEMORY && Limits::DEFAULT.get(name).is_none() {
        return Err(format!("there is no such limit; the limits and their defaults are\n{}", known()));
    }
    Ok((name.to_owned(), size(value)?))
}
