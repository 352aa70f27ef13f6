//! Trees in JSON: beside the key `tree`, which is for programs, `snapshot` has what people call it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{Hex, unclean};
use crate::finding::Guest;
use crate::image::{SnapshotName, SnapshotNames};
use crate::text::shown;
use crate::units::Tree;

/// The id and the name of a snapshot, as `--snapshot` takes them. Long ones are cut.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SnapshotName")]
pub(super) struct NameItem<'a> {
    id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_hex: Option<Hex<'a>>,
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<Hex<'a>>,
}

impl<'a> NameItem<'a> {
    /// That of a tree, where it has one.
    pub(super) fn of(names: &'a SnapshotNames, tree: Option<Tree>) -> Option<Self> {
        tree.and_then(|tree| names.of(tree)).map(Self::from)
    }
}

impl<'a> From<&'a SnapshotName> for NameItem<'a> {
    fn from(of: &'a SnapshotName) -> Self {
        Self {
            id: shown(&of.id).into(),
            id_hex: unclean(&of.id),
            name: shown(&of.name).into(),
            name_hex: unclean(&of.name),
        }
    }
}

/// A range of guest offsets that a finding concerns, with the name of its snapshot.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GuestRange")]
pub(super) struct GuestItem<'a> {
    #[serde(flatten)]
    guest: Guest,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<NameItem<'a>>,
}

impl<'a> GuestItem<'a> {
    pub(super) fn new(guest: Guest, names: &'a SnapshotNames) -> Self {
        Self { guest, snapshot: NameItem::of(names, Some(guest.tree)) }
    }
}
