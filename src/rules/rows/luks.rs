//! Family K: the LUKS header of an encrypted image. It is never encrypted itself, so no key is needed;
//! `qemu-img check` refuses such an image without one.

use crate::finding::rules;

rules! {
    K01 "luks-magic-version" Fatal Must {
        title: "the LUKS header must begin with the magic LUKS 0xba 0xbe and have version 1",
        why: "without them no program takes it for a LUKS header, and the disk cannot be decrypted",
        advice: "restore the header from a backup of it: there is no other way to the master key",
        spec: "Full disk encryption header pointer; LUKS1 on-disk format, partition header",
        fields: ["luks.magic", "luks.version"],
        qemu: Refused Refused "'Volume is not in LUKS format', or 'LUKS version 2 is not supported'",
    }
    K02 "luks-name-malformed" Fatal Must {
        title: "the LUKS header's names of cipher, mode and hash must be printable and end with a NUL",
        why: "the cipher cannot be looked up, and a name without an end runs into the next field",
        advice: "QEMU writes aes, xts-plain64 and sha256: compare, and mend a copy",
        spec: "LUKS1 on-disk format, partition header",
        fields: ["luks.cipher_name", "luks.cipher_mode", "luks.hash_spec"],
        qemu: Refused Refused "'LUKS header cipher name is not NUL terminated', and likewise for 'cipher \
            mode' and 'hash spec'",
    }
    K03 "luks-payload-in-header" Fatal Must {
        title: "the LUKS payload must start behind the LUKS header, at byte 4096 or later",
        why: "writing the guest's first sectors would overwrite the key slots",
        advice: "compare with the length in the encryption extension, which says where the header ends",
        spec: "LUKS1 on-disk format, partition header",
        fields: ["luks.payload_offset"],
        qemu: Refused Refused "'LUKS payload is overlapping with the header'",
    }
    K04 "luks-digest-iterations" Fatal Must {
        title: "the LUKS master key digest must have an iteration count that is not 0, nor absurdly low or \
            high",
        why: "the password check is impossible at 0, weak if low, and takes minutes if absurdly high",
        advice: "do not unlock it in a service with a time limit; restore the number from a header backup",
        spec: "LUKS1 on-disk format, partition header",
        fields: ["luks.mk_digest_iterations"],
        qemu: Varies Refused "0: 'LUKS key iteration count is zero'; any other count is accepted. Check \
            always needs the key",
    }
    K05 "luks-slot-corrupted" Fatal Must {
        title: "each LUKS key slot must have 4000 stripes and be marked as either active or disabled",
        why: "key material read with a wrong layout gives a wrong key",
        advice: "use another slot whose fields are sound, and its password",
        spec: "LUKS1 on-disk format, key slot",
        fields: ["luks-slot.active", "luks-slot.stripes"],
        qemu: Refused Refused "'Keyslot N is corrupted (stripes …)', or 'Keyslot N state … is corrupted'",
    }
    K06 "luks-slot-iterations" Fatal Must {
        title: "an active LUKS key slot must have an iteration count that is not 0",
        why: "no key can be derived for the slot",
        advice: "unlock by another slot, then add the password anew with `qemu-img amend`",
        spec: "LUKS1 on-disk format, key slot",
        fields: ["luks-slot.iterations"],
        qemu: Refused Refused "'Keyslot N iteration count is zero'",
    }
    K07 "luks-slot-overlap" Fatal Must {
        title: "the key material of each LUKS key slot must lie between header and payload, and overlap no \
            other's",
        why: "writing one slot, or the guest's data, destroys the key material of another",
        advice: "save the header now; change no passwords before it is mended",
        spec: "LUKS1 on-disk format, key slot",
        fields: ["luks-slot.key_material_offset"],
        qemu: Refused Refused "'Keyslot N is overlapping with …'",
    }
    K08 "luks-no-active-slot" Note Extra {
        title: "at least one LUKS key slot is expected to be active: without one no passphrase opens the \
            image",
        why: "the data is encrypted by a key that nothing in the file gives back: deleted on purpose, or \
            overwritten",
        advice: "only a backup of the header helps",
        spec: "not in the specification; key slots can be erased to destroy the data",
        fields: ["luks-slot.active"],
        qemu: Silently Refused "info shows the slots as they are; check always needs the key, and no key can \
            fit",
    }
    K09 "luks-cipher-weak" Fatal Extra {
        title: "the LUKS cipher, mode, hash and key size should be known ones, and none that is known to be \
            weak",
        why: "data can be changed or guessed without the key, or no program can decrypt it",
        advice: "re-encrypt: convert into a new LUKS image with QEMU's defaults",
        spec: "not in the specification; security",
        fields: ["luks.cipher_name", "luks.cipher_mode", "luks.hash_spec", "luks.key_bytes"],
        qemu: Varies Refused "unknown: 'Algorithm 'foo' with key size N bytes not supported'; weak ones are \
            accepted. Check always needs the key",
    }
}
