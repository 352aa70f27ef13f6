//! One report in several formats: each says what the others say, and what is cut can still be parsed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::{Map, Value, json};

use crate::process::{corpus, run};

/// The lists of reports: the key of each in JSON, and the `type` of its items in JSON Lines.
const LISTS: &[(&str, &str)] = &[
    ("extensions", "extension"),
    ("snapshots", "snapshot"),
    ("bitmaps", "bitmap"),
    ("reasons", "reason"),
    ("rules", "rule"),
    ("findings", "finding"),
];

/// What the last line has that the reader of a document can count for himself.
const TOTALS: &[&str] = &["finding_count", "rule_count"];

fn images() -> Vec<PathBuf> {
    let folders = ["valid", "damaged", "hostile"].map(|folder| corpus("valid").with_file_name(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut images: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    images.retain(|path| path.extension().is_some_and(|ending| ending == "qcow2"));
    images.sort();
    assert!(images.len() > 150);
    images
}

/// The JSON values that were written, whatever the exit code.
fn values(out: &[u8]) -> Vec<Value> {
    serde_json::Deserializer::from_slice(out).into_iter().map(Result::unwrap).collect()
}

/// The document that lines stand for.
fn joined(lines: &[Value]) -> Value {
    let [first, items @ .., last] = lines else { panic!("no lines") };
    assert!(first["type"] == "file" || first["type"] == "schema", "{first}");
    assert_eq!(last["type"], "summary");
    let mut document = Map::new();
    for line in [first, last] {
        let facts = line.as_object().unwrap().iter().filter(|(key, _)| *key != "type");
        document.extend(facts.map(|(key, value)| (key.clone(), value.clone())));
    }
    TOTALS.iter().for_each(|total| _ = document.remove(*total));
    for item in items {
        let mut item = item.as_object().unwrap().clone();
        let kind = item.remove("type").unwrap();
        let kind = kind.as_str().unwrap();
        match kind {
            "dirty" => {
                let bitmap = document["bitmaps"].as_array_mut().unwrap().last_mut().unwrap();
                bitmap["dirty"].as_array_mut().unwrap().push(item.into());
            }
            "bitmap_end" => {
                let bitmap = document["bitmaps"].as_array_mut().unwrap().last_mut().unwrap();
                bitmap.as_object_mut().unwrap().extend(item);
            }
            kind => {
                let (key, _) =
                    LISTS.iter().find(|(_, item)| *item == kind).unwrap_or_else(|| panic!("{kind}"));
                if item.contains_key("tail_bits") {
                    item.insert("dirty".to_owned(), json!([]));
                }
                let list = document.entry(*key).or_insert_with(|| json!([]));
                list.as_array_mut().unwrap().push(item.into());
            }
        }
    }
    document.into()
}

/// Leaves out lists that are empty: no line tells of them.
fn without_empty(mut document: Value) -> Value {
    let keys = LISTS.iter().map(|(key, _)| *key);
    let document_keys = document.as_object_mut().unwrap();
    for key in keys {
        if document_keys.get(key).is_some_and(|list| *list == json!([])) {
            document_keys.remove(key);
        }
    }
    document
}

#[test]
fn lines_say_what_the_document_says() {
    for image in images() {
        let image = image.to_str().unwrap();
        for call in [
            &["info"][..],
            &["check", "--as-qemu"],
            &["audit"],
            &["bitmap"],
            &["locate", "--guest", "0x400"],
            &["locate", "--host", "0x400"],
        ] {
            let told = |format| values(&run(&[call, &["--format", format, image]].concat()).stdout);
            let ([document], lines) = (told("json").try_into().unwrap(), told("jsonl"));
            // Where there is no report, both say why.
            if document["schema"] == "qcow2-inspect/error/1" {
                assert_eq!(lines, [document], "{call:?} {image}");
                continue;
            }
            let mut joined = without_empty(joined(&lines));
            let mut document = without_empty(document);
            // Those of a check come as they are found, and then one counts for others by no limit.
            for document in [&mut joined, &mut document] {
                if call[0] == "check" {
                    document.as_object_mut().unwrap().remove("findings");
                    document.as_object_mut().unwrap().remove("worst");
                }
            }
            assert_eq!(joined, document, "{call:?} {image}");
        }
    }
    for call in [&["rules"][..], &["explain", "L26"]] {
        let told = |format| values(&run(&[call, &["--format", format]].concat()).stdout);
        let [document] = told("json").try_into().unwrap();
        assert_eq!(joined(&told("jsonl")), document, "{call:?}");
    }
}

/// A report that its limit cuts can be parsed, and says that it is not all.
#[test]
fn json_that_is_cut_is_whole_json() {
    let image = corpus("damaged/H33-too-many-snapshots");
    let image = image.to_str().unwrap();
    for command in ["dump", "info"] {
        for format in ["json", "jsonl"] {
            let call = [command, "--format", format, "--limit", "output_bytes=2000", image];
            let ran = run(&call);
            assert_eq!(ran.code, Some(1), "{call:?}");
            assert!(ran.stderr.contains("the limit output_bytes of 2000 is spent"), "{}", ran.stderr);
            let documents = values(&ran.stdout);
            assert_eq!(documents.last().unwrap()["complete"], false, "{call:?}");
            let whole = values(&run(&[command, "--format", format, image]).stdout);
            let len =
                |documents: &[Value]| documents.iter().map(|value| value.to_string().len()).sum::<usize>();
            assert!(len(&documents) < len(&whole), "{call:?} left nothing out");
        }
    }
}

/// A bitmap that is left out has neither a beginning nor an end.
#[test]
fn bitmaps_that_are_cut_are_left_out_whole() {
    let image = corpus("valid/v3-bitmaps");
    let image = image.to_str().unwrap();
    let told = |format, limit: usize| {
        let limit = format!("output_bytes={limit}");
        values(&run(&["bitmap", "--format", format, "--limit", &limit, image]).stdout)
    };
    let all = told("json", 1 << 20)[0]["bitmaps"].as_array().unwrap().len();
    let mut counts = Vec::new();
    for limit in (1..1200).step_by(40) {
        let lines = told("jsonl", limit);
        let count = |kind| lines.iter().filter(|line| line["type"] == kind).count();
        assert_eq!(count("bitmap"), count("bitmap_end"), "{limit}");
        let [document] = told("json", limit).try_into().unwrap();
        counts.push(document["bitmaps"].as_array().unwrap().len());
    }
    assert!(
        counts.is_sorted() && counts.first() == Some(&0) && counts.last() == Some(&all),
        "{counts:?} of {all}"
    );
}

#[test]
fn a_map_that_is_cut_is_a_whole_array() {
    let image = corpus("valid/v3-snapshots");
    let image = image.to_str().unwrap();
    let whole = run(&["map", "--format=json", image]).json();
    let ran = run(&["map", "--format=json", "--limit", "output_bytes=200", image]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the limit output_bytes of 200 is spent"), "{}", ran.stderr);
    let [cut] = values(&ran.stdout).try_into().unwrap();
    let (whole, cut) = (whole.as_array().unwrap(), cut.as_array().unwrap());
    let [told @ .., rest] = cut.as_slice() else { panic!("nothing was told") };
    assert!(!told.is_empty() && cut.len() < whole.len(), "{cut:?}");
    assert_eq!(told, &whole[..told.len()]);
    assert_eq!(rest["start"], whole[told.len()]["start"]);
    let end = |entry: &Value| entry["start"].as_u64().unwrap() + entry["length"].as_u64().unwrap();
    assert_eq!(end(rest), end(whole.last().unwrap()));
    assert_eq!(rest["error"], "the limit output_bytes of 200 is spent");
}

/// The schema that SARIF's committee published, as a crate of ours for tests carries it.
fn sarif_schema() -> Value {
    let host = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host]);
    let metadata = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let [metadata] = values(&metadata.stdout).try_into().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let carrier = packages.iter().find(|package| package["name"] == "serde-sarif").unwrap();
    let manifest = Path::new(carrier["manifest_path"].as_str().unwrap());
    let schema = fs::read(manifest.with_file_name("src").join("schema.json")).unwrap();
    let mut schema: Value = serde_json::from_slice(&schema).unwrap();
    // Not every engine takes the pattern of these keys, which we do not write: a bracket in it closes nothing.
    for owner in ["run", "toolComponent"] {
        let language = schema.pointer_mut(&format!("/definitions/{owner}/properties/language")).unwrap();
        assert!(language.as_object_mut().unwrap().remove("pattern").is_some());
    }
    schema
}

#[test]
fn sarif_is_what_its_schema_asks_for() {
    let validator = jsonschema::validator_for(&sarif_schema()).unwrap();
    let is_valid = |sarif: &Value| validator.validate(sarif).map_err(|error| error.to_string());
    assert!(is_valid(&json!({ "version": "2.1.0", "runs": [{}] })).is_err(), "a run has a tool");
    let mut results = 0;
    for image in images() {
        let path = image.to_str().unwrap();
        for command in ["check", "audit"] {
            let ran = run(&[command, "--format", "sarif", path]);
            let [sarif] = values(&ran.stdout).try_into().unwrap();
            assert_eq!(is_valid(&sarif), Ok(()), "{command} {path}");
            let run_of = &sarif["runs"][0];
            let json = run(&[command, "--format", "json", path]).stdout;
            let [json] = values(&json).try_into().unwrap();
            assert_eq!(run_of["invocations"][0]["executionSuccessful"], json["complete"] == true, "{path}");
            let told = run_of["results"].as_array().unwrap();
            results += told.len();
            for result in told {
                let rules = run_of["tool"]["driver"]["rules"].as_array().unwrap();
                assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]), "{result}");
            }
            if command == "audit" && json["findings"].is_array() {
                assert_eq!(told.len(), json["findings"].as_array().unwrap().len(), "{path}");
            }
        }
    }
    assert!(results > 1000, "only {results} results");
}

/// Every other test holds what it sees against these.
#[test]
fn there_is_a_schema_of_every_report() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    for command in
        ["check", "audit", "scan", "dump", "info", "map", "bitmap", "locate", "rules", "explain", "error"]
    {
        assert!(command == "error" || help.contains(&format!("  {command} ")), "{command}");
        for format in ["json", "jsonl"] {
            let schema = run(&["schema", command, "--format", format]).json();
            assert!(jsonschema::meta::is_valid(&schema), "{command}");
            let is_report = |value: Value| jsonschema::is_valid(&schema, &value);
            assert!(
                !is_report(json!({})) && !is_report(json!(7)),
                "{command} --format {format} takes anything"
            );
        }
    }
    // Bitmaps and their ranges are lines of their own.
    let lines = run(&["schema", "bitmap", "--format", "jsonl"]).json();
    let types: Vec<_> =
        lines["oneOf"].as_array().unwrap().iter().map(|line| &line["properties"]["type"]["const"]).collect();
    assert_eq!(json!(types), json!(["file", "bitmap", "dirty", "bitmap_end", "finding", "summary"]));
}
