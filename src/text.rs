//! Text of an image: what of it may be shown as it stands, and how the rest is.
#![warn(clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::fmt::{self, Write};

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::units::to_u64;

/// Characters of a name in a line of a report.
const SHOWN: usize = 64;

/// Whether a terminal shows a character as itself: neither a control or format character, nor a separator of
/// lines or paragraphs, nor private-use or unassigned.
pub fn is_printable(character: char) -> bool {
    // Nearly all text is ASCII, where nothing has to be looked up.
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    !matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    )
}

/// Whether the bytes are UTF-8, and every character of them is printable.
pub fn is_clean(bytes: &[u8]) -> bool {
    unprintable(bytes).is_none()
}

/// The first byte that is not printable text, and its position.
pub fn unprintable(bytes: &[u8]) -> Option<(u64, u8)> {
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    let mut at = 0_usize;
    for chunk in bytes.utf8_chunks() {
        let bad = chunk.valid().char_indices().find(|(_, character)| !is_printable(*character));
        at = at.saturating_add(bad.map_or(chunk.valid().len(), |(offset, _)| offset));
        if bad.is_some() || !chunk.invalid().is_empty() {
            break;
        }
    }
    Some((to_u64(at), *bytes.get(at)?))
}

/// The bytes as text that is safe to show. Clean ones stay as they are; where any is not, each byte of such a
/// character stands as `\xNN`, and each backslash is doubled, so that the bytes can be told from the text.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes)
        && text.chars().all(is_printable)
    {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => shown.push_str(r"\\"),
                _ if is_printable(character) => shown.push(character),
                _ => push_hex(&mut shown, character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_hex(&mut shown, chunk.invalid());
    }
    Cow::Owned(shown)
}

/// A name for a line of a report: escaped, and cut to 64 characters.
pub fn shown(name: &[u8]) -> String {
    cut(name, SHOWN)
}

/// A name, escaped, and cut to `count` characters.
pub fn cut(name: &[u8], count: usize) -> String {
    // No character has more than four bytes, so the cut never falls into one that is shown.
    let escaped = escape(name.get(..count.saturating_mul(4)).unwrap_or(name));
    if escaped.chars().nth(count).is_none() {
        return escaped.into_owned();
    }
    escaped.chars().take(count.saturating_sub(1)).chain(['…']).collect()
}

/// A path as a word that a shell takes for it; `None` where it holds what no terminal should see.
pub fn shell_word(path: &[u8]) -> Option<Cow<'_, str>> {
    let Cow::Borrowed(text) = escape(path) else { return None };
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(&byte) || !byte.is_ascii();
    // It must not be taken for an option.
    let start = if text.starts_with('-') { "./" } else { "" };
    Some(match !text.is_empty() && text.bytes().all(is_plain) {
        true if start.is_empty() => Cow::Borrowed(text),
        true => format!("{start}{text}").into(),
        false => format!("'{start}{}'", text.replace('\'', r"'\''")).into(),
    })
}

fn push_hex(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(shown, r"\x{byte:02x}");
    }
}

/// A length in bytes with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut unit = "B";
        let mut scale = 1_u64;
        for (name, bits) in UNITS.iter().zip((10..).step_by(10)) {
            let next = 1_u64.unbounded_shl(bits);
            if self.0 < next {
                break;
            }
            (unit, scale) = (name, next);
        }
        let (whole, part) =
            (self.0.checked_div(scale).unwrap_or_default(), self.0.checked_rem(scale).unwrap_or_default());
        // Hundredths, rounded down, so that 1023.999 KiB is never shown as 1024 KiB.
        let hundredths =
            u128::from(part).saturating_mul(100).checked_div(u128::from(scale)).unwrap_or_default();
        match (hundredths, hundredths % 10) {
            (0, _) => write!(f, "{whole} {unit}"),
            (_, 0) => write!(f, "{whole}.{} {unit}", hundredths / 10),
            _ => write!(f, "{whole}.{hundredths:02} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_text_stays_as_it_is() {
        for text in ["", "disk.qcow2", r"C:\images\a", "größe 磁盘 🖴", "a b"] {
            assert_eq!(escape(text.as_bytes()), text);
            assert!(matches!(escape(text.as_bytes()), Cow::Borrowed(_)));
            assert!(is_clean(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn each_offending_byte_is_shown_and_backslashes_are_doubled() {
        let cases: [(&[u8], &str, u64); 9] = [
            (b"a\0b", r"a\x00b", 1),
            (b"\x1b[31m", r"\x1b[31m", 0),
            (br"\x00", r"\x00", u64::MAX),
            (b"\\\n", r"\\\x0a", 1),
            ("a\u{202e}b".as_bytes(), r"a\xe2\x80\xaeb", 1),
            ("é\u{2028}".as_bytes(), r"é\xe2\x80\xa8", 2),
            ("\u{e000}\u{378}".as_bytes(), r"\xee\x80\x80\xcd\xb8", 0),
            (b"ab\xc3", r"ab\xc3", 2),
            (b"\xff\xfeab\x80", r"\xff\xfeab\x80", 0),
        ];
        for (bytes, wanted, at) in cases {
            assert_eq!(escape(bytes), wanted);
            assert_eq!(unprintable(bytes).map_or(u64::MAX, |(at, _)| at), at, "{wanted}");
        }
        assert_eq!(unprintable(b"ab\x7fc"), Some((2, 0x7f)));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shown(b"a\0"), r"a\x00");
        assert_eq!(shown(&[b'a'; 64]), "a".repeat(64));
        assert_eq!(shown(&[b'a'; 65]), format!("{}…", "a".repeat(63)));
        assert_eq!(shown(&[0; 1023]).chars().count(), 64);
    }

    #[test]
    fn a_path_is_a_word_for_a_shell() {
        let cases: [(&[u8], Option<&str>); 7] = [
            (b"/images/a-1.qcow2", Some("/images/a-1.qcow2")),
            ("größe".as_bytes(), Some("größe")),
            (b"a b", Some("'a b'")),
            (b"it's $HOME", Some(r"'it'\''s $HOME'")),
            (b"-rf", Some("./-rf")),
            (b"", Some("''")),
            (b"a\nb", None),
        ];
        for (path, wanted) in cases {
            assert_eq!(shell_word(path).as_deref(), wanted);
        }
    }

    #[test]
    fn surrogates_written_as_utf8_are_no_text() {
        assert_eq!(escape(b"\xed\xa0\x80"), r"\xed\xa0\x80");
    }
}
