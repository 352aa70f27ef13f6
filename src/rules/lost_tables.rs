//! Tables that may have been lost. They are judged where references are counted, in check/emptied: what speaks for a loss
//! is clusters in use that nothing refers to.

use crate::finding::rules;

rules! {
    TABLE_MAY_BE_LOST: L30 "table-may-be-lost" Warning Extra {
        title: "a table without any entry is not expected where clusters are in use that nothing refers to",
        why: "where the table was wiped, the guest's data is in those clusters, and reads as zeros; where a writer was \
            killed before it wrote the table, only what was not flushed is gone. The file alone often cannot tell which",
        advice: "do not run `qemu-img check -r`, and do not write: it frees those clusters, and with them what could still \
            be had. Look for an older copy of the table first, in a snapshot or a backup, and at what the clusters hold",
        spec: "not in the specification; nothing in the file says what such clusters were",
        fields: [],
        qemu: Silently Silently "what the table mapped reads as unallocated. Check says nothing of the table, and counts \
            the clusters as leaks, which -r leaks frees",
        stale_when_dirty: true,
        risk: FromWarning,
    }
}
