//! The snapshot table.

use std::io;

use super::Dumper;
use crate::check::SnapshotRules;
use crate::format::Layout;
use crate::image::Snapshot;
use crate::report::row::{Context, Sink};
use crate::rules::Structure;
use crate::source::ReadAt;
use crate::units::to_u64;

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn snapshots(&mut self) -> io::Result<()> {
        let mut rules = SnapshotRules::new(self.image, self.options.now);
        let mut fault = None;
        for snapshot in self.image.snapshots() {
            match snapshot {
                Ok(snapshot) => {
                    rules.snapshot(&snapshot, &mut self.found);
                    self.snapshot(&snapshot)?;
                    self.settle();
                }
                Err(error) => fault = Some(error),
            }
        }
        rules.finish(fault, &mut self.found);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let context = Context { snapshot: Some(snapshot.index), ..Context::default() };
        self.heading(snapshot.at, "snapshot", context, &[])?;
        for field in snapshot.head.fields() {
            self.field(Structure::Snapshot, snapshot.at, &field, &[])?;
        }
        for field in snapshot.extra_fields() {
            self.field(Structure::Snapshot, snapshot.extra_at(), &field, &[])?;
        }
        if let Some((at, bytes)) = snapshot.unknown_extra() {
            self.raw(Structure::Snapshot, "extra_data", at, bytes)?;
        }
        self.text(Structure::Snapshot, "id_str", snapshot.id_at(), &snapshot.id)?;
        self.text(Structure::Snapshot, "name", snapshot.name_at(), &snapshot.name)?;
        if to_u64(snapshot.padding.len()) > 0 {
            self.raw(Structure::Snapshot, "padding", snapshot.padding_at(), &snapshot.padding)?;
        }
        self.hex(snapshot.span())
    }
}
