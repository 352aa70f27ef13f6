//! The deep check: every compressed cluster is decompressed, each distinct stream once, and judged as QEMU would
//! (L15). The file is read on one thread, in its own order and in pieces, so that what is read and found is the same
//! whatever the number of threads.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;

use super::streams::{Stream, Taken};
use super::trees::L2Use;
use super::{Engine, Progress};
use crate::finding::Structure;
use crate::guest::{Batch, Compression, Outcome, Streams, decompress_all};
use crate::rules::codes::L15;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64, to_usize};
use crate::{Error, Limit};

/// Bytes that are read at once, unless two clusters are more.
const WINDOW_LEN: u64 = 1 << 20;
/// Bytes that lie between two streams and are read rather than passed over.
const GAP: u64 = 16 << 10;
/// Bytes that a thread decompresses at once, or one cluster.
const BATCH_LEN: u64 = 4 << 20;

/// The walk over all streams.
pub(super) struct Deep<'e, 'a, 'w, R> {
    engine: &'e mut Engine<'a, 'w, R>,
    tables: &'e [(u64, L2Use)],
    /// Streams that no batch has yet, and those whose outcome is not known yet.
    to_do: &'e [Stream],
    to_judge: &'e [Stream],
    of: u64,
    /// How many were decompressed, and how many were when the progress was told.
    done: u64,
    told: u64,
    /// The part of the file at hand; without bytes where it could not be read.
    window: Span,
    bytes: Arc<Vec<u8>>,
    /// What could not be read, each with how many streams were still to do.
    unread: VecDeque<(usize, Error)>,
    decoded: u64,
    spent: Option<Error>,
    taken: Taken,
}

impl<'e, 'a, 'w, R: ReadAt> Deep<'e, 'a, 'w, R> {
    /// Of these streams, which are in order.
    pub(super) fn new(
        engine: &'e mut Engine<'a, 'w, R>,
        all: &'e [Stream],
        tables: &'e [(u64, L2Use)],
    ) -> Self {
        Self {
            engine,
            tables,
            to_do: all,
            to_judge: all,
            of: to_u64(all.len()),
            done: 0,
            told: 0,
            window: Span::default(),
            bytes: Arc::default(),
            unread: VecDeque::new(),
            decoded: 0,
            spent: None,
            taken: Taken::default(),
        }
    }

    /// Decompresses all of them, on so many threads.
    pub(super) fn run(mut self, threads: NonZero<usize>) {
        let (image, cluster_size) = (self.engine.image, self.engine.geometry.cluster_size());
        // Without a method that anybody knows the image is refused for that.
        if let Some(method) = Compression::new(image.header().compression_type()) {
            match self.to_do.first() {
                Some(first) if cluster_size > image.limits().decoded_cluster_len => {
                    let at = self.engine.streams.span(*first).at;
                    self.spent = Some(image.limits().spent(Limit::DecodedClusterLen, at));
                }
                Some(_) => decompress_all(method, cluster_size, threads, &mut self),
                None => {}
            }
        }
        self.engine.decompressed = Some(self.done);
        for same in self.to_judge.chunk_by(Stream::is_same) {
            self.engine.stream(&mut self.taken, self.tables, same, None);
        }
        if let Some(error) = self.spent {
            self.engine.totals.stop(error, Structure::L2Table, &L15);
        }
    }

    /// Reads a part of the file from `at` on, as far as streams lie close to each other.
    fn read_window(&mut self, at: HostOffset) {
        let streams = &self.engine.streams;
        let longest = self.engine.geometry.cluster_size().saturating_mul(2);
        let most = at.saturating_add(WINDOW_LEN.max(longest.saturating_mul(2)));
        let mut end = at;
        for stream in self.to_do {
            let span = streams.span(*stream);
            if span.end() > most || span.at > end.saturating_add(GAP) {
                break;
            }
            end = end.max(span.end());
        }
        self.window = Span::new(at, end.0.saturating_sub(at.0));
        let mut bytes = Vec::with_capacity(to_usize(self.window.len));
        let mut chunks = self.engine.image.chunks("compressed clusters", self.window);
        while let Some(chunk) = chunks.next() {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(chunk.bytes),
                Err(error @ Error::Budget { .. }) => {
                    self.spent = Some(error);
                    return;
                }
                Err(error) => {
                    self.unread.push_back((self.to_do.len(), error));
                    self.bytes = Arc::default();
                    return;
                }
            }
        }
        // Behind the end of the file QEMU reads zeros: a stream may end there without its last sector.
        bytes.resize(to_usize(self.window.len), 0);
        self.bytes = Arc::new(bytes);
    }
}

impl<R: ReadAt> Streams for Deep<'_, '_, '_, R> {
    fn next(&mut self) -> Option<Batch> {
        let cluster_size = self.engine.geometry.cluster_size();
        let limits = self.engine.image.limits();
        let mut batch = Batch { bytes: Arc::default(), streams: Vec::new() };
        let mut decoded = 0_u64;
        while let Some(same) = self.to_do.chunk_by(Stream::is_same).next() {
            let span = same.first().map(|stream| self.engine.streams.span(*stream))?;
            if span.at < self.window.at || span.end() > self.window.end() {
                if !batch.streams.is_empty() {
                    break;
                }
                self.read_window(span.at);
            }
            if batch.streams.is_empty()
                && let Err(error) = self.engine.image.source().work(span.at)
            {
                self.spent = Some(error);
            }
            decoded = decoded.saturating_add(cluster_size);
            if decoded > BATCH_LEN && !batch.streams.is_empty() {
                break;
            }
            self.decoded = self.decoded.saturating_add(cluster_size);
            if self.decoded > limits.decoded_bytes {
                self.spent = Some(limits.spent(Limit::DecodedBytes, span.at));
            }
            if self.spent.is_some() {
                break;
            }
            let start = to_usize(span.at.0.saturating_sub(self.window.at.0));
            batch.streams.push(start..start.saturating_add(to_usize(span.len)));
            self.to_do = self.to_do.get(same.len()..).unwrap_or_default();
        }
        batch.bytes = Arc::clone(&self.bytes);
        (!batch.streams.is_empty()).then_some(batch)
    }

    fn take(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            while let Some((_, error)) = self.unread.pop_front_if(|(left, _)| *left >= self.to_judge.len()) {
                self.engine.totals.stop(error, Structure::L2Table, &L15);
            }
            let Some(same) = self.to_judge.chunk_by(Stream::is_same).next() else { return };
            self.engine.stream(&mut self.taken, self.tables, same, outcome);
            let judged = if outcome.is_some() { to_u64(same.len()) } else { 0 };
            self.done = self.done.saturating_add(judged);
            self.to_judge = self.to_judge.get(same.len()..).unwrap_or_default();
        }
        if self.done.saturating_sub(self.told) >= self.of / 256 {
            self.told = self.done;
            let progress = Progress { stage: "compressed clusters", done: self.done, of: self.of };
            self.engine.totals.watch.progress(progress);
        }
    }
}
