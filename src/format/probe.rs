//! What a program takes a disk for that goes by its first bytes, as QEMU does where nobody names the format.
//!
//! Its block.c (`bdrv_probe_all`) hands 512 bytes to every driver's probe function, all of which are here but these:
//! `block_crypto_probe_luks`, since a guest that encrypts its whole disk starts so, and such a volume names no file;
//! `raw_probe`, which takes all the rest; `dmg_probe`, the protocols and the host's devices, which go by the file's name.

use crate::units::to_usize;

/// Bytes that are handed to each probe function: QEMU's `BLOCK_PROBE_BUF_SIZE`.
pub const PROBED_LEN: u64 = 512;
const VMDK_DESCRIPTOR: &str = "a VMDK descriptor";

/// Bytes that give a format away: where, what, and the format.
pub(super) type Signature = (usize, &'static [u8], &'static str);

/// Those of disk images, which name other files or map their own sectors. Where QEMU wants more than the signature, such
/// as a version, another reader may not.
pub(super) const DISK_IMAGES: &[Signature] = &[
    // qcow.c, `qcow_probe`.
    (0, b"QFI\xfb\0\0\0\x01", "a qcow image of version 1"),
    // qcow2.c, `qcow2_probe`.
    (0, b"QFI\xfb", "a qcow2 image"),
    // qed.c, `bdrv_qed_probe`.
    (0, b"QED\0", "a QED image"),
    // vmdk.c, `vmdk_probe`; what else it takes is in `is_vmdk_descriptor`.
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image (ESX server sparse)"),
    // The first lines that VirtualBox takes, whatever follows.
    (0, b"# Disk DescriptorFile", VMDK_DESCRIPTOR),
    (0, b"# Disk Descriptor File", VMDK_DESCRIPTOR),
    (0, b"#Disk DescriptorFile", VMDK_DESCRIPTOR),
    (0, b"#Disk Descriptor File", VMDK_DESCRIPTOR),
    // vhdx.c, `vhdx_probe`.
    (0, b"vhdxfile", "a VHDX image"),
    // vpc.c, `vpc_probe`; it does not look at the end.
    (0, b"conectix", "a VHD image"),
    // vdi.c, `vdi_probe`.
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image"),
    // parallels.c, `parallels_probe`.
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    // bochs.c, `bochs_probe`.
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
    // cloop.c, `cloop_probe`, which wants a third line; the first two are enough to tell it from other scripts.
    (0, b"#!/bin/sh\n#V2.0 Format\n", "a cloop image"),
    // cow.c, `cow_probe`, up to QEMU 2.1: an overlay that names its backing file.
    (0, b"OOOM\0\0\0\x02", "a user-mode Linux COW image"),
];

/// Whether the signature is where it belongs.
pub(super) fn is_in(start: &[u8], (at, bytes, _): &Signature) -> bool {
    start.get(*at..).is_some_and(|at| at.starts_with(bytes))
}

/// The disk image that a program which probes would take these first bytes of a disk for; 512 are enough.
pub fn disk_image(start: &[u8]) -> Option<&'static str> {
    let signature = DISK_IMAGES.iter().find(|signature| is_in(start, signature)).map(|(.., name)| *name);
    signature.or_else(|| is_vmdk_descriptor(start).then_some(VMDK_DESCRIPTOR))
}

/// Whether it is the text that QEMU's `vmdk_probe` takes: comments and blank lines, and then a line with the version.
fn is_vmdk_descriptor(start: &[u8]) -> bool {
    let start = start.get(..to_usize(PROBED_LEN)).unwrap_or(start);
    for line in start.split_inclusive(|byte| *byte == b'\n') {
        // What has no end within these bytes is not looked at by QEMU either.
        let Some(line) = line.strip_suffix(b"\n") else { return false };
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if matches!(text, b"version=1" | b"version=2" | b"version=3") {
            return true;
        }
        // To QEMU a line is blank only where a space is in it.
        let is_blank = line.starts_with(b" ") && text.iter().all(|byte| *byte == b' ');
        if !is_blank && !line.starts_with(b"#") {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_image_is_told_from_what_disks_have() {
        for (at, bytes, name) in DISK_IMAGES {
            assert!(at + bytes.len() <= to_usize(PROBED_LEN), "{name}");
        }
        assert_eq!(disk_image(b"QFI\xfb\0\0\0\x03"), Some("a qcow2 image"));
        assert_eq!(disk_image(b"KDMV"), Some("a VMDK image"));
        let mut boot = [0; 512];
        boot[510..].copy_from_slice(b"\x55\xaa");
        for ordinary in [&boot[..], b"LUKS\xba\xbe", b"XFSB", b"", b"#!/bin/sh\necho\n", b"OOOM"] {
            assert_eq!(disk_image(ordinary), None);
        }
    }

    /// tests/differential/probe.rs asks QEMU about the same.
    #[test]
    fn a_vmdk_descriptor_is_told_by_its_version() {
        let long = |len: usize| [&vec![b'#'; len - 1][..], b"\nversion=1\n"].concat();
        for text in [
            &b"version=1\n"[..],
            b"version=2\r\nCID=1\n",
            b"version=3\n\0\0",
            b"# x\n \nversion=1\n",
            b"#\n#\r\n   \r\n#\xff\0\nversion=1\n",
            &long(512 - 10),
        ] {
            assert_eq!(disk_image(text), Some(VMDK_DESCRIPTOR), "{:?}", text.escape_ascii().to_string());
        }
        for text in [
            &b"version=4\n"[..],
            b"version=1",
            b"version=1 \n",
            b"version=1\r\r\n",
            b"version=11\n",
            b"Version=1\n",
            b" version=1\n",
            b"\nversion=1\n",
            b"\r\nversion=1\n",
            b" \r\r\nversion=1\n",
            b"# version=1\n",
            b"# x\nCID=1\nversion=1\n",
            b"#",
            b" ",
            &long(512 - 9),
        ] {
            assert_eq!(disk_image(text), None, "{:?}", text.escape_ascii().to_string());
        }
    }
}
