//! Family E: the header extensions.

reasons! {
    E01 {
        why: "a length that passes the end makes a reader run into the backing file name or into another cluster",
        advice: "compare the lengths by `dump --only extensions`; the first wrong one hides all behind it",
    }
    E02 {
        why: "readers keep the first, the last or neither, so that each sees another backing format or data file",
        advice: "reject it from strangers; on a copy, remove the one that is not meant",
    }
    E03 {
        why: "what stands behind the list may be taken for more extensions",
        advice: "write an end mark, eight zero bytes, behind the last extension of a copy",
    }
    E04 {
        why: "most readers ignore the length, and the bytes that it spans stay hidden",
        advice: "set the length to 0 in a copy, and look at what it covered",
    }
    E05 {
        why: "QEMU keeps the name in 16 bytes, and refuses a longer one",
        advice: "no known format has so long a name: set the right one with `qemu-img rebase -u -F`",
    }
    E06 {
        why: "it is useless where there is no backing file, and a format that nobody knows keeps QEMU from opening \
            one",
        advice: "drop it, or name raw or qcow2, with `qemu-img rebase -u -F`",
    }
    E07 {
        why: "the table names features in error messages, and a broken row makes a message lie or a parser fail",
        advice: "ignore the table, which decides nothing; a rewrite by QEMU replaces it",
    }
    E08 {
        why: "a program that shows the name would call a dangerous bit harmless",
        advice: "trust the bit numbers and not the names; ask who wrote the table",
    }
    E09 {
        why: "it speaks of an encryption that the image does not claim to have",
        advice: "compare crypt_method: if the clusters look random, it should be 2",
    }
    E10 {
        why: "the key slots cannot be found, and without them nobody can decrypt the data",
        advice: "search for the LUKS magic on cluster boundaries, and put its place into the extension of a copy",
    }
    E11 {
        why: "offset and length of the LUKS header do not fit into it",
        advice: "restore the 16 bytes from an earlier copy, or find the LUKS header by its magic",
    }
    E12 {
        why: "QEMU reads the LUKS header by clusters, and refuses any other place",
        advice: "look for the LUKS magic at the boundary before and behind it",
    }
    E13 {
        why: "key material that is cut or overwritten makes the whole disk unreadable for ever",
        advice: "save the LUKS header before anything else: with it and the password, the data can still be decrypted",
    }
    E14 {
        why: "the place and number of the bitmaps cannot be told",
        advice: "drop the extension in a copy: bitmaps only speed up the next backup, and a full one replaces them",
    }
    E15 {
        why: "a later format may give the field a meaning that changes the others",
        advice: "zero it in a copy if no newer program made the image",
    }
    E16 {
        why: "an empty list should not be announced at all, and QEMU takes it for damage",
        advice: "remove the extension, and clear autoclear bit 0, in a copy",
    }
    E17 {
        why: "each bitmap costs memory when the image is opened, and QEMU stops here",
        advice: "compare with the directory, which mostly has far fewer entries",
    }
    E18 {
        why: "the directory would be read from the header, from another structure or from nowhere",
        advice: "look for the bitmaps' names in the file: the directory is the cluster that has them",
    }
    E19 {
        why: "the directory is loaded as a whole, and QEMU bounds or needs its size",
        advice: "count the entries by `dump --only bitmaps`, and set the size that they take in a copy",
    }
    E20 {
        why: "the bit promises bitmaps that cannot be found, and whoever relies on them misses changes",
        advice: "clear the bit in a copy, and make the next backup a full one",
    }
    E21 {
        why: "something wrote to the image without keeping the bitmaps, so they miss changes",
        advice: "make a full backup; do not base an incremental one on them",
    }
    E22 {
        why: "version 2 has no bit to say that the bitmaps are up to date, so nobody may trust them",
        advice: "remove them, or upgrade the image (`qemu-img amend -o compat=1.1`) and start new ones",
    }
    E23 {
        why: "readers that follow the name without looking at the bit open a file that the image does not need",
        advice: "reject it from strangers: CVE-2024-32498 is about such names; QEMU drops it at the next header \
            update",
    }
    E24 {
        why: "the image cannot be opened without somebody who knows the data file",
        advice: "ask for the file, and open with data-file.filename=…",
    }
    E25 {
        why: "the guest's disk is whatever file is named there, with the rights of the process that opens it",
        advice: "open it only with the data file given by hand, and never in a service that follows the name",
    }
    E26 {
        why: "readers skip it, and keep it when they rewrite the header: a place for data that nobody looks at",
        advice: "look at its bytes with `dump --only extensions --hex`",
    }
    E27 {
        why: "text that is cut at a NUL, or is no text, is read as different names",
        advice: "set the string anew with `qemu-img rebase -u` or `amend` on a copy",
    }
}
