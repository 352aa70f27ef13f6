//! Which files a scan looks at.

use std::ffi::OsString;
use std::fs::FileType;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, vec};

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
                    let name = name.map_err(|error| Failure::Refused(format!("-: {}", reason(&error))))?;
                    if !name.is_empty() {
                        add(OsString::from_vec(name).into(), &mut files);
                    }
                }
            } else {
                add(path.clone(), &mut files);
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

    /// Leaves out all that are left; how many they were.
    pub(super) fn clear(&mut self) -> usize {
        self.0.by_ref().count()
    }

    pub(super) fn next(&mut self) -> Option<PathBuf> {
        self.0.next()
    }
}

/// A file, or the files of a folder and of those in it. A path that is neither, and a folder that cannot be read, is kept:
/// that it is no image is told in its turn.
fn add(path: PathBuf, files: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        files.push(path);
        return;
    }
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = entries(&folder) else {
            files.push(folder);
            continue;
        };
        // Not followed: a link could lead in circles, or out of the folder.
        files.extend(entries.iter().filter(|(_, kind)| kind.is_file()).map(|(path, _)| path.clone()));
        folders.extend(entries.into_iter().rev().filter(|(_, kind)| kind.is_dir()).map(|(path, _)| path));
    }
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, FileType)>> {
    let entries =
        fs::read_dir(folder)?.map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))));
    let mut entries: Vec<_> = entries.collect::<io::Result<_>>()?;
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}
