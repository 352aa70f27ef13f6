//! The input is the bytes of an image file. Everything that a user can do is done to it, under all oracles.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: qcow2_inspect_fuzz::lift_limit_on_panic(), |bytes: &[u8]| {
    let exercise = match qcow2_inspect_fuzz::asks_for_all_oracles() {
        true => qcow2_testkit::exercise_fully,
        false => qcow2_testkit::exercise,
    };
    qcow2_inspect_fuzz::within(qcow2_testkit::memory_bound(bytes.len()), || exercise(bytes));
});

// Half of the mutations know the format (our edits), the other half are libFuzzer's own.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        qcow2_testkit::mutate(data, size, max_size, seed / 2)
    } else {
        fuzzer_mutate(data, size, max_size)
    }
});
