//! `--limit`: how much work an image may cost.

use std::fmt::Write;

use clap::Args;
use qcow2_inspect::{Limit, Limits};

use super::number::number;

/// What is no limit of its own, but shares out all that bound memory.
const MEMORY: &str = "memory";
/// What asks for the list of them.
const HELP: &str = "help";

/// The limits that the user changes.
#[derive(Debug, Args)]
pub(super) struct Changes {
    /// Changes a limit on the work that one image may cost, such as `seconds=10` or `memory=256M`. Where one is
    /// reached, a finding T01 names it; `--limit help` lists them.
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = change)]
    changes: Vec<Change>,
}

impl Changes {
    /// These limits with the changes.
    pub(super) fn applied_to(&self, mut limits: Limits) -> Limits {
        for Change { limit, value } in &self.changes {
            match limit {
                Some(limit) => limits.set(*limit, *value),
                None => limits = limits.within_memory(*value),
            }
        }
        limits
    }
}

/// Why there is no change of a limit.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoChange {
    /// The user wants to see which there are: no mistake, but the end of the command.
    #[error("the limits are listed")]
    HelpWanted,
    /// What is wrong with it.
    #[error("{0}")]
    Bad(String),
}

/// A limit and its new value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// Which one; `None` for all that bound memory together.
    limit: Option<Limit>,
    value: u64,
}

/// The change that an argument asks for.
pub(super) fn change(text: &str) -> Result<Change, NoChange> {
    if text == HELP {
        return Err(NoChange::HelpWanted);
    }
    let bad = |reason: &str| NoChange::Bad(reason.to_owned());
    let (name, value) = text.split_once('=').ok_or_else(|| bad("wanted NAME=NUMBER"))?;
    let limit = Limit::named(name);
    if name != MEMORY && limit.is_none() {
        return Err(bad("there is no such limit; `--limit help` lists them"));
    }
    Ok(Change { limit, value: number(value).map_err(NoChange::Bad)? })
}

/// Each limit with its default and what it bounds, one a line.
pub(super) fn list() -> String {
    let memory =
        "Bytes of memory in all, of which 64M are always needed; scales every limit above that costs memory";
    let memory = (MEMORY, Limits::DEFAULT.memory(), memory);
    let known = Limit::ALL.iter().map(|limit| {
        // The reasons behind the first sentence are for who reads the source.
        let purpose = limit.purpose().split(". ").next().unwrap_or_default();
        (limit.as_str(), Limits::DEFAULT.get(*limit), purpose)
    });
    let mut list = "The limits and their defaults:\n".to_owned();
    for (name, value, purpose) in known.chain([memory]) {
        let purpose = purpose.trim().trim_end_matches('.');
        // Writing to a string does not fail.
        let _ = writeln!(list, "  {name}={value}: {purpose}.");
    }
    list
}
