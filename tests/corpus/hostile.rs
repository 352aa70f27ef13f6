//! Images made to harm whoever opens them: one for each class of known holes, and for each attack of our own.
//!
//! corpus/hostile/decisions.list says what `audit` has to answer to each.

use std::fs;

use qcow2_inspect::format::extension::{BACKING_FORMAT, DATA_FILE, END, ExtensionHead};
use qcow2_inspect::format::header::field;
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::format::{Layout, snapshot};
use qcow2_testkit::Draft;

/// An image by its name, the valid image that it is made from, and what is done to that; without a base, from nothing.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    base: &'static str,
    make: fn(&mut Draft),
}

const NOTHING: &str = "";
const SIZE_0: &str = "valid/v3-size-0";
const SMALL: &str = "valid/v3-512";
const ROOMY: &str = "valid/v3-basic";
const SNAPSHOT: &str = "valid/v2-snapshot";
const BITMAPS: &str = "valid/v3-bitmaps-512";

impl Hostile {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let base = match self.base {
            NOTHING => Vec::new(),
            base => fs::read(super::folder().join(format!("{base}.qcow2"))).unwrap(),
        };
        let mut draft = Draft::new(base);
        (self.make)(&mut draft);
        draft.bytes
    }
}

/// Writes the extensions anew, and the backing file's name behind them.
fn first_cluster(draft: &mut Draft, extensions: &[(Magic, &[u8])], backing: &[u8]) {
    let start = draft.image().header().extensions_at().0;
    let mut list = Vec::new();
    for (magic, data) in extensions.iter().chain([&(END, &b""[..])]) {
        list.extend(ExtensionHead { magic: *magic, length: u32::try_from(data.len()).unwrap() }.encode());
        list.extend(*data);
        list.resize(list.len().next_multiple_of(8), 0);
    }
    let name_at = start + u64::try_from(list.len()).unwrap();
    list.extend(backing);
    list.resize(usize::try_from(draft.cluster_size() - start).unwrap(), 0);
    draft.put(start, &list);
    if !backing.is_empty() {
        draft.set_header(field::BACKING_FILE_OFFSET, name_at);
        draft.set_header(field::BACKING_FILE_SIZE, u64::try_from(backing.len()).unwrap());
    }
}

fn backing(draft: &mut Draft, name: &[u8]) {
    first_cluster(draft, &[(BACKING_FORMAT, b"raw")], name);
}

fn data_file(draft: &mut Draft, name: &[u8]) {
    draft.set_header(field::INCOMPATIBLE_FEATURES, 1 << 2);
    first_cluster(draft, &[(DATA_FILE, name)], b"");
}

/// The host cluster of an L2 entry.
fn host(draft: &Draft, index: u64) -> u64 {
    draft.get(draft.l2_entry(index), 8) & 0x00ff_ffff_ffff_fe00
}

/// Gives every entry of the first L2 table the value of its first, and the refcounts that follow.
fn all_alike(draft: &mut Draft) {
    let entry = draft.get(draft.l2_entry(0), 8) & !(1 << 63);
    for index in 0..draft.image().geometry().unwrap().l2_entry_count() {
        draft.put_u64(draft.l2_entry(index), entry);
    }
    draft.agree();
}

/// Bytes at a place where another format's readers look.
fn polyglot(draft: &mut Draft, at: u64, signature: &[u8]) {
    let len = u64::try_from(draft.bytes.len()).unwrap();
    let end = at + u64::try_from(signature.len()).unwrap();
    if end > len {
        draft.allocate((end - len).div_ceil(draft.cluster_size()));
    }
    draft.put(at, signature);
}

/// Bytes that many bytes before the end of the file, where a guest cluster lies.
fn before_the_end(draft: &mut Draft, back: u64, bytes: &[u8]) {
    let at = u64::try_from(draft.bytes.len()).unwrap() - back;
    draft.put(at, bytes);
}

/// A header of another format, with `bytes` at an offset, and zeros up to `len`.
fn file(draft: &mut Draft, len: usize, parts: &[(u64, &[u8])]) {
    draft.bytes = vec![0; len];
    parts.iter().for_each(|(at, bytes)| draft.put(*at, bytes));
}

macro_rules! hostile {
    ($($name:literal from $base:ident: $make:expr;)*) => {
        /// All of them.
        pub(crate) const HOSTILE: &[Hostile] = &[$(Hostile { name: $name, base: $base, make: $make }),*];
    };
}

hostile! {
    // What other files it opens, or makes others open.
    "CVE-2008-2004-guest-writes-header" from SMALL: |draft| {
        let at = host(draft, 0);
        draft.put(at, b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\0\x68\0\0\0\x0b");
        draft.put(at + 104, b"/etc/passwd");
    };
    "CVE-2008-2004-guest-writes-cloop" from SMALL: |draft| {
        let at = host(draft, 0);
        let script = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";
        draft.put(at, script.as_bytes());
    };
    "CVE-2008-2004-guest-writes-vmdk" from SMALL: |draft| {
        let at = host(draft, 0);
        // Without the first line that VMware writes.
        let text = "# nothing to see here\n \r\nversion=1\r\nCID=1\nparentCID=ffffffff\n\
            createType=\"monolithicFlat\"\nRW 4 FLAT \"/etc/passwd\" 0\n";
        draft.put(at, text.as_bytes());
    };
    "CVE-2015-1851-backing-json" from SIZE_0: |draft| {
        backing(draft, br#"json:{"driver":"file","filename":"/etc/shadow"}"#);
    };
    "CVE-2015-5163-backing-file" from SIZE_0: |draft| backing(draft, b"/etc/passwd");
    "CVE-2022-47951-vmdk-descriptor" from NOTHING: |draft| {
        let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
            RW 4 FLAT \"/etc/passwd\" 0\n";
        draft.bytes = text.into();
    };
    "CVE-2022-47951-vmdk-descriptor-bare" from NOTHING: |draft| {
        let text = "version=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 4 FLAT \"/etc/passwd\" 0\n";
        draft.bytes = text.into();
    };
    "CVE-2024-4467-data-file-json" from SIZE_0: |draft| {
        data_file(draft, br#"json:{"driver":"file","filename":"/etc/passwd"}"#);
    };
    "CVE-2024-32498-data-file" from SIZE_0: |draft| data_file(draft, b"/etc/passwd");
    "CVE-2024-32498-data-file-without-bit" from SIZE_0: |draft| {
        first_cluster(draft, &[(DATA_FILE, b"/etc/passwd")], b"");
    };
    "backing-device" from SIZE_0: |draft| backing(draft, b"/dev/sda");
    "backing-folder-as-fat" from SIZE_0: |draft| backing(draft, b"fat:rw:/etc");
    "backing-itself" from SIZE_0: |draft| backing(draft, b"backing-itself.qcow2");
    "backing-name-cut-by-nul" from SIZE_0: |draft| backing(draft, b"/proc/self/environ\0.raw");
    "backing-name-escapes" from SIZE_0: |draft| backing(draft, "a\u{1b}[2J\u{202e}war.esab".as_bytes());
    "backing-network" from SIZE_0: |draft| backing(draft, b"nbd://192.0.2.1:10809/disk");
    "backing-out-of-the-folder" from SIZE_0: |draft| backing(draft, b"../../../../etc/shadow");
    "data-file-twice" from SIZE_0: |draft| {
        draft.set_header(field::INCOMPATIBLE_FEATURES, 1 << 2);
        first_cluster(draft, &[(DATA_FILE, b"disk.raw"), (DATA_FILE, b"/dev/mem")], b"");
    };

    // What it makes a reader compute, allocate or believe.
    "CVE-2013-2096-virtual-size" from SIZE_0: |draft| { draft.set_header(field::SIZE, 1 << 60); };
    "CVE-2014-0142-parallels-zero-tracks" from NOTHING: |draft| {
        file(draft, 64, &[(0, b"WithoutFreeSpace\x02\0\0\0"), (28, b"\0\0\0\0\x01\0\0\0")]);
    };
    "CVE-2014-0143-refcount-index" from SMALL: |draft| {
        draft.put_u64(draft.l2_entry(5), 1 << 63 | 0x00ff_ffff_ffff_fe00);
    };
    "CVE-2014-0143-snapshot-l1-size" from SNAPSHOT: |draft| {
        draft.set_snapshot(0, snapshot::field::L1_SIZE, 0x2000_0001);
    };
    "CVE-2014-0144-backing-name-offset" from SIZE_0: |draft| {
        backing(draft, b"base.raw");
        draft.set_header(field::BACKING_FILE_OFFSET, u64::MAX - 15);
    };
    "CVE-2014-0144-header-length" from SIZE_0: |draft| { draft.set_header(field::HEADER_LENGTH, 0xffff_fff8); };
    "CVE-2014-0144-l1-size" from SIZE_0: |draft| { draft.set_header(field::L1_SIZE, 0x7fff_ffff); };
    "CVE-2014-0144-refcount-table-size" from SIZE_0: |draft| {
        draft.set_header(field::REFCOUNT_TABLE_CLUSTERS, 0xffff_ffff);
    };
    "CVE-2014-0144-snapshot-count" from SIZE_0: |draft| {
        draft.set_header(field::SNAPSHOTS_OFFSET, 512);
        draft.set_header(field::NB_SNAPSHOTS, 0xffff_ffff);
    };
    "CVE-2014-0145-snapshot-l1-longer" from SNAPSHOT: |draft| {
        draft.set_snapshot(0, snapshot::field::L1_SIZE, 4_194_304);
    };
    "CVE-2014-0146-snapshot-table-unaligned" from SNAPSHOT: |draft| {
        let at = draft.header(field::SNAPSHOTS_OFFSET);
        draft.set_header(field::SNAPSHOTS_OFFSET, at + 8);
    };
    "CVE-2014-0147-refcounts-of-themselves" from SMALL: |draft| {
        let table = draft.header(field::REFCOUNT_TABLE_OFFSET);
        draft.put_u64(table, table);
    };
    "CVE-2014-0148-vhdx" from NOTHING: |draft| file(draft, 64, &[(0, b"vhdxfile")]);
    "CVE-2014-0222-qcow1-l2-bits" from NOTHING: |draft| {
        file(draft, 48, &[(0, b"QFI\xfb\0\0\0\x01"), (24, &(1_u64 << 30).to_be_bytes()), (32, b"\x0c\x40")]);
    };
    "CVE-2014-0223-qcow1-size" from NOTHING: |draft| {
        file(draft, 48, &[(0, b"QFI\xfb\0\0\0\x01"), (24, &u64::MAX.to_be_bytes()), (32, b"\x0c\x09")]);
    };
    "CVE-2015-5162-largest-l1" from SIZE_0: |draft| {
        draft.set_header(field::L1_SIZE, 4_194_304);
        draft.set_header(field::L1_TABLE_OFFSET, 1 << 40);
    };
    "attack-16-tib-in-4-kib" from SIZE_0: |draft| {
        draft.set_header(field::CLUSTER_BITS, 16);
        draft.set_header(field::SIZE, 16 << 40);
        draft.set_header(field::L1_SIZE, 32_768);
        draft.set_header(field::REFCOUNT_TABLE_OFFSET, 1 << 16);
        draft.set_header(field::L1_TABLE_OFFSET, 3 << 16);
        draft.put(512, &[0; 4096 - 512]);
    };
    "attack-65536-snapshots" from SIZE_0: |draft| {
        draft.set_header(field::SNAPSHOTS_OFFSET, 1536);
        draft.set_header(field::NB_SNAPSHOTS, 65_536);
    };
    "attack-empty-extensions" from ROOMY: |draft| {
        first_cluster(draft, &[(Magic(0x6162_6364), &b""[..]); 110], b"");
    };
    "attack-guest-reads-metadata" from SMALL: |draft| {
        draft.put_u64(draft.l2_entry(5), draft.header(field::REFCOUNT_TABLE_OFFSET));
        draft.agree();
    };
    "attack-one-data-cluster" from SMALL: all_alike;
    "attack-one-l2-table" from ROOMY: |draft| {
        let entry = draft.get(draft.l1_entry(0), 8) & !(1 << 63);
        (0..8).for_each(|index| draft.put_u64(draft.l1_entry(index), entry));
        draft.agree();
    };
    "attack-one-stream" from ROOMY: |draft| {
        // 1 KiB of zeros, deflated.
        let at = host(draft, 0);
        let entry = 1 << 62 | at;
        draft.put(at, &[0x63, 0x60, 0x18, 0x05, 0xa3, 0x60, 0x14, 0x0c, 0x05, 0x00]);
        draft.put_u64(draft.l2_entry(0), entry);
        all_alike(draft);
    };
    "attack-table-that-is-its-own" from SMALL: |draft| {
        let table = draft.header(field::L1_TABLE_OFFSET);
        (0..draft.header(field::L1_SIZE)).for_each(|index| draft.put_u64(draft.l1_entry(index), table));
    };

    // What it hides, and what else it is.
    "hidden-behind-the-end" from SMALL: |draft| {
        let at = draft.add_clusters(1);
        draft.put(at + 100, b"a key, say");
    };
    "hidden-behind-the-extensions" from ROOMY: |draft| draft.put(900, b"a key, say");
    "hidden-beyond-the-disk" from SMALL: |draft| {
        let size = draft.header(field::SIZE);
        draft.set_header(field::SIZE, size / 2);
    };
    "hidden-extensions" from SIZE_0: |draft| {
        data_file(draft, b"/etc/passwd");
        draft.set_header(field::BACKING_FILE_OFFSET, 112);
    };
    "hidden-by-an-odd-header" from SIZE_0: |draft| {
        first_cluster(draft, &[], b"");
        draft.set_header(field::HEADER_LENGTH, 116);
        let start = 116;
        draft.put(start, &[0; 8]);
    };
    "name-of-a-bitmap-escapes" from BITMAPS: |draft| {
        draft.edit_bitmaps(|bitmaps| bitmaps[0].name = b"\x1b]0;owned\x07".to_vec());
    };
    "name-of-a-snapshot-reversed" from SNAPSHOT: |draft| {
        draft.edit_snapshots(|snapshots| snapshots[0].name = "old\u{202e}wen".into());
    };
    "polyglot-boot-sector" from ROOMY: |draft| {
        polyglot(draft, 446, b"\x80\x01\x01\0\x83\xfe\xff\xff\x01\0\0\0\xff\0\0\0");
        polyglot(draft, 510, b"\x55\xaa");
    };
    "polyglot-gpt" from ROOMY: |draft| polyglot(draft, 512, b"EFI PART");
    "polyglot-iso-9660" from SMALL: |draft| {
        polyglot(draft, 0x8000, b"\x01CD001\x01");
    };
    "polyglot-pdf" from ROOMY: |draft| {
        first_cluster(draft, &[(Magic(0x2550_4446), b"%PDF-1.7\n")], b"");
    };
    "polyglot-tar" from ROOMY: |draft| polyglot(draft, 257, b"ustar\0" );
    "polyglot-vhd-footer" from SMALL: |draft| before_the_end(draft, 512, b"conectix\0\0\0\x02\0\x01\0\0");
    "polyglot-zip" from SMALL: |draft| before_the_end(draft, 22, &[&b"PK\x05\x06"[..], &[0; 18]].concat());
}
