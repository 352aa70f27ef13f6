//! Damages.

use super::Damage;

pub(super) static DAMAGES: &[Damage] = &[];
