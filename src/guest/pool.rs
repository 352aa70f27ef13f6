//! Work for several threads, whose results come back in its order.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

/// Gives the work and takes what came of it, all on the thread of the caller. What it holds need not be fit for
/// threads, and what it reads comes in the same order whatever their number.
pub(super) trait Line: Sized {
    /// What a thread takes.
    type Job: Send;
    /// What comes of it.
    type Done: Send;
    /// What waits for it here.
    type Rest;
    /// What ends all.
    type Error;

    /// The next piece of work, or only what waits for its turn; `None` at the end.
    ///
    /// # Errors
    /// Whatever ends all.
    fn next(&mut self) -> Result<Option<Piece<Self>>, Self::Error>;

    /// Takes what came of a piece, in their order; `None` where there was no job, or where its thread is gone: that is a
    /// fault of ours, which is told at the end of all by a panic.
    ///
    /// # Errors
    /// Whatever ends all.
    fn take(&mut self, rest: Self::Rest, done: Option<Self::Done>) -> Result<(), Self::Error>;
}

/// What waits for its turn, and the job that has to be done for it.
pub(super) type Piece<L> = (<L as Line>::Rest, Option<<L as Line>::Job>);

/// What waits for its turn, and where what came of its job will be.
type UnderWay<L> = (<L as Line>::Rest, Option<Receiver<<L as Line>::Done>>);

/// A job, and where what comes of it goes.
type Sent<L> = (<L as Line>::Job, Sender<<L as Line>::Done>);

/// Does all the work of a line on `threads` threads; with 1 there are none beside the caller's. `worker` makes the tools
/// of one. At most `per_thread` pieces for each thread are under way, and one in the caller's hands.
///
/// # Errors
/// The first of the line; what is under way then is dropped.
pub(super) fn in_order<L: Line, W: FnMut(L::Job) -> L::Done>(
    line: &mut L,
    (threads, per_thread): (NonZero<usize>, usize),
    worker: impl Fn() -> W + Sync,
) -> Result<(), L::Error> {
    if threads.get() == 1 {
        let mut work = worker();
        while let Some((rest, job)) = line.next()? {
            line.take(rest, job.map(&mut work))?;
        }
        return Ok(());
    }
    let depth = threads.get().saturating_mul(per_thread);
    let (jobs, queue) = sync_channel::<Sent<L>>(depth);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            scope.spawn(|| serve::<L>(&queue, worker()));
        }
        // Dropped at the end, whatever ends it, so that the threads see that nothing more comes.
        let jobs = jobs;
        let mut under_way: VecDeque<UnderWay<L>> = VecDeque::new();
        let finish =
            |line: &mut L, (rest, done): UnderWay<L>| line.take(rest, done.and_then(|done| done.recv().ok()));
        while let Some((rest, job)) = line.next()? {
            if under_way.len() >= depth
                && let Some(first) = under_way.pop_front()
            {
                finish(line, first)?;
            }
            let done = job.map(|job| {
                let (reply, done) = channel();
                // Where no thread is left to take it, nobody answers either.
                let _ = jobs.send((job, reply));
                done
            });
            under_way.push_back((rest, done));
        }
        under_way.into_iter().try_for_each(|last| finish(line, last))
    })
}

/// Takes one job after the other until no more come.
fn serve<L: Line>(queue: &Mutex<Receiver<Sent<L>>>, mut work: impl FnMut(L::Job) -> L::Done) {
    loop {
        let Ok(sent) = queue.lock().map(|queue| queue.recv()) else { return };
        let Ok((job, reply)) = sent else { return };
        // Nobody waits for it where all has ended early.
        let _ = reply.send(work(job));
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers are the test's own")]
mod tests {
    use super::*;

    /// Numbers, of which each third needs no thread.
    struct Numbers {
        next: u64,
        taken: Vec<(u64, Option<u64>)>,
        /// The number that ends all when it is given, and when it comes back.
        bad: [u64; 2],
        most: u64,
    }

    impl Line for Numbers {
        type Job = u64;
        type Done = u64;
        type Rest = u64;
        type Error = u64;

        fn next(&mut self) -> Result<Option<(u64, Option<u64>)>, u64> {
            let number = self.next;
            self.next += 1;
            self.most = self.most.max(number - u64::try_from(self.taken.len()).unwrap());
            match number {
                _ if number == self.bad[0] => Err(number),
                100.. => Ok(None),
                _ => Ok(Some((number, (!number.is_multiple_of(3)).then_some(number * 2)))),
            }
        }

        fn take(&mut self, rest: u64, done: Option<u64>) -> Result<(), u64> {
            self.taken.push((rest, done));
            if rest == self.bad[1] { Err(rest) } else { Ok(()) }
        }
    }

    fn run(threads: usize, bad: [u64; 2]) -> (Result<(), u64>, Numbers) {
        let mut numbers = Numbers { next: 0, taken: Vec::new(), bad, most: 0 };
        let threads = NonZero::new(threads).unwrap();
        let result = in_order(&mut numbers, (threads, 2), || |job| job + 1);
        (result, numbers)
    }

    #[test]
    fn all_comes_back_in_order() {
        let wanted: Vec<_> =
            (0..100).map(|n| (n, (!u64::is_multiple_of(n, 3)).then_some(n * 2 + 1))).collect();
        for threads in [1, 2, 3, 7] {
            let (result, numbers) = run(threads, [u64::MAX; 2]);
            assert_eq!((result, &numbers.taken), (Ok(()), &wanted), "{threads} threads");
            let most = if threads == 1 { 0 } else { u64::try_from(threads * 2).unwrap() };
            assert_eq!(numbers.most, most, "{threads} threads: pieces under way");
        }
    }

    #[test]
    fn the_first_error_ends_all() {
        for threads in [1, 2, 7] {
            let (result, numbers) = run(threads, [50, u64::MAX]);
            assert_eq!((result, numbers.next), (Err(50), 51), "{threads} threads");
            let (result, numbers) = run(threads, [u64::MAX, 20]);
            assert_eq!((result, numbers.taken.len()), (Err(20), 21), "{threads} threads");
        }
    }
}
