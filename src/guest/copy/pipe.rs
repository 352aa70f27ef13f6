//! The way of the portions: planned on one thread, filled on several, handed out in order.

use std::io;

use super::super::Disk;
use super::super::pool::{self, Line, in_order};
use super::fault::{Cause, Fault};
use super::plan::{CopyOptions, Piece, Plan, Portion, Source, add_behind_end};
use super::work::{DataFile, Filled, Worker};
use crate::Error;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan};

/// Portions under way for each thread: enough that none waits for the one that writes.
const PORTIONS_PER_THREAD: usize = 3;

/// Takes the guest's bytes in order.
pub trait Sink {
    /// Some bytes.
    ///
    /// # Errors
    /// Whatever keeps them from being written.
    fn bytes(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()>;

    /// So many zeros.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    fn zeros(&mut self, range: GuestSpan) -> io::Result<()>;

    /// Bytes that cannot be had; zeros for them come right behind.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    fn fault(&mut self, fault: &Fault) -> io::Result<()>;
}

/// How a copy went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Guest bytes that could not be had, and are zeros.
    pub lost: u64,
    /// The first guest byte whose place lies behind the end of the file, and how many there are: zeros, as QEMU has
    /// it.
    pub behind_end: Option<GuestSpan>,
}

/// What ended a copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Bytes cannot be had.
    #[error("{0}")]
    Fault(Fault),
    /// The tables cannot be read further.
    #[error("{0}")]
    Read(#[from] Error),
    /// The bytes cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Hands the bytes of `range` to `sink`, in order. `data` is the external data file of an image that has one. Memory:
/// a few MiB for each thread, and some clusters where these are larger.
///
/// # Errors
/// The first [`Fault`], unless they are to be passed over; an [`Error`] of the tables in any case.
pub fn copy<R: ReadAt + Sync, D: ReadAt + Sync>(
    disk: &Disk<'_, R>,
    data: Option<&DataFile<D>>,
    range: GuestSpan,
    options: CopyOptions,
    sink: &mut impl Sink,
) -> Result<Copied, CopyError> {
    let mut way = Way {
        plan: Plan::new(*disk, range, options),
        sink,
        worker: Worker::new(*disk, data),
        spares: Vec::new(),
        keep_going: options.keep_going,
        copied: Copied::default(),
    };
    in_order(&mut way, (options.threads, PORTIONS_PER_THREAD), || {
        let mut worker = Worker::new(*disk, data);
        move |(pieces, spare): Job| worker.fill(&pieces, spare)
    })?;
    way.note_behind_end(way.plan.behind_end);
    Ok(way.copied)
}

/// Pieces to fill a buffer with.
type Job = (Vec<Piece>, Vec<u8>);

/// A portion that is not handed out yet.
enum Rest {
    /// Nothing is gained by having it done elsewhere: bytes that are only read go to the sink from the cache of the one
    /// processor.
    Here(Portion),
    /// A thread fills it.
    Filling(GuestSpan),
}

fn span_of(pieces: &[Piece]) -> GuestSpan {
    let start = pieces.first().map(|piece| piece.guest.start).unwrap_or_default();
    let len = pieces.iter().fold(0_u64, |len, piece| len.saturating_add(piece.guest.len));
    GuestSpan { start, len }
}

fn has_streams(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| matches!(piece.source, Source::Stream { .. }))
}

/// The plan at one end, the sink at the other.
struct Way<'s, 'i, S, R, D> {
    plan: Plan<'i, R>,
    sink: &'s mut S,
    worker: Worker<'i, R, D>,
    /// Buffers that are free.
    spares: Vec<Vec<u8>>,
    keep_going: bool,
    copied: Copied,
}

impl<S: Sink, R: ReadAt, D: ReadAt> Line for Way<'_, '_, S, R, D> {
    type Job = Job;
    type Done = Filled;
    type Rest = Rest;
    type Error = CopyError;

    fn next(&mut self) -> Result<Option<pool::Piece<Self>>, CopyError> {
        Ok(self.plan.portion()?.map(|portion| match portion {
            Portion::Pieces(pieces) if has_streams(&pieces) => {
                (Rest::Filling(span_of(&pieces)), Some((pieces, self.spares.pop().unwrap_or_default())))
            }
            portion => (Rest::Here(portion), None),
        }))
    }

    fn take(&mut self, rest: Rest, done: Option<Filled>) -> Result<(), CopyError> {
        match (rest, done) {
            (Rest::Here(Portion::Zeros(span)), _) => Ok(self.sink.zeros(span)?),
            (Rest::Here(Portion::Lost(fault)), _) => self.lose(&fault),
            (Rest::Here(Portion::Pieces(pieces)), _) => {
                let spare = self.spares.pop().unwrap_or_default();
                let filled = self.worker.fill(&pieces, spare);
                self.hand_out(span_of(&pieces).start, filled)
            }
            (Rest::Filling(span), Some(filled)) => self.hand_out(span.start, filled),
            (Rest::Filling(span), None) => {
                let kind = io::ErrorKind::Other;
                let error = Error::Io { what: "a thread's work", at: Default::default(), kind };
                Err(CopyError::Fault(Fault { guest: span, cause: Cause::Read(error) }))
            }
        }
    }
}

impl<S: Sink, R: ReadAt, D: ReadAt> Way<'_, '_, S, R, D> {
    /// Hands out what was filled, and keeps the buffer.
    fn hand_out(&mut self, at: GuestOffset, filled: Filled) -> Result<(), CopyError> {
        for fault in &filled.faults {
            self.note(fault)?;
        }
        self.note_behind_end(filled.behind_end);
        self.sink.bytes(at, &filled.bytes)?;
        self.spares.push(filled.bytes);
        Ok(())
    }

    /// Passes over bytes that cannot be had.
    fn lose(&mut self, fault: &Fault) -> Result<(), CopyError> {
        self.note(fault)?;
        Ok(self.sink.zeros(fault.guest)?)
    }

    fn note(&mut self, fault: &Fault) -> Result<(), CopyError> {
        if !self.keep_going {
            return Err(CopyError::Fault(*fault));
        }
        self.copied.lost = self.copied.lost.saturating_add(fault.guest.len);
        Ok(self.sink.fault(fault)?)
    }

    fn note_behind_end(&mut self, span: Option<GuestSpan>) {
        span.into_iter().for_each(|span| add_behind_end(&mut self.copied.behind_end, span));
    }
}
