//! Family K: the LUKS header.

reasons! {
    K01 {
        why: "without them no program takes it for a LUKS header, and the disk cannot be decrypted",
        advice: "restore the header from a backup of it: there is no other way to the master key",
    }
    K02 {
        why: "the cipher cannot be looked up, and a name without an end runs into the next field",
        advice: "QEMU writes aes, xts-plain64 and sha256: compare, and mend a copy",
    }
    K03 {
        why: "writing the guest's first sectors would overwrite the key slots",
        advice: "compare with the length in the encryption extension, which says where the header ends",
    }
    K04 {
        why: "the password check is impossible at 0, weak if low, and takes minutes if absurdly high",
        advice: "do not unlock it in a service with a time limit; restore the number from a header backup",
    }
    K05 {
        why: "key material read with a wrong layout gives a wrong key",
        advice: "use another slot whose fields are sound, and its password",
    }
    K06 {
        why: "no key can be derived for the slot",
        advice: "unlock by another slot, then add the password anew with `qemu-img amend`",
    }
    K07 {
        why: "writing one slot, or the guest's data, destroys the key material of another",
        advice: "save the header now; change no passwords before it is mended",
    }
    K08 {
        why: "the data is encrypted by a key that nothing in the file gives back: deleted on purpose, or \
            overwritten",
        advice: "only a backup of the header helps",
    }
    K09 {
        why: "data can be changed or guessed without the key, or no program can decrypt it",
        advice: "re-encrypt: convert into a new LUKS image with QEMU's defaults",
    }
}
