//! What the comparisons of the guest's view share: the image without its backing file, and with a snapshot applied.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::bytes::{FieldValue, Image};
use crate::factory::{KEYS, Sample};

/// How many snapshots of an image are compared.
const SNAPSHOTS: usize = 4;

/// A tree of an image, and an image of which it is the active one and which has no backing file.
pub(crate) struct View {
    /// The id of the snapshot; `None` for the active tree.
    pub(crate) snapshot: Option<String>,
    /// The image, beside the first one, so that its data file is found.
    pub(crate) path: PathBuf,
    needs_key: bool,
}

/// The active tree of an image, and some of its snapshots.
pub(crate) fn views(sample: &Sample) -> Vec<View> {
    // A copy is not stored as the original is, which `qemu-img map` looks at.
    let active = if sample.has_backing { detached(sample, "detached.qcow2") } else { sample.path.clone() };
    let view = |snapshot, path| View { snapshot, path, needs_key: sample.needs_key };
    let mut views = vec![view(None, active)];
    // Whoever opens a disk for writing with a data file at hand could write to it.
    if sample.slow_to_walk {
        return views;
    }
    for snapshot in Image::open(&sample.path).snapshots().into_iter().take(SNAPSHOTS) {
        let id = snapshot.fields.into_iter().find_map(|field| match field.value {
            FieldValue::Text(id) if field.name == "id_str" => Some(id),
            _ => None,
        });
        let id = id.unwrap();
        let copy = detached(sample, &format!("snapshot-{id}.qcow2"));
        if !sample.v2 {
            // Bitmaps that are in step with the disk would keep it from changing.
            File::options().write(true).open(&copy).unwrap().write_all_at(&[0], 95).unwrap();
        }
        let mut command = Command::new("qemu-img");
        command.args(["snapshot", "-a", &id]);
        if sample.needs_key {
            view(None, copy.clone()).name_to(&mut command);
        } else {
            command.arg(&copy);
        }
        // With narrow refcounts a cluster cannot have one owner more.
        let is_full = sample.name.starts_with("refcount-2-");
        if is_full && !command.output().unwrap().status.success() {
            continue;
        }
        if !is_full {
            succeed(&mut command);
        }
        views.push(view(Some(id), copy));
    }
    views
}

/// A copy without a backing file.
fn detached(sample: &Sample, name: &str) -> PathBuf {
    let copy = sample.path.with_file_name(name);
    fs::copy(&sample.path, &copy).unwrap();
    File::options().write(true).open(&copy).unwrap().write_all_at(&[0; 12], 8).unwrap();
    copy
}

impl View {
    /// Adds the image to a command of `qemu-img`, with its key.
    pub(crate) fn name_to(&self, command: &mut Command) {
        // A data file is looked for from there.
        command.current_dir(self.path.parent().unwrap());
        if self.needs_key {
            let path = self.path.display();
            let options = format!("driver=qcow2,encrypt.key-secret=key,file.filename={path}");
            command.args(&KEYS[..2]).args(["--image-opts", &options]);
        } else {
            command.args(["-f", "qcow2"]).arg(&self.path);
        }
    }

    /// Our command on this tree of the first image.
    pub(crate) fn ours(&self, command: &str, sample: &Sample) -> Command {
        let mut ours = ours(command, &sample.path);
        if let Some(id) = &self.snapshot {
            ours.args(["--snapshot", id]);
        }
        ours
    }

    /// What to call it.
    pub(crate) fn tree(&self) -> String {
        self.snapshot.as_ref().map_or_else(|| "the active tree".to_owned(), |id| format!("snapshot {id}"))
    }
}

/// Our command on an image.
pub(crate) fn ours(command: &str, path: &Path) -> Command {
    let program = env::var_os(crate::ours::PROGRAM).expect("cargo says where the command is");
    let mut ours = Command::new(program);
    ours.arg(command).arg(path);
    ours
}

/// Runs a command that has to succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
