//! A policy as TOML that can be given back, with what each line means.

use std::io::{self, Write};

use crate::audit::Policy;
use crate::rules::find;

const DEEP: &str = "\
# Whether every compressed cluster is decompressed, as by `check --deep`: L15 where one cannot be. It takes some seconds
# for each GiB; else the report says that it was not done.
";

const LIMITS: &str = "\
# How much an image may claim. A line that is missing is no limit.
#   virtual_size      bytes of the virtual disk, or of a snapshot's where that is larger
#   file_size         bytes of the file, its holes included
#   snapshots         internal snapshots
#   bitmaps           persistent bitmaps
#   virtual_ratio     bytes of the largest of these disks for each byte of the file that is not in a hole; an empty
#                     image has a high one
#   compressed_ratio  bytes of the compressed clusters of all trees, decompressed, for each byte of the file that is
#                     not in a hole; tables that trees share count once
[limits]
";

const REJECT: &str = "\
# When a finding rejects the image: always, or from a severity on (warning, leak, corruption, fatal), or never.
# `default` is for all rules that are not named. `explain RULE` tells what a rule is about. What could not be judged
# is never accepted: T01, T02 and T03 cannot stand here.
[reject]
";

/// Writes a policy down.
///
/// # Errors
/// Only what `out` returns.
pub fn write_policy(mut out: impl Write, policy: &Policy) -> io::Result<()> {
    // A name has only letters, digits and marks that need no escape, and a code of a rule likewise.
    writeln!(out, "# A policy of `qcow2-inspect audit --policy FILE`.")?;
    writeln!(out, "name = \"{}\"\n", policy.name)?;
    writeln!(out, "{DEEP}deep = {}\n", policy.deep)?;
    write!(out, "{LIMITS}")?;
    for (key, limit) in policy.limits.by_key() {
        // The table that they stand in has the first part of their names.
        let key = key.trim_start_matches("limits.");
        match limit {
            Some(limit) => writeln!(out, "{key} = {limit}")?,
            None => writeln!(out, "# {key} = no limit")?,
        }
    }
    write!(out, "\n{REJECT}")?;
    writeln!(out, "default = \"{}\"", policy.default.as_str())?;
    for (code, bar) in &policy.rules {
        let what = find(code).map_or("", |rule| rule.slug);
        let line = format!("{code} = \"{}\"", bar.as_str());
        writeln!(out, "{line:<16} # {what}")?;
    }
    out.flush()
}
