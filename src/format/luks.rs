//! The LUKS1 partition header, which an encrypted image holds in clusters of its own. It is never encrypted.

use binrw::{BinRead, BinWrite};

use super::scalar::{Bytes, Chars, Magic};

/// The first six bytes.
pub const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
/// `active` of a key slot in use.
pub const SLOT_ENABLED: u32 = 0x00ac_71f3;
/// `active` of a key slot not in use.
pub const SLOT_DISABLED: u32 = 0x0000_dead;
/// Key slots of a header.
pub const SLOT_COUNT: u64 = 8;
/// Stripes of the key material, the only number that LUKS1 and QEMU use.
pub const STRIPES: u32 = 4000;

super::layouts! {
    /// Where each field of the LUKS header's fixed part stands.
    pub mod field;

    /// The fixed part of the header; eight [`LuksSlot`]s follow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct LuksHead {
        /// [`MAGIC`].
        pub magic: Bytes<6>,
        /// 1.
        pub version: u16,
        /// The cipher, such as `aes`.
        pub cipher_name: Chars<32>,
        /// Its mode, such as `xts-plain64`.
        pub cipher_mode: Chars<32>,
        /// The hash of the key derivation, such as `sha256`.
        pub hash_spec: Chars<32>,
        /// Where the encrypted data starts, in sectors.
        pub payload_offset: u32,
        /// Bytes of the master key.
        pub key_bytes: u32,
        /// The digest that tells whether a master key is right.
        pub mk_digest: Bytes<20>,
        /// Its salt.
        pub mk_digest_salt: Bytes<32>,
        /// Its PBKDF2 iterations.
        pub mk_digest_iterations: u32,
        /// The UUID as text.
        pub uuid: Chars<40>,
    }

    LuksHead: 208
}

super::layouts! {
    /// Where each field of a key slot stands.
    pub mod slot_field;

    /// One key slot.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct LuksSlot {
        /// [`SLOT_ENABLED`] or [`SLOT_DISABLED`].
        pub active: Magic,
        /// PBKDF2 iterations.
        pub iterations: u32,
        /// PBKDF2 salt.
        pub salt: Bytes<32>,
        /// Where the key material starts, in sectors from the start of the LUKS header.
        pub key_material_offset: u32,
        /// Anti-forensic stripes.
        pub stripes: u32,
    }

    LuksSlot: 48
}
