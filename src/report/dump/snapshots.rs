//! The snapshot table.

use std::io;

use super::Dumper;
use crate::finding::Structure;
use crate::format::Layout;
use crate::format::snapshot::SnapshotHead;
use crate::image::Snapshot;
use crate::report::row::{Context, Sink};
use crate::rules::SnapshotRules;
use crate::source::ReadAt;
use crate::units::{HostOffset, to_u64};

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn snapshots(&mut self) -> io::Result<()> {
        let mut rules = SnapshotRules::new(self.image, self.options.now);
        let mut fault = None;
        let mut next = self.image.header().v2.snapshots_offset;
        let mut index = 0_u32;
        for snapshot in self.image.snapshots() {
            match snapshot {
                Ok(snapshot) => {
                    rules.snapshot(&snapshot, &mut self.found);
                    self.snapshot(&snapshot)?;
                    self.settle();
                    (next, index) = (snapshot.end(), index.saturating_add(1));
                }
                Err(error) => {
                    let context = Context { snapshot: Some(index), ..Context::default() };
                    let end = HostOffset(self.image.file_len());
                    self.cut_entry::<SnapshotHead>("snapshot", context, (next, end))?;
                    fault = Some(error);
                }
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
