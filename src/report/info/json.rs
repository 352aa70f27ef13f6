//! `info` as JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{Survey, compression, encryption};
use crate::Image;
use crate::format::features::FeatureSet;
use crate::format::luks::SLOT_ENABLED;
use crate::format::{Field, FieldValue, extension, header};
use crate::image::{Bitmap, Extension, Luks, Part, Section, Snapshot};
use crate::report::document::Document;
use crate::report::feature_names;
use crate::report::human::Timestamp;
use crate::report::json::write_findings;
use crate::report::subject::Subject;
use crate::report::value::{Value, unclean};
use crate::source::ReadAt;
use crate::text;
use crate::units::SECTOR;

/// Writes `info` as one JSON document. `now` is the present in seconds since 1970, `sandbox` what the process
/// has given up.
///
/// # Errors
/// Only what `out` returns.
pub fn write_json<R: ReadAt>(
    out: impl Write,
    image: &Image<R>,
    subject: &Subject<'_>,
    now: Option<i64>,
    sandbox: &str,
) -> io::Result<bool> {
    let mut survey = Survey::new(image, now)?;
    let mut document = Document::new(out);
    document.field("schema", "qcow2-inspect/info/1")?;
    document.field("file", subject)?;
    header(&mut document, image)?;

    document.begin_array("extensions")?;
    survey.section(Section::Extensions, |part| match part {
        Part::Extension(extension) => document.item(&extension_item(extension)),
        _ => Ok(()),
    })?;
    document.end_array()?;
    document.begin_array("snapshots")?;
    let virtual_size = image.header().v2.size.0;
    survey.section(Section::Snapshots, |part| match part {
        Part::Snapshot(snapshot) => document.item(&SnapshotItem { snapshot, virtual_size }),
        _ => Ok(()),
    })?;
    document.end_array()?;
    document.begin_array("bitmaps")?;
    survey.section(Section::Bitmaps, |part| match part {
        Part::Bitmap(bitmap) => document.item(&BitmapItem(bitmap)),
        _ => Ok(()),
    })?;
    document.end_array()?;
    let mut is_encrypted = false;
    survey.section(Section::Luks, |part| match part {
        Part::Luks(luks) => {
            is_encrypted = true;
            document.field("luks", &LuksItem(luks))
        }
        _ => Ok(()),
    })?;
    if !is_encrypted {
        document.field("luks", &None::<()>)?;
    }

    survey.finish();
    document.field("worst", &survey.findings.worst())?;
    document.field("sandbox", sandbox)?;
    document.field("complete", &survey.complete())?;
    write_findings(&mut document, &survey.findings)?;
    document.finish()?;
    Ok(survey.complete())
}

fn header<W: Write, R: ReadAt>(document: &mut Document<W>, image: &Image<R>) -> io::Result<()> {
    let header = image.header();
    let v3 = header.v3();
    document.field("header", &Fields(&header.fields()))?;
    // What the file does not hold reads as zeros, but says nothing.
    let held = |field: Field| header.holds(field).then_some(());
    let cluster_size = image.geometry().map(|geometry| geometry.cluster_size());
    let refcount_bits = image.refcount_width().map(|width| width.bits());
    document.field("version", &held(header::field::VERSION).map(|()| header.v2.version))?;
    document.field("cluster_size", &cluster_size)?;
    document.field("virtual_size", &held(header::field::SIZE).map(|()| header.v2.size.0))?;
    document.field("refcount_bits", &held(header::field::REFCOUNT_ORDER).and(refcount_bits))?;
    let compression_held = held(header::field::HEADER_LENGTH).and(held(header::field::COMPRESSION_TYPE));
    let compression_type = compression_held.map(|()| compression(header.compression_type()));
    document.field("compression_type", &compression_type)?;
    document.field(
        "crypt_method",
        &held(header::field::CRYPT_METHOD).map(|()| encryption(header.v2.crypt_method)),
    )?;
    let backing = image.backing_file().ok().flatten();
    name(document, ["backing_file", "backing_file_hex"], backing.map(|name| name.bytes.as_slice()))?;
    name(document, ["backing_format", "backing_format_hex"], image.backing_format().map(|(_, bytes)| bytes))?;
    name(document, ["data_file", "data_file_hex"], image.data_file().map(|(_, bytes)| bytes))?;
    document.field(
        "features",
        &Features {
            incompatible: feature_names(FeatureSet::Incompatible, v3.incompatible_features),
            compatible: feature_names(FeatureSet::Compatible, v3.compatible_features),
            autoclear: feature_names(FeatureSet::Autoclear, v3.autoclear_features),
        },
    )
}

/// A name of the image under the first key, and under the second its bytes where it cannot be shown as it is.
fn name<W: Write>(document: &mut Document<W>, keys: [&str; 2], name: Option<&[u8]>) -> io::Result<()> {
    let [key, hex_key] = keys;
    document.field(key, &name.map(text::escape))?;
    name.and_then(unclean).map_or(Ok(()), |hex| document.field(hex_key, &hex))
}

/// The fields of a layout as an object.
struct Fields<'a>(&'a [(Field, FieldValue)]);

impl Serialize for Fields<'_> {
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
struct ExtensionItem {
    magic: String,
    name: Option<&'static str>,
    length: u32,
}

fn extension_item(extension: &Extension<'_>) -> ExtensionItem {
    let magic = extension.head.magic;
    ExtensionItem { magic: magic.to_string(), name: extension::name(magic), length: extension.head.length }
}

struct SnapshotItem<'a> {
    snapshot: &'a Snapshot,
    virtual_size: u64,
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

struct BitmapItem<'a>(&'a Bitmap);

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

struct LuksItem<'a>(&'a Luks);

impl Serialize for LuksItem<'_> {
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
