//! The input describes a valid image of any shape. It is written, must read back as it was written and without a
//! finding above `note`, and one damage to it must fire exactly its rule.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: qcow2_inspect_fuzz::lift_limit_on_panic(), |description: &[u8]| {
    // An image with clusters of 64 KiB has some MiB, and a damaged copy.
    qcow2_inspect_fuzz::within(128 << 20, || qcow2_testkit::exercise_model(description));
});
