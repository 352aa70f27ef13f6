//! `policy`: what `audit` decides by.

use std::path::Path;
use std::{fs, io};

use clap::Subcommand;
use qcow2_inspect::audit::Policy;
use qcow2_inspect::report;
use qcow2_inspect::text;

use super::{Failure, Outcome, output};

/// Bytes of a policy file: a line for each rule, with a long comment, is a tenth of it.
const LONGEST: u64 = 256 << 10;

/// Look at the policies that `audit` decides by.
///
/// Exit code: 0; 1 where the policy makes no sense.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a policy as TOML, to be changed and given to `audit --policy`; a comment says what each line means.
    Show {
        /// `upload`, `import`, `forensic`, or a file.
        #[arg(value_name = "NAME|FILE", default_value = "upload", value_parser = load)]
        policy: Policy,
    },
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let Action::Show { policy } = &self.action;
        report::write_policy(output::stdout(), policy)?;
        Ok(Outcome::Complete)
    }
}

/// A policy by its name or from a file; else says in one line what is wrong with it.
pub(super) fn load(name: &str) -> Result<Policy, String> {
    if let Some(policy) = Policy::built_in(name) {
        return Ok(policy);
    }
    let text = read(Path::new(name)).map_err(|error| super::input::reason(&error))?;
    parse(&text)
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut text = String::new();
    // One byte more than is fine, so that a longer file is seen.
    let read = open(path)?.take(LONGEST.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= LONGEST) {
        return Ok(text);
    }
    Err(io::Error::other(format!("over {LONGEST} bytes long")))
}

/// Opens a file, or a pipe that somebody writes to, such as a shell's `<(…)`. One that nobody writes to is empty: it
/// holds up neither the opening nor the reading.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let check = |kind: fs::FileType| {
        let is_fine = kind.is_file() || kind.is_fifo();
        is_fine.then_some(()).ok_or_else(|| io::Error::other("is neither a file nor a pipe"))
    };
    // Looked at before it is opened, which can be an act of its own with a device, and once more when it is open.
    check(fs::metadata(path)?.file_type())?;
    let flags = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?.file_type())?;
    // Whoever writes to it may still be about to.
    fcntl_setfl(&file, fcntl_getfl(&file)?.difference(OFlags::NONBLOCK))?;
    Ok(file)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<fs::File> {
    fs::File::open(path)
}

/// A policy by its text.
pub(super) fn parse(text: &str) -> Result<Policy, String> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().replace('\n', ", ");
        let message = text::escape(message.as_bytes());
        match error.span().and_then(|span| text.get(..span.start)) {
            Some(before) => format!("line {}: {message}", before.matches('\n').count().saturating_add(1)),
            None => message.into_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_is_shown_can_be_given_back() {
        for name in Policy::BUILT_IN {
            let policy = Policy::built_in(name).unwrap();
            let mut shown = Vec::new();
            report::write_policy(&mut shown, &policy).unwrap();
            assert_eq!(parse(&String::from_utf8(shown).unwrap()), Ok(policy));
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        for (text, wanted) in [
            ("name = \"a\"\n[reject]\ndefault = \"sometimes\"\n", "line 3: unknown variant `sometimes`"),
            ("name = \"a\"\n[reject]\n[limits]\nsize = 1\n", "line 4: unknown field `size`"),
            ("name = \"a\"\n[limits]\nbitmaps = -1\n[reject]\n", "line 3: invalid value: integer `-1`"),
            ("name = \"a\"\n\n\nname = \"b\"\n", "line 4: duplicate key"),
            ("name = \"a\"\n[reject]\nH99 = \"never\"\n", "reject.H99: there is no such rule"),
            ("name = \"a\"\n[reject]\n\"\\u001b[2J\" = \"never\"\n", "reject.\\x1b[2J"),
            ("name", "line 1: "),
            ("", "line 1: missing field `name`"),
        ] {
            let had = parse(text).unwrap_err();
            assert!(had.starts_with(wanted) && !had.contains('\n'), "{text}: {had}");
        }
    }
}
