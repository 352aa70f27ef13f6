//! One screen on an image: what it is, what it holds, what is wrong with that. Only the header, the lists that
//! it points to and the LUKS header are read; no table of clusters is.

mod json;
mod text;

use std::io;

pub use json::write_json;
pub use text::write_text;

use crate::Image;
use crate::finding::Findings;
use crate::finding::{Finding, Structure};
use crate::format::header::{COMPRESSION_ZLIB, COMPRESSION_ZSTD, CRYPT_AES, CRYPT_LUKS, CRYPT_NONE};
use crate::image::{Bitmap, Extension, Luks, Snapshot};
use crate::rules::codes::E13;
use crate::rules::{self, BitmapRules, ExtensionRules, SnapshotRules};
use crate::source::ReadAt;

/// Looks at what an image holds, and collects what is wrong.
struct Survey<'i, R> {
    image: &'i Image<R>,
    now: Option<i64>,
    findings: Findings,
    found: Vec<Finding>,
}

impl<'i, R: ReadAt> Survey<'i, R> {
    fn new(image: &'i Image<R>, now: Option<i64>) -> Self {
        let mut survey =
            Self { image, now, findings: Findings::new(image.limits().findings_per_rule), found: Vec::new() };
        rules::check_header(image, &mut survey.found);
        rules::check_backing_file(image, &mut survey.found);
        survey.settle();
        survey
    }

    fn settle(&mut self) {
        self.found.drain(..).for_each(|finding| self.findings.push(finding));
    }

    /// To be called when all else was looked at.
    fn finish(&mut self) {
        rules::check_unchanged(self.image, &mut self.found);
        self.settle();
    }

    fn complete(&self) -> bool {
        self.findings.is_complete()
    }

    fn extensions(&mut self, mut each: impl FnMut(&Extension<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut rules = ExtensionRules::new(self.image);
        let mut fault = None;
        for extension in self.image.extensions() {
            match extension {
                Ok(extension) => {
                    rules.extension(&extension, &mut self.found);
                    for (at, row) in extension.feature_names() {
                        rules.feature_name(at, &row, &mut self.found);
                        self.settle();
                    }
                    each(&extension)?;
                }
                Err(error) => fault = Some(error),
            }
            self.settle();
        }
        rules.finish(fault, &mut self.found);
        self.settle();
        Ok(())
    }

    fn snapshots(&mut self, mut each: impl FnMut(&Snapshot) -> io::Result<()>) -> io::Result<()> {
        let mut rules = SnapshotRules::new(self.image, self.now);
        let mut fault = None;
        for snapshot in self.image.snapshots() {
            match snapshot {
                Ok(snapshot) => {
                    rules.snapshot(&snapshot, &mut self.found);
                    each(&snapshot)?;
                }
                Err(error) => fault = Some(error),
            }
            self.settle();
        }
        rules.finish(fault, &mut self.found);
        self.settle();
        Ok(())
    }

    fn bitmaps(&mut self, mut each: impl FnMut(&Bitmap) -> io::Result<()>) -> io::Result<()> {
        if self.image.bitmaps_extension().is_none() {
            return Ok(());
        }
        let mut rules = BitmapRules::new(self.image);
        let mut fault = None;
        for bitmap in self.image.bitmaps() {
            match bitmap {
                Ok(bitmap) => {
                    rules.bitmap(&bitmap, &mut self.found);
                    each(&bitmap)?;
                }
                Err(error) => fault = Some(error),
            }
            self.settle();
        }
        rules.finish(fault, &mut self.found);
        self.settle();
        Ok(())
    }

    fn luks(&mut self) -> Option<Luks> {
        let luks = self.image.luks();
        let stopped = match &luks {
            Ok(Some(luks)) => rules::check_luks(self.image, luks, &mut self.found).err(),
            Ok(None) => None,
            Err(error) => Some(*error),
        };
        self.found.extend(stopped.map(|error| rules::stopped(error, Structure::Luks, &E13)));
        self.settle();
        luks.ok().flatten()
    }
}

/// `compression_type` as a word.
pub(super) fn compression(number: u8) -> String {
    match number {
        COMPRESSION_ZLIB => "zlib".to_owned(),
        COMPRESSION_ZSTD => "zstd".to_owned(),
        other => format!("unknown:{other}"),
    }
}

/// `crypt_method` as a word.
pub(super) fn encryption(number: u32) -> String {
    match number {
        CRYPT_NONE => "none".to_owned(),
        CRYPT_AES => "aes".to_owned(),
        CRYPT_LUKS => "luks".to_owned(),
        other => format!("unknown:{other}"),
    }
}
