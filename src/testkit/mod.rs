//! What tests and fuzz targets share: images made and damaged on purpose.

mod damage;
mod draft;
mod lists;
mod rng;
pub mod writer;

pub use damage::{Damage, damages};
pub use draft::Draft;
pub use rng::Rng;
