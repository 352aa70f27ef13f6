//! Feature bits and the table that names them.

use binrw::{BinRead, BinWrite};

use super::scalar::{Chars, FeatureBits};

/// The three sets of feature bits, as the feature name table numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureSet {
    /// A reader must know these to read the image.
    Incompatible,
    /// A reader may ignore these.
    Compatible,
    /// A writer must clear these if it does not know them.
    Autoclear,
}

/// A feature that the specification defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The set that it belongs to.
    pub set: FeatureSet,
    /// Its bit in that set.
    pub bit: u32,
    /// The name that QEMU writes into the feature name table.
    pub name: &'static str,
}

macro_rules! features {
    ($($(#[$doc:meta])* $code:ident $set:ident $bit:literal $name:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $code: Feature = Feature { set: FeatureSet::$set, bit: $bit, name: $name };
        )*

        /// Every feature that the specification defines.
        pub const KNOWN: &[Feature] = &[$($code),*];
    };
}

features! {
    /// Refcounts may be stale.
    DIRTY Incompatible 0 "dirty bit";
    /// A structure was found broken; write only to repair.
    CORRUPT Incompatible 1 "corrupt bit";
    /// Guest clusters lie in another file.
    EXTERNAL_DATA Incompatible 2 "external data file";
    /// `compression_type` is not 0.
    COMPRESSION Incompatible 3 "compression type";
    /// L2 entries have 128 bits, clusters have subclusters.
    EXTENDED_L2 Incompatible 4 "extended L2 entries";
    /// Refcounts may be updated late.
    LAZY_REFCOUNTS Compatible 0 "lazy refcounts";
    /// The bitmaps extension agrees with the image.
    BITMAPS Autoclear 0 "bitmaps";
    /// The external data file can be read as a raw image.
    RAW_EXTERNAL Autoclear 1 "raw external data";
}

impl FeatureSet {
    /// All three, in the order of the numbers that the feature name table has for them.
    pub const ALL: [Self; 3] = [Self::Incompatible, Self::Compatible, Self::Autoclear];

    /// The name that reports use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incompatible => "incompatible",
            Self::Compatible => "compatible",
            Self::Autoclear => "autoclear",
        }
    }

    /// The set that the feature name table means by this number.
    pub fn from_type(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The features of this set that the specification defines.
    pub fn known(self) -> impl Iterator<Item = &'static Feature> {
        KNOWN.iter().filter(move |feature| feature.set == self)
    }

    /// The bits of this set that the specification does not define.
    pub fn unknown(self, bits: FeatureBits) -> FeatureBits {
        FeatureBits(self.known().fold(bits.0, |rest, feature| rest & !1_u64.unbounded_shl(feature.bit)))
    }
}

impl FeatureBits {
    /// Whether this feature's bit is set.
    pub const fn contains(self, feature: Feature) -> bool {
        self.has(feature.bit)
    }

    /// The numbers of the bits that are set.
    pub fn bits(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |bit| self.has(*bit))
    }
}

super::layouts! {
    /// Where each field of a row of the feature name table stands.
    pub mod field;

    /// One row of the feature name table.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct FeatureName {
        /// The set: 0 incompatible, 1 compatible, 2 autoclear.
        pub r#type: u8,
        /// The bit's number: 0 to 63.
        pub bit: u8,
        /// The name, padded with zero bytes.
        pub name: Chars<46>,
    }

    FeatureName: 48
}
