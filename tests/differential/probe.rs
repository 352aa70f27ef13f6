//! What `qemu-img` takes a raw file for by its first bytes, against what we say that it would.

use std::fs;
use std::path::Path;
use std::process::Command;

use qcow2_inspect::format::probe::disk_image;

/// The rest of a descriptor that QEMU opens, and the disk that it names.
const REST: &str = "CID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 4 FLAT \"flat\" 0\n";
const CLOOP: &str = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";

/// Whether QEMU takes the file for anything but raw: it says so, or cannot open it as what it takes it for.
fn is_image(path: &Path) -> bool {
    let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).output().unwrap();
    let format = || serde_json::from_slice::<serde_json::Value>(&info.stdout).unwrap()["format"].clone();
    !info.status.success() || format() != "raw"
}

fn comment_of(len: usize) -> String {
    format!("#{}\nversion=1\n", "x".repeat(len - 2))
}

#[test]
fn first_bytes_are_taken_for_what_qemu_takes_them_for() {
    let texts = [
        ("version=1\n", true),
        ("version=2\n", true),
        ("version=3\r\n", true),
        ("version=4\n", false),
        ("version=1 \n", false),
        ("version=1\r\r\n", false),
        ("version=11\n", false),
        ("Version=1\n", false),
        (" version=1\n", false),
        ("# x\nversion=1\n", true),
        ("# x\r\n \n   \r\n#\nversion=1\r\n", true),
        ("\nversion=1\n", false),
        ("\r\nversion=1\n", false),
        (" \r\r\nversion=1\n", false),
        (" x\nversion=1\n", false),
        ("# version=1\n", false),
        ("#!/bin/sh\nversion=1\n", true),
        (CLOOP, true),
        ("#!/bin/sh\necho\n", false),
        // The version ends with the 512 bytes, or one behind them.
        (&comment_of(502), true),
        (&comment_of(503), false),
    ];
    let binaries: [(usize, &[u8], bool); 12] = [
        (0, b"QFI\xfb\0\0\0\x01", true),
        (0, b"QFI\xfb\0\0\0\x03", true),
        (0, b"QED\0", true),
        (0, b"KDMV", true),
        (0, b"COWD", true),
        (0, b"vhdxfile", true),
        (0, b"conectix", true),
        (0x40, b"\x7f\x10\xda\xbe", true),
        (0, b"WithoutFreeSpace\x02\0\0\0", true),
        (0, b"WithouFreSpacExt\x02\0\0\0", true),
        (510, b"\x55\xaa", false),
        (0, b"XFSB", false),
    ];
    let bochs = [&b"Bochs Virtual HD Image"[..], &[0; 10], b"Redolog", &[0; 9], b"Growing", &[0; 9]];
    let bochs = [&bochs.concat(), &b"\0\0\x02\0"[..]].concat();
    let texts = texts.map(|(text, wanted)| (format!("{text}{REST}").into_bytes(), wanted));
    let binaries = binaries.map(|(at, bytes, wanted)| ([&vec![0; at], bytes].concat(), wanted));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("flat"), [0; 2048]).unwrap();
    let path = dir.path().join("disk");
    for (mut bytes, wanted) in texts.into_iter().chain(binaries).chain([(bochs, true)]) {
        bytes.resize(4096, 0);
        fs::write(&path, &bytes).unwrap();
        let shown = bytes[..100].escape_ascii();
        assert_eq!(is_image(&path), wanted, "qemu-img: {shown}");
        assert_eq!(disk_image(&bytes[..512]).is_some(), wanted, "we: {shown}");
    }
}
