//! The guest's bytes, in order: decoded on several threads, handed out on one.

mod fault;
mod pipe;
mod plan;
mod work;

pub use fault::{Cause, Fault};
pub use pipe::{Copied, CopyError, Sink, copy};
pub use plan::CopyOptions;
pub use work::DataFile;
