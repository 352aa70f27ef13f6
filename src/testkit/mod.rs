//! What tests and fuzz targets share: images made and damaged on purpose.

mod damage;
mod draft;

pub use damage::{Damage, damages};
pub use draft::Draft;
