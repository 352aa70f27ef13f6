//! Reports held against the JSON Schemas that the command prints.

#![expect(clippy::expect_used, clippy::panic, reason = "an oracle says by a panic what it saw")]

use std::collections::HashMap;
use std::sync::OnceLock;

use jsonschema::Validator;
use qcow2_inspect::report::{SHAPES, Shape};
use serde_json::Value;

/// The validators of a report: of its document, and of a line.
struct Validators {
    document: Validator,
    line: Validator,
}

/// Those of all reports, by the name that `schema` has in them.
fn validators() -> &'static HashMap<&'static str, Validators> {
    static ALL: OnceLock<HashMap<&'static str, Validators>> = OnceLock::new();
    ALL.get_or_init(|| SHAPES.into_iter().map(|shape| (shape.schema, validators_of(shape))).collect())
}

fn validators_of(shape: &Shape) -> Validators {
    let validator = |schema: String| {
        let mut schema = serde_json::from_str(&schema).expect("a schema is JSON");
        close(&mut schema);
        jsonschema::validator_for(&schema).expect("a schema is one")
    };
    Validators { document: validator(shape.document_schema()), line: validator(shape.line_schema()) }
}

/// Allows no key that a schema does not name: whoever reads a report lets those pass, but ours has to know its own.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(keys) => {
            keys.values_mut().for_each(close);
            if keys.get("type").is_some_and(|kind| kind == "object") {
                keys.entry("additionalProperties").or_insert(false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Holds a report that was written as JSON, as JSON Lines or as the array of a map against its schema.
///
/// # Panics
/// Where it is none of these, or breaks its schema.
pub fn check_schema(out: &[u8]) {
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(out).into_iter().collect();
    let values = values.expect("a report is JSON");
    let first = values.first().expect("a report is not empty");
    let name = if first.is_array() {
        "qcow2-inspect/map/1"
    } else {
        first["schema"].as_str().expect("it has a schema")
    };
    let known = validators().get(name).unwrap_or_else(|| panic!("there is no schema {name}"));
    let is_lines = first.get("type").is_some() || values.len() > 1;
    let validator = if is_lines { &known.line } else { &known.document };
    for value in &values {
        if let Err(error) = validator.validate(value) {
            panic!("{name}: {error}\n{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_its_schema_is_seen() {
        let error = r#"{"schema":"qcow2-inspect/error/1","file":{"path":"a"},"error":"no"}"#;
        check_schema(error.as_bytes());
        let rule = r#"{"type":"schema","schema":"qcow2-inspect/rules/1"}{"type":"summary","rule_count":1}"#;
        check_schema(rule.as_bytes());
        check_schema(b"[]");
        for broken in [
            error.replace("\"no\"", "7"),
            error.replace("error/1", "error/2"),
            error.replace("\"path\":", "\"paths\":"),
            error.replace("\"error\"", "\"errors\""),
            error.replace("}}", "},\"more\":1}"),
            rule.replace("rule_count", "count"),
            rule.replace("summary", "sum"),
            "[{}]".to_owned(),
            "[".to_owned(),
            String::new(),
        ] {
            if broken != error && broken != rule {
                assert!(std::panic::catch_unwind(|| check_schema(broken.as_bytes())).is_err(), "{broken}");
            }
        }
    }
}
