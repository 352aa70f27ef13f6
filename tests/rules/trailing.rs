//! R12: bytes behind the end of the image.

use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::{Image, Limits};

use crate::load;

/// What lies behind the limit was not looked at, and that is said.
#[test]
fn bytes_behind_the_limit_are_no_secret() {
    let found = |zeros: usize, byte: Option<usize>, trailing_bytes: u64| {
        let mut bytes = load("valid/v3-basic").bytes;
        let len = bytes.len();
        bytes.resize(len + zeros, 0);
        byte.into_iter().for_each(|at| bytes[len + at] = 1);
        let limits = Limits { trailing_bytes, ..Limits::default() };
        let image = Image::open(bytes.as_slice(), limits).unwrap();
        let mut codes = Vec::new();
        check(&image, &CheckOptions::default(), &mut |finding: Finding| codes.push(finding.rule.code));
        codes
    };
    assert_eq!(found(1000, None, 1000), [""; 0]);
    assert_eq!(found(1000, Some(999), 1000), ["R12"]);
    assert_eq!(found(1001, None, 1000), ["T01"]);
    assert_eq!(found(1001, Some(1000), 1000), ["T01"]);
    assert_eq!(found(1001, Some(0), 1000), ["R12"]);
}
