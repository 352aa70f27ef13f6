//! The fields that rules judge.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Structure;

/// A field that a rule judges, or a part of a structure that is no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judged {
    /// What it belongs to.
    pub structure: Structure,
    /// The field's name, or one of [`part`](crate::format::part).
    pub name: &'static str,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.structure.as_str(), self.name)
    }
}

impl Serialize for Judged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of a field by its structure and its constant, so that one that no layout has does not compile. What is no
/// field comes first, for a name alone does not tell.
macro_rules! judged_name {
    (Header UNKNOWN_FIELDS) => {
        $crate::format::part::UNKNOWN_FIELDS
    };
    (Header $field:ident) => {
        $crate::format::header::field::$field.name
    };
    (Extension DATA) => {
        $crate::format::part::DATA
    };
    (Extension $field:ident) => {
        $crate::format::extension::field::$field.name
    };
    (FeatureName $field:ident) => {
        $crate::format::features::field::$field.name
    };
    (BitmapsExtension $field:ident) => {
        $crate::format::extension::bitmaps_field::$field.name
    };
    (CryptoExtension $field:ident) => {
        $crate::format::extension::crypto_field::$field.name
    };
    (BackingFile NAME) => {
        $crate::format::part::NAME
    };
    (DataFile NAME) => {
        $crate::format::part::NAME
    };
    (Luks $field:ident) => {
        $crate::format::luks::field::$field.name
    };
    (LuksSlot $field:ident) => {
        $crate::format::luks::slot_field::$field.name
    };
    (RefcountTable ENTRY) => {
        $crate::format::part::ENTRY
    };
    (RefcountBlock ENTRY) => {
        $crate::format::part::ENTRY
    };
    (L1Table ENTRY) => {
        $crate::format::part::ENTRY
    };
    (L2Table ENTRY) => {
        $crate::format::part::ENTRY
    };
    (Snapshot ID_STR) => {
        $crate::format::part::ID_STR
    };
    (Snapshot NAME) => {
        $crate::format::part::NAME
    };
    (Snapshot PADDING) => {
        $crate::format::part::PADDING
    };
    (Snapshot VM_STATE_SIZE_LARGE) => {
        $crate::format::snapshot::extra_field::VM_STATE_SIZE_LARGE.name
    };
    (Snapshot DISK_SIZE) => {
        $crate::format::snapshot::extra_field::DISK_SIZE.name
    };
    (Snapshot $field:ident) => {
        $crate::format::snapshot::field::$field.name
    };
    (Bitmap NAME) => {
        $crate::format::part::NAME
    };
    (Bitmap PADDING) => {
        $crate::format::part::PADDING
    };
    (Bitmap $field:ident) => {
        $crate::format::bitmap::field::$field.name
    };
    (BitmapTable ENTRY) => {
        $crate::format::part::ENTRY
    };
}
pub(crate) use judged_name;
