//! Many compressed clusters, decompressed on several threads only to see which of them can be.

use std::convert::Infallible;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use super::pool::{Line, Piece, in_order};
use super::{Compression, Decoder, StreamFault};
use crate::units::{to_u64, to_usize};

/// Batches under way for each thread: enough that none waits for the one that reads.
const BATCHES_PER_THREAD: usize = 2;

/// What came of a stream: the bytes that it takes, or its fault; `None` where its bytes were not given.
pub(crate) type Outcome = Option<Result<u64, StreamFault>>;

/// Streams for one thread.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// A part of the file; other batches may share it.
    pub(crate) bytes: Arc<Vec<u8>>,
    /// Where the streams lie in it.
    pub(crate) streams: Vec<Range<usize>>,
}

/// Gives the streams and takes what came of them, all on the thread of the caller. What it holds need not be fit for
/// threads, and what it reads comes in the same order whatever their number.
pub(crate) trait Streams {
    /// The next batch; `None` at the end.
    fn next(&mut self) -> Option<Batch>;

    /// Takes what came of a batch, in the order of the batches.
    fn take(&mut self, outcomes: Vec<Outcome>);
}

/// Decompresses all streams on `threads` threads; with 1 there are none beside the caller's. Memory: two batches and
/// one cluster for each thread.
pub(crate) fn decompress_all(
    method: Compression,
    cluster_size: u64,
    threads: NonZero<usize>,
    streams: &mut impl Streams,
) {
    let Ok(()) = in_order(&mut Batches(streams), (threads, BATCHES_PER_THREAD), || {
        let mut worker = Worker::new(method, cluster_size);
        move |batch| worker.judge(&batch)
    });
}

/// Batches as work for several threads.
struct Batches<'s, S>(&'s mut S);

impl<S: Streams> Line for Batches<'_, S> {
    type Job = Batch;
    type Done = Vec<Outcome>;
    type Rest = ();
    type Error = Infallible;

    fn next(&mut self) -> Result<Option<Piece<Self>>, Infallible> {
        Ok(self.0.next().map(|batch| ((), Some(batch))))
    }

    fn take(&mut self, (): (), done: Option<Vec<Outcome>>) -> Result<(), Infallible> {
        self.0.take(done.unwrap_or_default());
        Ok(())
    }
}

/// One thread's tools.
struct Worker {
    decoder: Decoder,
    cluster: Vec<u8>,
}

impl Worker {
    fn new(method: Compression, cluster_size: u64) -> Self {
        Self { decoder: Decoder::new(method), cluster: vec![0; to_usize(cluster_size)] }
    }

    fn judge(&mut self, batch: &Batch) -> Vec<Outcome> {
        let streams = batch.streams.iter();
        streams
            .map(|stream| {
                let stream = batch.bytes.get(stream.clone())?;
                Some(self.decoder.measure(stream, &mut self.cluster).map(to_u64))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored blocks of deflate, each with so many bytes.
    struct Stored {
        left: usize,
        taken: Vec<Outcome>,
    }

    impl Streams for Stored {
        fn next(&mut self) -> Option<Batch> {
            self.left = self.left.checked_sub(1)?;
            let len = [7_u8, 8, 9][self.left % 3];
            let mut bytes = vec![1, len, 0, !len, 0xff];
            bytes.extend([0; 13].iter().take(usize::from(len)));
            bytes.extend([0; 4]);
            let all = 0..bytes.len();
            Some(Batch { bytes: Arc::new(bytes), streams: vec![all, 0..3, 0..99] })
        }

        fn take(&mut self, outcomes: Vec<Outcome>) {
            self.taken.extend(outcomes);
        }
    }

    #[test]
    fn outcomes_come_in_order_whatever_the_threads() {
        let run = |threads| {
            let mut streams = Stored { left: 100, taken: Vec::new() };
            decompress_all(Compression::Zlib, 8, NonZero::new(threads).unwrap(), &mut streams);
            streams.taken
        };
        let alone = run(1);
        let wanted = (0..100_usize).rev().flat_map(|n| {
            let whole = match n % 3 {
                0 => Err(StreamFault::Short { after: 7 }),
                _ => Ok(13),
            };
            [Some(whole), Some(Err(StreamFault::Short { after: 0 })), None]
        });
        assert_eq!(alone, wanted.collect::<Vec<_>>());
        for threads in [2, 3, 7] {
            assert_eq!(run(threads), alone, "{threads} threads");
        }
    }
}
