//! R12: what the file has behind its last cluster in use.

use super::Engine;
use crate::rules::codes::R12;
use crate::rules::{Finding, Structure};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

impl<R: ReadAt> Engine<'_, '_, R> {
    pub(super) fn trailing_data(&mut self) {
        // Where refcounts cannot be read, the references still tell what is in use.
        let touched = self.host_offset(self.touched_end);
        let at = HostOffset(self.counters.image_end_offset).max(touched);
        let len = self.image.file_len().saturating_sub(at.0);
        if len == 0 || self.counters.image_end_offset == 0 {
            return;
        }
        let limit = self.image.limits().trailing_bytes;
        let chunks = self.image.chunks("the bytes behind the image", Span::new(at, len.min(limit)));
        match chunks.nonzero() {
            Ok(None) => {}
            Ok(Some(span)) => {
                let found = format!("{len} bytes behind the end at {at}, not all of them zero");
                let finding = Finding::new(&R12, Structure::File, span, found, "zeros or nothing");
                self.totals.push(finding);
            }
            Err(error) => self.totals.stop(error, Structure::File, &R12),
        }
    }
}
