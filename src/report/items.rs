//! What stands in JSON for a row, for a finding and at the beginning.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::row::{Context, Label, Row};
use super::subject::Subject;
use super::tree::{GuestItem, NameItem};
use super::value::{Hex, Value, unclean};
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::image::{SnapshotName, SnapshotNames};
use crate::units::{HostOffset, to_u64};

/// What every document begins with.
#[derive(Serialize)]
pub(super) struct Start<'a> {
    pub(super) schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<&'a Subject<'a>>,
}

/// The raw bytes of a structure as a row of their own.
pub(super) fn bytes_row(at: HostOffset, bytes: &[u8]) -> Row<'_> {
    let label = Label::Field("bytes");
    Row { value: Value::Bytes(bytes), ..Row::remark(label, at, to_u64(bytes.len()), &[]) }
}

/// A row as a JSON object.
pub(super) struct RowItem<'a> {
    pub(super) context: Context,
    pub(super) row: &'a Row<'a>,
}

impl Serialize for RowItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { label, at, width, value, details, valid, rules } = self.row;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", label)?;
        map.serialize_entry("offset", &at.0)?;
        map.serialize_entry("width", width)?;
        map.serialize_entry("value", value)?;
        if let Value::Text(name) = value
            && let Some(hex) = unclean(name)
        {
            map.serialize_entry("value_hex", &hex)?;
        }
        map.serialize_entry("valid", valid)?;
        map.serialize_entry("rules", &RuleCodes(rules))?;
        for detail in self.context.details() {
            map.serialize_entry(detail.key, &detail.value)?;
        }
        for detail in *details {
            map.serialize_entry(detail.key, &detail.value)?;
        }
        map.end()
    }
}

impl JsonSchema for RowItem<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Row".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "name": generator.subschema_for::<Label>(),
                "offset": generator.subschema_for::<HostOffset>(),
                "width": { "description": "Bytes.", "type": "integer", "minimum": 0 },
                "value": generator.subschema_for::<Value<'_>>(),
                "value_hex": generator.subschema_for::<Hex<'_>>(),
                "valid": { "description": "`null` where no rule judges it.", "type": ["boolean", "null"] },
                "rules": { "description": "The codes of the rules that it breaks.", "type": "array", "items": { "type": "string" } },
            },
            "required": ["name", "offset", "width", "value", "valid", "rules"],
            // Which structure the row belongs to, and what its value means.
            "additionalProperties": generator.subschema_for::<Value<'_>>(),
        })
    }
}

/// The rules of a row, as their codes.
struct RuleCodes<'a>(&'a [&'static Rule]);

impl Serialize for RuleCodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|rule| rule.code))
    }
}

/// A finding as a JSON object.
#[derive(Serialize, JsonSchema)]
pub(super) struct FindingItem<'a> {
    /// The rule's code, such as `L02`: `explain` tells what it is about.
    rule: &'static str,
    /// The rule's readable name.
    slug: &'static str,
    severity: Severity,
    structure: Structure,
    /// Where the bytes of the file start that are wrong, where there are such bytes.
    offset: Option<HostOffset>,
    /// How many they are.
    length: Option<u64>,
    /// The rule and the evidence as one sentence.
    message: String,
    evidence: EvidenceItem<'a>,
    /// `qemu` where only a limit of QEMU's own is passed, and the specification allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    /// The guest data that it concerns.
    guest: Vec<GuestItem<'a>>,
    /// The snapshot in whose entry of the snapshot table it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
    /// How many breaches it stands for.
    consequences: u64,
}

/// What stands there, and what should.
#[derive(Serialize, JsonSchema)]
struct EvidenceItem<'a> {
    found: &'a Evidence,
    wanted: &'a Evidence,
}

/// The snapshot in whose entry of the snapshot table a finding stands.
pub(super) fn snapshot_of<'n>(finding: &Finding, names: &'n SnapshotNames) -> Option<&'n SnapshotName> {
    finding.at.filter(|_| finding.structure == Structure::Snapshot).and_then(|span| names.at(span.at))
}

impl<'a> FindingItem<'a> {
    pub(super) fn new(finding: &'a Finding, names: &'a SnapshotNames) -> Self {
        Self {
            rule: finding.rule.code,
            slug: finding.rule.slug,
            severity: finding.severity,
            structure: finding.structure,
            offset: finding.at.map(|at| at.at),
            length: finding.at.map(|at| at.len),
            message: finding.message(),
            evidence: EvidenceItem { found: &finding.found, wanted: &finding.wanted },
            limit: finding.qemu_limit.then_some("qemu"),
            guest: finding.guest.iter().map(|guest| GuestItem::new(*guest, names)).collect(),
            snapshot: snapshot_of(finding, names).map(NameItem::from),
            consequences: finding.consequences,
        }
    }
}
