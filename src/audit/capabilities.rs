//! What a reader needs to support to use an image.

use crate::Image;
use crate::format::features::{CORRUPT, DIRTY, EXTENDED_L2, FeatureSet, LAZY_REFCOUNTS, RAW_EXTERNAL};
use crate::format::header::{COMPRESSION_ZLIB, CRYPT_NONE, compression_type_name, crypt_method_name};
use crate::format::scalar::FeatureBits;
use crate::source::ReadAt;

/// What an image asks of its readers, by its own words: counts are claims of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The header's version.
    pub version: u32,
    /// Bytes of a cluster; `None` where `cluster_bits` makes no sense.
    pub cluster_size: Option<u64>,
    /// Bytes of the virtual disk.
    pub virtual_size: u64,
    /// Bits of a refcount; `None` where `refcount_order` makes no sense.
    pub refcount_bits: Option<u32>,
    /// The header's `compression_type`.
    pub compression_type: u8,
    /// Whether any cluster of any tree is compressed, as far as the check came.
    pub compressed_clusters: bool,
    /// Whether clusters have subclusters.
    pub extended_l2: bool,
    /// Whether guest data lies in another file.
    pub external_data: bool,
    /// Whether that file can be read as a raw image.
    pub raw_external_data: bool,
    /// The header's `crypt_method`.
    pub crypt_method: u32,
    /// Whether another image lies below.
    pub backing_file: bool,
    /// Internal snapshots.
    pub snapshots: u32,
    /// Persistent bitmaps that the image wants loaded.
    pub bitmaps: u32,
    /// Whether refcounts may be late.
    pub lazy_refcounts: bool,
    /// Whether refcounts may be stale.
    pub dirty: bool,
    /// Whether somebody found the image corrupt.
    pub corrupt: bool,
    /// Incompatible feature bits that the specification does not define.
    pub unknown_incompatible: FeatureBits,
}

impl Capabilities {
    /// Of an image; whether it has compressed clusters only a check can tell.
    pub fn new<R: ReadAt>(image: &Image<R>, compressed_clusters: bool) -> Self {
        let header = image.header();
        let v3 = header.v3();
        let (incompatible, autoclear) = (v3.incompatible_features, v3.autoclear_features);
        // A name that cannot be read is a name.
        let backing_file = image.has_backing_file();
        let bitmaps = image.bitmaps_extension().filter(|_| header.bitmaps_are_loaded());
        Self {
            version: header.v2.version,
            cluster_size: image.geometry().map(|geometry| geometry.cluster_size()),
            virtual_size: header.v2.size.0,
            refcount_bits: image.refcount_width().map(|width| width.bits()),
            compression_type: header.compression_type(),
            compressed_clusters,
            extended_l2: incompatible.contains(EXTENDED_L2),
            external_data: image.has_external_data(),
            raw_external_data: autoclear.contains(RAW_EXTERNAL),
            crypt_method: header.v2.crypt_method,
            backing_file,
            snapshots: header.v2.nb_snapshots,
            bitmaps: bitmaps.map_or(0, |(_, extension)| extension.nb_bitmaps),
            lazy_refcounts: v3.compatible_features.contains(LAZY_REFCOUNTS),
            dirty: incompatible.contains(DIRTY),
            corrupt: incompatible.contains(CORRUPT),
            unknown_incompatible: FeatureSet::Incompatible.unknown(incompatible),
        }
    }

    /// Without which of these no reader gets at the guest's data: a fixed set of words, in a fixed order.
    pub fn needs(&self) -> Vec<&'static str> {
        let compression = match self.compression_type {
            COMPRESSION_ZLIB => None,
            number => compression_type_name(number).or(Some("unknown-compression")),
        };
        let encryption = match self.crypt_method {
            CRYPT_NONE => None,
            number => crypt_method_name(number).or(Some("unknown-encryption")),
        };
        [
            (self.version >= 3).then_some("version-3"),
            self.compressed_clusters.then_some("compressed-clusters"),
            compression,
            self.extended_l2.then_some("extended-l2"),
            self.external_data.then_some("external-data-file"),
            encryption,
            self.backing_file.then_some("backing-file"),
            (self.unknown_incompatible.0 != 0).then_some("unknown-incompatible-features"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
