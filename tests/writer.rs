//! Proves the image writer against QEMU: what it writes is valid, and is what it was told to write.
#![expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use qcow2_inspect::format::bitmap::BitmapFlags;
use qcow2_testkit::Model;
use qcow2_testkit::writer::{Backing, EntryPlan, Plan, SnapshotPlan, Written};
use serde_json::Value;

/// Images that are made.
const MODELS: u64 = 400;
/// The largest disk whose contents are compared.
const MAX_CONTENT: u64 = 4 << 20;
/// Disks whose contents are compared, at most.
const CONTENTS: u64 = 160;

#[test]
fn qemu_agrees_with_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (next, compared) = (AtomicU64::new(0), AtomicU64::new(0));
    let seen = Mutex::new(Seen::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= MODELS {
                break;
            }
            let plan = Model::from_seed(seed).unwrap().plan();
            seen.lock().unwrap().add(&plan);
            let files = Files::write(&plan, dir.path().join(seed.to_string()), seed);
            files.check(&plan);
            files.info(&plan);
            if plan.size <= MAX_CONTENT && compared.load(Ordering::Relaxed) < CONTENTS {
                compared.fetch_add(files.contents(&plan), Ordering::Relaxed);
                seen.lock().unwrap().add_contents(&plan);
            }
            fs::remove_dir_all(&files.dir).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let compared = compared.into_inner();
    println!("{MODELS} images; the contents of {compared} disks");
    assert!(compared >= 50);
    seen.into_inner().unwrap().judge();
}

/// An image with the files that belong to it.
struct Files {
    seed: u64,
    dir: PathBuf,
    image: PathBuf,
    written: Written,
}

impl Files {
    fn write(plan: &Plan, dir: PathBuf, seed: u64) -> Self {
        fs::create_dir(&dir).unwrap();
        let written = plan.write();
        let image = dir.join("image.qcow2");
        write_sparse(&image, &written.bytes);
        let path = |name: &[u8]| dir.join(std::str::from_utf8(name).unwrap());
        if let Some(backing) = &plan.backing {
            fs::write(path(&backing.name), backing.bytes()).unwrap();
        }
        if let Some(data) = plan.data_file() {
            let mut file = File::create(path(&data.name)).unwrap();
            file.set_len(plan.size).unwrap();
            for (at, bytes) in plan.data_file_clusters() {
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&bytes).unwrap();
            }
        }
        Self { seed, dir, image, written }
    }

    /// Runs qemu-img, which has to be content.
    fn qemu_img(&self, args: &[&str]) -> Output {
        // QEMU takes the name of a data file as it stands, from where it runs.
        let output = Command::new("qemu-img").args(args).current_dir(&self.dir).output().unwrap();
        let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "seed {}: {args:?}: {}{}", self.seed, texts[0], texts[1]);
        assert_eq!(texts[1], "", "seed {}: {args:?}", self.seed);
        output
    }

    fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output=json", self.image.to_str().unwrap()]].concat();
        serde_json::from_slice(&self.qemu_img(&args).stdout).unwrap()
    }

    fn check(&self, plan: &Plan) {
        let report = self.json(&["check"]);
        for key in ["corruptions", "leaks"] {
            assert_eq!(report.get(key), None, "seed {}: {report}", self.seed);
        }
        assert_eq!(report["check-errors"], 0, "seed {}: {report}", self.seed);
        let active = plan.active.l1.values().flat_map(|table| plan.tables[*table].entries.values());
        let compressed = active.filter(|entry| matches!(entry, EntryPlan::Compressed(_))).count();
        assert_eq!(
            report["compressed-clusters"].as_u64().unwrap_or(0),
            compressed as u64,
            "seed {}",
            self.seed
        );
        let last = self.written.refcounts.iter().rposition(|count| *count > 0).unwrap() as u64;
        let end = (last + 1) << plan.cluster_bits;
        assert_eq!(report["image-end-offset"], end, "seed {}: {report}", self.seed);
    }

    fn info(&self, plan: &Plan) {
        let report = self.json(&["info"]);
        let data = &report["format-specific"]["data"];
        let context = format!("seed {}: {report:#}", self.seed);
        assert_eq!(report["virtual-size"], plan.size / 512 * 512, "{context}");
        assert_eq!(report["cluster-size"], 1_u64 << plan.cluster_bits, "{context}");
        assert_eq!(data["refcount-bits"], 1 << plan.refcount_order(), "{context}");
        assert_eq!(data["compat"], if plan.v3.is_some() { "1.1" } else { "0.10" }, "{context}");
        assert_eq!(data["compression-type"], if plan.zstd() { "zstd" } else { "zlib" }, "{context}");
        if let Some(v3) = &plan.v3 {
            assert_eq!(data["lazy-refcounts"], v3.lazy_refcounts, "{context}");
            assert_eq!(data["extended-l2"], v3.extended_l2, "{context}");
            assert_eq!(report["dirty-flag"], v3.dirty, "{context}");
        }
        let text = |bytes: &[u8]| Value::from(String::from_utf8(bytes.to_vec()).unwrap());
        let name = |backing: &Backing| text(&backing.name);
        assert_eq!(report["backing-filename"], plan.backing.as_ref().map_or(Value::Null, name), "{context}");
        let name = plan.data_file().map_or(Value::Null, |file| text(&file.name));
        assert_eq!(data["data-file"], name, "{context}");
        let raw = plan.data_file().map_or(Value::Null, |file| file.raw.into());
        assert_eq!(data["data-file-raw"], raw, "{context}");

        let none = Vec::new();
        let snapshots = report["snapshots"].as_array().unwrap_or(&none);
        assert_eq!(snapshots.len(), plan.snapshots.len(), "{context}");
        for (had, wanted) in snapshots.iter().zip(&plan.snapshots) {
            same_snapshot(had, wanted, &context);
        }
        let bitmaps = data["bitmaps"].as_array().unwrap_or(&none);
        assert_eq!(bitmaps.len(), plan.bitmaps.len(), "{context}");
        for (had, wanted) in bitmaps.iter().zip(&plan.bitmaps) {
            assert_eq!(had["name"], text(&wanted.name), "{context}");
            assert_eq!(had["granularity"], 1_u64 << wanted.granularity_bits, "{context}");
            let flags: Vec<&str> = wanted.flags.names().collect();
            assert_eq!(had["flags"], serde_json::json!(flags), "{context}");
        }
    }

    /// Compares what the guest reads, now and in each snapshot, and answers how many disks that were.
    fn contents(&self, plan: &Plan) -> u64 {
        let ids = plan.snapshots.iter().map(|snapshot| Some(String::from_utf8(snapshot.id.clone()).unwrap()));
        let out = self.dir.join("out.raw");
        let mut compared = 0;
        for (tree, id) in plan.trees().zip(std::iter::once(None).chain(ids)) {
            let snapshot = id.map(|id| format!("snapshot.id={id}"));
            let mut args = vec!["convert", "-O", "raw"];
            args.extend(snapshot.iter().flat_map(|snapshot| ["-l", snapshot]));
            args.extend([self.image.to_str().unwrap(), out.to_str().unwrap()]);
            self.qemu_img(&args);
            let had = fs::read(&out).unwrap();
            let wanted = &plan.guest(tree)[..(plan.size / 512 * 512) as usize];
            let differ = had.iter().zip(wanted).position(|(had, wanted)| had != wanted);
            assert_eq!((differ, had.len()), (None, wanted.len()), "seed {}: {args:?}: {plan:#?}", self.seed);
            compared += 1;
        }
        compared
    }
}

fn same_snapshot(had: &Value, wanted: &SnapshotPlan, context: &str) {
    assert_eq!(had["id"].as_str().unwrap().as_bytes(), wanted.id, "{context}");
    assert_eq!(had["name"].as_str().unwrap().as_bytes(), wanted.name, "{context}");
    assert_eq!(had["date-sec"], wanted.date_sec, "{context}");
    assert_eq!(had["date-nsec"], wanted.date_nsec, "{context}");
    assert_eq!(had["vm-clock-sec"], wanted.vm_clock_nsec / 1_000_000_000, "{context}");
    assert_eq!(had["vm-clock-nsec"], wanted.vm_clock_nsec % 1_000_000_000, "{context}");
    assert_eq!(had["vm-state-size"], wanted.vm_state_size, "{context}");
    if wanted.extra_len >= 24 && wanted.icount != u64::MAX {
        // QEMU's number has a sign.
        assert_eq!(had["icount"].as_i64().unwrap() as u64, wanted.icount, "{context}");
    } else {
        assert_eq!(had.get("icount"), None, "{context}");
    }
}

/// Writes a file without the clusters of zeros.
fn write_sparse(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (n, part) in bytes.chunks(64 << 10).enumerate() {
        if part.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(n as u64 * (64 << 10))).unwrap();
            file.write_all(part).unwrap();
        }
    }
}

/// What the images had, so that no feature goes missing unseen.
#[derive(Default)]
struct Seen {
    features: std::collections::BTreeMap<String, u32>,
}

impl Seen {
    fn add(&mut self, plan: &Plan) {
        let mut seen = |name: String, when: bool| *self.features.entry(name).or_default() += u32::from(when);
        seen(format!("cluster_bits {}", plan.cluster_bits), true);
        seen(format!("refcount_order {}", plan.refcount_order()), true);
        seen("version 2".into(), plan.v3.is_none());
        seen("backing file".into(), plan.backing.is_some());
        seen("no end marker".into(), !plan.end_marker);
        seen("unknown extension".into(), !plan.unknown_extensions.is_empty());
        seen("feature names".into(), plan.feature_names > 0);
        seen("no disk".into(), plan.size == 0);
        seen("disk of half sectors".into(), !plan.size.is_multiple_of(512));
        if let Some(v3) = &plan.v3 {
            seen(format!("header_length {}", v3.header_length), true);
            seen("extended L2".into(), v3.extended_l2);
            seen("zstd".into(), v3.zstd);
            seen("data file".into(), v3.data_file.is_some());
            seen("raw data file".into(), v3.data_file.as_ref().is_some_and(|file| file.raw));
            seen("unknown features".into(), v3.more_compatible | v3.more_autoclear != 0);
        }
        let uses = qcow2_testkit::writer::Uses::of(plan);
        seen("shared table".into(), uses.tables.iter().any(|uses| *uses > 1));
        seen("shared cluster".into(), uses.clusters.iter().any(|uses| *uses > 1));
        seen("shared stream".into(), uses.streams.iter().any(|uses| *uses > 1));
        let entries = || plan.tables.iter().flat_map(|table| table.entries.values());
        seen("zero".into(), entries().any(|entry| matches!(entry, EntryPlan::Zero)));
        seen("zero allocated".into(), entries().any(|entry| matches!(entry, EntryPlan::ZeroAllocated(_))));
        let compressed = entries().filter(|entry| matches!(entry, EntryPlan::Compressed(_))).count();
        seen("several streams".into(), compressed > 1);
        for snapshot in &plan.snapshots {
            seen(format!("extra_data_size {}", snapshot.extra_len.min(25)), true);
            seen("VM state".into(), snapshot.vm_state_size > 0);
            seen("VM state over 4 GiB".into(), snapshot.vm_state_size > u32::MAX.into());
            seen("smaller disk".into(), snapshot.disk_size < plan.size);
            seen("icount".into(), snapshot.icount != u64::MAX);
        }
        for bitmap in &plan.bitmaps {
            seen("in-use bitmap".into(), bitmap.flags.has(BitmapFlags::IN_USE));
            seen("auto bitmap".into(), bitmap.flags.has(BitmapFlags::AUTO));
            seen("large bitmap".into(), bitmap.table.len() > 1);
        }
    }

    /// What the images had whose contents were compared.
    fn add_contents(&mut self, plan: &Plan) {
        let used =
            || plan.trees().flat_map(|tree| tree.l1.values()).flat_map(|table| &plan.tables[*table].entries);
        let compressed = used().any(|(_, entry)| matches!(entry, EntryPlan::Compressed(_)));
        let subclusters =
            used().any(|(_, entry)| matches!(entry, EntryPlan::Subclusters { cluster: Some(_), .. }));
        let mut seen =
            |name: &str, when: bool| *self.features.entry(name.into()).or_default() += u32::from(when);
        seen("contents: backing file", plan.backing.is_some());
        seen("contents: data file", plan.data_file().is_some());
        seen("contents: subclusters", subclusters);
        seen("contents: deflate", compressed && !plan.zstd());
        seen("contents: zstd", compressed && plan.zstd());
        seen("contents: version 2", plan.v3.is_none());
        seen("contents: snapshots", !plan.snapshots.is_empty());
    }

    fn judge(&self) {
        println!("{:#?}", self.features);
        for bits in 9..=21 {
            assert!(self.features.contains_key(&format!("cluster_bits {bits}")), "no cluster_bits {bits}");
        }
        let missing: Vec<_> = self.features.iter().filter(|(_, count)| **count == 0).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(self.features.len() >= 64, "only {} features", self.features.len());
    }
}
