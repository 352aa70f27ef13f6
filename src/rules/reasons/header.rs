//! Family H: the header.

reasons! {
    H01 {
        why: "readers fill the missing bytes differently: QEMU takes zeros, others refuse, so one file means two \
            things",
        advice: "get the file again from where it came: a header is never cut by normal use, and what lies behind it \
            is gone too",
    }
    H02 {
        why: "without the magic nobody can know that the file is QCOW2, and tools that probe by content take it \
            for a raw disk",
        advice: "look at what the file looks like instead; if it should be QCOW2, its first cluster was overwritten \
            and has to come from a backup",
    }
    H03 {
        why: "version 1 has another layout, and no later one is defined, so that every field behind this one would \
            be guessed",
        advice: "convert a version 1 image with `qemu-img convert -f qcow`; any other number is damage or a forgery",
    }
    H04 {
        why: "every offset and index depends on the cluster size, and tables of smaller clusters could not be \
            addressed",
        advice: "try cluster_bits of 16, QEMU's default, in a copy: if the L1 table then makes sense, only this field \
            is damaged",
    }
    H05 {
        why: "the specification has no upper bound, but QEMU stops at 2 MiB, so such an image works with other \
            readers alone",
        advice: "read the guest data out with a tool that takes larger clusters, and convert it to QCOW2 anew",
    }
    H06 {
        why: "a subcluster would be smaller than a sector, and the allocation bitmaps would have no meaning",
        advice: "clear incompatible bit 4 in a copy only if the L2 tables turn out to have 8-byte entries; else the \
            image was made wrong",
    }
    H07 {
        why: "fields that version 3 requires, the feature bits among them, would not be there",
        advice: "set header_length to 104 in a copy and check again: a shorter version 3 header was never written by \
            any release",
    }
    H08 {
        why: "readers that round the length up, and readers that do not, start the extension list at different \
            bytes",
        advice: "do not accept it from strangers: two programs may see two lists of extensions; QEMU writes 104 or \
            112",
    }
    H09 {
        why: "fields would run into clusters that belong to other structures",
        advice: "compare with header_length 112 in a copy; nothing defines fields so far behind",
    }
    H10 {
        why: "the bytes mean nothing today, so what stands there is hidden data, or will mean something to a later \
            reader",
        advice: "zero the bytes in a copy, and ask who wrote them",
    }
    H11 {
        why: "a later format may use them, and a reader that keeps them on rewriting carries along what it does \
            not understand",
        advice: "nothing, where a newer program made the image; else look at the bytes with `dump --only header \
            --hex`",
    }
    H12 {
        why: "the bit says that a reader that does not know it would misread the image",
        advice: "find the program that set it, and read the image with that; clearing the bit in a copy shows wrong \
            data where it mattered",
    }
    H13 {
        why: "it is harmless to readers by definition, but tells of a program that nobody here knows",
        advice: "nothing; ask which program wrote the image if you did not expect a newer one",
    }
    H14 {
        why: "the first program that opens the image for writing clears it, and with it what it promised",
        advice: "open the image read-only as long as it matters who set the bit",
    }
    H15 {
        why: "a reader that takes those bytes for version 3 fields sees feature bits where extensions stand",
        advice: "nothing to do: this tool reads version 2 as QEMU does",
    }
    H16 {
        why: "refcounts of more than 64 bits cannot be read, and no cluster could be allocated or freed",
        advice: "set refcount_order to 4, the default, in a copy and compare: if the counts agree with the \
            references, that was it",
    }
    H17 {
        why: "nobody knows how to decrypt the data, or whether there is anything to decrypt",
        advice: "look at the extensions: with a LUKS header the number should be 2, without one probably 0",
    }
    H18 {
        why: "its key is the bare password and its initial vectors can be predicted, so that known data shows \
            through",
        advice: "move the guest to LUKS: `qemu-img convert -o encrypt.format=luks` with the old and the new secret",
    }
    H19 {
        why: "after a crash the counts may be too low, and a writer that trusts them would allocate clusters that \
            are in use",
        advice: "let QEMU repair it on a copy (`qemu-img check -r all`); opening it for writing does the same and \
            removes the evidence",
    }
    H20 {
        why: "QEMU met metadata that it could not trust, and refuses to write until it is repaired",
        advice: "find out what is broken with `check` before anything repairs it, since a clean repair also clears \
            the bit",
    }
    H21 {
        why: "a reader that looks at the bit and one that looks at the type would use different decompressors",
        advice: "decompress one cluster with each method (`check --deep` on copies) and correct whichever of the two \
            is wrong",
    }
    H22 {
        why: "compressed clusters cannot be read, and which method would read them is not known",
        advice: "get the program that made the image; type 0 is deflate and 1 is Zstandard, and there are no others",
    }
    H23 {
        why: "the field that the bit speaks of would not exist",
        advice: "treat it as H21: lengthen the header in a copy, or clear the bit",
    }
    H24 {
        why: "without its L1 table no guest cluster of the active disk can be found",
        advice: "search for the table: its entries are multiples of the cluster size with bit 63 set; snapshots keep \
            older copies of it",
    }
    H25 {
        why: "QEMU loads the whole table into memory, and protects itself by this limit",
        advice: "larger clusters need a smaller table: convert with cluster_size=2M by a reader without the limit",
    }
    H26 {
        why: "the end of the virtual disk has no entry, and readers differ on whether they read beyond the table",
        advice: "compare size with l1_size: one of them was changed alone, and a smaller size in a copy makes the \
            rest readable",
    }
    H27 {
        why: "sizes near 2^64 overflow where readers round them, and each then sees a disk of another length",
        advice: "take the true size from a snapshot or from the L1 table's last used entry, and set it in a copy",
    }
    H28 {
        why: "QEMU rounds it down and others up or not at all, so the disk ends at different bytes",
        advice: "nothing is lost that a guest could read in whole sectors; resize the disk to a multiple of 512 to \
            end the difference",
    }
    H29 {
        why: "no cluster could be counted, so the first write would allocate one that is in use",
        advice: "rebuild the refcounts on a copy: `qemu-img check -r all` opens such an image and does that",
    }
    H30 {
        why: "QEMU loads the whole table, and refuses one that only a file of many petabytes would need",
        advice: "look whether the clusters behind the first few are all zero; then set a smaller number in a copy",
    }
    H31 {
        why: "refcounts would be read from anywhere, and written there by the next allocation",
        advice: "set it to the real table if a dump of the file's clusters shows one, else have it rebuilt on a copy",
    }
    H32 {
        why: "QEMU refuses the image for it even where no snapshot would ever be read",
        advice: "set the field to 0 in a copy if nb_snapshots is 0; else look for the table on a cluster boundary",
    }
    H33 {
        why: "each entry costs a reader memory and time, and QEMU stops here",
        advice: "look at the table with `dump --only snapshots`: mostly the number is damaged, and the entries end \
            earlier",
    }
    H34 {
        why: "what lies behind the end reads as zeros: guest ranges vanish without any error",
        advice: "get the rest of the file: a copy that was cut is the usual reason",
    }
    H35 {
        why: "the table's entries would be the header's bytes, and writing an entry would destroy the header",
        advice: "do not write to the image; the offset is wrong, or was set to 0, and the real table may be elsewhere \
            in the file",
    }
    H36 {
        why: "the name would be read from clusters that hold other structures",
        advice: "take the name from whoever made the image, and rebase a copy with `qemu-img rebase -u`",
    }
    H37 {
        why: "a longer name runs out of the first cluster or out of the reader's buffer",
        advice: "shorten the path: move the backing file, and rebase a copy with `qemu-img rebase -u`",
    }
    H38 {
        why: "the end of the extension list is where the name starts, so a name inside it hides extensions from \
            some readers",
        advice: "treat it as hostile: no program writes that, and what is hidden differs by reader",
    }
    H39 {
        why: "one reader sees a backing file where another sees none, and the offset alone already ends the \
            extension list",
        advice: "clear both fields in a copy if no backing file is meant",
    }
    H40 {
        why: "names are cut at a NUL by some and not by others, and control characters attack whoever prints them",
        advice: "do not open it with a program that follows the name; replace it by `qemu-img rebase -u` on a copy",
    }
    H41 {
        why: "opening the image makes QEMU open what is named, with QEMU's rights: files of the host, devices, the \
            network",
        advice: "detach it first: `qemu-img rebase -u -b ''` on a copy, or open it with backing overridden",
    }
    H42 {
        why: "without the format QEMU probes, and a guest that writes a header into a raw disk chooses what it is \
            taken for",
        advice: "name the format: `qemu-img rebase -u -F FORMAT -b NAME`, once you know which it is",
    }
    H43 {
        why: "nobody reads these bytes, which makes them a place to hide data, and the next header update erases \
            them",
        advice: "save a copy before any writer opens the image, and look at the bytes with `dump --hex`",
    }
    H44 {
        why: "the bit promises a raw file beside the image, and there is none",
        advice: "clear autoclear bit 1 in a copy, unless the data file bit is the one that was lost",
    }
    H45 {
        why: "a raw data file holds the whole disk, so nothing may come from a backing file, and readers disagree \
            which wins",
        advice: "detach the backing file if the data file is complete; else clear autoclear bit 1 in a copy",
    }
    H46 {
        why: "it is faster, and the price is that a crash makes a repair necessary",
        advice: "nothing, unless the storage is one that crashes; `qemu-img amend -o lazy_refcounts=off` ends it",
    }
    H47 {
        why: "a version 2 reader does not know the flag, and reads the cluster as data or fails",
        advice: "upgrade a copy with `qemu-img amend -o compat=1.1` if the flag is meant",
    }
}
