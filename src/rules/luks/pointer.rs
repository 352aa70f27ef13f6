//! E13: the part of the file that the encryption header extension points at.

use crate::Error;
use crate::finding::{Evidence, Finding, Severity, Structure};
use crate::format::Field;
use crate::format::extension::crypto_field;
use crate::format::luks::SECTOR;
use crate::image::{Image, Luks};
use crate::rules::codes::E13;
use crate::rules::ends_past_file;
use crate::rules::span::not_zeros;
use crate::source::ReadAt;
use crate::units::Span;

pub(super) fn check<R: ReadAt>(image: &Image<R>, luks: &Luks, out: &mut Vec<Finding>) -> Result<(), Error> {
    let file_len = image.file_len();
    let (at, len) = (luks.span.at, luks.span.len);
    let finding = |field: Field, found: Evidence, wanted: Evidence| {
        let data_at = image.crypto_extension().map(|(data_at, _)| data_at).unwrap_or_default();
        Finding::new(&E13, Structure::CryptoExtension, field.at(data_at), found, wanted)
    };
    let luks_end = at.saturating_add(Luks::LEN);
    if luks_end.0 > file_len {
        let wanted = format!("at most {:#x}", file_len.saturating_sub(Luks::LEN));
        out.push(finding(crypto_field::OFFSET, Evidence::Hex(at.0), wanted.into()));
        return Ok(());
    }
    // Key material goes on up to the payload; what is behind the length cannot be read.
    let material_end = u64::from(luks.head.payload_offset).saturating_mul(SECTOR);
    if len < Luks::LEN {
        out.push(finding(crypto_field::LENGTH, len.into(), format!("at least {}", Luks::LEN).into()));
    } else if len < material_end {
        let wanted = format!("{material_end}, where the payload starts");
        out.push(finding(crypto_field::LENGTH, len.into(), wanted.into()).at_most(Severity::Warning));
    }
    let Some(geometry) = image.geometry() else { return Ok(()) };
    if luks.span.end().0 > file_len {
        let past = ends_past_file(file_len, luks.span, geometry);
        let worst = if past { Severity::Corruption } else { Severity::Warning };
        let wanted = format!("at most {}, where the file ends", file_len.saturating_sub(at.0));
        out.push(finding(crypto_field::LENGTH, len.into(), wanted.into()).at_most(worst));
        return Ok(());
    }
    if len < material_end {
        // What follows is key material, not padding.
        return Ok(());
    }
    let used = geometry.clusters_for(len).saturating_mul(geometry.cluster_size());
    let rest = Span::new(luks.span.end(), used.saturating_sub(len));
    if let Some(hidden) = image.chunks("the LUKS header's last cluster", rest).nonzero()? {
        let finding = Finding::new(&E13, Structure::Luks, hidden, not_zeros(hidden), "zeros");
        out.push(finding.at_most(Severity::Warning));
    }
    Ok(())
}
