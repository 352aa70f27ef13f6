//! The list of header extensions.

use nom::{IResult, Parser};

use super::kit::{Fault, field, layout, padded8, run};
use crate::Error;
use crate::format::Layout;
use crate::format::extension::{END, ExtensionHead};
use crate::units::{HostOffset, to_u64, to_usize};

/// One header extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its place in the list.
    pub index: u32,
    /// Where it starts.
    pub at: HostOffset,
    /// Its magic and length.
    pub head: ExtensionHead,
    /// Its data.
    pub data: &'a [u8],
    /// The bytes behind it, up to a multiple of 8.
    pub padding: &'a [u8],
}

impl Extension<'_> {
    /// Where its data starts.
    pub const fn data_at(&self) -> HostOffset {
        self.at.saturating_add(ExtensionHead::LEN)
    }

    /// Where the next one starts.
    pub fn end(&self) -> HostOffset {
        self.data_at().saturating_add(to_u64(self.data.len())).saturating_add(to_u64(self.padding.len()))
    }

    /// Whether it ends the list.
    pub fn is_end(&self) -> bool {
        self.head.magic == END
    }
}

fn extension(input: &[u8]) -> IResult<&[u8], (ExtensionHead, &[u8]), Fault<'_>> {
    let (rest, head) = layout::<ExtensionHead>("header extension").parse_complete(input)?;
    let (rest, data) = field("header extension data", head.length.into()).parse_complete(rest)?;
    Ok((rest, (head, data)))
}

/// Reads one extension after the other, up to the end marker, the end of the area or a fault.
#[derive(Clone, Debug)]
pub(crate) struct Extensions<'a> {
    bytes: &'a [u8],
    area_len: usize,
    at: HostOffset,
    taken: usize,
    index: u32,
    ended: bool,
}

impl<'a> Extensions<'a> {
    /// Over `bytes`, which start at `at` in the file. The area ends after `area_len` bytes; the bytes may go on
    /// behind it, since the padding of the last extension may.
    pub(crate) fn new(bytes: &'a [u8], area_len: u64, at: HostOffset) -> Self {
        Self { bytes, area_len: to_usize(area_len), at, taken: 0, index: 0, ended: false }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let area = self.bytes.get(..self.area_len).unwrap_or(self.bytes);
        let input = area.get(self.taken..)?;
        if self.ended || input.is_empty() {
            return None;
        }
        let at = self.at.saturating_add(to_u64(self.taken));
        match run(|input| padded8(extension).parse_complete(input), input, at) {
            Ok((((head, data), padding), rest)) => {
                let item = Extension { index: self.index, at, head, data, padding };
                self.ended = item.is_end();
                self.taken = area.len().saturating_sub(rest.len());
                self.index = self.index.saturating_add(1);
                Some(Ok(item))
            }
            Err(fault) => {
                self.ended = true;
                Some(Err(fault))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::extension::BACKING_FORMAT;
    use crate::format::scalar::Magic;

    fn list(parts: &[(Magic, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (magic, data) in parts {
            bytes
                .extend(ExtensionHead { magic: *magic, length: u32::try_from(data.len()).unwrap() }.encode());
            bytes.extend(*data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    }

    #[test]
    fn ends_at_the_marker() {
        let bytes = list(&[(BACKING_FORMAT, b"qcow2"), (END, b""), (Magic(1), b"")]);
        let found: Vec<_> = Extensions::new(&bytes, 512, HostOffset(112)).map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].at, found[0].data, found[0].padding.len()), (HostOffset(112), &b"qcow2"[..], 3));
        assert_eq!(found[1].at, HostOffset(128));
    }

    #[test]
    fn keeps_what_stands_before_a_fault() {
        let bytes = list(&[(Magic(1), b"12345678"), (Magic(2), b"12345678")]);
        let found: Vec<_> = Extensions::new(&bytes[..28], 28, HostOffset(112)).collect();
        assert!(found[0].is_ok());
        let wanted = Error::Cut { what: "header extension data", at: HostOffset(136), wanted: 8, had: 4 };
        assert_eq!(found[1..], [Err(wanted)]);
    }

    #[test]
    fn left_over_bytes_are_a_header_that_does_not_fit() {
        let bytes = list(&[(Magic(1), b"12345678")]);
        let bytes = [&bytes[..], &[0; 3]].concat();
        let found: Vec<_> = Extensions::new(&bytes, 19, HostOffset(0)).collect();
        let wanted = Error::Cut { what: "header extension", at: HostOffset(16), wanted: 8, had: 3 };
        assert_eq!(found[1..], [Err(wanted)]);
    }

    #[test]
    fn an_exactly_filled_area_needs_no_marker() {
        let bytes = list(&[(Magic(1), b"1234")]);
        assert_eq!(Extensions::new(&bytes, 12, HostOffset(0)).count(), 1);
    }
}
