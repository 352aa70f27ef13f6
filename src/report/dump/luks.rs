//! The LUKS header.

use std::io;

use super::Dumper;
use crate::finding::Structure;
use crate::format::luks::SLOT_ENABLED;
use crate::format::{Field, Layout};
use crate::report::row::{Context, Detail, Sink};
use crate::report::value::Value;
use crate::rules;
use crate::rules::codes::E13;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64};

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn luks(&mut self) -> io::Result<()> {
        let luks = match self.image.luks() {
            Ok(Some(luks)) => luks,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.stop(error, Structure::Luks, &E13);
                return Ok(());
            }
        };
        if let Err(error) = rules::check_luks(self.image, &luks, &mut self.found) {
            self.stop(error, Structure::Luks, &E13);
        }
        self.heading(luks.span.at, "LUKS header", Context::default(), &[])?;
        let present =
            |base: HostOffset, field: &Field| base.saturating_add(field.end()) <= luks.present_end();
        for field in luks.head.fields().iter().filter(|field| present(luks.span.at, field)) {
            self.field(Structure::Luks, luks.span.at, field, &[])?;
        }
        for (slot, (at, layout)) in (0_u64..).zip(&luks.slots) {
            let context = Context { slot: Some(slot), ..Context::default() };
            let enabled = Value::Flag(layout.active.0 == SLOT_ENABLED);
            self.heading(*at, "key slot", context, &[Detail::new("enabled", enabled)])?;
            for field in layout.fields() {
                self.field(Structure::LuksSlot, *at, &field, &[])?;
            }
        }
        self.hex(Span::new(luks.span.at, to_u64(luks.bytes.len())))
    }
}
