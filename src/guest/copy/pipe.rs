//! The way of the portions: planned on one thread, filled on several, handed out in order.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::super::Disk;
use super::fault::{Cause, Fault};
use super::plan::{Piece, Plan, Portion, Source};
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

/// How a copy went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Guest bytes that could not be had, and are zeros.
    pub lost: u64,
    /// The first guest byte whose place lies behind the end of the file, and how many there are: zeros, as QEMU has
    /// it.
    pub behind_end: Option<GuestSpan>,
}

/// What ended a copy.
#[derive(Debug, thiserror::Error)]
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
    let mut plan = Plan::new(*disk, range, options);
    let mut out = Out {
        sink,
        worker: Worker::new(*disk, data),
        spares: Vec::new(),
        keep_going: options.keep_going,
        copied: Copied::default(),
    };
    let (helpers, depth) = match options.threads.get() {
        1 => (0, 0),
        threads => (threads, threads.saturating_mul(PORTIONS_PER_THREAD)),
    };
    let (jobs, queue) = sync_channel::<Job>(depth);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|| serve(&queue, Worker::new(*disk, data)));
        }
        // Dropped at the end, whatever ends it, so that the threads see that nothing more comes.
        let jobs = jobs;
        let mut under_way = VecDeque::new();
        while let Some(portion) = plan.portion()? {
            under_way.push_back(match portion {
                Portion::Pieces(pieces) if helpers > 0 && has_streams(&pieces) => out.send(pieces, &jobs),
                portion => UnderWay::Here(portion),
            });
            if under_way.len() > depth
                && let Some(first) = under_way.pop_front()
            {
                out.settle(first)?;
            }
        }
        for last in under_way {
            out.settle(last)?;
        }
        out.note_behind_end(plan.behind_end);
        Ok(out.copied)
    })
}

/// Pieces to fill a buffer with, and where that goes.
type Job = (Vec<Piece>, Vec<u8>, Sender<Filled>);

/// A portion that is not handed out yet.
enum UnderWay {
    /// Nothing is gained by having it done elsewhere: bytes that are only read go to the sink from the cache of the one
    /// processor.
    Here(Portion),
    Filling(GuestSpan, Receiver<Filled>),
}

fn span_of(pieces: &[Piece]) -> GuestSpan {
    let start = pieces.first().map(|piece| piece.guest.start).unwrap_or_default();
    let len = pieces.iter().fold(0_u64, |len, piece| len.saturating_add(piece.guest.len));
    GuestSpan { start, len }
}

fn has_streams(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| matches!(piece.source, Source::Stream { .. }))
}

/// Takes one job after the other until no more come.
fn serve<R: ReadAt, D: ReadAt>(queue: &Mutex<Receiver<Job>>, mut worker: Worker<'_, R, D>) {
    loop {
        let Ok(job) = queue.lock().map(|queue| queue.recv()) else { return };
        let Ok((pieces, spare, reply)) = job else { return };
        // Nobody waits for it where the copy has ended early.
        let _ = reply.send(worker.fill(&pieces, spare));
    }
}

/// The end of the way.
struct Out<'s, 'i, S, R, D> {
    sink: &'s mut S,
    worker: Worker<'i, R, D>,
    /// Buffers that are free.
    spares: Vec<Vec<u8>>,
    keep_going: bool,
    copied: Copied,
}

impl<S: Sink, R: ReadAt, D: ReadAt> Out<'_, '_, S, R, D> {
    /// Has a thread fill a portion.
    fn send(&mut self, pieces: Vec<Piece>, jobs: &SyncSender<Job>) -> UnderWay {
        let span = span_of(&pieces);
        let (reply, filled) = channel();
        // Where no thread is left to take it, nobody will answer either, and that is told then.
        let _ = jobs.send((pieces, self.spares.pop().unwrap_or_default(), reply));
        UnderWay::Filling(span, filled)
    }

    fn settle(&mut self, portion: UnderWay) -> Result<(), CopyError> {
        match portion {
            UnderWay::Here(Portion::Zeros(span)) => Ok(self.sink.zeros(span)?),
            UnderWay::Here(Portion::Lost(fault)) => self.lose(&fault),
            UnderWay::Here(Portion::Pieces(pieces)) => {
                let spare = self.spares.pop().unwrap_or_default();
                let filled = self.worker.fill(&pieces, spare);
                self.take(span_of(&pieces).start, filled)
            }
            UnderWay::Filling(span, filled) => match filled.recv() {
                Ok(filled) => self.take(span.start, filled),
                // Its thread is gone, which is a fault of ours; the scope tells of it.
                Err(_) => {
                    let kind = io::ErrorKind::Other;
                    let error = Error::Io { what: "a thread's work", at: Default::default(), kind };
                    Err(CopyError::Fault(Fault { guest: span, cause: Cause::Read(error) }))
                }
            },
        }
    }

    /// Hands out what was filled, and keeps the buffer.
    fn take(&mut self, at: GuestOffset, filled: Filled) -> Result<(), CopyError> {
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
        let Some(span) = span else { return };
        let all = self.copied.behind_end.get_or_insert(GuestSpan { start: span.start, len: 0 });
        all.start = all.start.min(span.start);
        all.len = all.len.saturating_add(span.len);
    }
}
