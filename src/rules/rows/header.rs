//! Family H: the header, its feature bits, and the backing file name that it points at.

use crate::finding::rules;

rules! {
    H01 "header-cut" Fatal Must {
        title: "the file must hold the whole header: 72 bytes in version 2, at least 104 in version 3",
        why: "readers fill the missing bytes differently: QEMU takes zeros, others refuse, so one file means two \
            things",
        advice: "get the file again from where it came: a header is never cut by normal use, and what lies behind it \
            is gone too",
        spec: "Header",
        fields: ["header.magic", "header.version", "header.header_length"],
        qemu: Varies Varies "bytes behind the end read as 0, so the cut decides. Below 24 bytes: \
            'Unsupported cluster size: 2^0'; version 3 below 104: 'qcow2 header too short'; version 2 below \
            60: 'Image does not contain a reference count table'. Cut later it opens, and check counts \
            corruptions",
        opens_in_version_2: true,
    }
    H02 "bad-magic" Fatal Must {
        title: "the file must begin with the magic 0x514649fb, the letters QFI and the byte 0xfb",
        why: "without the magic nobody can know that the file is QCOW2, and tools that probe by content take it \
            for a raw disk",
        advice: "look at what the file looks like instead; if it should be QCOW2, its first cluster was overwritten \
            and has to come from a backup",
        spec: "Header",
        fields: ["header.magic"],
        qemu: Refused Refused "'Image is not in qcow2 format' where -f qcow2 asks for the format; without it \
            the file is probed, and usually opened as raw",
    }
    H03 "unsupported-version" Fatal Must {
        title: "version must be 2 or 3",
        why: "version 1 has another layout, and no later one is defined, so that every field behind this one would \
            be guessed",
        advice: "convert a version 1 image with `qemu-img convert -f qcow`; any other number is damage or a forgery",
        spec: "Header",
        fields: ["header.version"],
        qemu: Refused Refused "'Unsupported qcow2 version N'",
    }
    H04 "cluster-too-small" Fatal Must {
        title: "cluster_bits must be at least 9, which is a cluster of 512 bytes",
        why: "every offset and index depends on the cluster size, and tables of smaller clusters could not be \
            addressed",
        advice: "try cluster_bits of 16, QEMU's default, in a copy: if the L1 table then makes sense, only this field \
            is damaged",
        spec: "Header",
        fields: ["header.cluster_bits"],
        qemu: Refused Refused "'Unsupported cluster size: 2^N'",
    }
    H05 "cluster-too-large" Fatal Qemu {
        title: "cluster_bits must be at most 21, which is a cluster of 2 MiB, for QEMU to open the image",
        why: "the specification has no upper bound, but QEMU stops at 2 MiB, so such an image works with other \
            readers alone",
        advice: "read the guest data out with a tool that takes larger clusters, and convert it to QCOW2 anew",
        spec: "QEMU block/qcow2.h, MAX_CLUSTER_BITS",
        fields: ["header.cluster_bits"],
        qemu: Refused Refused "'Unsupported cluster size: 2^N'",
    }
    H06 "subcluster-too-small" Fatal Must {
        title: "an image with extended L2 entries must have cluster_bits of at least 14, so that each of the \
            32 subclusters has 512 bytes or more",
        why: "a subcluster would be smaller than a sector, and the allocation bitmaps would have no meaning",
        advice: "clear incompatible bit 4 in a copy only if the L2 tables turn out to have 8-byte entries; else the \
            image was made wrong",
        spec: "Header",
        fields: ["header.cluster_bits"],
        qemu: Refused Refused "'Unsupported subcluster size: N'",
    }
    H07 "header-length-too-short" Fatal Must {
        title: "header_length must be at least 104 in version 3",
        why: "fields that version 3 requires, the feature bits among them, would not be there",
        advice: "set header_length to 104 in a copy and check again: a shorter version 3 header was never written by \
            any release",
        spec: "Header",
        fields: ["header.header_length"],
        qemu: Refused Refused "'qcow2 header too short'",
    }
    H08 "header-length-unaligned" Warning Must {
        title: "header_length must be a multiple of 8",
        why: "readers that round the length up, and readers that do not, start the extension list at different \
            bytes",
        advice: "do not accept it from strangers: two programs may see two lists of extensions; QEMU writes 104 or \
            112",
        spec: "Header padding",
        fields: ["header.header_length"],
        qemu: Silently Silently "any number is taken as it stands: 105, 113 or 121 open if the extensions \
            start exactly there. Where they start elsewhere, 'Header extension too large' can follow by \
            accident",
        risk: TwoReadings,
    }
    H09 "header-beyond-cluster" Fatal Must {
        title: "header_length must not exceed the cluster size: the header lies in the first cluster",
        why: "fields would run into clusters that belong to other structures",
        advice: "compare with header_length 112 in a copy; nothing defines fields so far behind",
        spec: "Header",
        fields: ["header.header_length"],
        qemu: Refused Refused "'qcow2 header exceeds cluster size'",
    }
    H10 "header-padding-nonzero" Warning Must {
        title: "the padding behind the header's last known field must be zero",
        why: "the bytes mean nothing today, so what stands there is hidden data, or will mean something to a later \
            reader",
        advice: "zero the bytes in a copy, and ask who wrote them",
        spec: "Header padding",
        fields: ["header.padding"],
        qemu: Silently Silently "these bytes are not looked at",
        risk: HiddenBytes,
    }
    H11 "unknown-header-fields" Note Should {
        title: "header fields behind the known ones belong to a later version of the format, and may be \
            ignored",
        why: "a later format may use them, and a reader that keeps them on rewriting carries along what it does \
            not understand",
        advice: "nothing, where a newer program made the image; else look at the bytes with `dump --only header \
            --hex`",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.unknown_fields"],
        qemu: Silently Silently "they are ignored, and kept together with header_length when QEMU rewrites \
            the header",
        risk: HiddenBytes,
    }
    H12 "unknown-incompatible-feature" Fatal Must {
        title: "no incompatible feature bit above 4 may be set: a reader that does not know it must refuse",
        why: "the bit says that a reader that does not know it would misread the image",
        advice: "find the program that set it, and read the image with that; clearing the bit in a copy shows wrong \
            data where it mattered",
        spec: "Header",
        fields: ["header.incompatible_features"],
        qemu: Refused Refused "'Unsupported qcow2 feature(s): …' with the name that the image's own feature \
            name table gives, or 'Unknown incompatible feature: HEX'",
    }
    H13 "unknown-compatible-feature" Note Should {
        title: "compatible feature bits above 0 are reserved; a reader that does not know them ignores them",
        why: "it is harmless to readers by definition, but tells of a program that nobody here knows",
        advice: "nothing; ask which program wrote the image if you did not expect a newer one",
        spec: "Header",
        fields: ["header.compatible_features"],
        qemu: Silently Silently "ignored, as it should be",
    }
    H14 "unknown-autoclear-feature" Note Should {
        title: "autoclear feature bits above 1 are reserved; a program that does not know them clears them \
            before it writes",
        why: "the first program that opens the image for writing clears it, and with it what it promised",
        advice: "open the image read-only as long as it matters who set the bit",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Silently Silently "ignored while the image is read only; opening it for writing rewrites the \
            header without the bits",
    }
    H15 "version-2-header-fields" Note Must reported_as "none" {
        title: "a version 2 header ends at byte 72: what follows is extensions, and no field of version 3",
        why: "a reader that takes those bytes for version 3 fields sees feature bits where extensions stand",
        advice: "nothing to do: this tool reads version 2 as QEMU does",
        spec: "Header",
        fields: [],
        qemu: Silently Silently "every field of version 3 counts as 0, refcount_order as 4",
    }
    H16 "refcount-order-too-large" Fatal Must {
        title: "refcount_order must be at most 6, which is a refcount of 64 bits",
        why: "refcounts of more than 64 bits cannot be read, and no cluster could be allocated or freed",
        advice: "set refcount_order to 4, the default, in a copy and compare: if the counts agree with the \
            references, that was it",
        spec: "Header",
        fields: ["header.refcount_order"],
        qemu: Refused Refused "'Reference count entry width too large; may not exceed 64 bits'",
    }
    H17 "unknown-crypt-method" Fatal Must {
        title: "crypt_method must be 0 (none), 1 (AES) or 2 (LUKS)",
        why: "nobody knows how to decrypt the data, or whether there is anything to decrypt",
        advice: "look at the extensions: with a LUKS header the number should be 2, without one probably 0",
        spec: "Header",
        fields: ["header.crypt_method"],
        qemu: Refused Refused "'Unsupported encryption method N'",
    }
    H18 "weak-aes-encryption" Warning Should {
        title: "crypt_method 1 is the old AES format, deprecated because its design is weak",
        why: "its key is the bare password and its initial vectors can be predicted, so that known data shows \
            through",
        advice: "move the guest to LUKS: `qemu-img convert -o encrypt.format=luks` with the old and the new secret",
        spec: "Data encryption",
        fields: ["header.crypt_method"],
        qemu: Varies Refused "info shows the image as encrypted. Reading and check want the key: 'Parameter \
            'encrypt.key-secret' is required for cipher'",
    }
    H19 "dirty-bit-set" Note Should {
        title: "the dirty bit (incompatible bit 0) is set: the image was not closed, and its refcounts may \
            be out of date",
        why: "after a crash the counts may be too low, and a writer that trusts them would allocate clusters that \
            are in use",
        advice: "let QEMU repair it on a copy (`qemu-img check -r all`); opening it for writing does the same and \
            removes the evidence",
        spec: "Header",
        fields: ["header.incompatible_features"],
        qemu: Silently Silently "info shows 'dirty-flag'. Check compares the refcounts as ever; opening for \
            writing repairs them, which destroys evidence",
        risk: NotClosed,
    }
    H20 "corrupt-bit-set" Warning Should {
        title: "the corrupt bit (incompatible bit 1) is set: a program found broken metadata and forbade \
            writing",
        why: "QEMU met metadata that it could not trust, and refuses to write until it is repaired",
        advice: "find out what is broken with `check` before anything repairs it, since a clean repair also clears \
            the bit",
        spec: "Header",
        fields: ["header.incompatible_features"],
        qemu: Varies Silently "read only it opens, and info shows 'corrupt'; for writing: 'qcow2: Image is \
            corrupt; cannot be opened read/write'. Check does not count the bit, and a repair that ends \
            clean removes it",
        risk: Unsound,
    }
    H21 "compression-bit-mismatch" Fatal Must {
        title: "the compression bit (incompatible bit 3) must be set exactly where compression_type is \
            present and not 0",
        why: "a reader that looks at the bit and one that looks at the type would use different decompressors",
        advice: "decompress one cluster with each method (`check --deep` on copies) and correct whichever of the two \
            is wrong",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.incompatible_features", "header.compression_type"],
        qemu: Refused Refused "'qcow2: Compression type incompatible feature bit must be set', or 'must not \
            be set'",
    }
    H22 "unknown-compression-type" Fatal Must {
        title: "compression_type must be 0 (deflate) or 1 (zstd)",
        why: "compressed clusters cannot be read, and which method would read them is not known",
        advice: "get the program that made the image; type 0 is deflate and 1 is Zstandard, and there are no others",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.compression_type"],
        qemu: Refused Refused "'qcow2: unknown compression type: N', before the compression bit is looked at",
    }
    H23 "compression-type-absent" Fatal Must reported_as "H21" {
        title: "the compression bit needs a header_length above 104, so that compression_type is present",
        why: "the field that the bit speaks of would not exist",
        advice: "treat it as H21: lengthen the header in a copy, or clear the bit",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.incompatible_features", "header.header_length"],
        qemu: Refused Refused "an absent compression_type counts as 0: 'qcow2: Compression type incompatible \
            feature bit must not be set'",
    }
    H24 "l1-offset-invalid" Fatal Must {
        title: "l1_table_offset must be a multiple of the cluster size, and the table must end below 2^63",
        why: "without its L1 table no guest cluster of the active disk can be found",
        advice: "search for the table: its entries are multiples of the cluster size with bit 63 set; snapshots keep \
            older copies of it",
        spec: "Header",
        fields: ["header.l1_table_offset"],
        qemu: Refused Refused "'Active L1 table offset invalid'; aligned but close below 2^63: 'Could not \
            read L1 table: Input/output error'",
    }
    H25 "l1-table-too-large" Fatal Qemu {
        title: "l1_size must be at most 4,194,304 entries, which is 32 MiB, for QEMU to open the image",
        why: "QEMU loads the whole table into memory, and protects itself by this limit",
        advice: "larger clusters need a smaller table: convert with cluster_size=2M by a reader without the limit",
        spec: "QEMU block/qcow2.h, QCOW_MAX_L1_SIZE",
        fields: ["header.l1_size"],
        qemu: Refused Refused "'Active L1 table too large'",
    }
    H26 "l1-table-too-small" Fatal Must {
        title: "l1_size must give the whole virtual disk an entry: the size divided by what one L2 table \
            maps, rounded up",
        why: "the end of the virtual disk has no entry, and readers differ on whether they read beyond the table",
        advice: "compare size with l1_size: one of them was changed alone, and a smaller size in a copy makes the \
            rest readable",
        spec: "Cluster mapping",
        fields: ["header.l1_size"],
        qemu: Refused Refused "'L1 table is too small'; the size counts as it stands, not rounded down to \
            sectors",
    }
    H27 "disk-size-too-large" Fatal Qemu {
        title: "size must be one that QEMU can count: fewer than 2^31 L1 entries, and no overflow when \
            rounded",
        why: "sizes near 2^64 overflow where readers round them, and each then sees a disk of another length",
        advice: "take the true size from a snapshot or from the L1 table's last used entry, and set it in a copy",
        spec: "QEMU block/qcow2.c, qcow2_do_open",
        fields: ["header.size"],
        qemu: Refused Refused "'Image is too big'; so near 2^64 that rounding wraps: 'Could not refresh \
            total sector count: File too large'",
    }
    H28 "disk-size-unaligned" Note Extra {
        title: "size is expected to be a multiple of 512, because QEMU shows the guest whole sectors only",
        why: "QEMU rounds it down and others up or not at all, so the disk ends at different bytes",
        advice: "nothing is lost that a guest could read in whole sectors; resize the disk to a multiple of 512 to \
            end the difference",
        spec: "not in the specification; QEMU rounds down to sectors",
        fields: ["header.size"],
        qemu: Silently Silently "the size is rounded down to 512 bytes, so the last bytes are out of reach",
        risk: TwoReadings,
    }
    H29 "refcount-table-missing" Fatal Must {
        title: "refcount_table_clusters must be at least 1",
        why: "no cluster could be counted, so the first write would allocate one that is in use",
        advice: "rebuild the refcounts on a copy: `qemu-img check -r all` opens such an image and does that",
        spec: "Header",
        fields: ["header.refcount_table_clusters"],
        qemu: Refused Corruption "'Image does not contain a reference count table'. Check opens it all the \
            same, and counts a corruption for each cluster in use",
    }
    H30 "refcount-table-too-large" Fatal Qemu {
        title: "the refcount table must be at most 8 MiB for QEMU to open the image",
        why: "QEMU loads the whole table, and refuses one that only a file of many petabytes would need",
        advice: "look whether the clusters behind the first few are all zero; then set a smaller number in a copy",
        spec: "QEMU block/qcow2.h, QCOW_MAX_REFTABLE_SIZE",
        fields: ["header.refcount_table_clusters"],
        qemu: Refused Refused "'Reference count table too large'",
    }
    H31 "refcount-table-offset-invalid" Fatal Must {
        title: "refcount_table_offset must be a multiple of the cluster size, and the table must end below \
            2^63",
        why: "refcounts would be read from anywhere, and written there by the next allocation",
        advice: "set it to the real table if a dump of the file's clusters shows one, else have it rebuilt on a copy",
        spec: "Header",
        fields: ["header.refcount_table_offset"],
        qemu: Refused Refused "'Reference count table offset invalid'",
    }
    H32 "snapshots-offset-invalid" Fatal Must {
        title: "snapshots_offset must be a multiple of the cluster size, even where there are no snapshots",
        why: "QEMU refuses the image for it even where no snapshot would ever be read",
        advice: "set the field to 0 in a copy if nb_snapshots is 0; else look for the table on a cluster boundary",
        spec: "Header",
        fields: ["header.snapshots_offset"],
        qemu: Refused CheckError "'Snapshot table offset invalid'",
    }
    H33 "too-many-snapshots" Fatal Qemu {
        title: "nb_snapshots must be at most 65536 for QEMU to open the image",
        why: "each entry costs a reader memory and time, and QEMU stops here",
        advice: "look at the table with `dump --only snapshots`: mostly the number is damaged, and the entries end \
            earlier",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOTS",
        fields: ["header.nb_snapshots"],
        qemu: Refused CheckError "'Snapshot table too large'. Check: 'You can force-remove all N overhanging \
            snapshots with qemu-img check -r all', and that repair drops them",
    }
    H34 "table-beyond-file" Corruption Must {
        title: "the L1 table, the refcount table and the snapshot table must lie inside the file",
        why: "what lies behind the end reads as zeros: guest ranges vanish without any error",
        advice: "get the rest of the file: a copy that was cut is the usual reason",
        spec: "Header",
        fields: ["header.l1_table_offset", "header.refcount_table_offset", "header.snapshots_offset"],
        qemu: Silently Varies "bytes behind the end read as zeros. Check: 'counting reference for region \
            exceeding the end of the file' where a cluster or more is missing, and leaks for what the table \
            led to; a small table that starts less than a cluster behind the end gives leaks only",
        reads_as_unallocated: true,
    }
    H35 "table-in-header-cluster" Corruption Extra {
        title: "no table may lie in cluster 0, which belongs to the header",
        why: "the table's entries would be the header's bytes, and writing an entry would destroy the header",
        advice: "do not write to the image; the offset is wrong, or was set to 0, and the real table may be elsewhere \
            in the file",
        spec: "not in the specification; the header's own bytes would be read as table entries",
        fields: ["header.l1_table_offset", "header.refcount_table_offset", "header.snapshots_offset"],
        qemu: Silently Corruption "the header is read as entries. Check: 'ERROR found L1 entry with reserved \
            bits set: 514649fb00000003', or 'refcount table entry N has reserved bits set'",
    }
    H36 "backing-name-offset-invalid" Fatal Must {
        title: "backing_file_offset must lie inside the first cluster",
        why: "the name would be read from clusters that hold other structures",
        advice: "take the name from whoever made the image, and rebase a copy with `qemu-img rebase -u`",
        spec: "Header extensions",
        fields: ["header.backing_file_offset"],
        qemu: Refused Refused "'Invalid backing file offset'; exactly at the cluster's end with a length: \
            'Backing file name too long', without one it opens",
    }
    H37 "backing-name-too-long" Fatal Must {
        title: "the backing file name must have at most 1023 bytes and end inside the first cluster",
        why: "a longer name runs out of the first cluster or out of the reader's buffer",
        advice: "shorten the path: move the backing file, and rebase a copy with `qemu-img rebase -u`",
        spec: "Header",
        fields: ["header.backing_file_size"],
        qemu: Refused Refused "'Backing file name too long'; not checked where backing_file_offset is 0",
    }
    H38 "backing-name-in-header" Warning Must {
        title: "the backing file name must lie behind the header and its extensions, not over them",
        why: "the end of the extension list is where the name starts, so a name inside it hides extensions from \
            some readers",
        advice: "treat it as hostile: no program writes that, and what is hidden differs by reader",
        spec: "Header extensions",
        fields: ["header.backing_file_offset"],
        qemu: Silently Silently "extensions end where the name starts, so a name at offset 4 hides all of \
            them; other readers may still see them",
        risk: TwoReadings,
    }
    H39 "backing-offset-without-size" Warning Extra {
        title: "backing_file_offset and backing_file_size are expected to be both 0 or both not 0",
        why: "one reader sees a backing file where another sees none, and the offset alone already ends the \
            extension list",
        advice: "clear both fields in a copy if no backing file is meant",
        spec: "not in the specification; readers differ",
        fields: ["header.backing_file_offset", "header.backing_file_size"],
        qemu: Silently Silently "no backing file; but an offset with length 0 still ends the extensions \
            there, which can hide them",
        risk: TwoReadings,
    }
    H40 "backing-name-malformed" Warning Extra {
        title: "the backing file name must be valid UTF-8 without NUL and control characters",
        why: "names are cut at a NUL by some and not by others, and control characters attack whoever prints them",
        advice: "do not open it with a program that follows the name; replace it by `qemu-img rebase -u` on a copy",
        spec: "not in the specification; what is shown would not be what is opened",
        fields: ["backing-file.name"],
        qemu: Silently Silently "the name is cut at its first NUL: 'bk.raw\\0zz' opens bk.raw",
        risk: FalseName,
    }
    H41 "backing-file-untrusted" Warning Extra {
        title: "the backing file name decides what QEMU opens next: another file of the host, a device, a \
            network address or the image itself",
        why: "opening the image makes QEMU open what is named, with QEMU's rights: files of the host, devices, the \
            network",
        advice: "detach it first: `qemu-img rebase -u -b ''` on a copy, or open it with backing overridden",
        spec: "not in the specification; opening the image opens what the name says",
        fields: ["backing-file.name"],
        qemu: Varies Varies "info shows the name only; check, map and reading open it, and connect for nbd: \
            and the like. Missing file: exit 1. An image that is its own backing file never ends: memory \
            grows without bound; only --backing-chain says 'creates an infinite loop'",
        risk: OtherFile,
    }
    H42 "backing-format-missing" Warning Extra {
        title: "an image with a backing file should name that file's format, or readers must guess it",
        why: "without the format QEMU probes, and a guest that writes a header into a raw disk chooses what it is \
            taken for",
        advice: "name the format: `qemu-img rebase -u -F FORMAT -b NAME`, once you know which it is",
        spec: "not in the specification; a raw backing file whose guest wrote an image header is probed as \
            that",
        fields: [],
        qemu: Silently Silently "the backing file's format is probed; QEMU deprecates this",
    }
    H43 "header-cluster-hidden-data" Warning Must {
        title: "the first cluster must be zero behind the extensions and the backing file name",
        why: "nobody reads these bytes, which makes them a place to hide data, and the next header update erases \
            them",
        advice: "save a copy before any writer opens the image, and look at the bytes with `dump --hex`",
        spec: "Header extensions",
        fields: [],
        qemu: Silently Silently "not looked at, and zeroed without a word by any rewrite of the header",
        risk: HiddenBytes,
    }
    H44 "raw-bit-without-data-file" Fatal Must {
        title: "the raw external data bit (autoclear bit 1) needs the external data file bit (incompatible \
            bit 2)",
        why: "the bit promises a raw file beside the image, and there is none",
        advice: "clear autoclear bit 1 in a copy, unless the data file bit is the one that was lost",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Varies Refused "info shows the image; opening it for data: 'data-file-raw requires a data \
            file'",
    }
    H45 "raw-bit-with-backing" Warning Must {
        title: "the raw external data bit (autoclear bit 1) must not be set in an image with a backing file",
        why: "a raw data file holds the whole disk, so nothing may come from a backing file, and readers disagree \
            which wins",
        advice: "detach the backing file if the data file is complete; else clear autoclear bit 1 in a copy",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Silently Silently "accepted: info, opening and reading work",
    }
    H46 "lazy-refcounts-enabled" Note Should {
        title: "refcounts may be updated lazily (compatible bit 0): a crash leaves them out of date",
        why: "it is faster, and the price is that a crash makes a repair necessary",
        advice: "nothing, unless the storage is one that crashes; `qemu-img amend -o lazy_refcounts=off` ends it",
        spec: "Header",
        fields: ["header.compatible_features"],
        qemu: Silently Silently "info shows 'lazy-refcounts'",
    }
    H47 "version-2-newer-features" Note Must reported_as "L07" {
        title: "a version 2 image has no zero clusters, no compression type and no extended L2 entries",
        why: "a version 2 reader does not know the flag, and reads the cluster as data or fails",
        advice: "upgrade a copy with `qemu-img amend -o compat=1.1` if the flag is meant",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "a zero flag: 'Zero cluster entry found in pre-v3 image' when it is read",
    }
}
