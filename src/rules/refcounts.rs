//! The refcount table and its blocks, each entry by itself. Whether the refcounts are right is judged where references
//! are counted: R04 to R07 and R09 in check/compare, R12 in check/trailing. How long the table is says the header: R10 in
//! `header_tables`.

use crate::Image;
use crate::finding::{Evidence, Finding, Rule, Structure, rules};
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::image::RefcountRun;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};

rules! {
    REFCOUNT_ENTRY_RESERVED_BITS: R01 "refcount-entry-reserved-bits" Corruption Must {
        title: "the reserved bits 0 to 8 of a refcount table entry must be zero",
        why: "QEMU masks the bits, and another reader finds no block",
        advice: "clear the bits in a copy: what is left is the block's place, and nothing of the guest is touched",
        spec: "Refcount table entry",
        fields: [RefcountTable.ENTRY],
        qemu: Silently Corruption "the bits are masked. Check: 'ERROR refcount table entry N has reserved \
            bits set', and a leak of that block's own cluster",
    }
    REFCOUNT_BLOCK_UNALIGNED: R02 "refcount-block-unaligned" Corruption Must {
        title: "a refcount block must start on a cluster boundary",
        why: "QEMU can neither read nor write the counts of the range, and marks the image corrupt at the next \
            write",
        advice: "read the guest data out with `qemu-img convert`, since qemu-img does not repair this one",
        spec: "Refcount table entry",
        fields: [RefcountTable.ENTRY],
        qemu: Silently Varies "reading works; the first write that allocates: 'Refblock offset 0x.. \
            unaligned (reftable index: N)' and the corrupt bit. Check: 'ERROR refcount block N is not \
            cluster aligned', exit 2, or 'Check failed', exit 1, where the block covers clusters of the file",
    }
    REFCOUNT_BLOCK_BEYOND_FILE: R03 "refcount-block-beyond-file" Corruption Must {
        title: "a refcount block must lie inside the file",
        why: "all clusters that it counts look free, so that the next writes overwrite them",
        advice: "open it read-only until the counts are rebuilt; look first whether the file was cut",
        spec: "Refcount table entry",
        fields: [RefcountTable.ENTRY],
        qemu: Silently Corruption "check: 'ERROR refcount block N is outside image', and 'cluster N \
            refcount=0 reference=1' for all that it covers; a block that lies partly inside is read with \
            zeros, without a message",
    }
    REFCOUNT_BLOCK_OWN_REFCOUNT: R04 "refcount-block-own-refcount" Corruption Must {
        title: "a refcount block's own cluster must have refcount 1",
        why: "its own cluster may be given to a guest, whose data then are the counts",
        advice: "keep writers away, and let `qemu-img check -r all` repair a copy",
        spec: "Host cluster management",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Varies "stored 0: 'ERROR cluster N refcount=0 reference=1'; stored 2 or more: 'Leaked \
            cluster N refcount=2 reference=1', exit 3; referenced twice: 'ERROR refcount block N refcount=2'",
        stale_when_dirty: true,
    }
    REFCOUNT_TOO_LOW: R05 "refcount-too-low" Corruption Must {
        title: "a cluster's refcount must not be less than the number of references to it",
        why: "when one of the owners frees the cluster, it is free for all while others still use it",
        advice: "keep all writers away: deleting a snapshot already does harm; repair a copy first",
        spec: "Host cluster management",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Corruption "check: 'ERROR cluster N refcount=A reference=B'",
        stale_when_dirty: true,
    }
    REFCOUNT_TOO_HIGH: R06 "refcount-too-high" Leak Must {
        title: "a cluster's refcount must not be more than the number of references to it",
        why: "space is wasted; but where a table was lost, what it mapped is among these clusters",
        advice: "where L30, or a broken L1 entry (L02, L03, L28), says that a table may be lost, leave them alone: \
            `qemu-img check -r` frees them, and with them the guest's data. Else free them at leisure with \
            `qemu-img check -r leaks`, on a copy first",
        spec: "Host cluster management",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Leak "check: 'Leaked cluster N refcount=A reference=B', exit 3; exit 2 where bit 63 \
            of an active entry that maps the cluster becomes wrong by it",
        stale_when_dirty: true,
    }
    REFCOUNT_ZERO_BUT_USED: R07 "refcount-zero-but-used" Corruption Must {
        title: "a cluster in use must not have refcount 0: the next write may allocate it again",
        why: "the next write may take the cluster for a free one, and overwrite it",
        advice: "do not start the guest; `qemu-img check -r all` on a copy counts the references anew",
        spec: "Host cluster management",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Corruption "check: 'ERROR cluster N refcount=0 reference=1'; -r leaks fails with \
            'ERROR need to rebuild refcount structures', -r all rebuilds them",
        stale_when_dirty: true,
    }
    REFCOUNT_BEYOND_FILE: R08 "refcount-beyond-file" Warning Extra {
        title: "clusters behind the end of the file are expected to have refcount 0",
        why: "counts of what is not there: the file was longer once, or was cut",
        advice: "compare the length with the source; nothing else is wrong if that agrees",
        spec: "not in the specification; such clusters can never be freed",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Silently "check stops at the end of the file",
    }
    REFCOUNT_OVERFLOW: R09 "refcount-overflow" Corruption Must {
        title: "a cluster must not have more references than its refcount can count",
        why: "a count that is full cannot grow, and when owners go it reaches 0 too early",
        advice: "widen the counts: `qemu-img convert` into an image with refcount_bits=16 or more",
        spec: "Host cluster management",
        fields: [RefcountBlock.ENTRY],
        qemu: Silently Corruption "check: 'ERROR: overflow cluster offset=0x..', with the hint to widen the \
            refcounts by qemu-img amend",
    }
    REFCOUNTS_STALE: R11 "refcounts-stale" Note Should reported_as never {
        title: "while the dirty bit is set, refcounts and bit 63 of L1 and L2 entries may be out of date",
        why: "a crash with lazy refcounts leaves them so by design",
        advice: "let QEMU bring them up to date on a copy; this tool calls them notes until then",
        spec: "Header",
        fields: [],
        qemu: Silently Corruption "check counts them all the same: exit 2 for the image of a killed program \
            that updated refcounts lazily",
    }
    TRAILING_DATA: R12 "trailing-data" Note Extra {
        title: "behind the last cluster in use the file is expected to end, or to hold zeros only",
        why: "nobody reads these bytes: most often what QEMU freed and did not clear, such as the tables of a bitmap \
            that was removed; but also a footer of another format, or hidden data",
        advice: "look at them before a writer reuses the space; `qemu-img convert` makes a copy without them",
        spec: "not in the specification; any data can be hidden there",
        fields: [],
        qemu: Silently Silently "check tells only the 'Image end offset'",
        risk: HiddenBytes,
    }
    REFCOUNT_BLOCK_UNREADABLE: R13 "refcount-block-unreadable" Note Extra reported_as READ_ERROR {
        title: "every refcount block must be readable",
        why: "the counts of its range are not known",
        advice: "see T02: the medium has to be read first",
        spec: "not in the specification; an error of the medium",
        fields: [],
        qemu: Silently CheckError "check: 'Can't get refcount for cluster N: Input/output error', then \
            'Check failed'",
    }
}

/// Judges refcount table entries and refcounts, each by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefcountRules {
    geometry: Geometry,
    width: Option<RefcountWidth>,
    file_clusters: u64,
}

impl RefcountRules {
    /// The rules for this image; `None` where `cluster_bits` makes no sense, and there are no tables.
    pub(super) fn new<R: ReadAt>(image: &Image<R>) -> Option<Self> {
        let geometry = image.geometry()?;
        let file_clusters = geometry.clusters_for(image.file_len());
        Some(Self { geometry, width: image.refcount_width(), file_clusters })
    }

    /// Judges the refcount table entry with this index, which stands at `at`.
    pub(super) fn table_entry(
        &self,
        index: u64,
        at: HostOffset,
        entry: RefcountTableEntry,
        out: &mut Vec<Finding>,
    ) {
        if entry.0 == 0 {
            return;
        }
        let finding = |rule: &'static Rule, wanted: String| {
            Finding::new(rule, Structure::RefcountTable, Span::new(at, 8), Evidence::Hex(entry.0), wanted)
        };
        if entry.reserved() != 0 {
            out.push(finding(
                &REFCOUNT_ENTRY_RESERVED_BITS,
                format!("zero in the bits {:#x}", entry.reserved()),
            ));
        }
        let (block, cluster_size) = (entry.block_offset(), self.geometry.cluster_size());
        if !block.is_aligned(cluster_size) {
            out.push(finding(&REFCOUNT_BLOCK_UNALIGNED, format!("a multiple of {cluster_size:#x}")));
        }
        // Not the rule for other tables: QEMU reads a block that lies partly in the file, and says nothing.
        let file_end = self.file_clusters.saturating_mul(cluster_size);
        if block.0 >= file_end {
            out.push(finding(
                &REFCOUNT_BLOCK_BEYOND_FILE,
                format!("less than {file_end:#x} for entry {index}"),
            ));
        }
    }

    /// R08: judges equal refcounts of the block that starts at `block`.
    pub(super) fn run(&self, block: HostOffset, run: &RefcountRun, out: &mut Vec<Finding>) {
        let behind = run.first_cluster.max(self.file_clusters);
        let inside = behind.saturating_sub(run.first_cluster);
        let count = run.count.saturating_sub(inside);
        let Some(width) = self.width.filter(|_| run.value != 0 && count != 0) else { return };
        let found = format!("{} for cluster {behind}", run.value);
        let wanted = format!("0 from cluster {} on", self.file_clusters);
        let at = width.span(block, run.index.saturating_add(inside), count);
        let mut finding = Finding::new(&REFCOUNT_BEYOND_FILE, Structure::RefcountBlock, at, found, wanted);
        finding.consequences = count;
        out.push(finding);
    }
}
