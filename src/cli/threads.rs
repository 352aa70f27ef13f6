//! How many threads work on one image.

use std::num::NonZero;
use std::thread;

/// More have more in memory, and the one that reads or writes cannot keep up.
const MOST: NonZero<usize> = NonZero::<usize>::MIN.saturating_add(3);

/// Threads that decompress. To be asked before the sandbox is entered: how many processors there are is in files, too.
pub(super) fn threads() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN).min(MOST)
}
