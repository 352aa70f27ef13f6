//! What tests and fuzz targets share: images made and damaged on purpose.

mod agree;
mod damage;
mod draft;
pub mod edit;
mod expect;
mod lists;
mod model;
pub mod oracle;
pub mod readers;
mod rng;
pub mod writer;

pub use damage::{Damage, damages};
pub use draft::Draft;
pub use edit::{Edit, mutate};
pub use expect::check;
pub use model::{Model, check_model};
pub use oracle::{exercise, exercise_fully, exercise_model, memory_bound};
pub use rng::Rng;
