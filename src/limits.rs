//! How much work and memory one image may cost, whatever its counts say.

use std::fmt;

/// Bytes of memory that nothing here bounds, whatever the image: buffers, the first cluster, the lists of snapshots
/// and bitmaps as long as QEMU takes them, and what is found.
const FIXED_MEMORY: u64 = 64 << 20;

/// Declares each limit once: its reason, name, type and default, the most bytes of memory that one of each takes, and
/// `beside_qemu` where it bounds only what QEMU does not look at, or counts without looking, or `whole_run` where nothing
/// more can be read once it is spent.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])*
        $limit:ident $name:ident: $type:ty = $default:expr
            $(, $bytes:literal bytes each $(beyond $free:literal)?)? $(, $kind:ident)?;
    )*) => {
        /// Every cap, with its reason. A structure within QEMU's own limits is never cut by the defaults. Where one is
        /// reached, a finding T01 names it, and nothing is called clean.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])* pub $name: $type,)*
        }

        impl Limits {
            /// What nobody asked to change.
            pub const DEFAULT: Self = Self { $($name: $default,)* };

            /// The limits that bound memory, how many of each the fixed part has room for, and the most bytes that
            /// one more takes.
            const MEMORY: &[(Limit, u64, u64)] = &[$($((Limit::$limit, 0 $(+ $free)?, $bytes),)?)*];

            /// The value of a limit.
            pub fn get(&self, limit: Limit) -> u64 {
                match limit {
                    $(Limit::$limit => u64::try_from(self.$name).unwrap_or(u64::MAX),)*
                }
            }

            /// Changes a limit.
            pub fn set(&mut self, limit: Limit, value: u64) {
                match limit {
                    $(Limit::$limit => self.$name = <$type>::try_from(value).unwrap_or(<$type>::MAX),)*
                }
            }
        }

        /// The name of a limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Limit {
            $($(#[doc = $doc])* $limit,)*
        }

        impl Limit {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$limit,)*];

            /// The name that reports and options use, which is that of the field in [`Limits`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$limit => stringify!($name),)*
                }
            }

            /// What it is for.
            pub const fn purpose(self) -> &'static str {
                match self {
                    $(Self::$limit => concat!($($doc),*),)*
                }
            }

            /// Whether it bounds only what QEMU does not look at, or counts without looking.
            pub const fn is_beside_qemu(self) -> bool {
                match self {
                    $(Self::$limit => limits!(@beside $($kind)?),)*
                }
            }

            /// Whether nothing more can be read of the file once it is spent.
            pub const fn ends_run(self) -> bool {
                match self {
                    $(Self::$limit => limits!(@whole $($kind)?),)*
                }
            }
        }
    };
    (@beside beside_qemu) => { true };
    (@beside $($kind:ident)?) => { false };
    (@whole whole_run) => { true };
    (@whole $($kind:ident)?) => { false };
}

limits! {
    /// Bytes read from the file in all. QEMU has no such limit; this one lets a dump walk the metadata of the
    /// largest disk that QEMU can open (2^61 bytes in clusters of 2 MiB has 2^43), while an image whose tables
    /// refer to each other over and over comes to an end.
    ReadBytes read_bytes: u64 = 1 << 40, whole_run;
    /// Calls of the reader in all, so that many small reads end as surely as few large ones.
    Reads reads: u64 = 1 << 32, whole_run;
    /// Bytes of the first cluster that hold extensions. QEMU's largest cluster has 2 MiB.
    ExtensionAreaLen extension_area_len: u64 = 2 << 20;
    /// Bytes of one snapshot table entry or bitmap directory entry that are read whole. QEMU allows 1024 bytes
    /// of extra data, and 65,535 of a name and an id each come on top.
    EntryLen entry_len: u64 = 256 << 10;
    /// Snapshot table entries; QEMU's own limit.
    Snapshots snapshots: u64 = 65_536;
    /// Bitmap directory entries; QEMU's own limit.
    Bitmaps bitmaps: u64 = 65_535;
    /// Tables whose place is remembered so that none is shown twice. It holds for the L1 tables and for the L2
    /// tables, each by themselves.
    RememberedTables remembered_tables: usize = 131_072, 160 bytes each;
    /// Bytes of a compressed cluster, which is decoded in memory as a whole. QEMU's largest cluster has 2 MiB.
    DecodedClusterLen decoded_cluster_len: u64 = 2 << 20;
    /// Compressed clusters that are compared with one another, and decompressed by a deep check. It is enough for
    /// 2 TiB of disk in clusters of 64 KiB, all compressed.
    CompressedClusters compressed_clusters: usize = 32 << 20, 48 bytes each, beside_qemu;
    /// Bytes that a deep check may decompress in all, an hour's work. Streams of a few bytes may hold a cluster of
    /// 2 MiB, so that the length of the file bounds nothing.
    DecodedBytes decoded_bytes: u64 = 4 << 40, beside_qemu;
    /// Pages of 512 host clusters whose references are counted: about 1 KiB of memory each, more where a cluster has
    /// more than 255 references. It is enough for 32 TiB of clusters of 64 KiB that lie side by side, all in use.
    CountedPages counted_pages: usize = 1 << 20, 5_300 bytes each;
    /// Entries of the refcount table that are not zero; QEMU's table ends at as many.
    RefcountBlocks refcount_blocks: usize = 1 << 20, 300 bytes each;
    /// Distinct L2 tables that are walked: as many as 4 EiB of disk in clusters of 64 KiB call for, or 4,096 snapshots
    /// of 1 TiB that share nothing.
    L2Tables l2_tables: usize = 8 << 20, 300 bytes each;
    /// Tables that stand off a cluster boundary, or that are pointed at again, and are read all the same because
    /// QEMU does: they may share their bytes, so that more of them would cost more than the file is long.
    OddTables odd_tables: u64 = 256, beside_qemu;
    /// Owners of one byte of the file that are told one by one: each of as many snapshots as QEMU allows, and the active
    /// disk, may own it.
    Owners owners: usize = 65_537, 512 bytes each;
    /// Host clusters in conflict whose owners are looked for: about 1 KiB of memory each, more where thousands of tables map
    /// it.
    Conflicts conflicts: usize = 1024, 32_768 bytes each, beside_qemu;
    /// Guest ranges remembered as lost, for each tree and each damaged L2 table, and how many of these are told apart.
    /// Bytes of further ranges are counted without their places; what cannot be counted so is a finding.
    LostRanges lost_ranges: usize = 1024, 262_144 bytes each, beside_qemu;
    /// Bytes behind the last cluster in use that are looked at for hidden data.
    TrailingBytes trailing_bytes: u64 = 64 << 20, beside_qemu;
    /// Findings of one rule that are kept one by one; the others are counted in one further finding. A hundred rules
    /// with so many take some 650 bytes for each.
    FindingsPerRule findings_per_rule: usize = 100, 65_536 bytes each beyond 100;
    /// Bytes that a command writes. The dump of a large image has some GiB.
    OutputBytes output_bytes: u64 = 1 << 40;
    /// Seconds of wall-clock time from the opening of the image on, looked at now and then while it is read. The
    /// largest images that were measured take a minute, a deep check of some TiB hours.
    Seconds seconds: u64 = 4 * 3600, whole_run;
}

impl Limits {
    /// Bytes of memory that a command may take by these limits, the stacks of its threads apart. Few images come near:
    /// memory follows what an image has, and not what it claims.
    pub fn memory(&self) -> u64 {
        let cost = |(limit, free, bytes): &(Limit, u64, u64)| {
            self.get(*limit).saturating_sub(*free).saturating_mul(*bytes)
        };
        Self::MEMORY.iter().map(cost).fold(FIXED_MEMORY, u64::saturating_add)
    }

    /// The same with all limits that bound memory changed in proportion, so that it comes to `bytes`. 64 MiB are
    /// always needed: with less than that, nothing that takes more is left.
    #[must_use]
    pub fn within_memory(mut self, bytes: u64) -> Self {
        let part = u128::from(bytes.saturating_sub(FIXED_MEMORY));
        let whole = u128::from(self.memory().saturating_sub(FIXED_MEMORY)).max(1);
        for (limit, free, _) in Self::MEMORY {
            let count = self.get(*limit);
            let more = u128::from(count.saturating_sub(*free));
            let more = more.saturating_mul(part).checked_div(whole).unwrap_or_default();
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.set(*limit, count.min(*free).saturating_add(more));
        }
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limit {
    /// The limit of this name; `None` where none has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.as_str() == name)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_goes_by_its_name() {
        for limit in Limit::ALL {
            let mut limits = Limits::DEFAULT;
            limits.set(*limit, 7);
            assert_eq!(limits.get(*limit), 7, "{limit}");
            assert_ne!(limits, Limits::DEFAULT, "{limit}");
            assert!(limit.purpose().len() > 20, "{limit}");
            assert_eq!(Limit::named(limit.as_str()), Some(*limit));
        }
        assert_eq!(Limit::named("no_such"), None);
    }

    #[test]
    fn memory_is_shared_out_in_proportion() {
        let whole = Limits::DEFAULT;
        let half = whole.within_memory(FIXED_MEMORY + (whole.memory() - FIXED_MEMORY) / 2);
        assert_eq!(half.counted_pages, whole.counted_pages / 2);
        assert_eq!(half.l2_tables, whole.l2_tables / 2);
        assert_eq!((half.read_bytes, half.snapshots), (whole.read_bytes, whole.snapshots));
        for bytes in [0, 1 << 20, 65 << 20, 100 << 20, 1 << 30, 1 << 40] {
            let limits = whole.within_memory(bytes);
            assert!(limits.memory() <= bytes.max(FIXED_MEMORY), "{bytes}: {limits:?}");
            assert_eq!(bytes >= 65 << 20, limits.counted_pages > 0, "{bytes}");
        }
        assert!(whole.within_memory(1 << 40).counted_pages > whole.counted_pages);
    }

    /// However little memory there is, what is found is told with its place as far as the fixed part has room.
    #[test]
    fn some_findings_are_kept_in_any_memory() {
        let with = |findings_per_rule| Limits { findings_per_rule, ..Limits::DEFAULT };
        for (wanted, bytes, kept) in
            [(1, 0, 1), (1, 1 << 40, 1), (100, 0, 100), (100, 1 << 40, 100), (9000, 0, 100)]
        {
            assert_eq!(with(wanted).within_memory(bytes).findings_per_rule, kept, "{wanted} in {bytes}");
        }
        let many = with(9000);
        assert_eq!(many.within_memory(many.memory()), many);
        assert_eq!(many.memory() - with(100).memory(), 8900 * 65_536);
        assert_eq!(with(100).memory(), with(0).memory());
    }
}
