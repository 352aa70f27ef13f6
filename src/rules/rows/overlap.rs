//! Family O: one host cluster in two roles.

use crate::finding::rules;

rules! {
    O01 "metadata-overlap" Corruption Must {
        title: "no two metadata structures may share a cluster: header, L1 and L2 tables, refcount table and \
            blocks, snapshot table, bitmap directory and tables, encryption header",
        spec: "Host cluster management",
        fields: [],
        qemu: Silently Silently "check counts references only: 'ERROR cluster N refcount=1 reference=2', and \
            nothing where the stored refcount says 2 and bit 63 is clear",
    }
    O02 "data-over-metadata" Corruption Must {
        title: "no guest cluster may lie over metadata: the guest could read it and write it",
        spec: "Host cluster management",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the guest reads the image's own metadata. Check: 'ERROR cluster N \
            refcount=1 reference=2', and nothing where the stored refcount says 2 and bit 63 is clear",
    }
    O03 "bitmap-overlap" Corruption Must {
        title: "bitmap data must not share a cluster with another bitmap, guest data or metadata",
        spec: "Bitmap data",
        fields: ["bitmap-table.entry", "bitmap.bitmap_table_offset"],
        qemu: Silently Silently "check: 'ERROR cluster N refcount=1 reference=2', and nothing where the \
            stored refcount says 2",
    }
    O04 "compressed-overlap" Corruption Extra {
        title: "the compressed data of two guest clusters must not overlap byte for byte",
        spec: "not in the specification; nothing that QEMU writes looks like that",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "each stream is read as it stands; check counts clusters, not bytes",
    }
    O05 "refcount-block-shared" Corruption Must {
        title: "a refcount block must be pointed at once, and by nothing but the refcount table",
        spec: "Host cluster management",
        fields: ["refcount-table.entry"],
        qemu: Silently Corruption "check: 'ERROR refcount block N refcount=M', M being the references \
            counted, whatever refcount is stored",
    }
    O06 "legal-sharing" Note Must {
        title: "a cluster may be shared only by snapshots and the active disk, or by several compressed \
            clusters",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Silently "nothing to say: this is how snapshots and compression work",
        reported_as: "none",
    }
}
