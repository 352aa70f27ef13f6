//! The first cluster: header, extensions and the backing file's name.

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::extension::{
    BACKING_FORMAT, BITMAPS, BitmapsExtension, DATA_FILE, END, ExtensionHead, FEATURE_TABLE,
};
use qcow2_inspect::format::features::{self, Feature, FeatureName};
use qcow2_inspect::format::header::{COMPRESSION_ZSTD, HeaderAdditional, HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, Bytes, Chars, ClusterBits, FeatureBits, Magic};
use qcow2_inspect::units::{HostOffset, to_u64};

use super::{Places, Plan, places};

/// What the header says.
pub(super) fn header(plan: &Plan, places: &Places) -> (HeaderV2, Option<HeaderV3>, HeaderAdditional) {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let v2 = HeaderV2 {
        magic: MAGIC,
        version: if plan.v3.is_some() { 3 } else { 2 },
        backing_file_offset: backing_name_at(plan, places),
        backing_file_size: plan.backing.as_ref().map_or(0, |backing| narrow(to_u64(backing.name.len()))),
        cluster_bits: ClusterBits(plan.cluster_bits),
        size: ByteSize(plan.size),
        crypt_method: 0,
        l1_size: plan.active.l1_size,
        l1_table_offset: places.l1,
        refcount_table_offset: places.refcount_table,
        refcount_table_clusters: narrow(places.refcount_table_clusters),
        nb_snapshots: narrow(to_u64(plan.snapshots.len())),
        snapshots_offset: places.snapshot_table,
    };
    let bit = |feature: Feature, set: bool| u64::from(set) << feature.bit;
    let v3 = plan.v3.as_ref().map(|v3| HeaderV3 {
        incompatible_features: FeatureBits(
            bit(features::DIRTY, v3.dirty)
                | bit(features::EXTERNAL_DATA, v3.data_file.is_some())
                | bit(features::COMPRESSION, v3.zstd)
                | bit(features::EXTENDED_L2, v3.extended_l2),
        ),
        compatible_features: FeatureBits(
            bit(features::LAZY_REFCOUNTS, v3.lazy_refcounts) | v3.more_compatible,
        ),
        autoclear_features: FeatureBits(
            bit(features::BITMAPS, !plan.bitmaps.is_empty())
                | bit(features::RAW_EXTERNAL, v3.data_file.as_ref().is_some_and(|file| file.raw))
                | v3.more_autoclear,
        ),
        refcount_order: v3.refcount_order,
        header_length: v3.header_length,
    });
    let compression_type = if plan.zstd() { COMPRESSION_ZSTD } else { 0 };
    (v2, v3, HeaderAdditional { compression_type, padding: Bytes([0; 7]) })
}

/// The extensions, without the end marker.
pub(super) fn extensions(plan: &Plan, places: &Places) -> Vec<(Magic, Vec<u8>)> {
    let mut list = Vec::new();
    if let Some(format) = plan.backing.as_ref().and_then(|backing| backing.format.clone()) {
        list.push((BACKING_FORMAT, format));
    }
    if let Some(file) = plan.data_file() {
        list.push((DATA_FILE, file.name.clone()));
    }
    if plan.feature_names > 0 {
        let rows = features::KNOWN.iter().take(plan.feature_names);
        list.push((FEATURE_TABLE, rows.flat_map(|feature| feature_name(feature).encode()).collect()));
    }
    if !plan.bitmaps.is_empty() {
        let extension = BitmapsExtension {
            nb_bitmaps: u32::try_from(plan.bitmaps.len()).unwrap_or(u32::MAX),
            reserved: 0,
            bitmap_directory_size: places::bitmap_directory_len(plan),
            bitmap_directory_offset: places.bitmap_directory,
        };
        list.push((BITMAPS, extension.encode()));
    }
    list.extend(plan.unknown_extensions.iter().cloned());
    list
}

fn feature_name(feature: &Feature) -> FeatureName {
    let number = features::FeatureSet::ALL.iter().position(|set| *set == feature.set).unwrap_or_default();
    let mut name = Chars([0; 46]);
    name.0.iter_mut().zip(feature.name.bytes()).for_each(|(to, from)| *to = from);
    FeatureName {
        r#type: u8::try_from(number).unwrap_or(u8::MAX),
        bit: u8::try_from(feature.bit).unwrap_or(u8::MAX),
        name,
    }
}

/// The first cluster up to the backing file's name, which comes behind it.
fn before_name(plan: &Plan, places: &Places) -> Vec<u8> {
    let mut bytes =
        vec![0; usize::try_from(plan.v3.as_ref().map_or(72, |v3| v3.header_length)).unwrap_or_default()];
    for (magic, data) in extensions(plan, places) {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        bytes.extend(ExtensionHead { magic, length }.encode());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    if plan.end_marker {
        bytes.extend(ExtensionHead { magic: END, length: 0 }.encode());
    }
    if let Some(backing) = &plan.backing {
        bytes.resize(bytes.len() + usize::try_from(backing.gap).unwrap_or_default(), 0);
    }
    bytes
}

fn backing_name_at(plan: &Plan, places: &Places) -> HostOffset {
    HostOffset(plan.backing.as_ref().map_or(0, |_| to_u64(before_name(plan, places).len())))
}

/// Bytes of the first cluster that are in use.
pub(super) fn len(plan: &Plan) -> usize {
    let name = plan.backing.as_ref().map_or(0, |backing| backing.name.len());
    before_name(plan, &Places::default()).len() + name
}

/// The bytes of the first cluster that are in use.
pub(super) fn encode(plan: &Plan, places: &Places) -> Vec<u8> {
    let mut bytes = before_name(plan, places);
    let (v2, v3, additional) = header(plan, places);
    let mut parts = v2.encode();
    if let Some(v3) = v3 {
        parts.extend(v3.encode());
        if u64::from(v3.header_length) >= HeaderV2::LEN + HeaderV3::LEN + HeaderAdditional::LEN {
            parts.extend(additional.encode());
        }
    }
    bytes[..parts.len()].copy_from_slice(&parts);
    bytes.extend(plan.backing.iter().flat_map(|backing| &backing.name));
    bytes
}
