//! How much work and memory one image may cost, whatever its counts say.

/// Declares each limit once: its reason, name, type and default.
macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Every cap, with its reason. A structure within QEMU's own limits is never cut by the defaults. Where one is
        /// reached, a finding T01 names it, and nothing is called clean.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        impl Limits {
            /// What nobody asked to change.
            pub const DEFAULT: Self = Self { $($name: $default,)* };
            /// The name of each, and what it is for.
            pub const NAMES: &[(&str, &str)] = &[$((stringify!($name), concat!($($doc),*)),)*];

            /// The limit of this name; `None` where none has it.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => u64::try_from(self.$name).ok(),)*
                    _ => None,
                }
            }

            /// Changes the limit of this name; `false` where none has it.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = <$type>::try_from(value).unwrap_or(<$type>::MAX),)*
                    _ => return false,
                }
                true
            }
        }
    };
}

limits! {
    /// Bytes read from the file in all. QEMU has no such limit; this one lets a dump walk the metadata of the
    /// largest disk that QEMU can open (2^61 bytes in clusters of 2 MiB has 2^43), while an image whose tables
    /// refer to each other over and over comes to an end.
    read_bytes: u64 = 1 << 40;
    /// Calls of the reader in all, so that many small reads end as surely as few large ones.
    reads: u64 = 1 << 32;
    /// Bytes of the first cluster that hold extensions. QEMU's largest cluster has 2 MiB.
    extension_area_len: u64 = 2 << 20;
    /// Bytes of one snapshot table entry or bitmap directory entry that are read whole. QEMU allows 1024 bytes
    /// of extra data, and 65,535 of a name and an id each come on top.
    entry_len: u64 = 256 << 10;
    /// Snapshot table entries; QEMU's own limit.
    snapshots: u64 = 65_536;
    /// Bitmap directory entries; QEMU's own limit.
    bitmaps: u64 = 65_535;
    /// Tables whose place is remembered so that none is shown twice, in 80 bytes of memory each. It holds for the L1
    /// tables and for the L2 tables, each by themselves.
    remembered_tables: usize = 131_072;
    /// Bytes of a compressed cluster, which is decoded in memory as a whole. QEMU's largest cluster has 2 MiB.
    decoded_cluster_len: u64 = 2 << 20;
    /// Compressed clusters that are compared with one another, and decompressed by a deep check: 16 bytes of memory
    /// each, 512 MiB in all. It is enough for 2 TiB of disk in clusters of 64 KiB, all compressed.
    compressed_clusters: usize = 32 << 20;
    /// Bytes that a deep check may decompress in all, an hour's work. Streams of a few bytes may hold a cluster of
    /// 2 MiB, so that the length of the file bounds nothing.
    decoded_bytes: u64 = 4 << 40;
    /// Pages of 512 host clusters whose references are counted: about 800 bytes of memory each, less than 1 GiB in
    /// all. It is enough for 32 TiB of clusters of 64 KiB that lie side by side, all in use.
    counted_pages: usize = 1 << 20;
    /// Distinct L2 tables that are walked, 64 bytes of memory each: as many as 4 EiB of disk in clusters of 64 KiB
    /// call for, or 4,096 snapshots of 1 TiB that share nothing.
    l2_tables: usize = 8 << 20;
    /// Tables that stand off a cluster boundary, or that are pointed at again, and are read all the same because
    /// QEMU does: they may share their bytes, so that more of them would cost more than the file is long.
    odd_tables: u64 = 256;
    /// Host clusters in conflict whose owners are looked for, about 1 KiB of memory each; up to 32 KiB where thousands
    /// of tables map it.
    conflicts: usize = 1024;
    /// Guest ranges remembered as lost, for each tree; past it, neighbours are taken as one.
    lost_ranges: usize = 1024;
    /// Bytes behind the last cluster in use that are looked at for hidden data.
    trailing_bytes: u64 = 64 << 20;
    /// Findings of one rule that are kept one by one; the others are counted in one further finding.
    findings_per_rule: usize = 100;
    /// Bytes that a command writes. The dump of a large image has some GiB.
    output_bytes: u64 = 1 << 40;
    /// Seconds of wall-clock time from the opening of the image on, looked at now and then while it is read. The
    /// largest images that were measured take a minute, a deep check of some TiB hours.
    seconds: u64 = 4 * 3600;
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_goes_by_its_name() {
        for (name, purpose) in Limits::NAMES {
            let mut limits = Limits::DEFAULT;
            assert!(limits.set(name, 7), "{name}");
            assert_eq!(limits.get(name), Some(7), "{name}");
            assert_ne!(limits, Limits::DEFAULT, "{name}");
            assert!(purpose.len() > 20, "{name}");
        }
        assert!(!Limits::DEFAULT.clone().set("no_such", 1));
        assert_eq!(Limits::DEFAULT.get("no_such"), None);
    }
}
