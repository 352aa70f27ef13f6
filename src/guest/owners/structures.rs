//! Which of the structures beside the trees and bitmaps use the byte.

use super::{Search, whole};
use crate::Error;
use crate::format::header::CRYPT_LUKS;
use crate::format::refcount::RefcountTableEntry;
use crate::image::Table;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

impl<R: ReadAt> Search<'_, R> {
    pub(super) fn header(&mut self) -> Result<(), Error> {
        self.count(Span::new(HostOffset(0), self.geometry.cluster_size()));
        let header = self.image.header();
        let at = self.at;
        let mut fields = header.fields().into_iter().map(|(field, _)| field);
        let field = fields.find(|field| field.offset <= at.0 && at.0 < field.end());
        let (start, end) = (header.extensions_at(), self.image.extensions_end());
        if let Some(owner) = self.own("header", Span::new(HostOffset(0), start.0)) {
            owner.field = field.map(|field| field.name);
        }
        self.own("header extensions", Span::new(start, end.0.saturating_sub(start.0)));
        if let Some(name) = self.image.backing_file()? {
            self.own("backing file name", name.span());
        }
        Ok(())
    }

    /// The refcount table and its blocks; answers the refcount of the byte's cluster.
    pub(super) fn refcounts(&mut self) -> Result<Option<u64>, Error> {
        let Some(Table { span: table, .. }) = self.image.refcount_table() else { return Ok(None) };
        let index = self.index(table, 8);
        self.count(table);
        if let Some(owner) = self.own("refcount table", table) {
            owner.index = index;
        }
        // Without a width nobody knows what its entries stand for.
        let Some(width) = self.image.refcount_width() else { return Ok(None) };
        let cluster_size = self.geometry.cluster_size();
        let number = self.at.0.unbounded_shr(self.geometry.cluster_bits());
        let per_block = width.block_entry_count(self.geometry);
        let (mut block, mut refcount) = (0_u64, None);
        let mut chunks = self.image.chunks("the refcount table", table);
        while let Some(chunk) = chunks.next() {
            for (_, raw) in chunk?.entries() {
                let entry = RefcountTableEntry(raw);
                let at = entry.block_offset();
                if at.0 != 0 {
                    let span = Span::new(at, cluster_size);
                    // QEMU skips those with a broken entry.
                    if entry.reserved() == 0 && at.is_aligned(cluster_size) {
                        self.count(span);
                    }
                    if let Some(owner) = self.own("refcount block", span) {
                        owner.index = Some(block);
                    }
                    if number.checked_div(per_block) == Some(block) {
                        let in_block = number.checked_rem(per_block).unwrap_or_default();
                        let byte = at.saturating_add(width.byte_offset(in_block));
                        let mut bytes = [0; 8];
                        let there = self.image.source().read("a refcount", byte, &mut bytes)?.len();
                        let place = width.index_in_byte(in_block);
                        refcount = bytes.get(..there).and_then(|bytes| width.get(bytes, place));
                    }
                }
                block = block.saturating_add(1);
            }
        }
        Ok(refcount)
    }

    /// The snapshot table and the LUKS header.
    pub(super) fn lists(&mut self) -> Result<(), Error> {
        let start = self.image.header().v2.snapshots_offset;
        let mut end = start;
        for snapshot in whole(self.image.snapshots()) {
            let snapshot = snapshot?;
            end = snapshot.padding_at();
            let index = u64::from(snapshot.index);
            if let Some(owner) = self.own("snapshot table", snapshot.span()) {
                owner.index = Some(index);
            }
        }
        self.count(Span::new(start, end.0.saturating_sub(start.0)));
        if let Some((_, extension)) = self.image.crypto_extension() {
            let span = Span::new(extension.offset, extension.length);
            // With another method QEMU takes no notice of it.
            if self.image.header().v2.crypt_method == CRYPT_LUKS {
                self.count(span);
            }
            self.own("LUKS header", span);
        }
        Ok(())
    }
}
