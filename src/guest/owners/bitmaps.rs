//! Which bitmaps use the byte.

use std::collections::HashMap;

use super::{Search, Told, whole};
use crate::Error;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::image::Visited;
use crate::source::ReadAt;
use crate::units::Span;

impl<R: ReadAt> Search<'_, R> {
    /// The bitmap directory, and the tables and data that it leads to. What QEMU does not load it does not count.
    pub(super) fn bitmaps(&mut self) -> Result<(), Error> {
        let is_counted = self.image.header().has_v3() && self.image.bitmaps_are_loaded();
        let before = self.counted;
        if let Some(directory) = self.image.bitmap_directory() {
            self.count(directory);
            self.own("bitmap directory", directory);
        }
        let mut known: HashMap<Span, Told> = HashMap::new();
        let mut places = Visited::new(self.image.limits().remembered_tables);
        for bitmap in whole(self.image.bitmaps()) {
            let bitmap = bitmap?;
            let (place, table) = (u64::from(bitmap.index), bitmap.table());
            if table.at.0 == 0 {
                // The header is none.
                continue;
            }
            self.count(table);
            if let Some(owner) = self.own("bitmap table", table) {
                owner.index = Some(place);
            }
            if let Some(told) = known.get(&table) {
                self.repeat(*told, |owner| owner.index = Some(place));
                continue;
            }
            if places.first(table, ()).is_some() {
                self.odd(table.at)?;
            }
            let told = self.tell(|search| search.bitmap_data(place, table))?;
            known.insert(table, told);
        }
        if !is_counted {
            self.counted = before;
        }
        Ok(())
    }

    fn bitmap_data(&mut self, place: u64, table: Span) -> Result<(), Error> {
        let cluster_size = self.geometry.cluster_size();
        let mut chunks = self.image.chunks("a bitmap table", table);
        while let Some(chunk) = chunks.next() {
            for (_, raw) in chunk?.entries() {
                let entry = BitmapTableEntry(raw);
                let BitmapData::Serialized(at) = entry.data() else { continue };
                let span = Span::new(at, cluster_size);
                if entry.reserved() == 0 && !entry.is_ambiguous() && at.is_aligned(cluster_size) {
                    self.count(span);
                }
                if let Some(owner) = self.own("bitmap data", span) {
                    owner.index = Some(place);
                }
            }
        }
        Ok(())
    }
}
