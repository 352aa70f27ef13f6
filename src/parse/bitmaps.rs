//! One entry of the bitmap directory.

use nom::{IResult, Parser};

use super::kit::{Fault, field, layout, padded8, run};
use crate::Error;
use crate::format::bitmap::BitmapHead;
use crate::format::part;
use crate::units::HostOffset;

/// The parts of a bitmap directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BitmapParts<'a> {
    pub(crate) head: BitmapHead,
    pub(crate) extra: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) padding: &'a [u8],
}

fn bitmap(input: &[u8]) -> IResult<&[u8], BitmapParts<'_>, Fault<'_>> {
    let (rest, head) = layout::<BitmapHead>("bitmap directory entry").parse_complete(input)?;
    let (rest, extra) = field(part::EXTRA_DATA, head.extra_data_size.into()).parse_complete(rest)?;
    let (rest, name) = field(part::NAME, head.name_size.into()).parse_complete(rest)?;
    Ok((rest, BitmapParts { head, extra, name, padding: &[] }))
}

/// The entry that starts at `at`, where `input` starts.
pub(crate) fn parse(input: &[u8], at: HostOffset) -> Result<BitmapParts<'_>, Error> {
    let ((parts, padding), _) = run(|input| padded8(bitmap).parse_complete(input), input, at)?;
    Ok(BitmapParts { padding, ..parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Layout;

    #[test]
    fn splits_an_entry_and_says_where_it_is_cut() {
        let head = BitmapHead { name_size: 3, extra_data_size: 4, ..Default::default() };
        let bytes = [head.encode(), vec![1, 2, 3, 4], b"abc".to_vec(), vec![0]].concat();
        let parts = parse(&bytes, HostOffset(0)).unwrap();
        assert_eq!((parts.extra, parts.name, parts.padding), (&[1, 2, 3, 4][..], &b"abc"[..], &[0][..]));
        let wanted = Error::Cut { what: part::NAME, at: HostOffset(0x101c), wanted: 3, had: 2 };
        assert_eq!(parse(&bytes[..30], HostOffset(0x1000)), Err(wanted));
    }
}
