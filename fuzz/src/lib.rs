//! What both targets share: the allocator that counts, and the bound it holds.

use std::alloc::System;
use std::panic;

use cap::Cap;

/// Counts every byte that Rust code has allocated. libFuzzer's own memory is C++ and not in it.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Calls `run`, in which at most `bytes` more than now may be allocated at any time. The allocation that would pass
/// the bound fails, even if nobody would ever touch it, so the process aborts on the line that asked for too much.
pub fn within<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    HEAP.set_limit(HEAP.allocated().saturating_add(bytes)).expect("the bound is above what is in use");
    let answer = run();
    lift_limit();
    answer
}

/// To be called once at the start: a panic may take what memory it needs to print where it came from.
pub fn lift_limit_on_panic() {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        lift_limit();
        next(panic);
    }));
}

fn lift_limit() {
    HEAP.set_limit(usize::MAX).expect("no limit is always allowed");
}
