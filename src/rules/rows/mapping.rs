//! Family L: the L1 and L2 tables, of the active disk and of every snapshot, and the clusters that they map.

use crate::finding::rules;

rules! {
    L01 "l1-reserved-bits" Corruption Must {
        title: "the reserved bits 0 to 8 and 56 to 62 of an L1 entry must be zero",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "the bits are masked when reading. Check: 'ERROR found L1 entry with \
            reserved bits set: HEX'",
    }
    L02 "l2-table-unaligned" Corruption Must {
        title: "an L2 table must start on a cluster boundary",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: FailsOnRead Corruption "'L2 table offset 0x.. unaligned (L1 index: ..)' when it is read. \
            Check: 'ERROR l2_offset=HEX: Table is not cluster aligned; L1 entry corrupted', then it reads \
            the shifted table all the same",
    }
    L03 "l2-table-beyond-file" Corruption Must {
        title: "an L2 table must lie inside the file",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "all that it maps reads as zeros. Check: 'region exceeding the end of the \
            file by one cluster or more', leaks for the clusters that are lost, and 'ERROR OFLAG_COPIED L2 \
            cluster' where bit 63 is set",
    }
    L04 "l1-copied-flag-wrong" Corruption Must {
        title: "bit 63 of an active L1 entry must be set exactly where the L2 table's refcount is 1",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "check: 'ERROR OFLAG_COPIED L2 cluster: l1_index=N l1_entry=HEX \
            refcount=N'",
    }
    L05 "l2-reserved-bits" Corruption Must {
        title: "the reserved bits 1 to 8 and 56 to 61 of a standard L2 entry must be zero",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "the bits are masked when reading. Check: 'ERROR found l2 entry with \
            reserved bits set: HEX'",
    }
    L06 "zero-flag-in-extended-entry" Warning Must {
        title: "bit 0 of a standard L2 entry must be zero in an image with extended L2 entries",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the bit is not looked at",
    }
    L07 "zero-flag-in-version-2" Corruption Must {
        title: "bit 0 of a standard L2 entry, the zero flag, must be zero in a version 2 image",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "'Zero cluster entry found in pre-v3 image (…)' when it is read; check \
            counts the cluster and says nothing",
    }
    L08 "data-cluster-unaligned" Corruption Must {
        title: "a data cluster must start on a cluster boundary",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Cluster allocation offset 0x.. unaligned (…)' when it is read. Check: \
            'ERROR offset=HEX: Data cluster is not properly aligned; L2 entry corrupted.', or the same of a \
            'Preallocated cluster', and it counts both clusters touched",
    }
    L09 "data-cluster-beyond-file" Corruption Must {
        title: "a data cluster must lie inside the file",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "reads as zeros. Check: 'region exceeding the end of the file by one \
            cluster or more', and 'ERROR OFLAG_COPIED data cluster' where bit 63 is set",
    }
    L10 "data-cluster-cut" Note Extra {
        title: "the file is expected to hold a data cluster up to its last allocated byte; a cut one hints \
            at an incomplete copy",
        spec: "not in the specification; the missing bytes read as zeros",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the missing bytes read as zeros; less than a cluster past the end is not \
            counted",
    }
    L11 "l2-copied-flag-wrong" Corruption Must {
        title: "bit 63 of a standard entry in an active L2 table must be set exactly where the cluster's \
            refcount is 1",
        spec: "L2 table entry",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "check: 'ERROR OFLAG_COPIED data cluster: l2_entry=HEX refcount=N'",
    }
    L12 "compressed-copied-flag" Corruption Must {
        title: "bit 63 must be zero in the L2 entry of a compressed cluster",
        spec: "L2 table entry",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "check: 'ERROR: coffset=0xHEX: copied flag must never be set for \
            compressed clusters'",
    }
    L13 "compressed-offset-bits" Corruption Must {
        title: "a compressed cluster's offset must not use bits above 55",
        spec: "Compressed Clusters Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "plain 'Input/output error' when it is read. Check takes the bits as \
            part of the offset: 'region exceeding the end of the file', and a leak of the cluster that is \
            meant",
    }
    L14 "compressed-beyond-file" Corruption Must {
        title: "a compressed cluster's data must lie inside the file",
        spec: "Compressed Clusters Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "plain 'Input/output error' when it is read. Check: 'region exceeding \
            the end of the file by one cluster or more', and a leak of the lost cluster",
    }
    L15 "compressed-data-broken" Corruption Must {
        title: "a compressed cluster must decompress to exactly one cluster of data",
        spec: "Compressed Clusters Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "plain 'Input/output error' when it is read, if the stream is cut, too \
            short or damaged; too long is an error with zstd, accepted with deflate. Check decompresses \
            nothing",
    }
    L16 "compressed-with-data-file" Corruption Must {
        title: "an image with an external data file must not have compressed clusters",
        spec: "Header",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Compressed cluster entry found in image with external data file' when \
            it is read. Check: 'ERROR compressed cluster N with data file, entry=0x..'",
    }
    L17 "compressed-with-subclusters" Corruption Must {
        title: "the subcluster bitmap of a compressed cluster must be zero",
        spec: "Extended L2 Entries",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "check: 'ERROR compressed cluster N with non-zero subcluster allocation \
            bitmap, entry=0x..', and a leak, because such a cluster is not counted",
    }
    L18 "subcluster-allocated-and-zero" Corruption Must {
        title: "a subcluster must not be marked allocated and reading as zeros at once",
        spec: "Extended L2 Entries",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Invalid cluster entry found' when any subcluster of the entry is \
            read; check counts the entry",
    }
    L19 "subcluster-without-cluster" Corruption Must {
        title: "no subcluster may be marked allocated where the entry has no host cluster",
        spec: "Extended L2 Entries",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Invalid cluster entry found' when it is read. Check: 'ERROR: \
            Unallocated cluster has non-zero subcluster allocation map', without saying where",
    }
    L20 "data-file-offset-mismatch" Corruption Must {
        title: "with an external data file, each cluster's offset in that file must equal its guest offset",
        spec: "Header",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "'External data file host cluster offset 0x.. does not match guest \
            cluster offset' when it is read",
    }
    L21 "data-file-copied-flag-clear" Corruption Should {
        title: "with an external data file, bit 63 should be set in the L2 entry of every allocated cluster",
        spec: "L2 table entry",
        fields: ["l2-table.entry"],
        qemu: Silently Varies "the data is read all the same, but an entry of 0 counts as unallocated, so \
            guest cluster 0 is lost. Check: 'ERROR OFLAG_COPIED data cluster: l2_entry=HEX refcount=1'; \
            nothing for offset 0",
    }
    L22 "host-offset-zero" Note Must {
        title: "host offset 0 with bit 63 set is valid only for guest cluster 0 of an image with an external \
            data file",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Varies Silently "without a data file the cluster is unallocated; with one, reading any cluster \
            but the first: 'External data file host cluster offset 0 does not match guest cluster offset'",
        reported_as: "L23",
    }
    L23 "unallocated-copied-flag" Warning Must {
        title: "bit 63 must be zero in an L2 entry without a host cluster, unless there is an external data \
            file",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the cluster is unallocated",
    }
    L24 "l2-entry-beyond-disk" Warning Extra {
        title: "L2 entries behind the end of the virtual disk are expected to be unallocated, VM state apart",
        spec: "not in the specification; no guest can read what is hidden there",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "counted like any other: '3/2 = 150.00% allocated'",
    }
    L25 "l1-entry-beyond-disk" Note Extra {
        title: "L1 entries behind the end of the virtual disk are expected to be used only for the VM state of \
            snapshots",
        spec: "not in the specification; no guest can read what is hidden there",
        fields: ["l1-table.entry"],
        qemu: Silently Silently "their clusters are counted like any other; a deleted snapshot leaves VM state \
            there that was loaded before",
    }
    L26 "l2-table-shared-in-tree" Corruption Extra {
        title: "an L1 table must not point twice at the same L2 table",
        spec: "not in the specification; a write to one guest range would change another",
        fields: ["l1-table.entry"],
        qemu: Silently Silently "nothing where the refcount agrees; otherwise only 'ERROR cluster N \
            refcount=1 reference=2'",
    }
    L27 "data-cluster-shared-in-tree" Warning Extra {
        title: "two guest clusters of one disk are not expected to share a host cluster",
        spec: "not in the specification; nothing that QEMU writes looks like that",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "nothing where the refcount agrees; otherwise only 'ERROR cluster N \
            refcount=1 reference=2'",
    }
    L28 "l2-table-over-metadata" Corruption Must {
        title: "an L1 entry must point at an L2 table, not at the header or at a cluster of other metadata",
        spec: "Cluster mapping",
        fields: ["l1-table.entry"],
        qemu: Silently Varies "the metadata is read as L2 entries. Check notices it only by refcounts that \
            do not agree, or by what those entries happen to say",
    }
    L29 "l1-flags-without-l2-table" Corruption Should {
        title: "an L1 entry without an L2 table should be zero in all its other bits too",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "reads as unallocated. Check takes the header for the L2 table, and counts \
            what its bytes happen to say; first 'found L1 entry with reserved bits set' where such bits are \
            set",
    }
}
