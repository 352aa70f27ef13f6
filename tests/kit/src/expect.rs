//! Holds what the reader sees against what the writer was told.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests and fuzz targets alone use it"
)]

use qcow2_inspect::Image;
use qcow2_inspect::format::bitmap::{BitmapData, BitmapTableEntry};
use qcow2_inspect::format::mapping::{L1Entry, L2Entry, Mapping, SubclusterBitmap};
use qcow2_inspect::format::refcount::RefcountTableEntry;
use qcow2_inspect::image::L1Table;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{HostOffset, Span, to_u64, to_usize};

use super::writer::{
    BitmapCluster, EntryPlan, Plan, TreePlan, Written, bitmap_cluster, bitmap_head, snapshot_extra,
    snapshot_head,
};

/// Compares everything that the image holds.
///
/// # Panics
/// Where the reader sees something else than what was written.
pub fn check<R: ReadAt>(plan: &Plan, written: &Written, image: &Image<R>) {
    head(plan, written, image);
    refcounts(written, image);
    tree(plan, written, image, &plan.active, image.active_l1());
    snapshots(plan, written, image);
    bitmaps(plan, written, image);
}

fn head<R: ReadAt>(plan: &Plan, written: &Written, image: &Image<R>) {
    let header = image.header();
    assert_eq!(header.v2, written.header);
    assert_eq!(header.has_v3().then(|| header.v3()), written.header_v3);
    assert_eq!(header.compression_type(), written.additional.compression_type);
    assert_eq!(image.geometry(), Some(plan.geometry()));
    let had: Vec<_> = image.extensions().map(Result::unwrap).collect();
    let had: Vec<_> = had.iter().map(|extension| (extension.head.magic, extension.data.to_vec())).collect();
    assert_eq!(had, written.extensions);
    let name = image.backing_file().unwrap().map(|name| &name.bytes);
    assert_eq!(name, plan.backing.as_ref().map(|backing| &backing.name));
    let format = plan.backing.as_ref().and_then(|backing| backing.format.as_deref());
    assert_eq!(image.backing_format().map(|(_, format)| format), format);
    assert_eq!(image.data_file().map(|(_, name)| name), plan.data_file().map(|file| file.name.as_slice()));
    assert_eq!(image.has_external_data(), plan.data_file().is_some());
    assert_eq!(image.feature_names().count(), plan.feature_names);
}

/// The bytes of a structure that lies in the file as a whole.
fn bytes<R: ReadAt>(image: &Image<R>, span: Span) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunks = image.chunks("a structure", span);
    while let Some(chunk) = chunks.next() {
        bytes.extend(chunk.unwrap().bytes);
    }
    assert_eq!(to_u64(bytes.len()), span.len, "{span:?} is cut");
    bytes
}

fn entries<R: ReadAt>(image: &Image<R>, span: Span) -> Vec<u64> {
    bytes(image, span).as_chunks::<8>().0.iter().copied().map(u64::from_be_bytes).collect()
}

fn refcounts<R: ReadAt>(written: &Written, image: &Image<R>) {
    let (geometry, width) = (image.geometry().unwrap(), image.refcount_width().unwrap());
    let cluster_size = geometry.cluster_size();
    let header = &image.header().v2;
    let len = u64::from(header.refcount_table_clusters) * cluster_size;
    let mut had = Vec::new();
    for entry in entries(image, Span::new(header.refcount_table_offset, len)) {
        let entry = RefcountTableEntry(entry);
        assert_eq!(entry.reserved(), 0);
        if entry.block_offset().0 != 0 {
            let block = bytes(image, Span::new(entry.block_offset(), cluster_size));
            had.extend((0..width.block_entry_count(geometry)).map(|index| width.get(&block, index).unwrap()));
        }
    }
    let rest = had.split_off(written.refcounts.len());
    assert_eq!(had, written.refcounts);
    assert!(rest.iter().all(|count| *count == 0), "clusters behind the end have references");
}

fn tree<R: ReadAt>(plan: &Plan, written: &Written, image: &Image<R>, tree: &TreePlan, table: L1Table) {
    assert_eq!(table.size, tree.l1_size);
    let active = table.tree == qcow2_inspect::units::Tree::Active;
    for (index, entry) in (0..).zip(entries(image, table.span())) {
        let entry = L1Entry(entry);
        assert_eq!(entry.reserved(), 0);
        let pool = tree.l1.get(&index).copied();
        assert_eq!(entry.l2_offset(), pool.map_or(HostOffset(0), |table| written.places.tables[table]));
        let single = pool.is_some_and(|table| written.uses.tables[table] == 1);
        assert_eq!(entry.copied(), active && single, "L1 entry {index}");
        if let Some(pool) = pool {
            l2_table(plan, written, image, pool, index, active);
        }
    }
}

fn l2_table<R: ReadAt>(
    plan: &Plan,
    written: &Written,
    image: &Image<R>,
    pool: usize,
    l1_index: u64,
    active: bool,
) {
    let geometry = image.geometry().unwrap();
    let words = entries(image, Span::new(written.places.tables[pool], geometry.cluster_size()));
    let width = to_usize(geometry.l2_entry_len() / 8);
    for (index, words) in (0..).zip(words.chunks(width)) {
        let entry = L2Entry(words[0]);
        let subclusters = SubclusterBitmap(words.get(1).copied().unwrap_or_default());
        let planned = plan.tables[pool].entries.get(&index).copied();
        let context = || format!("table {pool}, entry {index}: {planned:?}");
        let at = |cluster: usize| match plan.data_file() {
            Some(_) => HostOffset(geometry.guest_offset(l1_index, index).unwrap().0),
            None => written.places.clusters[cluster],
        };
        let (wanted, wanted_subclusters) = match planned {
            None => (Mapping::Unallocated, 0),
            Some(EntryPlan::Zero) => (Mapping::Zero, 0),
            Some(EntryPlan::ZeroAllocated(cluster)) => (Mapping::ZeroAllocated(at(cluster)), 0),
            Some(EntryPlan::Data(cluster)) => (Mapping::Data(at(cluster)), 0),
            Some(EntryPlan::Compressed(stream)) => {
                let Mapping::Compressed(had) = image.mapping(geometry, entry) else {
                    panic!("{}", context())
                };
                assert_eq!(Span::new(had.at, had.len), written.places.streams[stream], "{}", context());
                assert!(!entry.copied() && had.high_bits == 0);
                (Mapping::Compressed(had), 0)
            }
            Some(EntryPlan::Subclusters { cluster, allocated, zero }) => (
                cluster.map_or(Mapping::Unallocated, |cluster| Mapping::Data(at(cluster))),
                u64::from(zero) << 32 | u64::from(allocated),
            ),
        };
        assert_eq!(image.mapping(geometry, entry), wanted, "{}", context());
        assert_eq!(subclusters.0, wanted_subclusters, "{}", context());
        assert_eq!((entry.reserved(), subclusters.conflicting()), (0, 0), "{}", context());
        if let (true, Some(cluster)) = (active, planned.and_then(EntryPlan::cluster)) {
            let single = written.uses.clusters[cluster] == 1;
            assert_eq!(entry.copied(), single, "{}", context());
        }
    }
}

fn snapshots<R: ReadAt>(plan: &Plan, written: &Written, image: &Image<R>) {
    let had: Vec<_> = image.snapshots().map(Result::unwrap).collect();
    assert_eq!(had.len(), plan.snapshots.len());
    for ((had, wanted), l1) in had.iter().zip(&plan.snapshots).zip(&written.places.snapshot_l1) {
        assert_eq!(had.head, snapshot_head(wanted, *l1));
        assert_eq!((&had.extra, &had.id, &had.name), (&snapshot_extra(wanted), &wanted.id, &wanted.name));
        assert!(had.padding.iter().all(|byte| *byte == 0));
        assert_eq!(had.vm_state_size(), wanted.vm_state_size);
        assert_eq!(had.disk_size(), (wanted.extra_len >= 16).then_some(wanted.disk_size));
        let icount = (wanted.extra_len >= 24 && wanted.icount != u64::MAX).then_some(wanted.icount);
        assert_eq!(had.icount(), icount);
        assert!(had.l1_entries_wanted(plan.geometry(), plan.size) <= u64::from(had.head.l1_size));
        tree(plan, written, image, &wanted.tree, had.l1());
    }
}

fn bitmaps<R: ReadAt>(plan: &Plan, written: &Written, image: &Image<R>) {
    let had: Vec<_> = image.bitmaps().map(Result::unwrap).collect();
    assert_eq!(had.len(), plan.bitmaps.len());
    assert_eq!(image.bitmaps_are_loaded(), !plan.bitmaps.is_empty());
    let geometry = plan.geometry();
    for (n, (had, wanted)) in had.iter().zip(&plan.bitmaps).enumerate() {
        assert_eq!(had.head, bitmap_head(wanted, written.places.bitmap_tables[n]));
        assert_eq!((had.extra.len(), &had.name), (0, &wanted.name));
        assert!(had.padding.iter().all(|byte| *byte == 0));
        assert_eq!(had.head.table_size_for(plan.size, geometry), Some(to_u64(wanted.table.len())));
        for (index, entry) in entries(image, had.table()).into_iter().enumerate() {
            let entry = BitmapTableEntry(entry);
            assert!(entry.reserved() == 0 && !entry.is_ambiguous());
            let at = written.places.bitmap_clusters[n][index];
            let data = match wanted.table[index] {
                BitmapCluster::Zeroes => BitmapData::Zeroes,
                BitmapCluster::Ones => BitmapData::Ones,
                BitmapCluster::Serialized(_) => BitmapData::Serialized(at),
            };
            assert_eq!(entry.data(), data);
            if let Some(stored) = bitmap_cluster(plan, wanted, index) {
                assert_eq!(bytes(image, Span::new(at, geometry.cluster_size())), stored);
            }
        }
    }
}
