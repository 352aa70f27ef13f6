//! Names in an image: whether they are text, which were there before, and what they lead to, since a name is a program's
//! next thing to open.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Component, Path};

use crate::finding::{Finding, Rule, Severity, Structure};
use crate::text;
use crate::units::{Span, to_u64};

/// What opening a file by a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// In words.
    pub(super) what: Cow<'static, str>,
    /// Whether it leads out of ordinary files.
    pub(super) risky: bool,
}

/// What QEMU would open by this name, as far as the name tells. QEMU reads it up to the first NUL.
pub(super) fn target(name: &[u8]) -> Target {
    let name = crate::format::scalar::text(name);
    let risky = |what| Target { what, risky: true };
    let plain = |what| Target { what: Cow::Borrowed(what), risky: false };
    if name.is_empty() {
        return risky("an empty name".into());
    }
    if name.starts_with(b"json:") {
        return risky("json:, a description of any block device".into());
    }
    if let Some(scheme) = scheme(name) {
        return risky(format!("the protocol {}:", text::shown(scheme)).into());
    }
    if name.starts_with(br"\\") {
        return risky(r"\\, a device or a network path of Windows".into());
    }
    if let Some(special) = special_file(name) {
        return risky(format!("a path into {special}").into());
    }
    match name.split(|byte| *byte == b'/').any(|part| part == b"..") {
        true => plain("a path with .."),
        false if name.starts_with(b"/") => plain("an absolute path"),
        false => plain("a relative path"),
    }
}

/// What stands before a colon with no slash before it: QEMU takes it for a protocol (`path_has_protocol`).
fn scheme(name: &[u8]) -> Option<&[u8]> {
    let end = name.iter().position(|byte| matches!(byte, b':' | b'/'))?;
    name.get(end..)?.starts_with(b":").then(|| name.get(..end)).flatten()
}

/// The directory of devices or of the kernel that the path leads into, however it is spelled. A path that
/// climbs up is taken to climb up to the root.
fn special_file(name: &[u8]) -> Option<&'static str> {
    let name = String::from_utf8_lossy(name);
    let mut from_root = false;
    let mut parts = Vec::new();
    for component in Path::new(name.as_ref()).components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => from_root |= parts.pop().is_none(),
            Component::RootDir => from_root = true,
            Component::Prefix(_) | Component::CurDir => {}
        }
    }
    let first = parts.first().filter(|_| from_root)?;
    ["/dev", "/proc", "/sys"].into_iter().find(|special| special.strip_prefix('/') == first.to_str())
}

/// The finding for a name that a program opens: a warning where it leads out of ordinary files, or is not
/// printable and so not what people see, and a note else.
pub(super) fn opened(rule: &'static Rule, structure: Structure, at: Span, name: &[u8]) -> Finding {
    let Target { what, risky } = target(name);
    let found = format!("{what} ({} bytes)", to_u64(name.len()));
    let severity = if risky { Severity::Warning } else { Severity::Note };
    Finding::new(rule, structure, at, found, "a file that you trust").at_most(severity)
}

/// The first byte of a name that is not printable text, in words.
pub(super) fn unprintable(name: &[u8]) -> Option<String> {
    let (at, byte) = text::unprintable(name)?;
    Some(format!("the byte {byte:#04x} at position {at}"))
}

/// The first byte that ends a string early or makes it none: NUL, or what is not UTF-8.
pub(super) fn not_a_string(bytes: &[u8]) -> Option<String> {
    let valid = match str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    let at = bytes.iter().take(valid).position(|byte| *byte == 0).unwrap_or(valid);
    let byte = bytes.get(at)?;
    Some(format!("the byte {byte:#04x} at position {at}"))
}

/// Hashes of the byte strings seen so far, eight bytes each. The key is fixed, so that the same image always gives the same
/// findings; a pair that collides by accident is not to be expected among 65,536 names.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenNames(HashSet<u64>);

impl SeenNames {
    /// Whether these bytes are new; from now on they are not.
    pub(super) fn is_new(&mut self, bytes: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        self.0.insert(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_where_it_leads() {
        let cases = [
            ("base.raw", "a relative path", false),
            ("images/a:b", "a relative path", false),
            ("./a", "a relative path", false),
            ("dev/sda", "a relative path", false),
            ("/var/lib/base.raw", "an absolute path", false),
            ("/devices", "an absolute path", false),
            ("../base.raw", "a path with ..", false),
            ("a..b", "a relative path", false),
            ("/dev/sda", "a path into /dev", true),
            ("//dev/./sda", "a path into /dev", true),
            ("/tmp/../proc/self/mem", "a path into /proc", true),
            ("../../../../dev/sda", "a path into /dev", true),
            ("/sys", "a path into /sys", true),
            ("json:{}", "json:, a description of any block device", true),
            ("nbd://host/x", "the protocol nbd:", true),
            ("file:base.raw", "the protocol file:", true),
            ("a\u{1b}b:x", r"the protocol a\x1bb:", true),
            (r"\\.\PhysicalDrive0", r"\\, a device or a network path of Windows", true),
            ("", "an empty name", true),
            ("\0base.raw", "an empty name", true),
            ("base.raw\0nbd:x", "a relative path", false),
        ];
        for (name, what, risky) in cases {
            let had = target(name.as_bytes());
            assert_eq!((had.what.as_ref(), had.risky), (what, risky), "{name:?}");
        }
    }

    #[test]
    fn strings_end_at_nul_or_where_they_are_no_text() {
        assert_eq!(not_a_string("naïve\u{7}".as_bytes()), None);
        assert_eq!(not_a_string(b"ab\0\xff").unwrap(), "the byte 0x00 at position 2");
        assert_eq!(not_a_string(b"a\xff\0").unwrap(), "the byte 0xff at position 1");
        assert_eq!(not_a_string(b""), None);
    }
}
