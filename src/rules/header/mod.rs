//! The rules about the header: its fields alone, and against each other, the file and the extensions.

mod backing;
mod features;
mod lengths;
mod tables;

pub use backing::check_backing_file;
pub(super) use backing::is_named;

use super::span::not_zeros;
use super::stopped;
use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::format::Field;
use crate::format::extension::CRYPTO;
use crate::format::header::{self, CRYPT_AES, CRYPT_LUKS};
use crate::image::{Header, Image};
use crate::rules::codes::{E10, H11, H17, H18};
use crate::source::ReadAt;

/// Judges the header's fields.
pub fn check_header<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    let mut found = Vec::new();
    lengths::check(header, image.geometry(), &mut found);
    match image.unknown_header_fields() {
        Ok(None) => {}
        Ok(Some(at)) => {
            let wanted = "fields that this tool knows";
            found.push(Finding::new(&H11, Structure::Header, at, not_zeros(at), wanted));
        }
        Err(error) => found.push(stopped(error, Structure::Header, &H11)),
    }
    encryption(image, &mut found);
    features::check(image, &mut found);
    if let Some(geometry) = image.geometry() {
        tables::check_size(header, geometry, &mut found);
        tables::check(header, geometry, image.file_len(), &mut found);
    }
    backing::check(image, &mut found);

    // What the file does not hold reads as zeros; that these are wrong is for H01 alone to say.
    let file_len = image.file_len();
    found.retain(|finding| finding.at.is_none_or(|at| at.end().0 <= file_len));
    lengths::check_cut(header, file_len, out);
    out.append(&mut found);
}

/// A finding about a header field.
fn field(
    header: &Header,
    rule: &'static Rule,
    field: Field,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    Finding::new(rule, Structure::Header, header.span(field), found, wanted)
}

fn encryption<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    match header.v2.crypt_method {
        CRYPT_AES => {
            out.push(field(header, &H18, header::field::CRYPT_METHOD, "1 (AES)", "0 (none) or 2 (LUKS)"))
        }
        CRYPT_LUKS => {
            let named = image.extensions().flatten().any(|extension| extension.head.magic == CRYPTO);
            if !named {
                let wanted = "an encryption header extension";
                out.push(field(header, &E10, header::field::CRYPT_METHOD, "2 (LUKS)", wanted));
            }
        }
        unknown if unknown > CRYPT_LUKS => {
            out.push(field(header, &H17, header::field::CRYPT_METHOD, unknown, "0, 1 or 2"));
        }
        _ => {}
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use crate::rules::testing_header::{check_file, families};

    #[test]
    fn damages_fire_their_rule_and_near_ones_do_not() {
        families(&["H"]);
    }

    /// Cut at each length, an image gives findings about what is there, and H01 exactly while the header is cut.
    #[test]
    fn a_cut_header_is_one_finding() {
        for (base, whole) in [("valid/v2-basic", 72), ("valid/v3-basic", 112)] {
            let bytes = crate::rules::testing_header::load(base).bytes;
            for len in 4..160 {
                let codes = check_file(&bytes[..len]);
                let cut = codes.contains(&"H01");
                assert_eq!(cut, len < whole, "{base} cut to {len}: {codes:?}");
                let allowed = |code: &&str| ["H01", "H34", "E01"].contains(code);
                assert!(codes.iter().all(allowed), "{base} cut to {len}: {codes:?}");
            }
        }
    }
}
