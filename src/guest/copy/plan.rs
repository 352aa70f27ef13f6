//! What there is to do, in portions.

use std::num::NonZero;

use super::super::{Disk, Extent, Extents, Holes, State};
use super::fault::{Cause, Fault};
use crate::Error;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, HostOffset};

/// Bytes of a portion, unless one compressed cluster has more.
const PORTION_LEN: u64 = 256 << 10;
/// Zeros from this length on are no part of a portion.
const LONG_ZEROS: u64 = 64 << 10;

/// What to do where bytes cannot be had as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Go on with zeros behind a fault; else the first one ends it.
    pub keep_going: bool,
    /// Take zeros for what would come from the backing file.
    pub without_backing: bool,
    /// Take encrypted bytes as they are.
    pub ciphertext: bool,
    /// Threads that read and decode; with 1 there are none beside the caller's.
    pub threads: NonZero<usize>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { keep_going: false, without_backing: false, ciphertext: false, threads: NonZero::<usize>::MIN }
    }
}

/// Where a run of guest bytes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Zeros,
    /// From this offset of the image or of its data file.
    Host(HostOffset),
    /// From a compressed cluster, after this many bytes of it.
    Stream {
        at: HostOffset,
        len: u64,
        skip: u64,
    },
}

/// A run of guest bytes that comes from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) guest: GuestSpan,
    pub(super) source: Source,
}

/// Work for one thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Portion {
    /// Zeros of any length.
    Zeros(GuestSpan),
    /// Bytes that cannot be had, of any length.
    Lost(Fault),
    /// Pieces without gaps, of a length that fits in memory.
    Pieces(Vec<Piece>),
}

/// Cuts a range of guest offsets into portions.
pub(super) struct Plan<'i, R> {
    disk: Disk<'i, R>,
    options: CopyOptions,
    clusters: Extents<'i, R>,
    /// The file's holes, where data lies in this file.
    holes: Option<Holes<'i, R>>,
    /// What is left of the extent at hand.
    rest: Option<Extent>,
    /// What did not fit into the portion before.
    next: Option<Next>,
    backed: bool,
    /// The first bytes whose place lies behind the end of the file, and how many do.
    pub(super) behind_end: Option<GuestSpan>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Piece(Piece),
    Lost(Fault),
}

impl<'i, R: ReadAt> Plan<'i, R> {
    pub(super) fn new(disk: Disk<'i, R>, range: GuestSpan, options: CopyOptions) -> Self {
        let image = disk.image();
        Self {
            disk,
            options,
            clusters: disk.clusters(range),
            holes: (!image.has_external_data()).then(|| Holes::new(image)),
            rest: None,
            next: None,
            // A name that cannot be read is a name all the same.
            backed: image.has_backing_file(),
            behind_end: None,
        }
    }

    /// The next portion; `None` at the end.
    pub(super) fn portion(&mut self) -> Result<Option<Portion>, Error> {
        let (mut pieces, mut len) = (Vec::new(), 0_u64);
        while let Some(next) = self.next()? {
            let piece = match next {
                Next::Piece(piece) => piece,
                Next::Lost(fault) if pieces.is_empty() => return Ok(Some(Portion::Lost(fault))),
                Next::Lost(_) => {
                    self.next = Some(next);
                    break;
                }
            };
            let whole = len.saturating_add(piece.guest.len);
            if piece.source == Source::Zeros && piece.guest.len >= LONG_ZEROS {
                if pieces.is_empty() {
                    return Ok(Some(Portion::Zeros(piece.guest)));
                }
                self.next = Some(next);
                break;
            }
            if whole <= PORTION_LEN || (pieces.is_empty() && matches!(piece.source, Source::Stream { .. })) {
                pieces.push(piece);
                len = whole;
                continue;
            }
            // A stream gives its bytes at once; all else can be cut.
            let room = PORTION_LEN.saturating_sub(len);
            if matches!(piece.source, Source::Stream { .. }) || room == 0 {
                self.next = Some(next);
            } else {
                let (now, later) = cut(piece, room);
                pieces.push(now);
                self.next = Some(Next::Piece(later));
            }
            break;
        }
        Ok((!pieces.is_empty()).then_some(Portion::Pieces(pieces)))
    }

    fn next(&mut self) -> Result<Option<Next>, Error> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        if self.rest.is_none() {
            self.rest = self.clusters.next().transpose()?;
        }
        let part = match &mut self.holes {
            Some(holes) => holes.split(&mut self.rest)?,
            None => self.rest.take().map(|extent| (extent, false)),
        };
        let Some((extent, in_hole)) = part else { return Ok(None) };
        let guest = extent.guest;
        Ok(Some(match self.source(&extent, in_hole) {
            Ok(source) => Next::Piece(Piece { guest, source }),
            Err(cause) => Next::Lost(Fault { guest, cause }),
        }))
    }

    fn source(&mut self, extent: &Extent, in_hole: bool) -> Result<Source, Cause> {
        let unreadable = self.disk.is_encrypted() && !self.options.ciphertext;
        Ok(match (extent.state, extent.host) {
            (State::Broken(rule), _) => return Err(Cause::Tables(rule)),
            (State::Zero, _) => Source::Zeros,
            (State::Unallocated, _) if self.backed && !self.options.without_backing => {
                return Err(Cause::Backing);
            }
            (State::Unallocated, _) => Source::Zeros,
            (State::Data | State::Compressed, _) if unreadable => return Err(Cause::Encrypted),
            (State::Data, Some(host)) if in_hole => {
                let there = self.disk.image().file_len().saturating_sub(host.0).min(extent.guest.len);
                if there < extent.guest.len {
                    let start = extent.guest.start.saturating_add(there);
                    let len = extent.guest.len.saturating_sub(there);
                    add_behind_end(&mut self.behind_end, GuestSpan { start, len });
                }
                Source::Zeros
            }
            (State::Data, Some(host)) => Source::Host(host),
            (State::Compressed, Some(at)) => {
                let skip = extent.guest.start.0 & self.disk.geometry.cluster_size().saturating_sub(1);
                Source::Stream { at, len: extent.stream_len, skip }
            }
            // Each of them has its place.
            (State::Data | State::Compressed, None) => Source::Zeros,
        })
    }
}

/// Takes in guest bytes whose place lies behind the end of the file: the first of all such is kept, and how many they are.
pub(super) fn add_behind_end(all: &mut Option<GuestSpan>, more: GuestSpan) {
    let all = all.get_or_insert(GuestSpan { start: more.start, len: 0 });
    all.start = all.start.min(more.start);
    all.len = all.len.saturating_add(more.len);
}

/// The first `len` bytes of a piece, and the others.
fn cut(piece: Piece, len: u64) -> (Piece, Piece) {
    let (mut now, mut later) = (piece, piece);
    now.guest.len = len;
    later.guest.start = GuestOffset(piece.guest.start.0.saturating_add(len));
    later.guest.len = piece.guest.len.saturating_sub(len);
    if let Source::Host(host) = &mut later.source {
        *host = host.saturating_add(len);
    }
    (now, later)
}
