//! Family R: the refcount table, its blocks, and what they say against what is really referenced.

use crate::finding::rules;

rules! {
    R01 "refcount-entry-reserved-bits" Corruption Must {
        title: "the reserved bits 0 to 8 of a refcount table entry must be zero",
        why: "QEMU masks the bits, and another reader finds no block",
        advice: "clear the bits in a copy: what is left is the block's place, and nothing of the guest is touched",
        spec: "Refcount table entry",
        fields: ["refcount-table.entry"],
        qemu: Silently Corruption "the bits are masked. Check: 'ERROR refcount table entry N has reserved \
            bits set', and a leak of that block's own cluster",
    }
    R02 "refcount-block-unaligned" Corruption Must {
        title: "a refcount block must start on a cluster boundary",
        why: "QEMU can neither read nor write the counts of the range, and marks the image corrupt at the next \
            write",
        advice: "read the guest data out with `qemu-img convert`, since qemu-img does not repair this one",
        spec: "Refcount table entry",
        fields: ["refcount-table.entry"],
        qemu: Silently Varies "reading works; the first write that allocates: 'Refblock offset 0x.. \
            unaligned (reftable index: N)' and the corrupt bit. Check: 'ERROR refcount block N is not \
            cluster aligned', exit 2, or 'Check failed', exit 1, where the block covers clusters of the file",
    }
    R03 "refcount-block-beyond-file" Corruption Must {
        title: "a refcount block must lie inside the file",
        why: "all clusters that it counts look free, so that the next writes overwrite them",
        advice: "open it read-only until the counts are rebuilt; look first whether the file was cut",
        spec: "Refcount table entry",
        fields: ["refcount-table.entry"],
        qemu: Silently Corruption "check: 'ERROR refcount block N is outside image', and 'cluster N \
            refcount=0 reference=1' for all that it covers; a block that lies partly inside is read with \
            zeros, without a message",
    }
    R04 "refcount-block-own-refcount" Corruption Must {
        title: "a refcount block's own cluster must have refcount 1",
        why: "its own cluster may be given to a guest, whose data then are the counts",
        advice: "keep writers away, and let `qemu-img check -r all` repair a copy",
        spec: "Host cluster management",
        fields: ["refcount-block.entry"],
        qemu: Silently Varies "stored 0: 'ERROR cluster N refcount=0 reference=1'; stored 2 or more: 'Leaked \
            cluster N refcount=2 reference=1', exit 3; referenced twice: 'ERROR refcount block N refcount=2'",
        stale_when_dirty: true,
    }
    R05 "refcount-too-low" Corruption Must {
        title: "a cluster's refcount must not be less than the number of references to it",
        why: "when one of the owners frees the cluster, it is free for all while others still use it",
        advice: "keep all writers away: deleting a snapshot already does harm; repair a copy first",
        spec: "Host cluster management",
        fields: ["refcount-block.entry"],
        qemu: Silently Corruption "check: 'ERROR cluster N refcount=A reference=B'",
        stale_when_dirty: true,
    }
    R06 "refcount-too-high" Leak Must {
        title: "a cluster's refcount must not be more than the number of references to it",
        why: "space is wasted, and nothing else",
        advice: "free it at leisure with `qemu-img check -r leaks`, unless a lost table (L02, L03, L28) is among the \
            leaked clusters",
        spec: "Host cluster management",
        fields: ["refcount-block.entry"],
        qemu: Silently Leak "check: 'Leaked cluster N refcount=A reference=B', exit 3; exit 2 where bit 63 \
            of an active entry that maps the cluster becomes wrong by it",
        stale_when_dirty: true,
    }
    R07 "refcount-zero-but-used" Corruption Must {
        title: "a cluster in use must not have refcount 0: the next write may allocate it again",
        why: "the next write may take the cluster for a free one, and overwrite it",
        advice: "do not start the guest; `qemu-img check -r all` on a copy counts the references anew",
        spec: "Host cluster management",
        fields: ["refcount-block.entry"],
        qemu: Silently Corruption "check: 'ERROR cluster N refcount=0 reference=1'; -r leaks fails with \
            'ERROR need to rebuild refcount structures', -r all rebuilds them",
        stale_when_dirty: true,
    }
    R08 "refcount-beyond-file" Warning Extra {
        title: "clusters behind the end of the file are expected to have refcount 0",
        why: "counts of what is not there: the file was longer once, or was cut",
        advice: "compare the length with the source; nothing else is wrong if that agrees",
        spec: "not in the specification; such clusters can never be freed",
        fields: ["refcount-block.entry"],
        qemu: Silently Silently "check stops at the end of the file",
    }
    R09 "refcount-overflow" Corruption Must {
        title: "a cluster must not have more references than its refcount can count",
        why: "a count that is full cannot grow, and when owners go it reaches 0 too early",
        advice: "widen the counts: `qemu-img convert` into an image with refcount_bits=16 or more",
        spec: "Host cluster management",
        fields: ["refcount-block.entry"],
        qemu: Silently Corruption "check: 'ERROR: overflow cluster offset=0x..', with the hint to widen the \
            refcounts by qemu-img amend",
    }
    R10 "refcount-table-too-short" Note Extra {
        title: "the refcount table is expected to cover the whole file",
        why: "clusters behind what it covers count as free; QEMU enlarges the table when it needs to",
        advice: "nothing: the next allocation extends the table",
        spec: "not in the specification; clusters without a block have refcount 0",
        fields: ["header.refcount_table_clusters"],
        qemu: Silently Varies "check: 'ERROR cluster N refcount=0 reference=1' for each cluster in use that \
            is not covered, and nothing where none is",
    }
    R11 "refcounts-stale" Note Should reported_as "none" {
        title: "while the dirty bit is set, refcounts and bit 63 of L1 and L2 entries may be out of date",
        why: "a crash with lazy refcounts leaves them so by design",
        advice: "let QEMU bring them up to date on a copy; this tool calls them notes until then",
        spec: "Header",
        fields: [],
        qemu: Silently Corruption "check counts them all the same: exit 2 for the image of a killed program \
            that updated refcounts lazily",
    }
    R12 "trailing-data" Note Extra {
        title: "behind the last cluster in use the file is expected to end, or to hold zeros only",
        why: "nobody reads these bytes: most often what QEMU freed and did not clear, such as the tables of a bitmap \
            that was removed; but also a footer of another format, or hidden data",
        advice: "look at them before a writer reuses the space; `qemu-img convert` makes a copy without them",
        spec: "not in the specification; any data can be hidden there",
        fields: [],
        qemu: Silently Silently "check tells only the 'Image end offset'",
        risk: HiddenBytes,
    }
    R13 "refcount-block-unreadable" Note Extra reported_as "T02" {
        title: "every refcount block must be readable",
        why: "the counts of its range are not known",
        advice: "see T02: the medium has to be read first",
        spec: "not in the specification; an error of the medium",
        fields: [],
        qemu: Silently CheckError "check: 'Can't get refcount for cluster N: Input/output error', then \
            'Check failed'",
    }
}
