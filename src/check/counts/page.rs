//! The references to 512 neighbouring clusters.

/// Clusters of a page.
pub(in crate::check) const PAGE_LEN: u64 = 512;
const LEN: usize = 512;

/// One bit for each cluster of a page.
#[derive(Clone, Debug, Default)]
pub(in crate::check) struct Bits([u64; LEN / 64]);

impl Bits {
    /// Whether the bit is set.
    pub(in crate::check) fn get(&self, slot: usize) -> bool {
        self.0.get(slot / 64 % 8).is_some_and(|word| *word & mask(slot) != 0)
    }

    /// Sets the bit, and says whether it was set before.
    pub(in crate::check) fn set(&mut self, slot: usize) -> bool {
        let Some(word) = self.0.get_mut(slot / 64 % 8) else { return false };
        let was_set = *word & mask(slot) != 0;
        *word |= mask(slot);
        was_set
    }

    /// Whether any bit of a run is set; `len` bits from `slot` on.
    pub(in crate::check) fn any(&self, slot: usize, len: usize) -> bool {
        words(slot, len).any(|(word, mask)| self.0.get(word).is_some_and(|word| *word & mask != 0))
    }

    /// Whether all bits of a run are set.
    pub(in crate::check) fn all(&self, slot: usize, len: usize) -> bool {
        words(slot, len).all(|(word, mask)| self.0.get(word).is_some_and(|word| *word & mask == mask))
    }

    /// Sets all bits of a run.
    pub(in crate::check) fn set_run(&mut self, slot: usize, len: usize) {
        for (word, mask) in words(slot, len) {
            if let Some(word) = self.0.get_mut(word) {
                *word |= mask;
            }
        }
    }

    /// Clears all, after setting them in `other`.
    pub(in crate::check) fn move_into(&mut self, other: &mut Self) {
        for (to, from) in other.0.iter_mut().zip(&mut self.0) {
            *to |= std::mem::take(from);
        }
    }
}

/// The words that a run of bits touches, each with a mask of the bits in it.
fn words(slot: usize, len: usize) -> impl Iterator<Item = (usize, u64)> {
    let (start, end) = (slot.min(LEN), slot.saturating_add(len).min(LEN));
    (start / 64..end.div_ceil(64)).map(move |word| {
        let first = word.saturating_mul(64);
        let from = u32::try_from(start.saturating_sub(first)).unwrap_or(64);
        let to = u32::try_from(end.saturating_sub(first).min(64)).unwrap_or(64);
        (word, u64::MAX.unbounded_shl(from) & u64::MAX.unbounded_shr(64_u32.saturating_sub(to)))
    })
}

fn mask(slot: usize) -> u64 {
    1_u64.rotate_left(u32::try_from(slot % 64).unwrap_or_default())
}

/// Counters of one width, as narrow as the greatest of them allows.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every page has the narrow one, in a box with the page")]
enum Counts {
    U8([u8; LEN]),
    U16(Box<[u16; LEN]>),
    U32(Box<[u32; LEN]>),
    U64(Box<[u64; LEN]>),
}

/// What is known of 512 clusters.
#[derive(Clone, Debug)]
pub(in crate::check) struct Page {
    counts: Counts,
    /// The stored refcount is exactly one.
    pub(in crate::check) one: Bits,
    /// Metadata lies there, or the data of a bitmap.
    pub(in crate::check) metadata: Bits,
    /// A standard entry of any tree maps it.
    pub(in crate::check) plain: Bits,
    /// A standard entry of a guest range that was walked before maps it, or of the table at hand.
    pub(in crate::check) seen: Bits,
    rare: Option<Box<Rare>>,
}

/// What most images need for none of their clusters.
#[derive(Clone, Debug, Default)]
pub(in crate::check) struct Rare {
    /// A compressed cluster lies there.
    pub(in crate::check) packed: Bits,
    /// The table at hand maps it, one of several for its guest range.
    pub(in crate::check) own: Bits,
    /// Another table for the same guest range maps it.
    pub(in crate::check) range: Bits,
    /// An entry that maps it has a wrong bit 63.
    pub(in crate::check) flagged: Bits,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            counts: Counts::U8([0; LEN]),
            one: Bits::default(),
            metadata: Bits::default(),
            plain: Bits::default(),
            seen: Bits::default(),
            rare: None,
        }
    }
}

impl Page {
    /// References to the cluster.
    pub(in crate::check) fn count(&self, slot: usize) -> u64 {
        match &self.counts {
            Counts::U8(counts) => counts.get(slot).copied().map(u64::from),
            Counts::U16(counts) => counts.get(slot).copied().map(u64::from),
            Counts::U32(counts) => counts.get(slot).copied().map(u64::from),
            Counts::U64(counts) => counts.get(slot).copied(),
        }
        .unwrap_or_default()
    }

    /// The counters as bytes, where they are that narrow.
    pub(in crate::check) fn narrow(&self) -> Option<&[u8; LEN]> {
        if let Counts::U8(counts) = &self.counts { Some(counts) } else { None }
    }

    /// Adds references to the cluster, and answers how many there are; at most 2^64 - 1.
    pub(in crate::check) fn add(&mut self, slot: usize, references: u64) -> u64 {
        loop {
            if let Some(sum) = self.counts.add(slot, references) {
                return sum;
            }
            self.counts = self.counts.widened();
        }
    }

    /// Adds references to each cluster of a run.
    pub(in crate::check) fn add_run(&mut self, slot: usize, len: usize, references: u64) {
        if let (Counts::U8(counts), Ok(references)) = (&mut self.counts, u8::try_from(references))
            && let Some(run) = counts.get_mut(slot..slot.saturating_add(len))
            && run.iter().fold(0, |max, count| max.max(*count)) <= u8::MAX.saturating_sub(references)
        {
            run.iter_mut().for_each(|count| *count = count.wrapping_add(references));
        } else {
            for slot in slot..slot.saturating_add(len).min(LEN) {
                self.add(slot, references);
            }
        }
    }

    /// The rare bits, to set some.
    pub(in crate::check) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether the table at hand, of several for its guest range, maps any of a run.
    pub(in crate::check) fn is_own(&self, slot: usize, len: usize) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.own.any(slot, len))
    }

    /// The table at hand ends: what it maps, a table for its guest range maps.
    pub(in crate::check) fn end_table(&mut self) {
        if let Some(rare) = &mut self.rare {
            let Rare { own, range, .. } = &mut **rare;
            own.move_into(range);
        }
    }

    /// The guest range at hand ends: what its tables map is seen.
    pub(in crate::check) fn end_range(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.range.move_into(&mut self.seen);
        }
    }

    /// Whether compressed clusters may lie in the page.
    pub(in crate::check) fn has_packed(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.packed.any(0, LEN))
    }

    /// Whether a compressed cluster lies there.
    pub(in crate::check) fn is_packed(&self, slot: usize) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.packed.get(slot))
    }

    /// Whether a wrong bit 63 was seen for it.
    pub(in crate::check) fn is_flagged(&self, slot: usize) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.flagged.get(slot))
    }
}

impl Counts {
    /// The new count, or `None` where it does not fit.
    #[inline]
    fn add(&mut self, slot: usize, references: u64) -> Option<u64> {
        macro_rules! add {
            ($counts:ident, $width:ty) => {{
                let Some(count) = $counts.get_mut(slot) else { return Some(0) };
                *count = count.checked_add(<$width>::try_from(references).ok()?)?;
                Some(u64::from(*count))
            }};
        }
        match self {
            Self::U8(counts) => add!(counts, u8),
            Self::U16(counts) => add!(counts, u16),
            Self::U32(counts) => add!(counts, u32),
            Self::U64(counts) => {
                let Some(count) = counts.get_mut(slot) else { return Some(0) };
                *count = count.saturating_add(references);
                Some(*count)
            }
        }
    }

    /// The same counts, one width up.
    fn widened(&self) -> Self {
        match self {
            Self::U8(counts) => Self::U16(Box::new(counts.map(u16::from))),
            Self::U16(counts) => Self::U32(Box::new(counts.map(u32::from))),
            Self::U32(counts) => Self::U64(Box::new(counts.map(u64::from))),
            Self::U64(counts) => Self::U64(counts.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_widen_as_they_grow() {
        let mut page = Page::default();
        page.add(7, 1);
        let mut wanted = 0_u64;
        for references in [1, 254, 1, 65_535, u64::from(u32::MAX), 1 << 40] {
            wanted += references;
            assert_eq!(page.add(3, references), wanted);
            assert_eq!((page.count(3), page.count(7), page.count(511)), (wanted, 1, 0));
        }
        assert_eq!(page.add(3, u64::MAX), u64::MAX);
        assert!(page.narrow().is_none());
    }

    #[test]
    fn runs_are_as_many_single_ones() {
        for (slot, len) in [(0, 512), (0, 1), (511, 1), (63, 2), (64, 64), (1, 300), (200, 0)] {
            let (mut run, mut single) = (Page::default(), Page::default());
            for references in [1, 200, 54, 1, 70_000] {
                run.add_run(slot, len, references);
                (slot..slot + len).for_each(|slot| assert_ne!(single.add(slot, references), 0));
            }
            run.one.set_run(slot, len);
            for n in 0..512 {
                assert_eq!(run.count(n), single.count(n), "{slot}+{len}: {n}");
                assert_eq!(run.one.get(n), (slot..slot + len).contains(&n), "{slot}+{len}: {n}");
            }
            assert!(run.one.all(slot, len));
            assert_eq!(run.one.any(slot, len), len != 0);
            assert!(!run.one.any(0, slot) && !run.one.any(slot + len, 512));
            assert_eq!(run.one.all(0, 512), len == 512);
        }
    }

    #[test]
    fn bits_are_apart() {
        let mut bits = Bits::default();
        assert!(!bits.set(0) && !bits.set(63) && !bits.set(64) && !bits.set(511));
        assert!(bits.set(64));
        let set: Vec<_> = (0..512).filter(|slot| bits.get(*slot)).collect();
        assert_eq!(set, [0, 63, 64, 511]);
        let mut others = Bits::default();
        others.set(5);
        bits.move_into(&mut others);
        assert!((0..512).all(|slot| !bits.get(slot)));
        let set: Vec<_> = (0..512).filter(|slot| others.get(*slot)).collect();
        assert_eq!(set, [0, 5, 63, 64, 511]);
    }
}
