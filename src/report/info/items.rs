//! What `info` says, by its keys.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::Serializer;
use serde_json::Map;

use super::{compression, encryption};
use crate::Image;
use crate::finding::Severity;
use crate::format::features::FeatureSet;
use crate::format::header::{HeaderAdditional, HeaderV2, HeaderV3, field};
use crate::format::luks::SLOT_ENABLED;
use crate::format::{Field, FieldValue, Layout, extension};
use crate::image::{Bitmap, Extension, Luks, Snapshot};
use crate::report::feature_names;
use crate::report::human::Timestamp;
use crate::report::value::{Hex, Value, unclean};
use crate::source::ReadAt;
use crate::text;
use crate::units::{HostOffset, SECTOR};

/// What the header says, and the names that it leads to.
#[derive(Serialize, JsonSchema)]
pub(super) struct Head<'a> {
    header: Fields,
    version: Option<u32>,
    cluster_size: Option<u64>,
    virtual_size: Option<u64>,
    /// Bytes that the file takes on its host, as `qemu-img info` says; `null` where that is not known, as of a device.
    actual_size: Option<u64>,
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
    /// How many snapshots the header claims; `snapshots` has those that can be read.
    snapshots_claimed: Option<u32>,
    /// How many bitmaps their extension claims, which the header may not have.
    bitmaps_claimed: Option<u32>,
}

impl<'a> Head<'a> {
    pub(super) fn new<R: ReadAt>(image: &'a Image<R>) -> Self {
        let header = image.header();
        let v3 = header.v3();
        // What the file does not hold reads as zeros, but says nothing.
        let held = |field: Field| header.holds(field).then_some(());
        let backing = image.backing_file().ok().flatten().map(|name| name.bytes.as_slice());
        let (format, data) =
            (image.backing_format().map(|(_, name)| name), image.data_file().map(|(_, name)| name));
        Self {
            header: Fields(header.fields()),
            version: held(field::VERSION).map(|()| header.v2.version),
            cluster_size: image.geometry().map(|geometry| geometry.cluster_size()),
            virtual_size: held(field::SIZE).map(|()| header.v2.size.0),
            actual_size: image.stored_len(),
            refcount_bits: held(field::REFCOUNT_ORDER).and(image.refcount_width().map(|width| width.bits())),
            compression_type: held(field::COMPRESSION_TYPE).map(|()| compression(header.compression_type())),
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
            snapshots_claimed: held(field::NB_SNAPSHOTS).map(|()| header.v2.nb_snapshots),
            bitmaps_claimed: image.bitmaps_extension().map(|(_, extension)| extension.nb_bitmaps),
        }
    }
}

/// What is known at the end.
#[derive(Serialize, JsonSchema)]
pub(super) struct Rest<'a> {
    pub(super) luks: Option<LuksItem<'a>>,
    pub(super) worst: Option<Severity>,
    pub(super) sandbox: &'a str,
    pub(super) complete: bool,
}

/// The header's fields as an object, as far as it has them and the file holds them.
struct Fields(Vec<(Field, FieldValue)>);

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Header".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = [HeaderV2::FIELDS, HeaderV3::FIELDS, HeaderAdditional::FIELDS].concat();
        let value = generator.subschema_for::<Value<'_>>();
        let properties: Map<_, _> =
            fields.iter().map(|field| (field.name.to_owned(), value.clone().to_value())).collect();
        json_schema!({ "type": "object", "properties": properties })
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, value)| (field.name, Value::from(value))))
    }
}

#[derive(Serialize, JsonSchema)]
struct Features {
    incompatible: Vec<String>,
    compatible: Vec<String>,
    autoclear: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
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

#[derive(Serialize, JsonSchema)]
pub(super) struct SnapshotItem<'a> {
    /// Its place in the snapshot table.
    index: u32,
    id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_hex: Option<Hex<'a>>,
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<Hex<'a>>,
    /// When it was taken, in UTC.
    date: String,
    date_sec: u32,
    date_nsec: u32,
    vm_clock_nsec: u64,
    vm_state_size: u64,
    disk_size: u64,
    icount: Option<u64>,
    l1_table_offset: HostOffset,
    l1_size: u32,
}

impl<'a> SnapshotItem<'a> {
    /// `virtual_size` is the disk's, for a snapshot that says nothing of its own.
    pub(super) fn new(snapshot: &'a Snapshot, virtual_size: u64) -> Self {
        let Snapshot { index, head, id, name, .. } = snapshot;
        Self {
            index: *index,
            id: text::escape(id),
            id_hex: unclean(id),
            name: text::escape(name),
            name_hex: unclean(name),
            date: Timestamp::new(head.date_sec.0.into(), head.date_nsec).to_string(),
            date_sec: head.date_sec.0,
            date_nsec: head.date_nsec,
            vm_clock_nsec: head.vm_clock_nsec,
            vm_state_size: snapshot.vm_state_size(),
            disk_size: snapshot.disk_size().unwrap_or(virtual_size),
            icount: snapshot.icount(),
            l1_table_offset: head.l1_table_offset,
            l1_size: head.l1_size,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct BitmapItem<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<Hex<'a>>,
    /// Bytes that a bit stands for; `null` where that is no number.
    granularity: Option<u64>,
    flags: Vec<&'static str>,
}

impl<'a> From<&'a Bitmap> for BitmapItem<'a> {
    fn from(bitmap: &'a Bitmap) -> Self {
        let Bitmap { head, name, .. } = bitmap;
        Self {
            name: text::escape(name),
            name_hex: unclean(name),
            granularity: 1_u64.checked_shl(head.granularity_bits.0.into()),
            flags: head.flags.names().collect(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct LuksItem<'a> {
    version: u16,
    cipher_name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cipher_name_hex: Option<Hex<'a>>,
    cipher_mode: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cipher_mode_hex: Option<Hex<'a>>,
    hash_spec: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_spec_hex: Option<Hex<'a>>,
    /// Bytes from the start of the LUKS header.
    payload_offset: u64,
    key_bytes: u32,
    mk_digest_iterations: u32,
    uuid: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid_hex: Option<Hex<'a>>,
    slots: Vec<SlotItem>,
}

impl<'a> From<&'a Luks> for LuksItem<'a> {
    fn from(luks: &'a Luks) -> Self {
        let head = &luks.head;
        let [name, mode] = [head.cipher_name.text(), head.cipher_mode.text()];
        let [hash, uuid] = [head.hash_spec.text(), head.uuid.text()];
        let slots = luks.slots.iter().map(|(_, slot)| SlotItem {
            active: slot.active.0 == SLOT_ENABLED,
            iterations: slot.iterations,
            stripes: slot.stripes,
            key_offset: u64::from(slot.key_material_offset).saturating_mul(SECTOR),
        });
        Self {
            version: head.version,
            cipher_name: text::escape(name),
            cipher_name_hex: unclean(name),
            cipher_mode: text::escape(mode),
            cipher_mode_hex: unclean(mode),
            hash_spec: text::escape(hash),
            hash_spec_hex: unclean(hash),
            payload_offset: u64::from(head.payload_offset).saturating_mul(SECTOR),
            key_bytes: head.key_bytes,
            mk_digest_iterations: head.mk_digest_iterations,
            uuid: text::escape(uuid),
            uuid_hex: unclean(uuid),
            slots: slots.collect(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct SlotItem {
    active: bool,
    iterations: u32,
    stripes: u32,
    key_offset: u64,
}
