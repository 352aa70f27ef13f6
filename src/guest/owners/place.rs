//! What the very byte is within its owner: which field or entry, and for which guest offset.

use super::Owner;
use crate::Error;
use crate::format::{Field, FieldValue, Layout, extension, part};
use crate::image::{Image, until_cut};
use crate::references::Role;
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, HostOffset, to_u64};

/// Says of the byte at `at`, which this owner has, where in it that is.
///
/// # Errors
/// Where the list that the byte is in cannot be read again.
pub(super) fn place<R: ReadAt>(
    image: &Image<R>,
    geometry: Geometry,
    at: HostOffset,
    owner: &mut Owner,
) -> Result<(), Error> {
    let within = at.0.saturating_sub(owner.span.at.0);
    match owner.role {
        Role::Data | Role::KeptForData => {
            owner.guest_offset = owner.guest.and_then(|guest| guest.start.checked_add(within));
        }
        Role::L1Table => owner.guest_offset = owner.index.and_then(|index| geometry.l1_guest_offset(index)),
        Role::L2Table => {
            owner.guest_offset = l2_entry_guest(geometry, owner);
            // The second half of 16 bytes.
            let is_bitmap = geometry.extended_l2() && within & 8 != 0;
            owner.field = Some(if is_bitmap { "bitmap" } else { part::ENTRY });
        }
        Role::HeaderExtensions => in_extensions(image, at, owner),
        Role::SnapshotTable => in_snapshots(image, at, owner)?,
        Role::BitmapDirectory => in_bitmaps(image, at, owner)?,
        Role::Luks => in_luks(image, at, owner)?,
        _ => {}
    }
    Ok(())
}

/// Where the guest range starts that the L2 entry is for.
fn l2_entry_guest(geometry: Geometry, table: &Owner) -> Option<GuestOffset> {
    table.guest?.start.checked_add(table.index?.checked_mul(geometry.cluster_size())?)
}

fn in_extensions<R: ReadAt>(image: &Image<R>, at: HostOffset, owner: &mut Owner) {
    let extensions = (0..).zip(image.extensions().map_while(Result::ok));
    let Some((index, extension)) = extensions.into_iter().find(|(_, extension)| at < extension.end()) else {
        return;
    };
    owner.index = Some(index);
    let data_at = extension.data_at();
    let data_end = data_at.saturating_add(to_u64(extension.data.len()));
    owner.field = match () {
        () if at < extension::field::MAGIC.at(extension.at).end() => Some(extension::field::MAGIC.name),
        () if at < data_at => Some(extension::field::LENGTH.name),
        () if at < data_end => Some(part::DATA),
        () => Some(part::PADDING),
    };
}

fn in_snapshots<R: ReadAt>(image: &Image<R>, at: HostOffset, owner: &mut Owner) -> Result<(), Error> {
    for snapshot in until_cut(image.snapshots()) {
        let snapshot = snapshot?;
        if at < snapshot.end() {
            owner.field = match () {
                () if at < snapshot.extra_at() => field_at(&snapshot.head.fields(), snapshot.at, at),
                () if at < snapshot.id_at() => {
                    field_at(&snapshot.extra_fields(), snapshot.extra_at(), at).or(Some(part::EXTRA_DATA))
                }
                () if at < snapshot.name_at() => Some(part::ID_STR),
                () if at < snapshot.padding_at() => Some(part::NAME),
                () => Some(part::PADDING),
            };
            break;
        }
    }
    Ok(())
}

fn in_bitmaps<R: ReadAt>(image: &Image<R>, at: HostOffset, owner: &mut Owner) -> Result<(), Error> {
    for bitmap in until_cut(image.bitmaps()) {
        let bitmap = bitmap?;
        if at < bitmap.end() {
            owner.index = Some(bitmap.index.into());
            owner.field = match () {
                () if at < bitmap.extra_at() => field_at(&bitmap.head.fields(), bitmap.at, at),
                () if at < bitmap.name_at() => Some(part::EXTRA_DATA),
                () if at < bitmap.padding_at() => Some(part::NAME),
                () => Some(part::PADDING),
            };
            break;
        }
    }
    Ok(())
}

fn in_luks<R: ReadAt>(image: &Image<R>, at: HostOffset, owner: &mut Owner) -> Result<(), Error> {
    let Some(luks) = image.luks()? else { return Ok(()) };
    owner.field = field_at(&luks.head.fields(), luks.span.at, at);
    for (index, (slot_at, slot)) in (0..).zip(&luks.slots) {
        if let Some(field) = field_at(&slot.fields(), *slot_at, at) {
            (owner.index, owner.field) = (Some(index), Some(field));
        }
    }
    Ok(())
}

/// The field that has the byte at `at`, of a structure that starts at `base`.
fn field_at(fields: &[(Field, FieldValue)], base: HostOffset, at: HostOffset) -> Option<&'static str> {
    let within = at.0.checked_sub(base.0)?;
    let field = fields.iter().find(|(field, _)| field.offset <= within && within < field.end());
    field.map(|(field, _)| field.name)
}
