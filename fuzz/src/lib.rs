//! What both targets share: the allocator that counts, the bound it holds, and how to ask for all oracles.

use std::alloc::System;
use std::env;
use std::panic;
use std::sync::LazyLock;

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

/// Whether every input is to meet every oracle. Which ones it meets goes by its hash, so that a smaller input may pass
/// where the larger one fails; whoever makes inputs small asks for all.
pub fn asks_for_all_oracles() -> bool {
    static ALL: LazyLock<bool> = LazyLock::new(|| env::var_os("FUZZ_ALL_ORACLES").is_some());
    *ALL
}
