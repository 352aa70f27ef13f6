//! The deep check: every compressed cluster is decompressed, each distinct stream once, and judged as QEMU would
//! (L15). The file is read on one thread, in its own order and in pieces, so that what is read and found is the same
//! whatever the number of threads.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;

use super::compressed::{LastStream, StreamJudge};
use super::context::Context;
use super::lost::Losses;
use super::reporter::Reporter;
use super::streams::{Stream, StreamList};
use super::tree_tables::Trees;
use crate::finding::Structure;
use crate::guest::{self, Batch, Compression, Outcome, decompress_all};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64, to_usize};
use crate::{Error, Limit};

/// Bytes that are read at once, unless two clusters are more.
const WINDOW_LEN: u64 = 1 << 20;
/// Bytes that lie between two streams and are read rather than passed over.
const GAP: u64 = 16 << 10;
/// Bytes that a thread decompresses at once, or one cluster.
const BATCH_LEN: u64 = 4 << 20;

/// Judges all compressed clusters, in the order of the file. Answers how many were decompressed, where they are to be.
pub(super) fn judge_streams<R: ReadAt>(
    cx: &Context<'_, R>,
    trees: &Trees,
    mut streams: StreamList,
    losses: &mut Losses,
    reporter: &mut Reporter<'_>,
) -> Option<u64> {
    let mut all = std::mem::take(&mut streams.all);
    all.sort_unstable();
    let tables = trees.ordered();
    let mut judging = StreamJudge {
        cx,
        trees,
        tables: &tables,
        streams: &streams,
        losses,
        reporter,
        taken: LastStream::default(),
    };
    let decompressed = match cx.options.deep {
        Some(threads) => Some(Deep::new(&mut judging, &all).run(threads)),
        None => {
            all.chunk_by(Stream::is_same).for_each(|same| judging.stream(same, None));
            None
        }
    };
    judging.reporter.end_table();
    judging.same_streams(&all);
    if streams.is_spent {
        reporter.spent(cx.image, Limit::CompressedClusters, Structure::L2Table);
    }
    decompressed
}

/// The walk over all streams.
struct Deep<'e, 'p, 'a, 'w, R> {
    judging: &'e mut StreamJudge<'p, 'a, 'w, R>,
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
}

impl<'e, 'p, 'a, 'w, R: ReadAt> Deep<'e, 'p, 'a, 'w, R> {
    /// Of these streams, which are in order.
    fn new(judging: &'e mut StreamJudge<'p, 'a, 'w, R>, all: &'e [Stream]) -> Self {
        Self {
            judging,
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
        }
    }

    /// Decompresses all of them, on so many threads, and answers how many were.
    fn run(mut self, threads: NonZero<usize>) -> u64 {
        let (image, cluster_size) = (self.judging.cx.image, self.judging.cx.geometry.cluster_size());
        // Without a method that anybody knows the image is refused for that.
        if let Some(method) = Compression::new(image.header().compression_type()) {
            match self.to_do.first() {
                Some(first) if cluster_size > image.limits().decoded_cluster_len => {
                    let at = self.judging.streams.span(*first).at;
                    self.spent = Some(image.limits().spent(Limit::DecodedClusterLen, at));
                }
                Some(_) => decompress_all(method, cluster_size, threads, &mut self),
                None => {}
            }
        }
        for same in self.to_judge.chunk_by(Stream::is_same) {
            self.judging.stream(same, None);
        }
        if let Some(error) = self.spent {
            self.judging.reporter.stop(error, Structure::L2Table);
        }
        self.done
    }

    /// Reads a part of the file from `at` on, as far as streams lie close to each other.
    fn read_window(&mut self, at: HostOffset) {
        let streams = self.judging.streams;
        let longest = self.judging.cx.geometry.cluster_size().saturating_mul(2);
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
        let mut chunks = self.judging.cx.image.chunks("compressed clusters", self.window);
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

impl<R: ReadAt> guest::Streams for Deep<'_, '_, '_, '_, R> {
    fn next(&mut self) -> Option<Batch> {
        let cluster_size = self.judging.cx.geometry.cluster_size();
        let limits = self.judging.cx.image.limits();
        let mut batch = Batch { bytes: Arc::default(), streams: Vec::new() };
        let mut decoded = 0_u64;
        while let Some(same) = self.to_do.chunk_by(Stream::is_same).next() {
            let span = same.first().map(|stream| self.judging.streams.span(*stream))?;
            if span.at < self.window.at || span.end() > self.window.end() {
                if !batch.streams.is_empty() {
                    break;
                }
                self.read_window(span.at);
            }
            if batch.streams.is_empty()
                && let Err(error) = self.judging.cx.image.source().work(span.at)
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
                self.judging.reporter.stop(error, Structure::L2Table);
            }
            let Some(same) = self.to_judge.chunk_by(Stream::is_same).next() else { return };
            self.judging.stream(same, outcome);
            let judged = if outcome.is_some() { to_u64(same.len()) } else { 0 };
            self.done = self.done.saturating_add(judged);
            self.to_judge = self.to_judge.get(same.len()..).unwrap_or_default();
        }
        if self.done.saturating_sub(self.told) >= self.of / 256 {
            self.told = self.done;
            self.judging.reporter.tell_progress("compressed clusters", self.done, self.of);
        }
    }
}
