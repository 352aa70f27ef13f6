//! What a policy's limits are held against: the largest disk, and how much of the file is not holes.

use crate::format::{header, snapshot};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};
use crate::{Error, Image};

/// The bytes of the largest disk of all trees, and which field claims them; with what kept a snapshot from being read.
/// One whose entry is cut has a finding of the check.
pub(super) fn largest_disk<R: ReadAt>(image: &Image<R>) -> ((u64, Span), Option<Error>) {
    let header = image.header();
    let mut largest = (header.v2.size.0, header.span(header::field::SIZE));
    for snapshot in image.snapshots() {
        match snapshot {
            Ok(snapshot) => {
                let size = snapshot.disk_size().unwrap_or_default();
                if size > largest.0 {
                    largest = (size, snapshot::extra_field::DISK_SIZE.at(snapshot.extra_at()));
                }
            }
            Err(Error::Cut { .. }) => {}
            Err(error) => return (largest, Some(error)),
        }
    }
    (largest, None)
}

/// How much of the file is not holes: those claim a length and cost nothing. It is counted as far as it matters to these
/// claims, each with the most of it that may come on one byte.
///
/// What the file system has stored is no measure: one that compresses or defers stores less, and some do not say.
pub(super) fn data_len<R: ReadAt>(image: &Image<R>, claims: &[(u64, Option<u64>)]) -> (u64, Option<Error>) {
    let of_claim = |(claim, most): &(u64, Option<u64>)| {
        // Without a claim or a limit nothing depends on it.
        most.filter(|_| *claim > 0).map(|most| match most {
            0 => u64::MAX,
            _ => claim.div_ceil(most),
        })
    };
    let enough = claims.iter().filter_map(of_claim).max().unwrap_or_default();
    let source = image.source();
    let (mut at, mut len) = (HostOffset(0), 0_u64);
    while len < enough {
        let ends = source.next_data(at).and_then(|data| match data {
            Some(data) => Ok(Some((data, source.next_hole(data)?))),
            None => Ok(None),
        });
        match ends {
            Ok(Some((data, hole))) => {
                let end = hole.0.min(image.file_len());
                len = len.saturating_add(end.saturating_sub(data.0));
                // A file that changes meanwhile may have neither.
                at = HostOffset(end.max(at.0.saturating_add(1)));
            }
            Ok(None) => break,
            Err(error) => return (len, Some(error)),
        }
    }
    (len, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    /// An image of which the bytes from `data_len` on are a hole.
    struct Sparse {
        bytes: Vec<u8>,
        data_len: u64,
    }

    impl ReadAt for Sparse {
        fn len(&self) -> std::io::Result<u64> {
            ReadAt::len(&self.bytes)
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            self.bytes.read_at(offset, buf)
        }

        fn next_data(&self, offset: u64) -> Option<u64> {
            (offset < self.data_len).then_some(offset)
        }

        fn next_hole(&self, offset: u64) -> u64 {
            offset.max(self.data_len)
        }
    }

    #[test]
    fn holes_are_no_bytes_of_the_file() {
        let mut bytes = b"QFI\xfb\0\0\0\x02".to_vec();
        let stored = 5000;
        bytes.resize(1 << 20, 0);
        let len = |limits, claims: &[(u64, Option<u64>)]| {
            let image = Image::open(Sparse { bytes: bytes.clone(), data_len: stored }, limits).ok()?;
            let (len, error) = data_len(&image, claims);
            Some((len, error.is_some()))
        };
        let default = Limits::default();
        for (most, claim) in [(Some(0), 1), (Some(1), 1 << 40), (Some(u64::MAX), u64::MAX)] {
            assert_eq!(len(default, &[(claim, most)]), Some((stored, false)), "{most:?}");
        }
        // Nothing depends on it.
        assert_eq!(len(default, &[(0, Some(0)), (1, None)]), Some((0, false)));
        // With as many reads as the opening takes.
        let cut = (0..100).find_map(|reads| len(Limits { reads, ..default }, &[(1, Some(0))]));
        assert_eq!(cut, Some((0, true)));
    }
}
