//! A file that appears under its name when it is whole, and of which nothing is left when it does not come to that.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    place: PathBuf,
    /// The name beside its place that it has meanwhile, or may need for a moment.
    beside: PathBuf,
    /// What asks to end the program, where the file has that name already.
    interrupts: Option<Interrupts>,
    is_named: bool,
}

impl NewFile {
    /// A file for this place.
    pub(super) fn create(place: &Path) -> io::Result<Self> {
        match unnamed(place) {
            Some(file) => Self::new(file, place, None),
            None => Self::named(place),
        }
    }

    /// The same where the system cannot do without a name: whatever would end the program is then asked for instead.
    fn named(place: &Path) -> io::Result<Self> {
        let interrupts = Interrupts::watch()?;
        let file = OpenOptions::new().write(true).create_new(true).open(beside(place)?)?;
        Self::new(file, place, Some(interrupts))
    }

    fn new(file: File, place: &Path, interrupts: Option<Interrupts>) -> io::Result<Self> {
        let is_named = interrupts.is_some();
        Ok(Self { file, place: place.to_owned(), beside: beside(place)?, interrupts, is_named })
    }

    /// The file, for whom nothing has asked to end.
    pub(super) fn get(&self) -> io::Result<&File> {
        match &self.interrupts {
            Some(interrupts) if interrupts.came() => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(&self.file),
        }
    }

    /// Puts it into its place. Without `replace`, a file that is there by now stays.
    pub(super) fn finish(mut self, replace: bool) -> io::Result<()> {
        self.get()?;
        if !self.is_named {
            match link(&self.file, &self.place) {
                // A link never takes the place of a file, but a name does.
                Err(error) if replace && error.kind() == io::ErrorKind::AlreadyExists => {
                    link(&self.file, &self.beside)?;
                    self.is_named = true;
                }
                result => return result,
            }
        }
        if replace {
            fs::rename(&self.beside, &self.place)?;
        } else {
            rename_new(&self.beside, &self.place)?;
        }
        self.is_named = false;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_named {
            // There is nobody to tell.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn beside(place: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(place.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
    name.push(format!(".{}.part", std::process::id()));
    Ok(place.with_file_name(name))
}

/// A file without a name in the folder of this place, which is gone when the program is, whatever ends it. `None` where
/// the system or the file system does not know such files; what else is wrong with the folder shows at the next try.
#[cfg(target_os = "linux")]
fn unnamed(place: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    place.file_name()?;
    let folder = place.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(folder).ok()?;
    // Without that there would be no way to name it in the end.
    fs::symlink_metadata(handle(&file)).ok()?;
    Some(file)
}

/// The name that the system has for an open file.
#[cfg(target_os = "linux")]
fn handle(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives a file without a name one that nothing has.
#[cfg(target_os = "linux")]
fn link(file: &File, to: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    Ok(linkat(CWD, handle(file), CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Moves a file to a place where none is.
#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS) => rename_checked(from, to),
        result => Ok(result?),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_checked(from, to)
}

fn rename_checked(from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// Whether a signal has asked to end the program; the second one ends it.
#[cfg(unix)]
#[derive(Debug)]
struct Interrupts(std::sync::Arc<std::sync::atomic::AtomicBool>);

#[cfg(unix)]
impl Interrupts {
    fn watch() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use signal_hook::flag;
        let came = std::sync::Arc::default();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            // The order matters: the first signal only sets the flag, which the second one finds set.
            flag::register_conditional_shutdown(signal, 1, std::sync::Arc::clone(&came))?;
            flag::register(signal, std::sync::Arc::clone(&came))?;
        }
        Ok(Self(came))
    }

    fn came(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Interrupts;

#[cfg(not(unix))]
impl Interrupts {
    fn watch() -> io::Result<Self> {
        Ok(Self)
    }

    fn came(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// A signal asks the whole process.
    static ALONE: Mutex<()> = Mutex::new(());

    type Make = fn(&Path) -> io::Result<NewFile>;

    const WAYS: [Make; 2] = [NewFile::create, NewFile::named];

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn it_has_its_name_when_it_is_whole() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        for make in WAYS {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("out");
            for (text, replace) in [("one", false), ("two", true), ("three", true)] {
                let new = make(&place).unwrap();
                new.get().unwrap().write_all(text.as_bytes()).unwrap();
                assert!(!names(folder.path()).contains(&"out".into()) || text != "one");
                new.finish(replace).unwrap();
                assert_eq!(fs::read_to_string(&place).unwrap(), text);
                assert_eq!(names(folder.path()), ["out"]);
            }
        }
    }

    #[test]
    fn nothing_is_left_of_what_is_given_up_or_not_wanted() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        for make in WAYS {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("out");
            drop(make(&place).unwrap());
            assert!(names(folder.path()).is_empty());
            let new = make(&place).unwrap();
            fs::write(&place, "another's").unwrap();
            assert_eq!(new.finish(false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&place).unwrap(), "another's");
            assert_eq!(names(folder.path()), ["out"]);
            assert!(make(&folder.path().join("none/out")).is_err());
            assert!(make(Path::new("/")).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_signal_ends_it_where_it_has_a_name() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let new = NewFile::named(&folder.path().join("out")).unwrap();
        assert!(new.get().is_ok());
        signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
        assert_eq!(new.get().unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(new.finish(true).unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert!(names(folder.path()).is_empty());
    }
}
