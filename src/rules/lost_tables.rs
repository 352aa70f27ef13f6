//! Tables that were lost, or may have been. They are judged where references are counted, in check/emptied and
//! check/overwritten: what speaks for a loss is clusters in use that nothing refers to, or entries that make no sense.

use crate::finding::rules;

rules! {
    TABLE_MAY_BE_LOST: L30 "table-may-be-lost" Corruption Extra {
        title: "a table that leads nowhere is not expected where clusters are in use that nothing refers to",
        why: "where the table was wiped, the guest's data is in those clusters, and reads as zeros; where a writer was \
            killed before it wrote the table, only what was not flushed is gone. The file alone often cannot tell which",
        advice: "do not run `qemu-img check -r`, and do not write: it frees those clusters, and with them what could still \
            be had. Look for an older copy of the table first, in a snapshot or a backup, and at what the clusters hold",
        spec: "not in the specification; nothing in the file says what such clusters were",
        fields: [],
        qemu: Silently Silently "what the table mapped reads as unallocated. Check says nothing of the table, and counts \
            the clusters as leaks, which -r leaks frees",
        guest: Unharmed,
        stale_when_dirty: true,
        risk: FromWarning,
    }
    TABLE_OVERWRITTEN: L31 "table-overwritten" Corruption Extra {
        title: "an L2 table must hold L2 entries, and not something that was written over them",
        why: "all that the table mapped is lost with it, also where single entries happen to look sound: the guest reads \
            zeros, errors or other data there",
        advice: "do not run `qemu-img check -r`: it drops the entries, and frees the clusters that the table mapped. Look \
            for an older copy of the table, in a snapshot or a backup, and for what wrote here",
        spec: "not in the specification, which says what each entry must be",
        fields: [],
        qemu: Varies Varies "each entry is taken by itself: what happens depends on what it looks like",
        guest: Lost,
    }
}
