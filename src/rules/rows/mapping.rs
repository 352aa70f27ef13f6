//! Family L: the L1 and L2 tables, of the active disk and of every snapshot, and the clusters that they map.

use crate::finding::rules;

rules! {
    L01 "l1-reserved-bits" Corruption Must {
        title: "the reserved bits 0 to 8 and 56 to 62 of an L1 entry must be zero",
        why: "a later format may give the bits a meaning, and a reader that does not mask them looks elsewhere for \
            the table",
        advice: "clear the bits in a copy after comparing with the neighbours; whole entries of noise mean that the \
            table was overwritten",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "the bits are masked when reading. Check: 'ERROR found L1 entry with \
            reserved bits set: HEX'",
    }
    L02 "l2-table-unaligned" Corruption Must {
        title: "an L2 table must start on a cluster boundary",
        why: "a table is one cluster, so half of this one is another's bytes",
        advice: "its guest range is lost unless the low bits alone were flipped: try the offset rounded down, in a \
            copy",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: FailsOnRead Corruption "'L2 table offset 0x.. unaligned (L1 index: ..)' when it is read. \
            Check: 'ERROR l2_offset=HEX: Table is not cluster aligned; L1 entry corrupted', then it reads \
            the shifted table all the same",
        guest: Lost,
    }
    L03 "l2-table-beyond-file" Corruption Must {
        title: "an L2 table must lie inside the file",
        why: "all that the table maps reads as zeros, without any error",
        advice: "look for the missing end of the file first; a table behind it cannot be had otherwise",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "all that it maps reads as zeros. Check: 'region exceeding the end of the \
            file by one cluster or more', leaks for the clusters that are lost, and 'ERROR OFLAG_COPIED L2 \
            cluster' where bit 63 is set",
        guest: Lost,
        reads_as_unallocated: true,
    }
    L04 "l1-copied-flag-wrong" Corruption Must {
        title: "bit 63 of an active L1 entry must be set exactly where the L2 table's refcount is 1",
        why: "where it is set wrongly, a write changes a table that a snapshot shares; where clear, each write \
            copies it for nothing",
        advice: "leave the image unwritten until `qemu-img check -r all` on a copy has set the flags by the refcounts",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "check: 'ERROR OFLAG_COPIED L2 cluster: l1_index=N l1_entry=HEX \
            refcount=N'",
        guest: Unharmed,
        stale_when_dirty: true,
    }
    L05 "l2-reserved-bits" Corruption Must {
        title: "the reserved bits 1 to 8 and 56 to 61 of a standard L2 entry must be zero",
        why: "readers that do not mask the bits find another cluster, and many such entries are a table that was \
            overwritten",
        advice: "compare the entries around it: single bits are bit rot and can be cleared in a copy",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "the bits are masked when reading. Check: 'ERROR found l2 entry with \
            reserved bits set: HEX'",
    }
    L06 "zero-flag-in-extended-entry" Warning Must {
        title: "bit 0 of a standard L2 entry must be zero in an image with extended L2 entries",
        why: "the bit has another meaning in short entries, and a reader that looks at it reads zeros where there \
            is data",
        advice: "clear bit 0 in a copy; the subcluster bitmap says which parts are zero",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the bit is not looked at",
    }
    L07 "zero-flag-in-version-2" Corruption Must {
        title: "bit 0 of a standard L2 entry, the zero flag, must be zero in a version 2 image",
        why: "version 2 defines no zero clusters: QEMU fails to read there, others return old data",
        advice: "upgrade a copy to version 3 if zeros are meant, else clear the bit",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "'Zero cluster entry found in pre-v3 image (…)' when it is read; check \
            counts the cluster and says nothing",
        guest: Lost,
    }
    L08 "data-cluster-unaligned" Corruption Must {
        title: "a data cluster must start on a cluster boundary",
        why: "a guest cluster would take parts of two host clusters, of which one belongs to another owner",
        advice: "round the offset down in a copy and look whether the data fits what the guest had there",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Cluster allocation offset 0x.. unaligned (…)' when it is read. Check: \
            'ERROR offset=HEX: Data cluster is not properly aligned; L2 entry corrupted.', or the same of a \
            'Preallocated cluster', and it counts both clusters touched",
        guest: Lost,
    }
    L09 "data-cluster-beyond-file" Corruption Must {
        title: "a data cluster must lie inside the file",
        why: "the guest range reads as zeros, without any error",
        advice: "compare the file's length with its source, and restore the named range if the file cannot be \
            completed",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "reads as zeros. Check: 'region exceeding the end of the file by one \
            cluster or more', and 'ERROR OFLAG_COPIED data cluster' where bit 63 is set",
        guest: Lost,
    }
    L10 "data-cluster-cut" Note Extra {
        title: "the file is expected to hold a data cluster up to its last allocated byte; a cut one hints \
            at an incomplete copy",
        why: "the cluster's end reads as zeros, which is right for a fresh image and wrong for a cut copy",
        advice: "compare the length with the source; nothing is wrong if the guest never wrote there",
        spec: "not in the specification; the missing bytes read as zeros",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the missing bytes read as zeros; less than a cluster past the end is not \
            counted",
        risk: TwoReadings,
    }
    L11 "l2-copied-flag-wrong" Corruption Must {
        title: "bit 63 of a standard entry in an active L2 table must be set exactly where the cluster's \
            refcount is 1",
        why: "set wrongly, a write in place changes what a snapshot should keep; clear wrongly, it only costs a \
            copy",
        advice: "let `qemu-img check -r all` set the flags on a copy; where the refcount is wrong, mend that first",
        spec: "L2 table entry",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "check: 'ERROR OFLAG_COPIED data cluster: l2_entry=HEX refcount=N'",
        guest: Unharmed,
        stale_when_dirty: true,
    }
    L12 "compressed-copied-flag" Corruption Must {
        title: "bit 63 must be zero in the L2 entry of a compressed cluster",
        why: "a compressed cluster must never be written in place, and the bit says that it may",
        advice: "clear bit 63 in a copy: the stream itself is not touched by that",
        spec: "L2 table entry",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "check: 'ERROR: coffset=0xHEX: copied flag must never be set for \
            compressed clusters'",
    }
    L13 "compressed-offset-bits" Corruption Must {
        title: "a compressed cluster's offset must not use bits above 55",
        why: "the bits make the offset point far behind any file, so the cluster cannot be read",
        advice: "clear them in a copy: what is left is mostly the true offset",
        spec: "Compressed Clusters Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "plain 'Input/output error' when it is read. Check takes the bits as \
            part of the offset: 'region exceeding the end of the file', and a leak of the cluster that is \
            meant",
        guest: Lost,
    }
    L14 "compressed-beyond-file" Corruption Must {
        title: "a compressed cluster's data must lie inside the file",
        why: "the stream is not there, and QEMU gives an I/O error to the guest",
        advice: "complete the file, or restore the guest range from a backup",
        spec: "Compressed Clusters Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "plain 'Input/output error' when it is read. Check: 'region exceeding \
            the end of the file by one cluster or more', and a leak of the lost cluster",
        guest: Lost,
    }
    L15 "compressed-data-broken" Corruption Must {
        title: "a compressed cluster must decompress to exactly one cluster of data",
        why: "the guest gets an I/O error when it reads there, perhaps years after the damage, and no other check \
            looks",
        advice: "restore the named guest ranges; a flipped bit in the stream cannot be told from here, so restore \
            whole clusters",
        spec: "Compressed Clusters Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "plain 'Input/output error' when it is read, if the stream is cut, too \
            short or damaged; too long is an error with zstd, accepted with deflate. Check decompresses \
            nothing",
        guest: Lost,
    }
    L16 "compressed-with-data-file" Corruption Must {
        title: "an image with an external data file must not have compressed clusters",
        why: "nobody can say in which of the two files the stream lies",
        advice: "find out which file has it, and convert the image into one file",
        spec: "Header",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Compressed cluster entry found in image with external data file' when \
            it is read. Check: 'ERROR compressed cluster N with data file, entry=0x..'",
        guest: Lost,
    }
    L17 "compressed-with-subclusters" Corruption Must {
        title: "the subcluster bitmap of a compressed cluster must be zero",
        why: "readers differ on whether the bitmap or the stream wins",
        advice: "zero the bitmap in a copy: a compressed cluster has all its subclusters",
        spec: "Extended L2 Entries",
        fields: ["l2-table.entry"],
        qemu: Silently Corruption "check: 'ERROR compressed cluster N with non-zero subcluster allocation \
            bitmap, entry=0x..', and a leak, because such a cluster is not counted",
    }
    L18 "subcluster-allocated-and-zero" Corruption Must {
        title: "a subcluster must not be marked allocated and reading as zeros at once",
        why: "the subcluster would be data and zeros at once, and QEMU refuses the whole cluster",
        advice: "choose per subcluster in a copy: data where the host cluster has some, else zeros",
        spec: "Extended L2 Entries",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Invalid cluster entry found' when any subcluster of the entry is \
            read; check counts the entry",
        guest: Lost,
    }
    L19 "subcluster-without-cluster" Corruption Must {
        title: "no subcluster may be marked allocated where the entry has no host cluster",
        why: "data is promised where no cluster is",
        advice: "clear the bits in a copy; what they promised is lost unless another snapshot has it",
        spec: "Extended L2 Entries",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Corruption "'Invalid cluster entry found' when it is read. Check: 'ERROR: \
            Unallocated cluster has non-zero subcluster allocation map', without saying where",
        guest: Lost,
    }
    L20 "data-file-offset-mismatch" Corruption Must {
        title: "with an external data file, each cluster's offset in that file must equal its guest offset",
        why: "the data file would be read at one place as QCOW2 and at another as raw",
        advice: "compare both places in the data file, and set the entry to the guest offset in a copy",
        spec: "Header",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "'External data file host cluster offset 0x.. does not match guest \
            cluster offset' when it is read",
        guest: Lost,
    }
    L21 "data-file-copied-flag-clear" Corruption Should {
        title: "with an external data file, bit 63 should be set in the L2 entry of every allocated cluster",
        why: "cluster 0 of the data file is told from an unallocated one by this bit alone",
        advice: "set bit 63 in a copy for the clusters that the data file holds",
        spec: "L2 table entry",
        fields: ["l2-table.entry"],
        qemu: Silently Varies "the data is read all the same, but an entry of 0 counts as unallocated, so \
            guest cluster 0 is lost. Check: 'ERROR OFLAG_COPIED data cluster: l2_entry=HEX refcount=1'; \
            nothing for offset 0",
    }
    L22 "host-offset-zero" Note Must reported_as "L23" {
        title: "host offset 0 with bit 63 set is valid only for guest cluster 0 of an image with an external \
            data file",
        why: "only there can an offset of 0 be told from no offset",
        advice: "see L23 for images without a data file, and L20 for those with one",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Varies Silently "without a data file the cluster is unallocated; with one, reading any cluster \
            but the first: 'External data file host cluster offset 0 does not match guest cluster offset'",
    }
    L23 "unallocated-copied-flag" Warning Must {
        title: "bit 63 must be zero in an L2 entry without a host cluster, unless there is an external data \
            file",
        why: "a program took the entry for a cluster at offset 0, where the header lies",
        advice: "clear the bit in a copy; no data hangs on it",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "the cluster is unallocated",
    }
    L24 "l2-entry-beyond-disk" Warning Extra {
        title: "L2 entries behind the end of the virtual disk are expected to be unallocated, VM state apart",
        why: "no guest can read what is mapped there: it is a leftover of a shrunk disk, or hidden",
        advice: "look at it in a copy with a larger size, and ask who shrank the disk",
        spec: "not in the specification; no guest can read what is hidden there",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "counted like any other: '3/2 = 150.00% allocated'",
        risk: HiddenBytes,
    }
    L25 "l1-entry-beyond-disk" Note Extra {
        title: "L1 entries behind the end of the virtual disk are expected to be used only for the VM state of \
            snapshots",
        why: "clusters hang there that no guest can reach, left by VM state or put there",
        advice: "nothing, if the image once held snapshots with VM state; else look at what they hold",
        spec: "not in the specification; no guest can read what is hidden there",
        fields: ["l1-table.entry"],
        qemu: Silently Silently "their clusters are counted like any other; a deleted snapshot leaves VM state \
            there that was loaded before",
        risk: HiddenBytes,
    }
    L26 "l2-table-shared-in-tree" Corruption Extra {
        title: "an L1 table must not point twice at the same L2 table",
        why: "a write to one guest range changes the other too",
        advice: "read both ranges out of a copy: one of them is the true owner, and the other has to be restored",
        spec: "not in the specification; a write to one guest range would change another",
        fields: ["l1-table.entry"],
        qemu: Silently Silently "nothing where the refcount agrees; otherwise only 'ERROR cluster N \
            refcount=1 reference=2'",
    }
    L27 "data-cluster-shared-in-tree" Warning Extra {
        title: "two guest clusters of one disk are not expected to share a host cluster",
        why: "a write through one of them changes the other, and which of the two the data belongs to is not known",
        advice: "read both and compare with what the guest expects; rewriting one of them in a repaired copy gives it \
            a cluster of its own",
        spec: "not in the specification; nothing that QEMU writes looks like that",
        fields: ["l2-table.entry"],
        qemu: Silently Silently "nothing where the refcount agrees; otherwise only 'ERROR cluster N \
            refcount=1 reference=2'",
        shared: L2Table,
        risk: Unsound,
    }
    L28 "l2-table-over-metadata" Corruption Must {
        title: "an L1 entry must point at an L2 table, not at the header or at a cluster of other metadata",
        why: "metadata is read as a table, and a guest write changes it",
        advice: "find the true table among the leaked clusters (R06), which then has no owner",
        spec: "Cluster mapping",
        fields: ["l1-table.entry"],
        qemu: Silently Varies "the metadata is read as L2 entries. Check notices it only by refcounts that \
            do not agree, or by what those entries happen to say",
        shared: L1Table,
    }
    L29 "l1-flags-without-l2-table" Corruption Should {
        title: "an L1 entry without an L2 table should be zero in all its other bits too",
        why: "the flags speak of a table that is not there, and QEMU's check takes the header for it",
        advice: "zero the entry in a copy, after looking whether a leaked cluster is the lost table",
        spec: "L1 table entry",
        fields: ["l1-table.entry"],
        qemu: Silently Corruption "reads as unallocated. Check takes the header for the L2 table, and counts \
            what its bytes happen to say; first 'found L1 entry with reserved bits set' where such bits are \
            set",
    }
}
