//! How much work and memory one image may cost, whatever its counts say.

/// Every cap, with its reason. A structure within QEMU's own limits is never cut by the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes read from the file in all. QEMU has no such limit; this one lets a dump walk the metadata of the
    /// largest disk that QEMU can open (2^61 bytes in clusters of 2 MiB has 2^43), while an image whose tables
    /// refer to each other over and over comes to an end.
    pub read_bytes: u64,
    /// Calls of the reader in all, so that many small reads end as surely as few large ones.
    pub reads: u64,
    /// Bytes of the first cluster that hold extensions. QEMU's largest cluster has 2 MiB.
    pub extension_area_len: u64,
    /// Bytes of one snapshot table entry or bitmap directory entry that are read whole. QEMU allows 1024 bytes
    /// of extra data, and 65,535 of a name and an id each come on top.
    pub entry_len: u64,
    /// Snapshot table entries; QEMU's own limit.
    pub snapshots: u64,
    /// Bitmap directory entries; QEMU's own limit.
    pub bitmaps: u64,
    /// Tables whose place is remembered so that none is shown twice, in 80 bytes of memory each. It holds for the L1
    /// tables and for the L2 tables, each by themselves.
    pub remembered_tables: usize,
    /// Bytes of a compressed cluster, which is decoded in memory as a whole. QEMU's largest cluster has 2 MiB.
    pub decoded_cluster_len: u64,
    /// Compressed clusters that are compared with one another, and decompressed by a deep check: 16 bytes of memory
    /// each, 512 MiB in all. It is enough for 2 TiB of disk in clusters of 64 KiB, all compressed.
    pub compressed_clusters: usize,
    /// Bytes that a deep check may decompress in all, an hour's work. Streams of a few bytes may hold a cluster of
    /// 2 MiB, so that the length of the file bounds nothing.
    pub decoded_bytes: u64,
    /// Pages of 512 host clusters whose references are counted: about 800 bytes of memory each, less than 1 GiB in
    /// all. It is enough for 32 TiB of clusters of 64 KiB that lie side by side, all in use.
    pub counted_pages: usize,
    /// Distinct L2 tables that are walked, 64 bytes of memory each: as many as 4 EiB of disk in clusters of 64 KiB
    /// call for, or 4,096 snapshots of 1 TiB that share nothing.
    pub l2_tables: usize,
    /// Tables that stand off a cluster boundary, or that are pointed at again, and are read all the same because
    /// QEMU does: they may share their bytes, so that more of them would cost more than the file is long.
    pub odd_tables: u64,
    /// Host clusters in conflict whose owners are looked for, about 1 KiB of memory each; up to 32 KiB where thousands
    /// of tables map it.
    pub conflicts: usize,
    /// Guest ranges remembered as lost, for each tree; past it, neighbours are taken as one.
    pub lost_ranges: usize,
    /// Bytes behind the last cluster in use that are looked at for hidden data.
    pub trailing_bytes: u64,
    /// Findings of one rule that are kept one by one; the others are counted in one further finding.
    pub findings_per_rule: usize,
}

impl Limits {
    /// What nobody asked to change.
    pub const DEFAULT: Self = Self {
        read_bytes: 1 << 40,
        reads: 1 << 32,
        extension_area_len: 2 << 20,
        entry_len: 256 << 10,
        snapshots: 65_536,
        bitmaps: 65_535,
        remembered_tables: 131_072,
        decoded_cluster_len: 2 << 20,
        compressed_clusters: 32 << 20,
        decoded_bytes: 4 << 40,
        counted_pages: 1 << 20,
        l2_tables: 8 << 20,
        odd_tables: 256,
        conflicts: 1024,
        lost_ranges: 1024,
        trailing_bytes: 64 << 20,
        findings_per_rule: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
