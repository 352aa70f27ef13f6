//! Edits that know the format: they leave an image nearly valid, which bytes changed at random hardly ever do.

mod step;
mod target;

use arbitrary::{Arbitrary, Unstructured};
use qcow2_inspect::format::header::MAGIC;
use qcow2_inspect::units::to_u64;
use qcow2_inspect::{Image, Limits};

use super::{Model, Rng};
pub use step::Value;
use step::{Step, resize};
pub use target::{Layouts, Tables};

/// Bytes that are enough to describe an edit.
const EDIT_LEN: usize = 64;

/// A change of an image's bytes. What it names and the image does not have is replaced by what is there.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Lets a table entry point at a cluster of the file.
    Point {
        /// The table.
        table: Tables,
        /// Which one, where there are several.
        index: u8,
        /// The entry.
        slot: u16,
        /// The cluster.
        cluster: u16,
        /// The flags beside the offset.
        flags: u8,
    },
    /// Changes a field of a structure.
    Field {
        /// The kind of structure.
        layout: Layouts,
        /// Which one, where there are several.
        index: u8,
        /// Which field of it.
        field: u8,
        /// What it becomes.
        value: Value,
    },
    /// Changes a table entry as a number.
    Entry {
        /// The table.
        table: Tables,
        /// Which one, where there are several.
        index: u8,
        /// The entry.
        slot: u16,
        /// What it becomes.
        value: Value,
    },
    /// Changes the refcount of a cluster.
    Refcount {
        /// The cluster.
        cluster: u16,
        /// What it becomes.
        value: Value,
    },
    /// Copies a table entry over another one of the same table.
    Duplicate {
        /// The table.
        table: Tables,
        /// Which one, where there are several.
        index: u8,
        /// The entry that is copied.
        from: u16,
        /// The entry that is lost.
        to: u16,
    },
    /// Copies a cluster over another one, or behind the last.
    CopyCluster {
        /// The cluster that is copied.
        from: u16,
        /// The cluster that is lost.
        to: u16,
    },
    /// Swaps two clusters.
    SwapClusters {
        /// The one.
        a: u16,
        /// The other.
        b: u16,
    },
    /// Cuts or grows the file: to a number of clusters, and then by some bytes.
    Resize {
        /// The clusters that stay, or of which there are more.
        cluster: u16,
        /// Bytes more, or less.
        delta: i8,
    },
    /// Changes eight bytes or fewer anywhere.
    Bytes {
        /// Where.
        at: u32,
        /// How many.
        width: u8,
        /// What they become.
        value: Value,
    },
}

impl Edit {
    /// The edit that these bytes describe; bytes that are missing count as zero.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::arbitrary(&mut Unstructured::new(bytes)).ok()
    }

    /// Edits an image in place: the first `size` bytes of `data`, which may become at most `max_size`. Answers
    /// how many there are then. Bytes that are no image are edited as bytes.
    pub fn apply(&self, data: &mut [u8], size: usize, max_size: usize) -> usize {
        apply(&[*self], data, size, max_size)
    }
}

/// A custom mutator's work for libFuzzer: one to three edits of the first `size` bytes of `data`, chosen by
/// `seed`. Answers the new size, which is at most `max_size`.
///
/// Bytes that are not an image become a small valid one half of the time, so that a fuzzer that starts with
/// nothing gets somewhere.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut rng = Rng::new(seed.into());
    let (size, max_size) = (size.min(data.len()), max_size.min(data.len()));
    let is_image = data.get(..size).is_some_and(|bytes| bytes.starts_with(&MAGIC.0.to_be_bytes()));
    if !is_image
        && rng.below(2) == 0
        && let Some(fresh) = Model::small_from_seed(rng.next_u64()).map(|model| model.write())
        && let Some(room) = data.get_mut(..fresh.len().min(max_size))
        && room.len() == fresh.len()
    {
        room.copy_from_slice(&fresh);
        return fresh.len();
    }
    let mut edits = [Edit::Resize { cluster: 0, delta: 0 }; 3];
    let mut count = 0;
    for edit in edits.iter_mut().take(1 + usize::from(rng.below(4) > 1) + usize::from(rng.below(4) > 2)) {
        let mut bytes = [0; EDIT_LEN];
        rng.fill(&mut bytes);
        if let Some(chosen) = Edit::from_bytes(&bytes) {
            *edit = chosen;
            count += 1;
        }
    }
    apply(edits.get(..count).unwrap_or_default(), data, size, max_size)
}

/// Finds what the edits name in the image as it is, and then does them one after the other.
fn apply(edits: &[Edit], data: &mut [u8], size: usize, max_size: usize) -> usize {
    let (mut size, max_size) = (size.min(data.len()), max_size.min(data.len()));
    if size > max_size {
        size = max_size;
    }
    let mut steps = [const { None }; 3];
    let file = data.get(..size).unwrap_or_default();
    let image = Image::open(file, limits()).ok();
    for (step, edit) in steps.iter_mut().zip(edits) {
        *step = Some(
            image
                .as_ref()
                .map_or_else(|| target::plain_step(edit, to_u64(size)), |image| target::step(edit, image)),
        );
    }
    for step in steps.into_iter().flatten() {
        size = match step {
            Step::Resize { len, fill } => resize(data, size, max_size, len, fill),
            step => step.apply(data, size, max_size),
        };
    }
    size
}

/// What an edit may cost: little, since it only looks at the start of each structure.
fn limits() -> Limits {
    Limits {
        read_bytes: 1 << 20,
        reads: 64,
        extension_area_len: 4 << 10,
        snapshots: 8,
        bitmaps: 8,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests;
