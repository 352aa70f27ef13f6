//! What is told of an image: each report tells its facts, lists and findings once, event by event, and a [`Sink`] writes
//! them down as text, as JSON, as JSON Lines or as SARIF.

mod audit;
mod check;
mod document;
mod dump;
mod explain;
mod format;
mod guest;
mod hex;
mod human;
mod info;
mod items;
mod json;
mod jsonl;
mod limited;
mod policy;
mod row;
mod sarif;
mod schema;
mod sink;
mod subject;
mod text;
mod tree;
mod value;

pub use crate::finding::Findings;
pub use crate::image::Section;
pub use audit::{LONGEST_SCAN_LINE, write_audit, write_scan_line};
pub use check::{CheckReport, write_check};
use dump::feature_names;
pub use dump::{Options, dump};
pub use explain::{write_rule, write_rules};
pub use format::{Format, Report, write_error};
pub use guest::{BitmapOptions, BitmapsTold, write_bitmaps};
pub use guest::{HexdumpSink, Located, StateBytes, Walked, write_located, write_map, write_map_json};
pub use info::{InfoReport, write_info};
pub use json::JsonSink;
pub use jsonl::JsonlSink;
pub use limited::{Limited, output_spent};
pub use policy::write_policy;
pub use row::{Context, Detail, Heading, Label, Row, Summary};
pub use sarif::SarifSink;
pub use schema::{List, Shape};
pub use sink::Sink;
pub use subject::Subject;
pub use text::{TextOptions, TextSink, write_findings};
pub use value::Value;

/// What there are reports of, each with its JSON Schemas, and what stands in the place of one that cannot be made.
pub const SHAPES: [&Shape; 11] = [
    &check::SHAPE,
    &audit::SHAPE,
    &audit::SCAN,
    &dump::SHAPE,
    &info::SHAPE,
    &guest::MAP,
    &guest::BITMAP,
    &guest::LOCATE,
    &explain::RULES,
    &explain::EXPLAIN,
    &format::ERROR,
];
