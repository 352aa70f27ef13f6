//! Edits that the damages of several parts of the format are made of.

use qcow2_inspect::format::header::field;
use qcow2_inspect::units::{HostOffset, Span, to_u64, to_usize};

use crate::Draft;

/// Bit 63 of an entry: no other one has its cluster.
pub(super) const COPIED: u64 = 1 << 63;
/// Bit 62 of an L2 entry.
pub(super) const COMPRESSED: u64 = 1 << 62;

/// The cluster that the entry at `at` points at, of an L1, L2 or refcount table.
pub(super) fn target(draft: &Draft, at: u64) -> u64 {
    draft.get(at, 8) & 0x00ff_ffff_ffff_fe00
}

/// Sets bits of the entry at `at`.
pub(super) fn set_bits(draft: &mut Draft, at: u64, bits: u64) {
    draft.put_u64(at, draft.get(at, 8) | bits);
}

/// Lets the entry at `at` point `further` bytes into new clusters, with these flags, and says where that is.
pub(super) fn point_at_new(draft: &mut Draft, at: u64, further: u64, flags: u64) -> u64 {
    let new = draft.allocate(1 + further.div_ceil(draft.cluster_size())) + further;
    draft.put_u64(at, new | flags);
    new
}

/// Moves what stands at `old` into new clusters, `further` bytes in, with room for `len` bytes, and says where that
/// is.
pub(super) fn moved(draft: &mut Draft, old: Span, len: u64, further: u64) -> u64 {
    let new = draft.allocate((further + len).div_ceil(draft.cluster_size())) + further;
    draft.put(new, &bytes(draft, old));
    draft.free(old);
    new
}

/// Does that to the cluster that the entry at `at` points at, and gives the entry these flags.
pub(super) fn move_target(draft: &mut Draft, at: u64, further: u64, flags: u64) -> u64 {
    let len = draft.cluster_size();
    let new = moved(draft, Span::new(HostOffset(target(draft, at)), len), len, further);
    draft.put_u64(at, new | flags);
    new
}

/// What stands there, as far as the file goes.
pub(super) fn bytes(draft: &Draft, Span { at, len }: Span) -> Vec<u8> {
    draft.bytes.iter().copied().skip(to_usize(at.0)).take(to_usize(len)).collect()
}

/// The length of the file.
pub(super) fn file_len(draft: &Draft) -> u64 {
    to_u64(draft.bytes.len())
}

/// Moves the backing file's name to `at`, or gives the image one; nothing stays behind.
pub(super) fn name_backing_file(draft: &mut Draft, at: u64, name: &[u8]) {
    let (old, len) = (draft.header(field::BACKING_FILE_OFFSET), draft.header(field::BACKING_FILE_SIZE));
    if old != 0 {
        draft.put(old, &vec![0; to_usize(len)]);
    }
    draft.set_header(field::BACKING_FILE_OFFSET, at);
    draft.set_header(field::BACKING_FILE_SIZE, to_u64(name.len()));
    draft.put(at, name);
}
