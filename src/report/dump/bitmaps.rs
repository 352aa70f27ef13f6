//! The bitmap directory and the bitmaps' tables.

use std::io;

use super::Dumper;
use super::skipped::{BEHIND_THE_END, Empty};
use crate::finding::Structure;
use crate::format::bitmap::{BitmapData, BitmapHead, BitmapTableEntry};
use crate::format::{Field, Layout, Style};
use crate::image::{Bitmap, Visited};
use crate::report::row::{Context, Detail, Label, Row, Section, Sink};
use crate::report::value::Value;
use crate::rules::codes::{B04, B18, E01};
use crate::rules::{self, BitmapRules};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

const TABLE: &str = "bitmap_table";

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn bitmaps(&mut self) -> io::Result<()> {
        let image = self.image;
        if image.bitmaps_extension().is_none() {
            // The section of the extensions tells it, if that is shown.
            let is_told = self.options.sections.contains(&Section::Extensions);
            if let Some(error) = image.unread_extensions().filter(|_| !is_told) {
                self.stop(error, Structure::Extension, &E01);
            }
            return Ok(());
        }
        let mut rules = BitmapRules::new(image);
        let mut shown = Visited::new(image.limits().remembered_tables);
        let mut fault = None;
        let directory = image.bitmap_directory().unwrap_or_default();
        let (mut next, mut index) = (directory.at, 0_u32);
        for bitmap in image.bitmaps() {
            match bitmap {
                Ok(bitmap) => {
                    (next, index) = (bitmap.end(), index.saturating_add(1));
                    rules.bitmap(&bitmap, &mut self.found);
                    let earlier = shown.first(self.in_file(bitmap.table()), (bitmap.index, bitmap.table()));
                    if earlier.is_none()
                        && let Err(error) = rules::check_bitmap_tail(image, &bitmap, &mut self.found)
                    {
                        self.stop(error, Structure::BitmapTable, &B18);
                    }
                    self.bitmap(&bitmap)?;
                    self.settle();
                    match earlier {
                        // The header is no table, whatever the entry says.
                        _ if bitmap.table().at.0 == 0 => {}
                        Some(earlier) => self.shared_table(&bitmap, earlier)?,
                        None => self.bitmap_table(&rules, &bitmap)?,
                    }
                }
                Err(error) => {
                    let context = Context { bitmap: Some(index), ..Context::default() };
                    self.cut_entry::<BitmapHead>("bitmap", context, (next, directory.end()))?;
                    fault = Some(error);
                }
            }
        }
        rules.finish(fault, &mut self.found);
        Ok(())
    }

    fn bitmap(&mut self, bitmap: &Bitmap) -> io::Result<()> {
        let context = Context { bitmap: Some(bitmap.index), ..Context::default() };
        self.heading(bitmap.at, "bitmap", context, &[])?;
        for field in bitmap.head.fields() {
            self.bitmap_field(bitmap, &field)?;
        }
        if !bitmap.extra.is_empty() {
            self.raw(Structure::Bitmap, "extra_data", bitmap.extra_at(), &bitmap.extra)?;
        }
        self.text(Structure::Bitmap, "name", bitmap.name_at(), &bitmap.name)?;
        if !bitmap.padding.is_empty() {
            self.raw(Structure::Bitmap, "padding", bitmap.padding_at(), &bitmap.padding)?;
        }
        self.hex(bitmap.span())
    }

    fn bitmap_field(&mut self, bitmap: &Bitmap, field: &Field) -> io::Result<()> {
        let names: Vec<&str> = bitmap.head.flags.names().collect();
        let details = match field.name {
            "flags" if !names.is_empty() => Some(Detail::new("names", Value::Words(&names))),
            "type" if bitmap.head.r#type == 1 => Some(Detail::new("means", Value::Word("dirty-tracking"))),
            _ => None,
        };
        self.field(Structure::Bitmap, bitmap.at, field, details.as_slice())
    }

    /// Says which bitmap's table was shown that has all or some of this one's bytes.
    fn shared_table(&mut self, bitmap: &Bitmap, (earlier, table): (u32, Span)) -> io::Result<()> {
        let key = if bitmap.table() == table { "same_as" } else { "overlaps" };
        let details = [Detail::new(key, Value::Number(earlier.into(), Style::Number))];
        self.sink.row(&Row::remark(Label::Field(TABLE), bitmap.table().at, 0, &details))
    }

    fn bitmap_table(&mut self, rules: &BitmapRules, bitmap: &Bitmap) -> io::Result<()> {
        let table = bitmap.table();
        let mut empty = Empty::default();
        let (mut index, mut at) = (0_u64, table.at);
        let mut chunks = self.image.chunks("a bitmap table", table);
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.stop(error, Structure::BitmapTable, &B04);
                    break;
                }
            };
            for (entry_at, raw) in chunk.entries() {
                if raw == 0 {
                    empty.add(index, entry_at);
                } else {
                    self.zeroes(&mut empty)?;
                    let entry = BitmapTableEntry(raw);
                    rules.table_entry(bitmap, index, entry_at, entry, &mut self.found);
                    self.bitmap_table_entry(index, entry_at, entry)?;
                    self.settle();
                }
                (index, at) = (index.saturating_add(1), entry_at.saturating_add(8));
            }
        }
        self.zeroes(&mut empty)?;
        self.skip(TABLE, (index, (table.len / 8).saturating_sub(index)), at, BEHIND_THE_END)?;
        self.hex(table)
    }

    fn zeroes(&mut self, empty: &mut Empty) -> io::Result<()> {
        let run = std::mem::take(empty);
        self.skip(TABLE, run.range(), run.at(), "all-zeroes")
    }

    fn bitmap_table_entry(&mut self, index: u64, at: HostOffset, entry: BitmapTableEntry) -> io::Result<()> {
        let (kind, host) = match entry.data() {
            BitmapData::Zeroes => ("all-zeroes", Value::None),
            BitmapData::Ones => ("all-ones", Value::None),
            BitmapData::Serialized(host) => ("serialized", Value::Offset(host.0)),
        };
        let details = [
            Detail::new("index", Value::Number(index, Style::Number)),
            Detail::new("kind", Value::Word(kind)),
            Detail::new("host_offset", host),
        ];
        let row = Row::remark(Label::Entry(TABLE, index), at, 8, &details);
        self.row(Structure::BitmapTable, "entry", Row { value: Value::Entry(entry.0), ..row })
    }
}
