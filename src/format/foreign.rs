//! What a file that is not qcow2 looks like, by its first and last bytes.

/// Bytes of the file's start that [`identify`] looks at: an ISO 9660 volume descriptor is the farthest.
pub const START_LEN: u64 = 0x8006;
/// Bytes of the file's end that [`identify`] looks at: the footer of a VHD or an Apple disk image.
pub const TAIL_LEN: u64 = 512;

/// Bytes at the end that give a format away. What stands before them is the guest's disk, with signatures of its own.
const FOOTERS: &[(&[u8], &str)] =
    &[(b"conectix", "a VHD image of a fixed size"), (b"koly", "an Apple disk image")];

/// Bytes that give a format away: where, what, and the format.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"QFI\xfb\0\0\0\x01", "a qcow image of version 1"),
    (0, b"QED\0", "a QED image"),
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image (ESX server sparse)"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
    (0, b"EVF\t\r\n\xff\0", "an EnCase image"),
    (0, b"MSWIM\0\0\0", "a WIM image"),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x8001, b"CD001", "an ISO 9660 image"),
    (0x8001, b"BEA01", "a UDF image"),
    (0, b"\x7fELF", "an ELF file"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"\xfd7zXZ\0", "xz data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data"),
    (0, b"BZh", "bzip2 data"),
    (0, b"\x04\x22\x4d\x18", "lz4 data"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"MZ", "a DOS or Windows program"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"#!", "a script"),
    (0x438, b"\x53\xef", "a raw ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "a raw XFS file system"),
    (0, b"hsqs", "a raw squashfs file system"),
    (3, b"NTFS    ", "a raw NTFS file system"),
    (3, b"-FVE-FS-", "a raw BitLocker volume"),
    (512, b"LABELONE", "a raw LVM volume"),
    (4086, b"SWAPSPACE2", "raw swap space"),
    (512, b"EFI PART", "a raw disk with a GPT"),
    (510, b"\x55\xaa", "a raw disk with a boot sector"),
];

/// The format that these bytes look like: `start` is the file's start, `tail` its last bytes.
pub fn identify(start: &[u8], tail: &[u8]) -> &'static str {
    if start.is_empty() {
        return "an empty file";
    }
    // A growing VHD has its footer at the start too.
    let footer = FOOTERS.iter().find(|(bytes, _)| tail.starts_with(bytes) && !start.starts_with(bytes));
    if let Some((_, name)) = footer {
        return name;
    }
    let known =
        SIGNATURES.iter().find(|(at, bytes, _)| start.get(*at..).is_some_and(|at| at.starts_with(bytes)));
    if let Some((.., name)) = known {
        return name;
    }
    if start.iter().all(|byte| *byte == 0) {
        return "zeros: perhaps a raw image";
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if start.iter().all(is_text) {
        return "text";
    }
    "raw data"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_within_what_is_read() {
        for (at, bytes, name) in SIGNATURES {
            let mut start = vec![0; at + bytes.len()];
            start[*at..].copy_from_slice(bytes);
            assert!(crate::units::to_u64(start.len()) <= START_LEN, "{name}");
            assert_eq!(identify(&start, &[]), *name);
        }
    }

    #[test]
    fn a_footer_says_more_than_the_disk_in_front_of_it() {
        let mut disk = vec![0; 1024];
        disk[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(identify(&disk, &disk[512..]), "a raw disk with a boot sector");
        disk[512..520].copy_from_slice(b"conectix");
        assert_eq!(identify(&disk, &disk[512..]), "a VHD image of a fixed size");
        assert_eq!(identify(&disk[512..], &disk[512..]), "a VHD image");
    }

    #[test]
    fn the_rest_is_empty_zeros_text_or_raw() {
        assert_eq!(identify(b"", b""), "an empty file");
        assert_eq!(identify(&[0; 7], &[0; 7]), "zeros: perhaps a raw image");
        assert_eq!(identify(b"QFI", b"QFI"), "text");
        assert_eq!(identify(b"\x01\x02", b"\x01\x02"), "raw data");
    }
}
