//! Which names were there before, in eight bytes each.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

/// Hashes of the byte strings seen so far. The key is fixed, so that the same image always gives the same
/// findings; a pair that collides by accident is not to be expected among 65,536 names.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(HashSet<u64>);

impl Seen {
    /// Whether these bytes are new; from now on they are not.
    pub(super) fn is_new(&mut self, bytes: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        self.0.insert(hasher.finish())
    }
}
