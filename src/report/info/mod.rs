//! One screen on an image: what it is, what it holds, what is wrong with that. Only the header, the lists that
//! it points to and the LUKS header are read; no table of clusters is.

mod json;
mod text;

use std::io;

pub use json::write_json;
pub use text::write_text;

use crate::Image;
use crate::finding::{Finding, Findings};
use crate::format::header::{COMPRESSION_ZLIB, COMPRESSION_ZSTD, CRYPT_AES, CRYPT_LUKS, CRYPT_NONE};
use crate::image::{Part, Section, Tables, Walk};
use crate::rules::Judge;
use crate::source::ReadAt;

/// Looks at what an image holds, and collects what is wrong.
struct Survey<'i, R> {
    walk: Walk<'i, R>,
    judge: Judge<'i, R>,
    findings: Findings,
    found: Vec<Finding>,
}

impl<'i, R: ReadAt> Survey<'i, R> {
    fn new(image: &'i Image<R>, now: Option<i64>) -> io::Result<Self> {
        let mut survey = Self {
            walk: Walk::new(image, Tables::Unread),
            judge: Judge::new(image, now),
            findings: Findings::new(image.limits().findings_per_rule),
            found: Vec::new(),
        };
        survey.section(Section::Header, |_| Ok(()))?;
        Ok(survey)
    }

    /// Judges a section, and hands each part of it to `each`.
    fn section(
        &mut self,
        section: Section,
        mut each: impl FnMut(&Part<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { walk, judge, findings, found, .. } = self;
        walk.section(section, &mut |part| {
            judge.part(&part, found);
            found.drain(..).for_each(|finding| findings.push(finding));
            each(&part)
        })
    }

    /// To be called when all else was looked at.
    fn finish(&mut self) {
        self.judge.finish(&mut self.found);
        self.found.drain(..).for_each(|finding| self.findings.push(finding));
    }

    fn complete(&self) -> bool {
        self.findings.is_complete()
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
