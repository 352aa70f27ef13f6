//! What `info` says, by its keys.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{compression, encryption};
use crate::Image;
use crate::finding::Severity;
use crate::format::features::FeatureSet;
use crate::format::header::field;
use crate::format::luks::SLOT_ENABLED;
use crate::format::{Field, FieldValue, extension};
use crate::image::{Bitmap, Extension, Luks, Snapshot};
use crate::report::feature_names;
use crate::report::human::Timestamp;
use crate::report::value::{Hex, Value, unclean};
use crate::source::ReadAt;
use crate::text;
use crate::units::SECTOR;

/// What the header says, and the names that it leads to.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    header: Fields,
    version: Option<u32>,
    cluster_size: Option<u64>,
    virtual_size: Option<u64>,
    refcount_bits: Option<u32>,
    compression_type: Option<String>,
    crypt_method: Option<String>,
    backing_file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing_file_hex: Option<Hex<'a>>,
    backing_format: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing_format_hex: Option<Hex<'a>>,
    data_file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_file_hex: Option<Hex<'a>>,
    features: Features,
}

impl<'a> Head<'a> {
    pub(super) fn new<R: ReadAt>(image: &'a Image<R>) -> Self {
        let header = image.header();
        let v3 = header.v3();
        // What the file does not hold reads as zeros, but says nothing.
        let held = |field: Field| header.holds(field).then_some(());
        let compression_held = held(field::HEADER_LENGTH).and(held(field::COMPRESSION_TYPE));
        let backing = image.backing_file().ok().flatten().map(|name| name.bytes.as_slice());
        let (format, data) =
            (image.backing_format().map(|(_, name)| name), image.data_file().map(|(_, name)| name));
        Self {
            header: Fields(header.fields()),
            version: held(field::VERSION).map(|()| header.v2.version),
            cluster_size: image.geometry().map(|geometry| geometry.cluster_size()),
            virtual_size: held(field::SIZE).map(|()| header.v2.size.0),
            refcount_bits: held(field::REFCOUNT_ORDER).and(image.refcount_width().map(|width| width.bits())),
            compression_type: compression_held.map(|()| compression(header.compression_type())),
            crypt_method: held(field::CRYPT_METHOD).map(|()| encryption(header.v2.crypt_method)),
            backing_file: backing.map(text::escape),
            backing_file_hex: backing.and_then(unclean),
            backing_format: format.map(text::escape),
            backing_format_hex: format.and_then(unclean),
            data_file: data.map(text::escape),
            data_file_hex: data.and_then(unclean),
            features: Features {
                incompatible: feature_names(FeatureSet::Incompatible, v3.incompatible_features),
                compatible: feature_names(FeatureSet::Compatible, v3.compatible_features),
                autoclear: feature_names(FeatureSet::Autoclear, v3.autoclear_features),
            },
        }
    }
}

/// What is known at the end.
#[derive(Serialize)]
pub(super) struct Rest<'a> {
    pub(super) luks: Option<LuksItem>,
    pub(super) worst: Option<Severity>,
    pub(super) sandbox: &'a str,
    pub(super) complete: bool,
}

/// The fields of a layout as an object.
struct Fields(Vec<(Field, FieldValue)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, value)| (field.name, Value::from(value))))
    }
}

#[derive(Serialize)]
struct Features {
    incompatible: Vec<String>,
    compatible: Vec<String>,
    autoclear: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct ExtensionItem {
    magic: String,
    name: Option<&'static str>,
    length: u32,
}

impl From<&Extension<'_>> for ExtensionItem {
    fn from(extension: &Extension<'_>) -> Self {
        let magic = extension.head.magic;
        Self { magic: magic.to_string(), name: extension::name(magic), length: extension.head.length }
    }
}

pub(super) struct SnapshotItem<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) virtual_size: u64,
}

impl Serialize for SnapshotItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Snapshot { index, head, id, name, .. } = self.snapshot;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("index", index)?;
        text_entry(&mut map, ["id", "id_hex"], id)?;
        text_entry(&mut map, ["name", "name_hex"], name)?;
        map.serialize_entry("date", &Timestamp::new(head.date_sec.0.into(), head.date_nsec).to_string())?;
        map.serialize_entry("date_sec", &head.date_sec.0)?;
        map.serialize_entry("date_nsec", &head.date_nsec)?;
        map.serialize_entry("vm_clock_nsec", &head.vm_clock_nsec)?;
        map.serialize_entry("vm_state_size", &self.snapshot.vm_state_size())?;
        map.serialize_entry("disk_size", &self.snapshot.disk_size().unwrap_or(self.virtual_size))?;
        map.serialize_entry("icount", &self.snapshot.icount())?;
        map.serialize_entry("l1_table_offset", &head.l1_table_offset)?;
        map.serialize_entry("l1_size", &head.l1_size)?;
        map.end()
    }
}

pub(super) struct BitmapItem<'a>(pub(super) &'a Bitmap);

impl Serialize for BitmapItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Bitmap { head, name, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        text_entry(&mut map, ["name", "name_hex"], name)?;
        map.serialize_entry("granularity", &1_u64.checked_shl(head.granularity_bits.0.into()))?;
        map.serialize_entry("flags", &head.flags.names().collect::<Vec<_>>())?;
        map.end()
    }
}

pub(super) struct LuksItem(pub(super) Luks);

impl Serialize for LuksItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let head = &self.0.head;
        let slots = self.0.slots.iter().map(|(_, slot)| SlotItem {
            active: slot.active.0 == SLOT_ENABLED,
            iterations: slot.iterations,
            stripes: slot.stripes,
            key_offset: u64::from(slot.key_material_offset).saturating_mul(SECTOR),
        });
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &head.version)?;
        text_entry(&mut map, ["cipher_name", "cipher_name_hex"], head.cipher_name.text())?;
        text_entry(&mut map, ["cipher_mode", "cipher_mode_hex"], head.cipher_mode.text())?;
        text_entry(&mut map, ["hash_spec", "hash_spec_hex"], head.hash_spec.text())?;
        map.serialize_entry("payload_offset", &u64::from(head.payload_offset).saturating_mul(SECTOR))?;
        map.serialize_entry("key_bytes", &head.key_bytes)?;
        map.serialize_entry("mk_digest_iterations", &head.mk_digest_iterations)?;
        text_entry(&mut map, ["uuid", "uuid_hex"], head.uuid.text())?;
        map.serialize_entry("slots", &slots.collect::<Vec<_>>())?;
        map.end()
    }
}

#[derive(Serialize)]
struct SlotItem {
    active: bool,
    iterations: u32,
    stripes: u32,
    key_offset: u64,
}

/// Text of the image under the first key, and under the second its bytes where it cannot be shown as it is.
fn text_entry<M: SerializeMap>(map: &mut M, keys: [&'static str; 2], bytes: &[u8]) -> Result<(), M::Error> {
    let [key, hex_key] = keys;
    map.serialize_entry(key, &text::escape(bytes))?;
    unclean(bytes).map_or(Ok(()), |hex| map.serialize_entry(hex_key, &hex))
}
