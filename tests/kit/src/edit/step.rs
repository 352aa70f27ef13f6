//! An edit after its target is found: numbers and bytes at known places.

use arbitrary::Arbitrary;
use qcow2_inspect::units::to_usize;

/// What a number becomes.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// 0.
    Zero,
    /// 1.
    One,
    /// The greatest that the field holds.
    Max,
    /// Any other near that.
    NearMax(u8),
    /// A bit is flipped.
    Flip(u8),
    /// Somewhat more.
    More(u8),
    /// Somewhat less.
    Less(u8),
    /// A power of two.
    Power(u8),
    /// A cluster of the file.
    Cluster(u16),
    /// The length of the file, or somewhat less.
    FileLen(u8),
    /// This number.
    Is(u64),
}

/// What numbers are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) cluster_size: u64,
    pub(super) file_len: u64,
}

impl Scale {
    /// Where a cluster of the file starts.
    pub(super) fn cluster(self, choice: u16) -> u64 {
        u64::from(choice) % self.cluster_count() * self.cluster_size
    }

    /// Where a cluster of the file starts, or the first one behind it.
    pub(super) fn cluster_or_end(self, choice: u16) -> u64 {
        u64::from(choice) % (self.cluster_count() + 1) * self.cluster_size
    }

    fn cluster_count(self) -> u64 {
        self.file_len.div_ceil(self.cluster_size).max(1)
    }
}

impl Value {
    /// What `old`, which has `bits` bits, becomes; the caller cuts it to them.
    fn of(self, old: u64, bits: u32, scale: Scale) -> u64 {
        let max = u64::MAX.unbounded_shr(64_u32.saturating_sub(bits));
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::Max => max,
            Self::NearMax(less) => max.wrapping_sub(less.into()),
            Self::Flip(bit) => old ^ 1 << (u32::from(bit) % bits.max(1)),
            Self::More(more) => old.wrapping_add(more.into()),
            Self::Less(less) => old.wrapping_sub(less.into()),
            Self::Power(bit) => 1 << (u32::from(bit) % bits.max(1)),
            Self::Cluster(choice) => scale.cluster(choice),
            Self::FileLen(less) => scale.file_len.wrapping_sub(less.into()),
            Self::Is(number) => number,
        }
    }
}

/// One change of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Changes a number of `width` bytes.
    Number { at: u64, width: u64, value: Value, scale: Scale },
    /// Changes a number of a few bits within a byte.
    Bits { at: u64, shift: u32, bits: u32, value: Value, scale: Scale },
    /// Copies bytes; the file grows where they go behind its end.
    Copy { from: u64, to: u64, len: u64 },
    /// Swaps bytes.
    Swap { a: u64, b: u64, len: u64 },
    /// Cuts the file, or grows it.
    Resize { len: u64, fill: u8 },
}

impl Step {
    /// Does it, as far as the bytes are there, and answers the new size.
    pub(super) fn apply(self, data: &mut [u8], size: usize, max_size: usize) -> usize {
        let file = data.get_mut(..size).unwrap_or_default();
        match self {
            Self::Number { at, width, value, scale } => {
                let end = to_usize(at.saturating_add(width.min(8)));
                if let Some(bytes) = file.get_mut(to_usize(at)..end) {
                    let old = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                    let new = value.of(old, u32::try_from(bytes.len() * 8).unwrap_or(64), scale);
                    bytes.iter_mut().rev().zip(new.to_le_bytes()).for_each(|(to, from)| *to = from);
                }
            }
            Self::Bits { at, shift, bits, value, scale } => {
                if let Some(byte) = file.get_mut(to_usize(at)) {
                    let mask = (0xff_u8 >> (8 - bits.clamp(1, 8))) << shift.min(7);
                    let new = value.of(u64::from((*byte & mask) >> shift.min(7)), bits, scale);
                    let [low, ..] = new.to_le_bytes();
                    *byte = *byte & !mask | low << shift.min(7) & mask;
                }
            }
            Self::Copy { from, to, len } => return copy(data, size, max_size, [from, to, len].map(to_usize)),
            Self::Swap { a, b, len } => {
                let (first, second) = (to_usize(a.min(b)), to_usize(a.max(b)));
                if second <= file.len() && second - first >= to_usize(len) {
                    let (left, right) = file.split_at_mut(second);
                    let left = left.get_mut(first..).unwrap_or_default();
                    left.iter_mut().zip(right).take(to_usize(len)).for_each(|(a, b)| std::mem::swap(a, b));
                }
            }
            Self::Resize { len, fill } => return resize(data, size, max_size, len, fill),
        }
        size
    }
}

fn copy(data: &mut [u8], size: usize, max_size: usize, [from, to, len]: [usize; 3]) -> usize {
    let len = len.min(size.saturating_sub(from)).min(max_size.saturating_sub(to));
    if len == 0 || to > size {
        return size;
    }
    data.copy_within(from..from + len, to);
    size.max(to + len)
}

/// Cuts the file or lets it grow by `fill`, up to `max_size`.
pub(super) fn resize(data: &mut [u8], size: usize, max_size: usize, len: u64, fill: u8) -> usize {
    let len = to_usize(len).min(max_size);
    if let Some(new) = data.get_mut(size..len) {
        new.fill(fill);
    }
    len
}
