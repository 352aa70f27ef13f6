//! Every structure that is read whole can be written back as it was.

use qcow2_inspect::Image;
use qcow2_inspect::format::Layout;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{HostOffset, to_usize};

use super::LIMITS;

/// # Panics
/// Where a structure that was read gives other bytes when it is written.
pub fn check_round_trip(bytes: &[u8]) {
    if let Ok(image) = Image::open(bytes, LIMITS) {
        check_same(bytes, &image);
    }
}

/// Whether what was read is what stands there.
fn check_same<R: ReadAt>(bytes: &[u8], image: &Image<R>) {
    let header = image.header();
    same(bytes, "header", HostOffset(0), &header.v2.encode());
    if header.has_v3() {
        same(bytes, "version 3 header", HostOffset(72), &header.v3().encode());
    }
    for extension in image.extensions().map_while(Result::ok) {
        let parts = [&extension.head.encode(), extension.data, extension.padding].concat();
        same(bytes, "extension", extension.at, &parts);
    }
    for snapshot in image.snapshots().map_while(Result::ok) {
        let parts =
            [&snapshot.extra, &snapshot.id, &snapshot.name, &snapshot.padding].map(Vec::as_slice).concat();
        same(bytes, "snapshot", snapshot.at, &[snapshot.head.encode(), parts].concat());
    }
    for bitmap in image.bitmaps().map_while(Result::ok) {
        let parts = [&bitmap.extra, &bitmap.name, &bitmap.padding].map(Vec::as_slice).concat();
        same(bytes, "bitmap", bitmap.at, &[bitmap.head.encode(), parts].concat());
    }
    if let Ok(Some(luks)) = image.luks() {
        let slots = luks.slots.iter().flat_map(|(_, slot)| slot.encode());
        let written: Vec<u8> = luks.head.encode().into_iter().chain(slots).collect();
        same(bytes, "LUKS header", luks.span.at, &written);
    }
}

/// Whether `written` stands at `at`, as far as the file goes; behind it, the reader counts on zeros.
fn same(bytes: &[u8], what: &str, at: HostOffset, written: &[u8]) {
    let there = bytes.get(to_usize(at.0)..).unwrap_or_default();
    let there = there.get(..written.len()).unwrap_or(there);
    let (present, behind) = written.split_at(there.len());
    assert_eq!(present, there, "{what} at {at} is written otherwise than it was read");
    assert!(behind.iter().all(|byte| *byte == 0), "{what} at {at} has bytes behind the end of the file");
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::oracle::planted::Liar;
    use crate::{Draft, Model};
    use qcow2_inspect::format::extension::CRYPTO;
    use qcow2_inspect::format::header::field;

    /// A small image with every list, and a LUKS header of nonsense behind its end.
    fn draft() -> Draft {
        let has_all = |draft: &Draft| {
            let image = draft.image();
            let (mut snapshots, mut bitmaps) = (image.snapshots(), image.bitmaps());
            image.header().has_v3()
                && image.extensions_end() < HostOffset(400)
                && snapshots.any(|snapshot| !snapshot.unwrap().name.is_empty())
                && bitmaps.any(|bitmap| !bitmap.unwrap().name.is_empty())
        };
        let mut drafts = (0..2000).map(|seed| Draft::new(Model::small_from_seed(seed).unwrap().write()));
        let mut draft = drafts.find(has_all).unwrap();
        let luks = draft.add_clusters(2);
        draft.put(luks, &[0x5a; 600]);
        draft.set_header(field::CRYPT_METHOD, 2);
        draft.add_extension(CRYPTO, &[luks.to_be_bytes(), 600_u64.to_be_bytes()].concat());
        draft
    }

    /// What the oracle says of a reader to which the byte at `at` is another.
    fn verdict(bytes: &[u8], at: u64) -> Result<(), String> {
        let source = Liar::new(bytes.to_vec(), |_, place, byte| byte ^ u8::from(place == at));
        let image = Image::open(&source, LIMITS).unwrap();
        catch_unwind(AssertUnwindSafe(|| check_same(bytes, &image)))
            .map_err(|panic| panic.downcast::<String>().map_or_else(|_| String::new(), |what| *what))
    }

    #[test]
    fn what_is_kept_otherwise_than_it_stands_is_seen() {
        let draft = draft();
        check_round_trip(&draft.bytes);
        let image = draft.image();
        let named = |mut names: Vec<(HostOffset, Vec<u8>)>| {
            names.retain(|(_, name)| !name.is_empty());
            names[0].0.0
        };
        let snapshot =
            image.snapshots().map(Result::unwrap).map(|snapshot| (snapshot.name_at(), snapshot.name));
        let bitmap = image.bitmaps().map(Result::unwrap).map(|bitmap| (bitmap.name_at(), bitmap.name));
        let places = [
            ("header", image.header().span(field::SIZE).at.0 + 7),
            ("version 3 header", image.header().span(field::COMPATIBLE_FEATURES).at.0),
            ("extension", draft.extension_data(CRYPTO) + 15),
            ("snapshot", named(snapshot.collect())),
            ("bitmap", named(bitmap.collect())),
            ("LUKS header", image.luks().unwrap().unwrap().span.at.0 + 591),
        ];
        for (what, at) in places {
            let said = verdict(&draft.bytes, at).unwrap_err();
            assert!(said.contains(&format!(": {what} at 0x")), "{what}: {said}");
        }
    }

    /// Behind the end of the file there are zeros, and nothing else.
    #[test]
    fn bytes_that_stand_nowhere_are_seen() {
        let seen = catch_unwind(|| same(&[1, 2], "header", HostOffset(0), &[1, 2, 0, 0]));
        assert!(seen.is_ok());
        let seen = catch_unwind(|| same(&[1, 2], "header", HostOffset(0), &[1, 2, 0, 3]));
        assert!(seen.is_err());
    }
}
