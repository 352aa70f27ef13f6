//! One description of the image, many renderings: a walk hands out rows, and a sink writes them down as text,
//! JSON or JSON Lines.

mod audit;
mod check;
mod document;
mod dump;
mod explain;
mod guest;
mod hex;
mod human;
mod info;
mod json;
mod jsonl;
mod policy;
mod row;
mod subject;
mod text;
mod value;

pub use crate::finding::Findings;
pub use crate::image::Section;
pub use audit::{LONGEST_SCAN_LINE, write_audit_json, write_audit_text, write_scan_line};
pub use check::{CheckFormat, CheckReport, write_check};
use dump::feature_names;
pub use dump::{Options, dump};
pub use explain::{RuleDocument, rule_document, write_rule};
pub use guest::{BitmapOptions, BitmapsTold, write_bitmaps_json, write_bitmaps_text};
pub use guest::{HexdumpSink, Walked, write_map_json, write_map_lines, write_map_text};
pub use guest::{Located, write_located_json, write_located_text};
pub use info::{write_json as write_info_json, write_text as write_info_text};
pub use json::JsonSink;
pub use jsonl::JsonlSink;
pub use policy::write_policy;
pub use row::{Context, Detail, Heading, Label, Row, Sink, Summary};
pub use subject::{Subject, write_error_json};
pub use text::{TextOptions, TextSink, write_findings};
pub use value::Value;
