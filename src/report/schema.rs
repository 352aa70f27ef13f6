//! The JSON Schemas of reports, from the declarations that their keys come from.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::items::{FindingItem, RowItem};
use super::row::Label;
use super::subject::{FileItem, Subject};
use super::value::{self, Hex};
use crate::check::Ranges;
use crate::finding::{Evidence, Judged, Reported};
use crate::image::Section;
use crate::references::Role;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Tree};

/// The keys of something that reports write.
pub(super) type Keys = fn(&mut SchemaGenerator) -> Schema;

/// What a report is made of: its name, and the types of all that it tells.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The name and the version of what its keys mean.
    pub schema: &'static str,
    kind: Kind,
    /// Told at the beginning.
    head: &'static [Keys],
    facts: &'static [Keys],
    totals: &'static [Keys],
    lists: &'static [List],
    has_findings: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// About a file.
    Image,
    /// About no file.
    Alone,
    /// As a document it is an array of these.
    Array(Keys),
    /// One line and nothing else.
    Line,
}

/// The keys of a type.
pub(super) const fn keys<T: JsonSchema>() -> Keys {
    T::json_schema
}

/// A list in a report.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The key of its array in JSON.
    pub key: &'static str,
    /// The `type` of each of its items in JSON Lines.
    pub item: &'static str,
    /// The keys of each item.
    pub(super) keys: Keys,
    /// Whether a report may be without it.
    pub(super) is_optional: bool,
    /// The list that each item has, and what comes behind that.
    pub(super) inner: Option<(&'static List, Keys)>,
}

impl List {
    /// A list with this key, of such items.
    pub(super) const fn new(key: &'static str, item: &'static str, keys: Keys) -> Self {
        Self { key, item, keys, is_optional: false, inner: None }
    }

    /// Each item has a list of its own, and `rest` behind it.
    pub(super) const fn holding(self, inner: &'static Self, rest: Keys) -> Self {
        Self { inner: Some((inner, rest)), ..self }
    }

    /// The rows of a section, which the user may leave out.
    pub(super) const fn rows(section: Section) -> Self {
        let rows = Self::new(section.as_str(), section.as_str(), keys::<RowItem<'static>>());
        Self { is_optional: true, ..rows }
    }
}

impl Shape {
    const fn new(schema: &'static str, kind: Kind) -> Self {
        Self { schema, kind, head: &[], facts: &[], totals: &[], lists: &[], has_findings: false }
    }

    /// A report about an image, which ends with findings.
    pub(super) const fn of_image(schema: &'static str) -> Self {
        Self { has_findings: true, ..Self::new(schema, Kind::Image) }
    }

    /// A report about no image.
    pub(super) const fn alone(schema: &'static str) -> Self {
        Self::new(schema, Kind::Alone)
    }

    /// A report of one line, which has these keys.
    pub(super) const fn line(schema: &'static str, keys: &'static [Keys]) -> Self {
        Self { facts: keys, ..Self::new(schema, Kind::Line) }
    }

    /// The document is an array of these and nothing else.
    pub(super) const fn as_array_of(self, item: Keys) -> Self {
        Self { kind: Kind::Array(item), ..self }
    }

    /// Told at the beginning.
    pub(super) const fn head(self, head: &'static [Keys]) -> Self {
        Self { head, ..self }
    }

    /// Told once, somewhere.
    pub(super) const fn facts(self, facts: &'static [Keys]) -> Self {
        Self { facts, ..self }
    }

    /// Told to who reads lines.
    pub(super) const fn totals(self, totals: &'static [Keys]) -> Self {
        Self { totals, ..self }
    }

    /// Told item by item.
    pub(super) const fn lists(self, lists: &'static [List]) -> Self {
        Self { lists, ..self }
    }

    /// The word that people use for it.
    pub fn name(&self) -> &'static str {
        self.schema.split('/').nth(1).unwrap_or(self.schema)
    }

    /// The JSON Schema of its document, as JSON.
    pub fn document_schema(&self) -> String {
        self.print(|generator| match self.kind {
            Kind::Array(item) => {
                json_schema!({ "type": "array", "items": generate(generator, item) })
            }
            Kind::Image | Kind::Alone | Kind::Line => self.document(generator),
        })
    }

    /// The JSON Schema of each of its lines, as JSON.
    pub fn line_schema(&self) -> String {
        self.print(|generator| match self.kind {
            Kind::Line => self.document(generator),
            Kind::Image | Kind::Alone | Kind::Array(_) => self.lines(generator),
        })
    }

    fn print(&self, root: impl FnOnce(&mut SchemaGenerator) -> Schema) -> String {
        let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let mut root = root(&mut generator);
        root.insert("$schema".to_owned(), generator.settings().meta_schema.as_deref().into());
        root.insert("title".to_owned(), self.schema.into());
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            root.insert("$defs".to_owned(), definitions.into());
        }
        format!("{:#}", root.as_value())
    }

    /// Names the schema, and the file where there is one.
    fn start(&self, object: &mut Object, generator: &mut SchemaGenerator) {
        object.require("schema", json!({ "const": self.schema }));
        if matches!(self.kind, Kind::Image | Kind::Array(_)) {
            object.require("file", generator.subschema_for::<Subject<'_>>().to_value());
        }
    }

    fn document(&self, generator: &mut SchemaGenerator) -> Schema {
        let mut object = Object::default();
        for keys in self.head.iter().chain(self.facts) {
            object.add(generate(generator, *keys));
        }
        self.start(&mut object, generator);
        for list in self.lists {
            let items = array(list, generator);
            if list.is_optional {
                object.allow(list.key, items);
            } else {
                object.require(list.key, items);
            }
        }
        if self.has_findings {
            let items = generator.subschema_for::<FindingItem<'_>>();
            object.require("findings", json!({ "type": "array", "items": items }));
        }
        object.finish()
    }

    fn lines(&self, generator: &mut SchemaGenerator) -> Schema {
        let mut lines = Vec::new();
        let mut first = Object::of_type(if matches!(self.kind, Kind::Alone) { "schema" } else { "file" });
        self.start(&mut first, generator);
        self.head.iter().for_each(|keys| first.add(generate(generator, *keys)));
        lines.push(first.finish());
        let mut item = |kind: &str, keys: Keys, generator: &mut SchemaGenerator| {
            let mut item = Object::default();
            item.add(generate(generator, keys));
            item.require("type", json!({ "const": kind }));
            lines.push(item.finish());
        };
        for list in self.lists {
            item(list.item, list.keys, generator);
            if let Some((inner, rest)) = list.inner {
                item(inner.item, inner.keys, generator);
                item(&format!("{}_end", list.item), rest, generator);
            }
        }
        if self.has_findings {
            item("finding", keys::<FindingItem<'_>>(), generator);
        }
        let mut summary = Object::of_type("summary");
        for keys in self.facts.iter().chain(self.totals) {
            summary.add(generate(generator, *keys));
        }
        lines.push(summary.finish());
        json_schema!({ "oneOf": lines })
    }
}

fn generate(generator: &mut SchemaGenerator, keys: Keys) -> Schema {
    keys(generator)
}

fn array(list: &List, generator: &mut SchemaGenerator) -> Value {
    let mut item = Object::default();
    item.add(generate(generator, list.keys));
    if let Some((inner, rest)) = list.inner {
        item.require(inner.key, array(inner, generator));
        item.add(generate(generator, rest));
    }
    json!({ "type": "array", "items": item.finish() })
}

/// The schema of an object that is put together from several types.
#[derive(Default)]
struct Object {
    rest: Map<String, Value>,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl Object {
    fn of_type(kind: &str) -> Self {
        let mut object = Self::default();
        object.require("type", json!({ "const": kind }));
        object
    }

    /// A key that may be there.
    fn allow(&mut self, key: &str, schema: Value) {
        self.properties.insert(key.to_owned(), schema);
    }

    /// A key that is always there.
    fn require(&mut self, key: &str, schema: Value) {
        self.allow(key, schema);
        if !self.required.iter().any(|other| other == key) {
            self.required.push(key.into());
        }
    }

    /// The keys of a type.
    fn add(&mut self, schema: Schema) {
        let Value::Object(schema) = schema.to_value() else { return };
        for (key, value) in schema {
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => self.properties.extend(properties),
                ("required", Value::Array(required)) => self.required.extend(required),
                // What a type is for says nothing of the whole.
                ("type" | "description" | "title", _) => {}
                (_, value) => _ = self.rest.insert(key, value),
            }
        }
    }

    fn finish(self) -> Schema {
        let Self { mut rest, properties, required } = self;
        rest.insert("type".to_owned(), "object".into());
        rest.insert("properties".to_owned(), properties.into());
        rest.insert("required".to_owned(), required.into());
        rest.into()
    }
}

/// The schema of a type that writes itself.
macro_rules! written {
    ($($type:ty, $name:literal, |$generator:ident| $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

written! {
    HostOffset, "HostOffset", |_g| offset("Bytes from the start of the file.");
    GuestOffset, "GuestOffset", |_g| offset("Bytes from the start of the guest's disk.");
    Tree, "Tree", |_g| json_schema!({
        "description": "Which disk: the active one, or that of a snapshot by its place in the snapshot table.",
        "type": "string",
        "pattern": "^(active|snapshot:[0-9]+)$",
    });
    Ranges, "Ranges", |g| json_schema!({ "type": "array", "items": g.subschema_for::<GuestSpan>() });
    Reported, "Reported", |_g| json_schema!({
        "description": "The rule that reports in its place, or `none` where nobody does.",
        "type": ["string", "null"],
    });
    Judged, "Judged", |_g| json_schema!({
        "description": "A field, by its structure and its name.",
        "type": "string",
        "pattern": "^[a-z0-9-]+\\.[A-Za-z0-9_. -]+$",
    });
    Role, "Role", |_g| json_schema!({ "description": "What a cluster is to what refers to it.", "type": "string" });
    Evidence, "Evidence", |_g| json_schema!({
        "description": "A number as it is; one that people read in hex, and words, as text.",
        "type": ["integer", "string"],
    });
    Hex<'_>, "Hex", |_g| json_schema!({ "type": "string", "pattern": "^([0-9a-f]{2})*$" });
    Label, "Label", |_g| json_schema!({
        "description": "A field, or entries of a table.",
        "type": "string",
    });
    Subject<'_>, "File", |g| FileItem::json_schema(g);
    value::Value<'_>, "Value", |_g| json_schema!({
        "description": "What stands there. A table entry is a string in hex, since many readers lose bits above 2^53.",
        "type": ["null", "boolean", "integer", "string", "array"],
        "items": { "type": "string" },
    });
}

fn offset(description: &str) -> Schema {
    json_schema!({ "description": description, "type": "integer", "minimum": 0 })
}
