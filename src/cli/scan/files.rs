//! Which files a scan looks at.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, vec};

use super::shown;
use crate::cli::Failure;
use crate::cli::input::reason;

/// The files, in the order of the names in each folder.
pub(super) struct Files(vec::IntoIter<PathBuf>);

impl Files {
    /// All that these paths name; `-` stands for a list on standard input, whose paths end in zero bytes or in line ends.
    pub(super) fn list(paths: &[PathBuf], null: bool) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in paths {
            if path == Path::new("-") {
                let end = if null { 0 } else { b'\n' };
                for name in io::stdin().lock().split(end) {
                    let name = name.map_err(|error| Failure::Image(format!("-: {}", reason(&error))))?;
                    if !name.is_empty() {
                        add(OsString::from_vec(name).into(), &mut files)?;
                    }
                }
            } else {
                add(path.clone(), &mut files)?;
            }
        }
        Ok(Self(files.into_iter()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn retain(&mut self, wanted: impl FnMut(&PathBuf) -> bool) {
        let mut files: Vec<_> = self.0.by_ref().collect();
        files.retain(wanted);
        self.0 = files.into_iter();
    }

    pub(super) fn next(&mut self) -> Option<PathBuf> {
        self.0.next()
    }
}

/// A file, or the files of a folder and of those in it. A path that is neither is kept: why it cannot be opened is told in
/// its turn.
fn add(path: PathBuf, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !path.is_dir() {
        files.push(path);
        return Ok(());
    }
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        let fail = |error: io::Error| Failure::Image(format!("{}: {}", shown(&folder), reason(&error)));
        let mut entries: Vec<_> =
            fs::read_dir(&folder).and_then(|entries| entries.collect::<io::Result<_>>()).map_err(fail)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in &entries {
            // Not followed: a link could lead in circles, or out of the folder.
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_file() {
                files.push(entry.path());
            }
        }
        let is_folder = |entry: &&fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        folders.extend(entries.iter().rev().filter(is_folder).map(fs::DirEntry::path));
    }
    Ok(())
}
