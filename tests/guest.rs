//! The guest's view of hostile images: every image of the corpus, cut and damaged, under what must hold for any bytes.
#![allow(
    clippy::explicit_write,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    reason = "what fails here is the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::Path;

use qcow2_inspect::format::header::field;
use qcow2_inspect::guest::{CopyOptions, Disk, Fault, Owner, Sink, copy, owners};
use qcow2_inspect::references::{References, Role, count};
use qcow2_inspect::units::{GuestOffset, GuestSpan, HostOffset};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::oracle::{check_counts, check_guest_view};
use qcow2_testkit::writer::Plan;
use qcow2_testkit::{Draft, damages};

/// Guest bytes that are copied; more of a small image says nothing new.
const COPIED: u64 = 4 << 20;

#[test]
fn any_bytes_have_a_guests_view() {
    let images: Vec<_> = corpus("").into_iter().map(|(_, image)| image).collect();
    assert!(images.len() > 100, "{} images", images.len());
    let mut noise = 1_u64;
    for image in &images {
        check_guest_view(image);
        copy_together(image);
        for n in 0..48_u64 {
            let mut damaged = image.clone();
            for _ in 0..=n % 4 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Most bytes of an image are zeros; what matters is where it has others.
                let mut at = (noise >> 20) as usize % image.len();
                if n % 3 != 0 {
                    at = (0..image.len())
                        .map(|step| (at + step) % image.len())
                        .find(|at| image[*at] != 0)
                        .unwrap();
                }
                damaged[at] ^= 1 << (noise >> 60 & 7);
            }
            if n % 8 == 7 {
                damaged.truncate((noise >> 8) as usize % image.len());
            }
            check_guest_view(&damaged);
            copy_together(&damaged);
        }
    }
}

/// The images of a folder of the corpus, with their names.
fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder)];
    let mut images = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().unwrap().len() < 4 << 20 {
                images.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    images.retain(|(_, bytes)| bytes.starts_with(b"QFI\xfb"));
    images
}

#[test]
fn whatever_a_guest_offset_meets_leads_back_to_it() {
    let (mut ways, mut noise) = (0, 7_u64);
    let images = corpus("valid");
    for (name, bytes) in &images {
        let image = Image::open(bytes.as_slice(), Limits::DEFAULT).unwrap();
        for tree in image.trees().map(Result::unwrap) {
            let disk = Disk::of_tree(&image, tree).unwrap();
            let tree = tree.l1.tree;
            let extents: Vec<_> = disk
                .clusters(GuestSpan { start: GuestOffset(0), len: disk.mapped_len() })
                .map(Result::unwrap)
                .filter(|extent| extent.host.is_some())
                .collect();
            for n in 0..40 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Somewhere on the disk, or where something is.
                let offset = match extents.get((noise >> 33) as usize % extents.len().max(1)) {
                    Some(extent) if n % 4 != 0 => extent.guest.start.0 + (noise >> 7) % extent.guest.len,
                    _ => (noise >> 7) % disk.len().max(1),
                };
                let trace = disk.locate(GuestOffset(offset)).unwrap();
                let owned = |at: HostOffset, wanted: &dyn Fn(&Owner) -> bool| {
                    let found = owners(&image, at).unwrap();
                    let is_known = found.owners.iter().any(|owner| owner.tree == Some(tree) && wanted(owner));
                    assert!(is_known, "{name}: {offset:#x} of {tree} at {at}: {trace:?} {found:?}");
                };
                let holds = |owner: &Owner| {
                    owner.guest.is_some_and(|span| span.start.0 <= offset && offset - span.start.0 < span.len)
                };
                if let Some(step) = trace.l1 {
                    owned(step.at, &|owner| owner.role == Role::L1Table && owner.index == Some(step.index));
                    ways += 1;
                }
                if let Some(step) = trace.l2 {
                    owned(step.at, &|owner| {
                        owner.role == Role::L2Table && owner.index == Some(step.index) && holds(owner)
                    });
                    ways += 1;
                }
                if let Some(host) = trace.host.filter(|_| !image.has_external_data()) {
                    owned(host, &holds);
                    ways += 1;
                }
            }
        }
    }
    assert!(ways > 1000, "{ways} ways back in {} images", images.len());
    println!("{ways} ways back in {} images", images.len());
}

#[test]
fn references_are_counted_as_refcounts_are_recorded() {
    let mut clusters = 0;
    for (name, bytes) in corpus("valid") {
        let image = Image::open(bytes.as_slice(), Limits::DEFAULT).unwrap();
        // Refcounts may be behind where the dirty bit says so.
        if image.header().v3().incompatible_features.has(0) {
            continue;
        }
        let size = image.geometry().unwrap().cluster_size();
        for cluster in 0..image.geometry().unwrap().clusters_for(image.file_len()).min(400) {
            let found = owners(&image, HostOffset(cluster * size)).unwrap();
            assert_eq!(Some(found.counted), found.refcount, "{name}: cluster {cluster}: {found:?}");
            clusters += 1;
        }
    }
    assert!(clusters > 150, "{clusters} clusters");
    println!("{clusters} clusters");
}

#[test]
fn references_are_counted_as_the_check_counts_them() {
    let (mut clusters, mut compared, mut unloaded, mut wrong) = (0, 0, 0, Vec::new());
    let damaged = damages().map(|damage| {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("corpus/{}.qcow2", damage.base));
        let mut draft = Draft::new(fs::read(base).unwrap());
        (damage.breaks)(&mut draft);
        (format!("{} {}", damage.rule.code, damage.variant), draft.bytes)
    });
    for (name, mut bytes) in corpus("").into_iter().chain(damaged) {
        // As it is, and with its bitmaps not loaded.
        for autoclear in [None, Some(0)] {
            if let Some(autoclear) = autoclear {
                if bytes.len() < 96 || bytes[7] != 3 || bytes[88..96] == [0; 8] {
                    continue;
                }
                bytes[88..96].fill(autoclear);
                unloaded += 1;
            }
            let Ok(image) = Image::open(bytes.as_slice(), Limits::DEFAULT) else { continue };
            let Some(geometry) = image.geometry() else { continue };
            // Of an entry that the end of the file cuts the check makes what QEMU makes of it.
            if image.snapshots().any(|snapshot| snapshot.is_err()) {
                continue;
            }
            println!("{name}, autoclear {autoclear:?}");
            compared += check_counts(&bytes);
            let counted: BTreeMap<u64, u64> = count(&image).unwrap().into_iter().collect();
            for cluster in 0..geometry.clusters_for(image.file_len()).min(300) {
                let at = HostOffset(cluster * geometry.cluster_size());
                let found = owners(&image, at).map(|found| found.counted);
                let wanted = counted.get(&cluster).copied().unwrap_or_default();
                if found != Ok(wanted) {
                    wrong.push(format!("{name}, autoclear {autoclear:?}: {at}: {found:?}, not {wanted}"));
                }
                clusters += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let seen = format!("{compared} and {clusters} clusters, {unloaded} images without bitmaps");
    assert!(compared > 8000 && clusters > 8000 && unloaded > 80, "{seen}");
    println!("{seen}");
}

#[test]
fn each_pointer_stands_where_it_is_said() {
    let mut pointers = 0;
    for (name, bytes) in corpus("valid") {
        let image = Image::open(bytes.as_slice(), Limits::DEFAULT).unwrap();
        let visited = References::new(&image).unwrap().all(&mut |reference| {
            // The first has none; the second stands behind other fields; the third has its length among its bits.
            if !matches!(reference.role, Role::Header | Role::BitmapDirectory | Role::Compressed)
                && reference.span.len > 0
            {
                let pointer = &bytes[reference.pointer.0 as usize..][..8];
                let raw = u64::from_be_bytes(pointer.try_into().unwrap());
                assert_eq!(raw & 0x00ff_ffff_ffff_fe00, reference.span.at.0, "{name}: {reference:?}");
                pointers += 1;
            }
            Ok(())
        });
        assert_eq!(visited, Ok(()), "{name}");
    }
    assert!(pointers > 150, "{pointers} pointers");
    println!("{pointers} pointers");
}

/// QEMU reads no refcount from a block on no boundary, so that the image has none for the cluster, and zeros from one that
/// lies behind the end of the file.
#[test]
fn a_refcount_on_no_boundary_is_none() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/valid/v3-basic.qcow2");
    let mut draft = Draft::new(fs::read(path).unwrap());
    let entry = draft.refcount_table_entry(0);
    let block = draft.get(entry, 8);
    let cases = [(block, Some(1)), (block | 1, Some(1)), (block | 512, None), (0, None), (1 << 30, Some(0))];
    for (entry_is, refcount) in cases {
        draft.put_u64(entry, entry_is);
        let found = owners(&draft.image(), HostOffset(0)).unwrap();
        assert_eq!(found.refcount, refcount, "{entry_is:#x}");
    }
}

/// Where the last extent ends, all is told: what stands behind it is neither read nor a reason to fail.
#[test]
fn nothing_is_read_for_what_was_not_asked() {
    let corpus = corpus("valid");
    for (name, bytes) in &corpus {
        let image = Image::open(bytes.as_slice(), Limits::DEFAULT).unwrap();
        let Some(disk) = Disk::active(&image) else { continue };
        for start in [0, disk.len()] {
            let before = image.bytes_read();
            let none = GuestSpan { start: GuestOffset(start), len: 0 };
            assert_eq!(disk.extents(none).count() + disk.clusters(none).count(), 0, "{name}");
            assert_eq!(image.bytes_read(), before, "{name}");
        }
    }
    // A last table of clusters that are longer than what is read at a time.
    let mut draft = Draft::new(Plan::new(18, 0).write().bytes);
    let (l1, l2) = (draft.add_clusters(1), draft.add_clusters(2));
    draft.set_header(field::L1_TABLE_OFFSET, l1);
    draft.set_header(field::L1_SIZE, 1);
    draft.set_header(field::SIZE, 1 << 33);
    draft.put_u64(l1, l2);
    (0..1 << 15).for_each(|n| draft.put_u64(l2 + n * 8, 1));
    let image = draft.image();
    let disk = Disk::active(&image).unwrap();
    let whole = GuestSpan { start: GuestOffset(0), len: disk.len() };
    let before = image.bytes_read();
    assert_eq!(disk.extents(whole).count(), 1);
    let all = image.bytes_read() - before;
    let limits = Limits { read_bytes: image.bytes_read(), ..Limits::DEFAULT };
    let image = Image::open(draft.bytes.as_slice(), limits).unwrap();
    let extents: Vec<_> = Disk::active(&image).unwrap().extents(whole).collect();
    assert!(extents.iter().all(Result::is_ok), "{extents:?}");
    // The one entry of the L1 table, and the L2 table once.
    assert_eq!(all, 8 + (1 << 18));
}

/// Copies with one thread and with two, which must not make a difference.
fn copy_together(bytes: &[u8]) {
    let limits = Limits { read_bytes: 64 << 20, reads: 100_000, ..Limits::DEFAULT };
    let Ok(image) = Image::open(bytes, limits) else { return };
    for tree in image.trees().take(4).map_while(Result::ok) {
        let Some(disk) = Disk::of_tree(&image, tree) else { return };
        let range = GuestSpan { start: GuestOffset(0), len: disk.len().min(COPIED) };
        let options = CopyOptions { keep_going: true, ..CopyOptions::default() };
        let mut alone = Gathered::default();
        let alone_went = copy::<_, &[u8]>(&disk, None, range, options, &mut alone);
        let mut together = Gathered::default();
        let options = CopyOptions { threads: NonZero::new(2).unwrap(), ..options };
        let together_went = copy::<_, &[u8]>(&disk, None, range, options, &mut together);
        match (alone_went, together_went) {
            (Ok(one), Ok(other)) => {
                assert_eq!(alone.bytes.len() as u64, range.len);
                assert!(one == other && alone == together, "threads make a difference");
            }
            // The budget is shared by both.
            (Err(_) | Ok(_), Err(_)) => {}
            (Err(error), Ok(_)) => panic!("only alone: {error}"),
        }
    }
}

#[derive(Default, PartialEq, Eq)]
struct Gathered {
    bytes: Vec<u8>,
    faults: Vec<Fault>,
}

impl Sink for Gathered {
    fn bytes(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(at.0, self.bytes.len() as u64);
        self.bytes.extend(bytes);
        Ok(())
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        assert_eq!(range.start.0, self.bytes.len() as u64);
        self.bytes.resize(self.bytes.len() + range.len as usize, 0);
        Ok(())
    }

    fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        self.faults.push(*fault);
        Ok(())
    }
}
