//! `info` against `qemu-img info`.

use std::process::Command;

use serde_json::{Map, Value, json};

use crate::factory::Sample;
use crate::ours;

/// A key of `qemu-img info`, and our way to its value; null stands for a key that is not there.
type Mapping = (&'static str, fn(&Value) -> Value);

const MAPPING: &[Mapping] = &[
    ("/virtual-size", |ours| ours["virtual_size"].clone()),
    ("/cluster-size", |ours| ours["cluster_size"].clone()),
    ("/backing-filename", |ours| ours["backing_file"].clone()),
    ("/backing-filename-format", |ours| ours["backing_format"].clone()),
    ("/dirty-flag", |ours| has(ours, "incompatible", "dirty bit").into()),
    ("/encrypted", |ours| if ours["crypt_method"] == "none" { Value::Null } else { true.into() }),
    ("/snapshots", |ours| list(&ours["snapshots"], snapshot)),
    ("/format-specific/data/compat", |ours| if is_v2(ours) { "0.10".into() } else { "1.1".into() }),
    ("/format-specific/data/compression-type", |ours| ours["compression_type"].clone()),
    ("/format-specific/data/refcount-bits", |ours| ours["refcount_bits"].clone()),
    ("/format-specific/data/lazy-refcounts", |ours| v3(ours, has(ours, "compatible", "lazy refcounts"))),
    ("/format-specific/data/corrupt", |ours| v3(ours, has(ours, "incompatible", "corrupt bit"))),
    ("/format-specific/data/extended-l2", |ours| v3(ours, has(ours, "incompatible", "extended L2 entries"))),
    ("/format-specific/data/data-file", |ours| ours["data_file"].clone()),
    ("/format-specific/data/data-file-raw", data_file_raw),
    ("/format-specific/data/bitmaps", bitmaps),
    ("/format-specific/data/encrypt", encryption),
];

/// What `qemu-img info` tells of other things than the image: where it lies, on what, and what its names lead to.
const NOT_OF_THE_IMAGE: &[&str] =
    &["/actual-size", "/children", "/filename", "/format", "/format-specific/type", "/full-backing-filename"];

/// Where the two differ.
pub(crate) fn differences(sample: &Sample) -> Vec<String> {
    let (ours, mut differences) = ours::report("info", sample);
    let theirs = qemu_info(sample);
    for (key, value) in MAPPING {
        let (ours, theirs) = (value(&ours), theirs.pointer(key).unwrap_or(&Value::Null));
        if ours != *theirs {
            differences.push(format!("{key}: ours {ours}, qemu-img's {theirs}"));
        }
    }
    let known = |key: &String| {
        MAPPING.iter().any(|(mapped, _)| mapped == key) || NOT_OF_THE_IMAGE.contains(&key.as_str())
    };
    let unknown = keys(&theirs).into_iter().filter(|key| !known(key));
    differences.extend(unknown.map(|key| format!("{key}: qemu-img has it, the mapping does not")));
    differences.into_iter().map(|difference| format!("{}: info: {difference}", sample.name)).collect()
}

fn qemu_info(sample: &Sample) -> Value {
    let output = Command::new("qemu-img").args(["info", "--output=json"]).arg(&sample.path).output().unwrap();
    assert!(output.status.success(), "{}: {}", sample.name, String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The keys of the document and of what it tells of the format.
fn keys(theirs: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    for place in ["", "/format-specific", "/format-specific/data"] {
        let object = theirs.pointer(place).unwrap().as_object().unwrap();
        keys.extend(object.keys().map(|key| format!("{place}/{key}")));
    }
    keys.retain(|key| !["/format-specific", "/format-specific/data"].contains(&key.as_str()));
    keys
}

fn is_v2(ours: &Value) -> bool {
    ours["version"] == 2
}

/// What only images of version 3 have.
fn v3(ours: &Value, value: bool) -> Value {
    if is_v2(ours) { Value::Null } else { value.into() }
}

fn has(ours: &Value, set: &str, feature: &str) -> bool {
    ours["features"][set].as_array().unwrap().iter().any(|name| name == feature)
}

/// A list that is not there when it is empty.
fn list(ours: &Value, item: fn(&Value) -> Value) -> Value {
    match ours.as_array().unwrap().as_slice() {
        [] => Value::Null,
        items => items.iter().map(item).collect(),
    }
}

fn snapshot(ours: &Value) -> Value {
    let clock = ours["vm_clock_nsec"].as_u64().unwrap();
    let mut snapshot = json!({
        "id": ours["id"],
        "name": ours["name"],
        "date-sec": ours["date_sec"],
        "date-nsec": ours["date_nsec"],
        "vm-clock-sec": clock / 1_000_000_000,
        "vm-clock-nsec": clock % 1_000_000_000,
        "vm-state-size": ours["vm_state_size"],
    });
    if !ours["icount"].is_null() {
        snapshot["icount"] = ours["icount"].clone();
    }
    snapshot
}

fn data_file_raw(ours: &Value) -> Value {
    if has(ours, "incompatible", "external data file") {
        has(ours, "autoclear", "raw external data").into()
    } else {
        Value::Null
    }
}

/// `qemu-img` passes over bitmaps that an older program may have left behind the disk.
fn bitmaps(ours: &Value) -> Value {
    if !has(ours, "autoclear", "bitmaps") {
        return Value::Null;
    }
    list(
        &ours["bitmaps"],
        |ours| json!({"name": ours["name"], "granularity": ours["granularity"], "flags": ours["flags"]}),
    )
}

fn encryption(ours: &Value) -> Value {
    let method = ours["crypt_method"].as_str().unwrap();
    let mut encryption = Map::new();
    match method {
        "none" => return Value::Null,
        "aes" => {}
        _ => encryption.extend(luks(&ours["luks"])),
    }
    encryption.insert("format".to_owned(), method.into());
    encryption.into()
}

/// QEMU takes the cipher's specification apart: `aes`, `cbc-essiv:sha256` and 16 bytes of key are three algorithms
/// and a mode. XTS has two keys in one.
fn luks(ours: &Value) -> Map<String, Value> {
    let (mode, generator) = ours["cipher_mode"].as_str().unwrap().split_once('-').unwrap();
    let (generator, generator_hash) = match generator.split_once(':') {
        Some((generator, hash)) => (generator, Some(hash)),
        None => (generator, None),
    };
    let keys = if mode == "xts" { 2 } else { 1 };
    let key_bits = ours["key_bytes"].as_u64().unwrap() * 8 / keys;
    let mut luks = Map::new();
    let mut tell = |key: &str, value: Value| luks.insert(key.to_owned(), value);
    tell("cipher-alg", format!("{}-{key_bits}", ours["cipher_name"].as_str().unwrap()).into());
    tell("cipher-mode", mode.into());
    tell("ivgen-alg", generator.into());
    if let Some(hash) = generator_hash {
        tell("ivgen-hash-alg", hash.into());
    }
    tell("hash-alg", ours["hash_spec"].clone());
    tell("uuid", ours["uuid"].clone());
    tell("payload-offset", ours["payload_offset"].clone());
    tell("master-key-iters", ours["mk_digest_iterations"].clone());
    tell("slots", list(&ours["slots"], key_slot));
    // LUKS inside qcow2 always has its header inside too.
    tell("detached-header", false.into());
    luks
}

fn key_slot(ours: &Value) -> Value {
    let mut slot = json!({"active": ours["active"], "key-offset": ours["key_offset"]});
    if ours["active"] == true {
        slot["iters"] = ours["iterations"].clone();
        slot["stripes"] = ours["stripes"].clone();
    }
    slot
}
