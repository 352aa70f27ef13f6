//! Advice that names a repair by qemu-img, followed on copies: nothing that could still be read may be gone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;

use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::guest::{CopyOptions, DataFile, Disk, Fault, Sink, copy};
use qcow2_inspect::rules::catalogue;
use qcow2_inspect::rules::named::{TABLE_MAY_BE_LOST, TABLE_OVERWRITTEN};
use qcow2_inspect::units::{GuestOffset, GuestSpan};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::{Draft, damages};

/// The guest's bytes, with `None` for what cannot be read.
#[derive(Default)]
struct Read(Vec<Option<u8>>);

impl Sink for Read {
    fn bytes(&mut self, _: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.0.extend(bytes.iter().copied().map(Some));
        Ok(())
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        self.0.resize(self.0.len() + usize::try_from(range.len).unwrap(), Some(0));
        Ok(())
    }

    fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        let start = usize::try_from(fault.guest.start.0).unwrap();
        let len = usize::try_from(fault.guest.len).unwrap();
        self.0.iter_mut().skip(start).take(len).for_each(|byte| *byte = None);
        Ok(())
    }
}

/// What each tree of an image holds, by the snapshot's id; the active one has none.
fn trees(bytes: &[u8]) -> BTreeMap<Vec<u8>, Vec<Option<u8>>> {
    let Ok(image) = Image::open(bytes, Limits::default()) else { return BTreeMap::new() };
    let snapshots = image.snapshots().map_while(Result::ok);
    let disks = snapshots.map(|snapshot| (snapshot.id.clone(), Disk::of_snapshot(&image, &snapshot)));
    let disks = [(Vec::new(), Disk::active(&image))].into_iter().chain(disks);
    let mut trees = BTreeMap::new();
    for (id, disk) in disks {
        let Some(disk) = disk.filter(|disk| disk.len() <= 64 << 20) else { continue };
        let mut read = Read::default();
        let range = GuestSpan { start: GuestOffset(0), len: disk.len() };
        let options = CopyOptions { keep_going: true, without_backing: true, ..CopyOptions::default() };
        if copy(&disk, None::<&DataFile<&[u8]>>, range, options, &mut read).is_ok() {
            trees.insert(id, read.0);
        }
    }
    trees
}

/// The repair that a piece of advice names, where it does not warn of it.
fn repair(advice: &str) -> Option<&'static str> {
    if advice.contains("do not run") {
        return None;
    }
    ["all", "leaks"].into_iter().find(|what| advice.contains(&format!("qemu-img check -r {what}`")))
}

#[test]
fn no_repair_that_is_advised_destroys_what_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.qcow2");
    let (mut tried, mut gone) = (Vec::new(), Vec::new());
    for rule in catalogue() {
        let Some(what) = repair(rule.advice) else { continue };
        for damage in damages().filter(|damage| damage.rule == rule) {
            let base = format!("{}/corpus/{}.qcow2", env!("CARGO_MANIFEST_DIR"), damage.base);
            let mut draft = Draft::new(fs::read(base).unwrap());
            (damage.breaks)(&mut draft);
            let name = format!("{} {} -r {what}", rule.code, damage.variant);
            // Where another finding says that a table may be lost, all advice is to leave the image alone.
            let mut is_lost = false;
            check(&draft.image(), &CheckOptions::default(), &mut |finding: Finding| {
                is_lost |= [&TABLE_MAY_BE_LOST, &TABLE_OVERWRITTEN].contains(&finding.rule);
            });
            if is_lost {
                continue;
            }
            let before = trees(&draft.bytes);
            fs::write(&path, &draft.bytes).unwrap();
            let mut qemu = Command::new("qemu-img");
            qemu.args(["check", "-r", what, "-f", "qcow2"]).arg(&path).output().unwrap();
            let after = trees(&fs::read(&path).unwrap());
            for (id, read) in before {
                let now = after.get(&id);
                let lost = read
                    .iter()
                    .enumerate()
                    .filter(|(at, byte)| byte.is_some() && now.and_then(|now| now.get(*at)) != Some(*byte));
                let count = lost.count();
                if count != 0 {
                    gone.push(format!("{name}: {count} bytes of {:?}", String::from_utf8_lossy(&id)));
                }
            }
            tried.push(name);
        }
    }
    assert!(tried.len() > 10, "only {tried:?}");
    assert!(gone.is_empty(), "{gone:#?}");
}
