//! Faults to plant: each oracle's tests show with them that it fires.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use qcow2_inspect::source::ReadAt;

use super::{Format, LIMITS, Run, run};

/// A call of the reader: its number, and how many bytes it gives.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) len: usize,
}

/// A source that does not always give the bytes that it has: the lie says what one becomes, by the call, its place
/// and what it is.
pub(super) struct Liar<F> {
    bytes: Vec<u8>,
    lie: F,
    calls: AtomicU64,
}

impl<F: Fn(Call, u64, u8) -> u8> Liar<F> {
    pub(super) fn new(bytes: Vec<u8>, lie: F) -> Self {
        Self { bytes, lie, calls: AtomicU64::new(0) }
    }

    /// Counts the next call as this one.
    pub(super) fn skip_to(&self, call: u64) {
        self.calls.store(call, Ordering::Relaxed);
    }
}

impl<F: Fn(Call, u64, u8) -> u8> ReadAt for Liar<F> {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read_at(offset, buf)?;
        let call = Call { number: self.calls.fetch_add(1, Ordering::Relaxed), len };
        for (at, byte) in (offset..).zip(buf.iter_mut().take(len)) {
            *byte = (self.lie)(call, at, *byte);
        }
        Ok(len)
    }
}

/// The walk over these bytes.
pub(super) fn report_of(bytes: &[u8]) -> Run {
    run(bytes, Format::Walk, LIMITS).unwrap()
}

#[test]
fn a_liar_lies_where_it_is_told_to() {
    let source = Liar::new(vec![1; 40], |call, at, byte| byte + u8::from(call.number == 1 && at == 2));
    let mut buf = [0; 32];
    assert_eq!((ReadAt::len(&source).unwrap(), source.read_at(0, &mut buf).unwrap()), (40, 32));
    assert_eq!(buf, [1; 32]);
    source.read_at(0, &mut buf).unwrap();
    assert_eq!(buf[..4], [1, 1, 2, 1]);
}
