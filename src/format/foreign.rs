//! What a file that is not qcow2 looks like, by its first and last bytes; and what else a qcow2 file looks like.

use super::probe::{DISK_IMAGES, Signature, disk_image, is_in};
use crate::units::to_u64;

/// Bytes of the file's start that [`identify`] looks at: the superblock of btrfs is the farthest.
pub const START_LEN: u64 = 0x10048;
/// Bytes of the file's end that [`identify`] looks at: the footer of a VHD or an Apple disk image.
pub const TAIL_LEN: u64 = 512;

/// Bytes at the end that give a format away. What stands before them is the guest's disk, with signatures of its own.
const FOOTERS: &[(&[u8], &str)] =
    &[(b"conectix", "a VHD image of a fixed size"), (b"koly", "an Apple disk image")];

const REISERFS: &str = "a raw ReiserFS file system";
const OCFS2: &str = "a raw OCFS2 file system";
const LVM: &str = "a raw LVM volume";
const MD_RAID: &str = "a part of a Linux RAID";
const SWAP: &str = "raw swap space";

/// Where the superblock of an ext file system starts, and where in it the two bytes are by which it is told.
const EXT_AT: usize = 0x400;
const EXT_MAGIC_AT: usize = EXT_AT + 0x38;

/// Bytes that give away what is not a disk image.
const OTHERS: &[Signature] = &[
    (0, b"EVF\t\r\n\xff\0", "an EnCase image"),
    (0, b"MSWIM\0\0\0", "a WIM image"),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x8001, b"CD001", "an ISO 9660 image"),
    (0x8009, b"CDROM", "a High Sierra image"),
    (0x8001, b"BEA01", "a UDF image"),
    (0x8001, b"NSR02", "a UDF image"),
    (0x8001, b"NSR03", "a UDF image"),
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
    (EXT_MAGIC_AT, b"\x53\xef", "a raw ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "a raw XFS file system"),
    (0x1_0040, b"_BHRfS_M", "a raw btrfs file system"),
    (0x400, b"\x10\x20\xf5\xf2", "a raw F2FS file system"),
    (0x8000, b"JFS1", "a raw JFS file system"),
    // ReIsErFs, ReIsEr2Fs and ReIsEr3Fs; at the two places of version 3.5, and where 3.6 and Reiser4 are.
    (0x2014, b"ReIsEr", REISERFS),
    (0x2034, b"ReIsEr", REISERFS),
    (0x1_0000, b"ReIsEr", REISERFS),
    (0x1_0034, b"ReIsEr", REISERFS),
    (0x1_0000, b"\x01\x16\x19\x70", "a raw GFS2 file system"),
    // Readers try blocks of 512 bytes to 4 KiB.
    (0x400, b"OCFSV2", OCFS2),
    (0x800, b"OCFSV2", OCFS2),
    (0x1000, b"OCFSV2", OCFS2),
    (0x2000, b"OCFSV2", OCFS2),
    (0x400, b"H+\0\x04", "a raw HFS+ file system"),
    (0x400, b"HX\0\x05", "a raw HFS+ file system"),
    (0, b"hsqs", "a raw squashfs file system"),
    (0x200, b"\x45\x3d\xcd\x28", "a raw cramfs file system"),
    (0x400, b"\xe2\xe1\xf5\xe0", "a raw EROFS file system"),
    (3, b"NTFS    ", "a raw NTFS file system"),
    (3, b"-FVE-FS-", "a raw BitLocker volume"),
    // In one of the first four sectors.
    (0, b"LABELONE", LVM),
    (0x200, b"LABELONE", LVM),
    (0x400, b"LABELONE", LVM),
    (0x600, b"LABELONE", LVM),
    // The magic with the version.
    (0, b"\xfc\x4e\x2b\xa9\x01\0\0\0", MD_RAID),
    (0x1000, b"\xfc\x4e\x2b\xa9\x01\0\0\0", MD_RAID),
    // At the end of a page, which has 4 to 64 KiB.
    (0xff6, b"SWAPSPACE2", SWAP),
    (0x1ff6, b"SWAPSPACE2", SWAP),
    (0x3ff6, b"SWAPSPACE2", SWAP),
    (0x7ff6, b"SWAPSPACE2", SWAP),
    (0xfff6, b"SWAPSPACE2", SWAP),
    (0xff6, b"SWAP-SPACE", SWAP),
    (0x1ff6, b"SWAP-SPACE", SWAP),
    (0x3ff6, b"SWAP-SPACE", SWAP),
    (0x7ff6, b"SWAP-SPACE", SWAP),
    (0xfff6, b"SWAP-SPACE", SWAP),
    (512, b"EFI PART", "a raw disk with a GPT"),
    (510, b"\x55\xaa", "a raw disk with a boot sector"),
];

/// What has its signature at the start of these bytes.
pub fn signature(start: &[u8]) -> Option<&'static str> {
    let other = || OTHERS.iter().find(|signature| is_in(start, signature)).map(|(.., name)| *name);
    disk_image(start).or_else(other)
}

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
    if let Some(name) = signature(start) {
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

/// Where the second header of a LUKS2 volume can start, one of which readers take where the first is gone.
pub const LUKS2_AT: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];
/// Bytes from there on that [`luks2_at`] looks at.
pub const LUKS2_LEN: u64 = 264;

/// The second header of a LUKS2 volume, where these bytes from `at` on are its start: they say themselves where it is.
pub fn luks2_at(at: u64, bytes: &[u8]) -> Option<Foreign> {
    let magic = b"SKUL\xba\xbe";
    let own = bytes.get(256..)?.first_chunk::<8>()?;
    let is_it = bytes.starts_with(magic) && u64::from_be_bytes(*own) == at;
    is_it.then_some(Foreign { at, len: to_u64(magic.len()), name: "a LUKS volume", is_certain: true })
}

/// Whether the superblock of an ext file system has in its fields what no reader of one does without.
fn is_ext(start: &[u8]) -> bool {
    let field = |at: usize| {
        let bytes = start.get(EXT_AT.checked_add(at)?..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let has = |at, is_fine: fn(u32) -> bool| field(at).is_some_and(is_fine);
    let is_there: fn(u32) -> bool = |count| count != 0;
    // Inodes, blocks, the first of these, the size of one as a power of two from 1 KiB on, blocks and inodes of a group,
    // the revision.
    has(0x00, is_there)
        && has(0x04, is_there)
        && has(0x14, |first| first <= 1)
        && has(0x18, |log| log <= 6)
        && has(0x20, is_there)
        && has(0x28, is_there)
        && has(0x4c, |revision| revision <= 1)
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
        // are no UTF-8, and part of no number that writers put there. Those of an ext file system may stand in any table,
        // whose entries have any bytes, so that more of it has to be there.
        if *at > 0 && is_in(start, &(*at, bytes, name)) {
            let is_certain = *at != EXT_MAGIC_AT || is_ext(start);
            add(to_u64(*at), bytes.len(), name, is_certain);
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
        let places = [
            (0x1ff6, &b"SWAP-SPACE"[..], SWAP),
            (0x8009, b"CDROM", "a High Sierra image"),
            (0x1000, b"\xfc\x4e\x2b\xa9\x01\0\0\0", MD_RAID),
            (0x1_0040, b"_BHRfS_M", "a raw btrfs file system"),
            (0x1_0034, b"ReIsEr2Fs", REISERFS),
            (0x8000, b"JFS1", "a raw JFS file system"),
            (0x1_0000, b"\x01\x16\x19\x70", "a raw GFS2 file system"),
        ];
        for (at, bytes, name) in places {
            assert_eq!(with(&[(at, bytes)]), [(to_u64(at), name, true)]);
        }
        assert_eq!(with(&[(0x1000, b"\xfc\x4e\x2b\xa9\x02\0\0\0")]), []);
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
    fn an_ext_file_system_is_certain_by_its_superblock() {
        let certain = |puts: &[(usize, u8)]| {
            let mut start = vec![0; 0x1000];
            start[..4].copy_from_slice(b"QFI\xfb");
            start[EXT_MAGIC_AT..EXT_MAGIC_AT + 2].copy_from_slice(b"\x53\xef");
            // As `mkfs.ext4 -b 1024` has it: 1024 inodes, 4096 blocks, 8192 and 1024 in a group, revision 1.
            for (at, byte) in [(0x01, 4), (0x05, 16), (0x14, 1), (0x21, 32), (0x29, 4), (0x4c, 1)] {
                start[EXT_AT + at] = byte;
            }
            puts.iter().for_each(|(at, byte)| start[EXT_AT + at] = *byte);
            beside_qcow2(&start, &[], 0).iter().map(|foreign| foreign.is_certain).collect::<Vec<_>>()
        };
        assert_eq!(certain(&[]), [true]);
        for wrong in [(0x01, 0), (0x05, 0), (0x14, 2), (0x18, 7), (0x21, 0), (0x29, 0), (0x4c, 2)] {
            assert_eq!(certain(&[wrong]), [false], "{wrong:?}");
        }
    }

    #[test]
    fn a_second_luks_header_says_where_it_is() {
        let mut header = vec![0; 264];
        header[..6].copy_from_slice(b"SKUL\xba\xbe");
        header[256..].copy_from_slice(&0x8000_u64.to_be_bytes());
        assert_eq!(luks2_at(0x8000, &header).map(|foreign| foreign.at), Some(0x8000));
        assert_eq!(luks2_at(0x4000, &header), None);
        assert_eq!(luks2_at(0x8000, &header[..263]), None);
        header[0] = b'L';
        assert_eq!(luks2_at(0x8000, &header), None);
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
