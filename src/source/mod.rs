//! Where the bytes come from: files, slices, or anything that can be read at an offset, and the meter that
//! stands between them and everything above.

mod lock;
mod metered;
mod read_at;

pub use lock::QemuLock;
pub(crate) use metered::Metered;
pub use read_at::ReadAt;
