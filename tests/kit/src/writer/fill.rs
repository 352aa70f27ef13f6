//! What a cluster holds.

use crate::Rng;

/// The contents of a cluster, chosen by a number: a byte over and over, runs of different bytes, short text
/// that repeats, or noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fill(pub u16);

impl Fill {
    /// Fills `out` with it.
    pub fn write(self, out: &mut [u8]) {
        let [high, low] = self.0.to_be_bytes();
        match low & 3 {
            0 => out.fill(high),
            1 => {
                for (n, run) in (0..=u8::MAX).cycle().zip(out.chunks_mut(100 + usize::from(low))) {
                    run.fill(high.wrapping_add(n));
                }
            }
            2 => {
                for (n, line) in (0..=u8::MAX).cycle().zip(out.chunks_mut(16)) {
                    line.fill(b'.');
                    line.iter_mut().zip([b'q', high, low, n]).for_each(|(to, from)| *to = from);
                }
            }
            _ => Rng::new(self.0.into()).fill(out),
        }
    }

    /// `len` bytes of it.
    pub fn bytes(self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.write(&mut bytes);
        bytes
    }
}
