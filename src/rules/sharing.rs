//! Clusters with more than one owner. All of these are judged where references are counted: by whose owners they are in
//! check/claims, L26 in check/trees, and the bytes of O04 in check/compressed.

use crate::finding::rules;

rules! {
    L2_TABLE_SHARED_IN_TREE: L26 "l2-table-shared-in-tree" Corruption Extra {
        title: "an L1 table must not point twice at the same L2 table",
        why: "a write to one guest range changes the other too",
        advice: "read both ranges out of a copy: one of them is the true owner, and the other has to be restored",
        spec: "not in the specification; a write to one guest range would change another",
        fields: [L1Table.ENTRY],
        qemu: Silently Silently "nothing where the refcount agrees; otherwise only 'ERROR cluster N \
            refcount=1 reference=2'",
    }
    DATA_CLUSTER_SHARED_IN_TREE: L27 "data-cluster-shared-in-tree" Warning Extra {
        title: "two guest clusters of one disk are not expected to share a host cluster",
        why: "a write through one of them changes the other, and which of the two the data belongs to is not known",
        advice: "read both and compare with what the guest expects; rewriting one of them in a repaired copy gives it \
            a cluster of its own",
        spec: "not in the specification; nothing that QEMU writes looks like that",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "nothing where the refcount agrees; otherwise only 'ERROR cluster N \
            refcount=1 reference=2'",
        shared: L2Table,
        risk: Unsound,
    }
    L2_TABLE_OVER_METADATA: L28 "l2-table-over-metadata" Corruption Must {
        title: "an L1 entry must point at an L2 table, not at the header or at a cluster of other metadata",
        why: "metadata is read as a table, and a guest write changes it",
        advice: "find the true table among the leaked clusters (R06), which then has no owner",
        spec: "Cluster mapping",
        fields: [L1Table.ENTRY],
        qemu: Silently Varies "the metadata is read as L2 entries. Check notices it only by refcounts that \
            do not agree, or by what those entries happen to say",
        shared: L1Table,
    }
    METADATA_OVERLAP: O01 "metadata-overlap" Corruption Must {
        title: "no two metadata structures may share a cluster: header, L1 and L2 tables, refcount table and \
            blocks, snapshot table, bitmap directory and tables, encryption header",
        why: "updating one structure destroys the other",
        advice: "do not write; the one whose contents make no sense is the one that lost, and can be rebuilt if it is \
            refcounts",
        spec: "Host cluster management",
        fields: [],
        qemu: Silently Silently "check counts references only: 'ERROR cluster N refcount=1 reference=2', and \
            nothing where the stored refcount says 2 and bit 63 is clear",
        shared: File,
    }
    DATA_OVER_METADATA: O02 "data-over-metadata" Corruption Must {
        title: "no guest cluster may lie over metadata: the guest could read it and write it",
        why: "the guest can read the image's own metadata, and by writing point it at anything",
        advice: "treat it as an attack until shown otherwise; copy out the guest's other data and rebuild the image",
        spec: "Host cluster management",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "the guest reads the image's own metadata. Check: 'ERROR cluster N \
            refcount=1 reference=2', and nothing where the stored refcount says 2 and bit 63 is clear",
        shared: L2Table,
    }
    BITMAP_OVERLAP: O03 "bitmap-overlap" Corruption Must {
        title: "bitmap data must not share a cluster with another bitmap, guest data or metadata",
        why: "a bitmap that shares a cluster marks the wrong guest data as changed, or overwrites it",
        advice: "drop the bitmaps on a copy (`qemu-img bitmap --remove`), and check the data that shared with them",
        spec: "Bitmap data",
        fields: [BitmapTable.ENTRY, Bitmap.BITMAP_TABLE_OFFSET],
        qemu: Silently Silently "check: 'ERROR cluster N refcount=1 reference=2', and nothing where the \
            stored refcount says 2",
        shared: BitmapTable,
    }
    COMPRESSED_OVERLAP: O04 "compressed-overlap" Corruption Extra {
        title: "the compressed data of two guest clusters must not overlap byte for byte",
        why: "one of the streams was written over the other, or a write that frees one frees the other's clusters",
        advice: "find with `--deep` which of the two still decompresses, and restore the other",
        spec: "not in the specification; nothing that QEMU writes looks like that",
        fields: [L2Table.ENTRY],
        qemu: Silently Silently "each stream is read as it stands; check counts clusters, not bytes",
        shared: L2Table,
    }
    REFCOUNT_BLOCK_SHARED: O05 "refcount-block-shared" Corruption Must {
        title: "a refcount block must be pointed at once, and by nothing but the refcount table",
        why: "a refcount update of one range changes the other's counts, so that clusters in use get free",
        advice: "have the refcounts rebuilt on a copy: they follow from the tables",
        spec: "Host cluster management",
        fields: [RefcountTable.ENTRY],
        qemu: Silently Corruption "check: 'ERROR refcount block N refcount=M', M being the references \
            counted, whatever refcount is stored",
        shared: RefcountBlock,
    }
    LEGAL_SHARING: O06 "legal-sharing" Note Must reported_as never {
        title: "a cluster may be shared only by snapshots and the active disk, or by several compressed \
            clusters",
        why: "snapshots and compression live from it",
        advice: "nothing: the other rules of this family say what may not be shared",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Silently "nothing to say: this is how snapshots and compression work",
    }
}
