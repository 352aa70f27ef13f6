//! Reads QCOW2 disk images that nobody can trust: every structure with its offset and its validity.
//!
//! The reader is lenient, the judge strict: a broken structure becomes a [`Finding`](finding::Finding), and the
//! rest is still read. An [`Error`] means that one structure, or the file, cannot be read further.
//!
//! ```
//! use qcow2_inspect::check::{CheckOptions, Verdict, check};
//! use qcow2_inspect::finding::Finding;
//! use qcow2_inspect::{Image, Limits};
//!
//! // A header of version 2 whose tables are nowhere. A `File` is a source too, as is whatever implements `ReadAt`.
//! let mut file = b"QFI\xfb\0\0\0\x02".to_vec();
//! file.resize(72, 0);
//!
//! let image = Image::open(file, Limits::default())?;
//! println!("{} bytes of disk", image.header().v2.size.0);
//! let checked = check(&image, &CheckOptions::default(), &mut |finding: Finding| {
//!     println!("{} {}", finding.rule.code, finding.message());
//! });
//! assert_eq!(checked.verdict, Verdict::Unusable);
//! # Ok::<(), qcow2_inspect::Error>(())
//! ```

pub mod audit;
pub mod check;
mod error;
pub mod finding;
pub mod format;
pub mod guest;
pub mod image;
pub mod limits;
mod parse;
pub mod references;
#[cfg(feature = "report")]
pub mod report;
pub mod rules;
pub mod source;
pub mod text;
pub mod units;

pub use error::Error;
pub use image::Image;
pub use limits::{Limit, Limits};
