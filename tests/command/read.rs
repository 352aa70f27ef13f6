//! `read -o`: what becomes of the output file, whatever ends the command.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::format::snapshot::extra_field;
use qcow2_inspect::units::HostOffset;
use qcow2_testkit::Draft;

use crate::process::{Ran, command, corpus, image, is_ignored, run, skipped};

const CLUSTER_BITS: u32 = 21;
/// What any command has time for before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read(image: &Path, output: &Path, options: &[&str]) -> Ran {
    let mut command = command(&["read"]);
    command.arg(image).arg("-o").arg(output).args(options);
    crate::process::finish(command)
}

/// Refused with one line that ends in this reason.
fn refused(ran: Ran, reason: &str) {
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), b"".as_slice()), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.trim_end().ends_with(reason), "{} is not {reason}", ran.stderr);
}

/// An image whose clusters are all decoded from one stream of zeros, which takes minutes and no room.
fn endless(path: &Path) {
    let at = |cluster: u64| HostOffset(cluster << CLUSTER_BITS);
    let header = HeaderV2 {
        magic: MAGIC,
        version: 3,
        cluster_bits: ClusterBits(CLUSTER_BITS),
        size: ByteSize(1 << 39),
        l1_size: 1,
        l1_table_offset: at(1),
        refcount_table_offset: at(4),
        refcount_table_clusters: 1,
        ..Default::default()
    };
    let v3 = HeaderV3 { header_length: 104, refcount_order: 4, ..Default::default() };
    let mut stream = DeflateEncoder::new(Vec::new(), Compression::default());
    stream.write_all(&vec![0; 1 << CLUSTER_BITS]).unwrap();
    let stream = stream.finish().unwrap();
    let sectors = u64::try_from(stream.len()).unwrap().div_ceil(512);
    let entry = 1_u64 << 62 | (sectors - 1) << (70 - CLUSTER_BITS) | at(3).0;
    let file = File::create(path).unwrap();
    file.write_all_at(&[header.encode(), v3.encode()].concat(), 0).unwrap();
    file.write_all_at(&(1_u64 << 63 | at(2).0).to_be_bytes(), at(1).0).unwrap();
    file.write_all_at(&entry.to_be_bytes().repeat(1 << (CLUSTER_BITS - 3)), at(2).0).unwrap();
    file.write_all_at(&stream, at(3).0).unwrap();
    file.set_len(at(5).0).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("endless.qcow2");
    endless(&image);
    for (signal, number) in [("INT", 2), ("TERM", 15), ("KILL", 9)] {
        if is_ignored(number) {
            skipped(signal, "it is ignored here");
            continue;
        }
        let out = folder.path().join(signal);
        fs::create_dir(&out).unwrap();
        let mut command = command(&["read"]);
        command.arg(&image).arg("-o").arg(out.join("disk.raw")).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let start = Instant::now();
        // In the middle: it has computed for a while, and has work for minutes.
        while cpu_ticks(child.id()) < 30 {
            assert!(child.try_wait().unwrap().is_none() && start.elapsed() < PATIENCE, "{signal}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let is_named = !names(&out).is_empty();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "{signal}");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(
            status.signal() == Some(number) || is_named && status.code() == Some(1),
            "{signal}: {status}"
        );
        if is_named && signal == "KILL" {
            skipped("SIGKILL", "the file system knows no files without names");
        } else {
            assert!(names(&out).is_empty(), "{signal}: {:?}", names(&out));
        }
    }
}

/// The processor time of a process in hundredths of a second, which anybody may know.
fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (image, place) = (corpus("valid/v3-basic"), folder.path().join("disk.raw"));
    assert_eq!(read(&image, &place, &[]).report(), "");
    let disk = fs::read(&place).unwrap();
    fs::write(&place, "mine").unwrap();
    refused(read(&image, &place, &[]), "disk.raw: is there already; --force replaces it");
    assert_eq!(fs::read(&place).unwrap(), b"mine");
    assert_eq!(read(&image, &place, &["--force"]).report(), "");
    assert!(fs::read(&place).unwrap() == disk);

    let copy = folder.path().join("copy.qcow2");
    fs::copy(&image, &copy).unwrap();
    refused(read(&copy, &copy, &["--force"]), "copy.qcow2: is the image itself");
    let link = folder.path().join("link");
    symlink(&copy, &link).unwrap();
    refused(read(&copy, &link, &["--force"]), "link: is the image itself");
    let nowhere = folder.path().join("nowhere");
    symlink(folder.path().join("none"), &nowhere).unwrap();
    refused(read(&copy, &nowhere, &[]), "nowhere: File exists");
    assert_eq!(names(folder.path()), ["copy.qcow2", "disk.raw", "link", "nowhere"]);
}

#[test]
fn a_place_that_takes_no_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let image = corpus("valid/v3-basic");
    let to = |place: &str, reason: &str| refused(read(&image, Path::new(place), &["--force"]), reason);
    to("/dev/full", "/dev/full: is no regular file");
    to(folder.path().to_str().unwrap(), ": is no regular file");
    to(folder.path().join("none/disk.raw").to_str().unwrap(), "none/disk.raw: No such file or directory");
    to("/", "/: is no regular file");
    // Where not even root may make a file.
    if Path::new("/proc/self").exists() {
        let ran = read(&image, Path::new("/proc/self/disk.raw"), &[]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
    }
    let mut full = command(&["read", "-o", "-"]);
    full.arg(&image).stdout(File::options().write(true).open("/dev/full").unwrap());
    let ran = full.output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("No space left on device"));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("disk.raw");
    // A file may not get longer than this, which is less than the disk has.
    let mut shell = Command::new("sh");
    let program = command::<&str>(&[]).get_program().to_owned();
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" read \"$1\" -o \"$2\""]);
    let ran = shell.arg(program).arg(corpus("valid/v3-basic")).arg(&place).output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(told.trim_end().ends_with("File too large"), "{told}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_limit_on_output_counts_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (image, place) = (corpus("valid/v3-basic"), folder.path().join("disk.raw"));
    let map = run(&["map", "--format=json", image.to_str().unwrap()]).json();
    let (zeros, data): (Vec<_>, Vec<_>) =
        map.as_array().unwrap().iter().partition(|extent| extent["zero"] == true);
    for (extent, least) in [(data[0], 100), (zeros[0], 0)] {
        let range = ["-s", &extent["start"].to_string(), "-l", "100"];
        for limit in [0, 99, 100] {
            let limit_option = format!("output_bytes={limit}");
            let ran = read(&image, &place, &[&range[..], &["--limit", &limit_option]].concat());
            if limit < least {
                refused(ran, &format!("disk.raw: the limit output_bytes of {limit} is spent"));
                assert!(names(folder.path()).is_empty());
            } else {
                assert_eq!(ran.report(), "");
                fs::remove_file(&place).unwrap();
            }
        }
    }
}

#[test]
fn a_disk_of_16_tib_is_a_sparse_file_at_once() {
    const LEN: u64 = 16 << 40;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("disk.qcow2");
    let mut bytes = image("valid/v3-size-0");
    bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&LEN.to_be_bytes());
    // An L1 table for all of it, with nothing in it.
    let (entries, table) = (1_u32 << 15, 1_u64 << 20);
    bytes[36..40].copy_from_slice(&entries.to_be_bytes());
    bytes[40..48].copy_from_slice(&table.to_be_bytes());
    fs::write(&source, bytes).unwrap();
    File::options().write(true).open(&source).unwrap().set_len(table + u64::from(entries) * 8).unwrap();
    // The one holds so much, as a rule, and the other does not.
    let memory = Path::new("/dev/shm");
    let places = [folder.path().to_owned()].into_iter().chain(memory.is_dir().then(|| memory.to_owned()));
    for within in places {
        let within = tempfile::tempdir_in(within).unwrap();
        let place = within.path().join("disk.raw");
        let ran = read(&source, &place, &[]);
        if ran.code == Some(0) {
            let file = place.metadata().unwrap();
            assert_eq!((file.len(), ran.stderr.as_str()), (LEN, ""));
            assert!(file.blocks() < 1024, "{} blocks", file.blocks());
        } else {
            refused(ran, &format!("cannot have {LEN} bytes there: File too large"));
            assert!(names(within.path()).is_empty());
        }
    }
}

#[test]
fn nothing_is_read_behind_the_end() {
    let image = corpus("valid/v3-512");
    let size =
        run(&["info", "--format=json", image.to_str().unwrap()]).json()["virtual_size"].as_u64().unwrap();
    let from = |start: u64| run(&["read", image.to_str().unwrap(), "-o", "-", "-s", &start.to_string()]);
    assert_eq!((from(size).code, from(size).stdout.len()), (Some(0), 0));
    let reason = format!("the disk ends at {size}, so that nothing is at --start-offset {}", size + 1);
    refused(from(size + 1), &reason);
}

/// The disk of this snapshot takes all offsets up to 2^64, so that there is no place for its state.
#[test]
fn vm_state_past_the_last_offset_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, place) = (folder.path().join("disk.qcow2"), folder.path().join("state"));
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    draft.set_snapshot_extra(0, extra_field::DISK_SIZE, u64::MAX - 511);
    draft.set_snapshot_extra(0, extra_field::VM_STATE_SIZE_LARGE, 4096);
    let id = String::from_utf8(draft.snapshot(0).id).unwrap();
    fs::write(&source, &draft.bytes).unwrap();
    let ran = read(&source, &place, &["--vm-state", "--snapshot", &id]);
    refused(ran, "the disk goes on up to 2^64, so that there is no VM state behind it");
    assert!(!place.exists());
}

#[test]
fn a_data_file_is_one_that_the_user_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let image = at("disk.qcow2");
    fs::copy(corpus("valid/v3-data-file"), &image).unwrap();
    let place = at("disk.raw");
    let data = |path: PathBuf| read(&image, &place, &["--data-file", path.to_str().unwrap()]);
    // Even where a file with the name that the image has for it lies beside it.
    let named = run(&["info", "--format=json", image.to_str().unwrap()]).json();
    let named = named["data_file"].as_str().unwrap().to_owned();
    fs::write(at(&named), vec![0x5a; 1 << 20]).unwrap();
    let reason =
        format!("the guest's data is in an external data file (\"{named}\"); --data-file says which");
    refused(read(&image, &place, &[]), &reason);
    fs::write(at("other"), vec![0xa5; 1 << 20]).unwrap();
    assert_eq!(data(at("other")).code, Some(0));
    let disk = fs::read(&place).unwrap();
    assert!(disk.contains(&0xa5) && !disk.contains(&0x5a));
    // A name of the data file is no place for its guest view, whatever is asked for.
    symlink("other", at("link")).unwrap();
    for (output, named) in [("other", "other"), ("link", "other"), ("other", "link")] {
        let ran = read(&image, &at(output), &["--force", "--data-file", at(named).to_str().unwrap()]);
        refused(ran, &format!("{output}: is the data file itself"));
        assert!(fs::read(at("other")).unwrap() == vec![0xa5; 1 << 20]);
    }
    fs::remove_file(&place).unwrap();
    refused(data(at("none")), "none: No such file or directory");
    refused(data(folder.path().to_owned()), ": is a directory, not a file or a block device");
    refused(data("/dev/zero".into()), "/dev/zero: is a character device, not a file or a block device");
    assert!(!place.exists());
}
