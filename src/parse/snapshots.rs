//! One entry of the snapshot table.

use nom::{IResult, Parser};

use super::kit::{Fault, field, layout, padded8, run};
use crate::Error;
use crate::format::part;
use crate::format::snapshot::SnapshotHead;
use crate::units::HostOffset;

/// The parts of a snapshot table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotParts<'a> {
    pub(crate) head: SnapshotHead,
    pub(crate) extra: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) padding: &'a [u8],
}

fn snapshot(input: &[u8]) -> IResult<&[u8], SnapshotParts<'_>, Fault<'_>> {
    let (rest, head) = layout::<SnapshotHead>("snapshot table entry").parse_complete(input)?;
    let (rest, extra) = field(part::EXTRA_DATA, head.extra_data_size.into()).parse_complete(rest)?;
    let (rest, id) = field(part::ID_STR, head.id_str_size.into()).parse_complete(rest)?;
    let (rest, name) = field(part::NAME, head.name_size.into()).parse_complete(rest)?;
    Ok((rest, SnapshotParts { head, extra, id, name, padding: &[] }))
}

/// The entry that starts at `at`, where `input` starts.
pub(crate) fn parse(input: &[u8], at: HostOffset) -> Result<SnapshotParts<'_>, Error> {
    let ((parts, padding), _) = run(|input| padded8(snapshot).parse_complete(input), input, at)?;
    Ok(SnapshotParts { padding, ..parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Layout;

    fn entry() -> Vec<u8> {
        let head = SnapshotHead { id_str_size: 1, name_size: 2, extra_data_size: 16, ..Default::default() };
        [head.encode(), vec![0xee; 16], b"1ab".to_vec(), vec![0; 5]].concat()
    }

    #[test]
    fn splits_an_entry() {
        let bytes = entry();
        let parts = parse(&bytes, HostOffset(0)).unwrap();
        assert_eq!((parts.extra.len(), parts.id, parts.name), (16, &b"1"[..], &b"ab"[..]));
        assert_eq!(parts.padding, [0; 5]);
    }

    #[test]
    fn the_last_padding_may_be_missing() {
        assert!(parse(&entry()[..59], HostOffset(0)).unwrap().padding.is_empty());
    }

    #[test]
    fn says_which_part_is_cut_and_where() {
        let cut = |len: usize| parse(&entry()[..len], HostOffset(0x1000)).unwrap_err();
        let error = |what, at, wanted, had| Error::Cut { what, at: HostOffset(at), wanted, had };
        assert_eq!(cut(39), error("snapshot table entry", 0x1000, 40, 39));
        assert_eq!(cut(50), error(part::EXTRA_DATA, 0x1028, 16, 10));
        assert_eq!(cut(56), error(part::ID_STR, 0x1038, 1, 0));
        assert_eq!(cut(58), error(part::NAME, 0x1039, 2, 1));
    }
}
