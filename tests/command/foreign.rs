//! Files that are no qcow2 images: the one line says what they look like.

use std::fs;

use crate::process::refuses;

/// Bytes at an offset.
type Piece = (usize, &'static [u8]);

/// What a file looks like, how long it is, and what stands in it between zeros.
const FOREIGN: &[(&str, usize, &[Piece])] = &[
    ("an empty file", 0, &[]),
    ("zeros: perhaps a raw image", 4096, &[]),
    ("raw data", 4096, &[(100, b"\x01\x02\x03")]),
    ("text", 6, &[(0, b"hello\n")]),
    ("text", 3, &[(0, b"QFI")]),
    ("raw data", 4, &[(0, b"QFI\xfa")]),
    ("a qcow image of version 1", 48, &[(0, b"QFI\xfb\0\0\0\x01")]),
    ("a QED image", 64, &[(0, b"QED\0")]),
    ("a VMDK image", 512, &[(0, b"KDMV\x01")]),
    ("a VMDK image (ESX server sparse)", 512, &[(0, b"COWD")]),
    ("a VMDK descriptor", 40, &[(0, b"# Disk DescriptorFile\nversion=1\n")]),
    ("a VMDK descriptor", 40, &[(0, b"# a disk\n \nversion=3\r\nCID=1\n")]),
    // A script that QEMU takes for one.
    ("a VMDK descriptor", 512, &[(0, b"#!/bin/sh\nversion=1\n")]),
    ("a script", 512, &[(0, b"#!/bin/sh\nexit\n")]),
    ("a cloop image", 512, &[(0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660")]),
    ("a user-mode Linux COW image", 2048, &[(0, b"OOOM\0\0\0\x02")]),
    ("a VDI image", 512, &[(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n"), (0x40, b"\x7f\x10\xda\xbe")]),
    ("a VHD image", 2048, &[(0, b"conectix"), (1536, b"conectix")]),
    // The guest's boot sector does not hide the footer.
    ("a VHD image of a fixed size", 2048, &[(510, b"\x55\xaa"), (1536, b"conectix")]),
    ("a VHDX image", 1024, &[(0, b"vhdxfile")]),
    ("a Parallels image", 64, &[(0, b"WithoutFreeSpace")]),
    ("an Apple disk image", 2048, &[(0, b"\x78\xda"), (1536, b"koly")]),
    ("a LUKS volume", 592, &[(0, b"LUKS\xba\xbe\0\x01")]),
    ("a LUKS volume", 4096, &[(0, b"LUKS\xba\xbe\0\x02")]),
    // A hybrid image boots from a disk too.
    ("an ISO 9660 image", 0x8800, &[(510, b"\x55\xaa"), (0x8001, b"CD001")]),
    ("an ELF file", 64, &[(0, b"\x7fELF\x02\x01\x01")]),
    ("gzip data", 20, &[(0, b"\x1f\x8b\x08")]),
    ("xz data", 32, &[(0, b"\xfd7zXZ\0")]),
    ("zstd data", 16, &[(0, b"\x28\xb5\x2f\xfd")]),
    ("bzip2 data", 14, &[(0, b"BZh9")]),
    ("a zip archive", 30, &[(0, b"PK\x03\x04")]),
    ("an empty zip archive", 22, &[(0, b"PK\x05\x06")]),
    ("a tar archive", 1024, &[(0, b"disk.ovf"), (257, b"ustar")]),
    ("a raw disk with a GPT", 2048, &[(510, b"\x55\xaa"), (512, b"EFI PART")]),
    ("a raw disk with a boot sector", 512, &[(510, b"\x55\xaa")]),
    ("a raw NTFS file system", 512, &[(0, b"\xeb\x52\x90NTFS    "), (510, b"\x55\xaa")]),
    ("a raw ext2, ext3 or ext4 file system", 2048, &[(0x438, b"\x53\xef")]),
];

#[test]
fn the_line_says_what_the_file_looks_like() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    for (looks_like, len, pieces) in FOREIGN {
        let mut bytes = vec![0; *len];
        for (at, piece) in *pieces {
            bytes[*at..*at + piece.len()].copy_from_slice(piece);
        }
        fs::write(&path, bytes).unwrap();
        refuses(&path, path.to_str().unwrap(), &format!("not a qcow2 image: it looks like {looks_like}"));
    }
}

#[test]
fn standard_input_and_what_is_missing() {
    refuses("-", "-", "a qcow2 file needs random access, which standard input does not give");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.qcow2");
    refuses(&missing, missing.to_str().unwrap(), "No such file or directory");
    let directory = folder.path().to_str().unwrap();
    refuses(directory, directory, "is a directory, not a file or a block device");
}
