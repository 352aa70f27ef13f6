//! What a file that is not qcow2 looks like, by its first and last bytes; and what else a qcow2 file looks like.

use super::probe::{DISK_IMAGES, Signature, disk_image, is_in};
use crate::units::to_u64;

/// Bytes of the file's start that [`identify`] looks at: an ISO 9660 volume descriptor is the farthest.
pub const START_LEN: u64 = 0x8006;
/// Bytes of the file's end that [`identify`] looks at: the footer of a VHD or an Apple disk image.
pub const TAIL_LEN: u64 = 512;

/// Bytes at the end that give a format away. What stands before them is the guest's disk, with signatures of its own.
const FOOTERS: &[(&[u8], &str)] =
    &[(b"conectix", "a VHD image of a fixed size"), (b"koly", "an Apple disk image")];

/// Bytes that give away what is not a disk image.
const OTHERS: &[Signature] = &[
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
    let other = || OTHERS.iter().find(|signature| is_in(start, signature)).map(|(.., name)| *name);
    if let Some(name) = disk_image(start).or_else(other) {
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

/// Bytes of the file's end that [`beside_qcow2`] looks at: the longest comment behind a zip archive's directory.
pub const LONG_TAIL_LEN: u64 = (64 << 10) + 22;
/// Bytes of the file's start in which readers look for a PDF's first line.
const PDF_AREA: usize = 1024;
/// Bytes of the record that ends a zip archive, the last two of which are the length of the comment behind it.
const ZIP_END: usize = 22;

/// Another format that a file reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Where its signature stands in the file.
    pub at: u64,
    /// The signature's length in bytes.
    pub len: u64,
    /// The format.
    pub name: &'static str,
    /// Whether the signature is too long, or at too odd a place, to be there by accident.
    pub is_certain: bool,
}

/// What else a file reads as that starts with the qcow2 magic: signatures that their readers look for elsewhere.
/// `tail` is what the file has from `tail_at` on.
pub fn beside_qcow2(start: &[u8], tail: &[u8], tail_at: u64) -> Vec<Foreign> {
    let mut found = Vec::new();
    let mut add = |at: u64, len: usize, name, is_certain| {
        found.push(Foreign { at, len: to_u64(len), name, is_certain });
    };
    for (at, bytes, name) in DISK_IMAGES.iter().chain(OTHERS) {
        // Two bytes are few. Those at 510 stand in the first cluster, however small it is, among numbers and text: they
        // are no UTF-8, and part of no number that writers put there. Those of an ext file system stand in the third
        // cluster of 512 bytes or the second of 1 KiB, which may be a table, whose entries have any bytes.
        if *at > 0 && is_in(start, &(*at, bytes, name)) {
            add(to_u64(*at), bytes.len(), name, bytes.len() > 2 || *at == 510);
        }
    }
    let pdf = b"%PDF-";
    let first = start.get(..PDF_AREA).unwrap_or(start);
    if let Some(at) = first.windows(pdf.len()).position(|bytes| bytes == pdf) {
        add(to_u64(at), pdf.len(), "a PDF document", true);
    }
    let from_end =
        |back: usize| tail.len().checked_sub(back).map(|at| (at, tail.get(at..).unwrap_or_default()));
    // The footer of an old VHD has 511 bytes.
    for back in [512, 511] {
        let Some((at, footer)) = from_end(back) else { continue };
        for (bytes, name) in FOOTERS.iter().filter(|(bytes, _)| footer.starts_with(bytes)) {
            add(tail_at.saturating_add(to_u64(at)), bytes.len(), name, true);
        }
    }
    let zip = b"PK\x05\x06";
    let mut ends = tail.windows(ZIP_END).enumerate().filter(|(at, record)| {
        let behind = tail.len().saturating_sub(at.saturating_add(ZIP_END));
        let comment = match record.last_chunk::<2>() {
            Some(len) => usize::from(u16::from_le_bytes(*len)),
            None => return false,
        };
        record.starts_with(zip) && comment == behind
    });
    if let Some((at, _)) = ends.next_back() {
        add(tail_at.saturating_add(to_u64(at)), zip.len(), "a zip archive", true);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_within_what_is_read() {
        for (at, bytes, name) in DISK_IMAGES.iter().chain(OTHERS) {
            let mut start = vec![0; at + bytes.len()];
            start[*at..].copy_from_slice(bytes);
            assert!(to_u64(start.len()) <= START_LEN, "{name}");
            assert_eq!(identify(&start, &[]), *name);
        }
    }

    #[test]
    fn what_else_a_qcow2_file_is_shows_where_its_readers_look() {
        let len = 100 << 10;
        let with = |puts: &[(usize, &[u8])]| {
            let mut file = vec![0; len];
            file[..4].copy_from_slice(b"QFI\xfb");
            for (at, bytes) in puts {
                file[*at..*at + bytes.len()].copy_from_slice(bytes);
            }
            let tail_at = len - usize::try_from(LONG_TAIL_LEN).unwrap();
            let start = usize::try_from(START_LEN).unwrap();
            let found = beside_qcow2(&file[..start], &file[tail_at..], to_u64(tail_at));
            found
                .into_iter()
                .map(|foreign| (foreign.at, foreign.name, foreign.is_certain))
                .collect::<Vec<_>>()
        };
        assert_eq!(with(&[]), []);
        assert_eq!(with(&[(510, b"\x55\xaa")]), [(510, "a raw disk with a boot sector", true)]);
        assert_eq!(with(&[(512, b"EFI PART")]), [(512, "a raw disk with a GPT", true)]);
        assert_eq!(with(&[(0x8001, b"CD001")]), [(0x8001, "an ISO 9660 image", true)]);
        assert_eq!(with(&[(257, b"ustar")]), [(257, "a tar archive", true)]);
        assert_eq!(with(&[(0x40, b"\x7f\x10\xda\xbe")]), [(0x40, "a VDI image", true)]);
        assert_eq!(with(&[(0x438, b"\x53\xef")]), [(0x438, "a raw ext2, ext3 or ext4 file system", false)]);
        assert_eq!(with(&[(1019, b"%PDF-")]), [(1019, "a PDF document", true)]);
        assert_eq!(with(&[(1020, b"%PDF-")]), []);
        for back in [511, 512] {
            let at = len - back;
            assert_eq!(with(&[(at, b"conectix")]), [(to_u64(at), "a VHD image of a fixed size", true)]);
        }
        assert_eq!(with(&[(len - 513, b"conectix")]), []);
        let comment = len - 22 - 300;
        assert_eq!(
            with(&[(comment, b"PK\x05\x06"), (comment + 20, &[44, 1])]),
            [(to_u64(comment), "a zip archive", true)]
        );
        assert_eq!(with(&[(comment, b"PK\x05\x06"), (comment + 20, &[45, 1])]), []);
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
