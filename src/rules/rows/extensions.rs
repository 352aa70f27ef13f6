//! Family E: the header extensions and what the known ones hold.

use crate::finding::rules;

rules! {
    E01 "extension-too-large" Fatal Must {
        title: "each header extension must end before the backing file name or the end of the first cluster",
        why: "a length that passes the end makes a reader run into the backing file name or into another cluster",
        advice: "compare the lengths by `dump --only extensions`; the first wrong one hides all behind it",
        spec: "Header extensions",
        fields: ["extension.length"],
        qemu: Varies Varies "'Header extension too large'. Where it would fit, and only the file ends before, zeros \
            are read: it opens, and check counts what the missing tables cost",
    }
    E02 "duplicate-extension" Warning Must {
        title: "each type of header extension must occur at most once",
        why: "readers keep the first, the last or neither, so that each sees another backing format or data file",
        advice: "reject it from strangers; on a copy, remove the one that is not meant",
        spec: "Header extensions",
        fields: ["extension.magic"],
        qemu: Silently Silently "the last one wins; other readers take the first, or refuse",
        risk: TwoReadings,
    }
    E03 "extension-end-missing" Warning Should {
        title: "the list of header extensions should close with an end mark, or fill its space exactly",
        why: "what stands behind the list may be taken for more extensions",
        advice: "write an end mark, eight zero bytes, behind the last extension of a copy",
        spec: "Header extensions",
        fields: [],
        qemu: Silently Silently "accepted, also where only the padding of the last extension passes the end. \
            Where 1 to 7 bytes are left over they are taken for one more extension: 'Header extension too \
            large'",
        risk: TwoReadings,
    }
    E04 "extension-end-length" Note Should {
        title: "the extension that ends the list should have length 0",
        why: "most readers ignore the length, and the bytes that it spans stay hidden",
        advice: "set the length to 0 in a copy, and look at what it covered",
        spec: "Header extensions",
        fields: ["extension.length"],
        qemu: Varies Varies "a length that still fits is ignored; a larger one: 'Header extension too \
            large', because lengths are checked before the type is looked at",
        risk: TwoReadings,
    }
    E05 "backing-format-too-long" Fatal Qemu {
        title: "the backing format's name must have at most 15 bytes for QEMU to open the image",
        why: "QEMU keeps the name in 16 bytes, and refuses a longer one",
        advice: "no known format has so long a name: set the right one with `qemu-img rebase -u -F`",
        spec: "QEMU block/qcow2.c, qcow2_read_extensions (a buffer of 16 bytes)",
        fields: ["extension.length"],
        qemu: Refused Refused "'ERROR: ext_backing_format: len=N too large (>=16)'",
    }
    E06 "backing-format-unexpected" Note Extra {
        title: "a backing format is expected only where there is a backing file, and to name a known format",
        why: "it is useless where there is no backing file, and a format that nobody knows keeps QEMU from opening \
            one",
        advice: "drop it, or name raw or qcow2, with `qemu-img rebase -u -F`",
        spec: "not in the specification; QEMU resolves the name to one of its drivers",
        fields: ["extension.data"],
        qemu: Silently Varies "not looked at without a backing file. With one, check opens it, and fails on \
            the name of a driver that does not exist",
    }
    E07 "feature-table-malformed" Warning Must {
        title: "the feature name table must consist of 48-byte rows with type 0 to 2, bit 0 to 63, a \
            printable name, and no feature named twice",
        why: "the table names features in error messages, and a broken row makes a message lie or a parser fail",
        advice: "ignore the table, which decides nothing; a rewrite by QEMU replaces it",
        spec: "Feature name table",
        fields: ["extension.length", "feature-name.type", "feature-name.bit", "feature-name.name"],
        qemu: Silently Silently "used only to name an unknown incompatible bit, and not checked: the bit \
            number counts modulo 64, the first of two rows wins, and a table of 47 bytes is used too",
        risk: FalseName,
    }
    E08 "feature-name-spoofed" Warning Extra {
        title: "the feature name table must give the known feature bits their usual names",
        why: "a program that shows the name would call a dangerous bit harmless",
        advice: "trust the bit numbers and not the names; ask who wrote the table",
        spec: "not in the specification; readers print these names in their messages",
        fields: ["feature-name.name"],
        qemu: Silently Silently "names of bits that QEMU knows are never used",
        risk: FalseName,
    }
    E09 "crypto-extension-unexpected" Fatal Must {
        title: "the encryption header extension may occur only where crypt_method is 2 (LUKS)",
        why: "it speaks of an encryption that the image does not claim to have",
        advice: "compare crypt_method: if the clusters look random, it should be 2",
        spec: "Full disk encryption header pointer",
        fields: ["extension.magic"],
        qemu: Refused Refused "'CRYPTO header extension only expected with LUKS encryption method'",
    }
    E10 "crypto-extension-missing" Fatal Must {
        title: "an image with crypt_method 2 (LUKS) must have the encryption header extension",
        why: "the key slots cannot be found, and without them nobody can decrypt the data",
        advice: "search for the LUKS magic on cluster boundaries, and put its place into the extension of a copy",
        spec: "Full disk encryption header pointer",
        fields: ["header.crypt_method"],
        qemu: Refused Refused "'Missing CRYPTO header for crypt method 2'",
    }
    E11 "crypto-extension-length" Fatal Must {
        title: "the encryption header extension must have 16 bytes",
        why: "offset and length of the LUKS header do not fit into it",
        advice: "restore the 16 bytes from an earlier copy, or find the LUKS header by its magic",
        spec: "Full disk encryption header pointer",
        fields: ["extension.length"],
        qemu: Refused Refused "'CRYPTO header extension size N, but expected size 16'",
    }
    E12 "crypto-header-unaligned" Fatal Must {
        title: "the encryption header must start on a cluster boundary",
        why: "QEMU reads the LUKS header by clusters, and refuses any other place",
        advice: "look for the LUKS magic at the boundary before and behind it",
        spec: "Full disk encryption header pointer",
        fields: ["crypto-extension.offset"],
        qemu: Refused Refused "'Encryption header offset 'N' is not a multiple of cluster size 'M''",
    }
    E13 "crypto-header-range" Fatal Must {
        title: "the encryption header must lie inside the file, hold a whole LUKS header, and be followed by \
            zeros up to the end of its last cluster",
        why: "key material that is cut or overwritten makes the whole disk unreadable for ever",
        advice: "save the LUKS header before anything else: with it and the password, the data can still be decrypted",
        spec: "Full disk encryption header pointer",
        fields: ["crypto-extension.offset", "crypto-extension.length"],
        qemu: Varies Varies "offset behind the end: 'Volume is not in LUKS format'; length too small: \
            'Request for data outside of extension header'; length past the end opens. Check wants the key, \
            then counts a region past the end and leaks; junk behind the header is not seen",
    }
    E14 "bitmaps-extension-length" Fatal Must {
        title: "the bitmaps extension must have 24 bytes",
        why: "the place and number of the bitmaps cannot be told",
        advice: "drop the extension in a copy: bitmaps only speed up the next backup, and a full one replaces them",
        spec: "Bitmaps extension",
        fields: ["extension.length"],
        qemu: Refused Refused "'bitmaps_ext: Invalid extension length'",
    }
    E15 "bitmaps-reserved-nonzero" Fatal Must {
        title: "the reserved field of the bitmaps extension must be 0",
        why: "a later format may give the field a meaning that changes the others",
        advice: "zero it in a copy if no newer program made the image",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.reserved"],
        qemu: Refused Refused "'bitmaps_ext: Reserved field is not zero'; not checked while autoclear bit 0 \
            is clear",
    }
    E16 "bitmaps-count-zero" Fatal Must {
        title: "a bitmaps extension must announce at least one bitmap",
        why: "an empty list should not be announced at all, and QEMU takes it for damage",
        advice: "remove the extension, and clear autoclear bit 0, in a copy",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.nb_bitmaps"],
        qemu: Refused Refused "'found bitmaps extension with zero bitmaps'; not checked while autoclear bit \
            0 is clear",
    }
    E17 "too-many-bitmaps" Fatal Qemu {
        title: "nb_bitmaps must be at most 65535 for QEMU to open the image",
        why: "each bitmap costs memory when the image is opened, and QEMU stops here",
        advice: "compare with the directory, which mostly has far fewer entries",
        spec: "QEMU block/qcow2.h, QCOW2_MAX_BITMAPS",
        fields: ["bitmaps-extension.nb_bitmaps"],
        qemu: Refused Refused "'bitmaps_ext: Image has N bitmaps, exceeding the QEMU supported maximum of \
            65535'",
    }
    E18 "bitmap-directory-offset-invalid" Fatal Must {
        title: "bitmap_directory_offset must be a multiple of the cluster size, not 0, and inside the file",
        why: "the directory would be read from the header, from another structure or from nowhere",
        advice: "look for the bitmaps' names in the file: the directory is the cluster that has them",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.bitmap_directory_offset"],
        qemu: Refused Refused "unaligned: 'bitmaps_ext: invalid bitmap directory offset'; 0: the header is read as the \
            directory ('Broken bitmap directory'); behind the end: 'Bitmap '' doesn't satisfy the constraints'; 2^63: 'Failed to read \
            bitmap directory: Input/output error'",
    }
    E19 "bitmap-directory-size-invalid" Fatal Qemu {
        title: "bitmap_directory_size must be from 1 to 67107840 bytes for QEMU to open the image",
        why: "the directory is loaded as a whole, and QEMU bounds or needs its size",
        advice: "count the entries by `dump --only bitmaps`, and set the size that they take in a copy",
        spec: "QEMU block/qcow2.h, QCOW2_MAX_BITMAP_DIRECTORY_SIZE",
        fields: ["bitmaps-extension.bitmap_directory_size"],
        qemu: Refused Refused "'bitmaps_ext: bitmap directory size (N) exceeds the maximum supported size \
            (67107840)', or 'Requested bitmap directory size is zero'",
    }
    E20 "bitmaps-bit-without-extension" Warning Must {
        title: "the bitmaps bit (autoclear bit 0) must not be set without a bitmaps extension",
        why: "the bit promises bitmaps that cannot be found, and whoever relies on them misses changes",
        advice: "clear the bit in a copy, and make the next backup a full one",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Silently Silently "accepted, though the specification calls it an error",
    }
    E21 "bitmaps-inconsistent" Warning Must {
        title: "a bitmaps extension is trusted only while autoclear bit 0 is set; here it is clear, and the \
            bitmaps are out of date",
        why: "something wrote to the image without keeping the bitmaps, so they miss changes",
        advice: "make a full backup; do not base an incremental one on them",
        spec: "Header",
        fields: ["extension.magic"],
        qemu: Varies Leak "opens with the warning 'a program lacking bitmap support modified this file, so \
            all bitmaps are now considered inconsistent', and checks only the extension's length. Check \
            counts their clusters as leaks; opening for writing drops the extension",
        bitmap: Inconsistent,
    }
    E22 "bitmaps-in-version-2" Warning Extra {
        title: "a version 2 image is not expected to have a bitmaps extension: it has no bit to say that it \
            is consistent",
        why: "version 2 has no bit to say that the bitmaps are up to date, so nobody may trust them",
        advice: "remove them, or upgrade the image (`qemu-img amend -o compat=1.1`) and start new ones",
        spec: "not in the specification; QEMU considers such bitmaps inconsistent",
        fields: ["extension.magic"],
        qemu: Varies Varies "opens with the warning 'This qcow2 v2 image contains bitmaps, but they may have \
            been modified by a program without persistent bitmap support'. Check counts leaks only where the \
            bitmaps' clusters have a refcount",
        bitmap: Inconsistent,
    }
    E23 "data-file-name-unexpected" Warning Extra {
        title: "a data file name is expected only with the external data file bit (incompatible bit 2)",
        why: "readers that follow the name without looking at the bit open a file that the image does not need",
        advice: "reject it from strangers: CVE-2024-32498 is about such names; QEMU drops it at the next header \
            update",
        spec: "not in the specification; a reader may show or open a file that the image does not use",
        fields: ["extension.magic"],
        qemu: Silently Silently "info shows the name as the data file, though it is not used; the next \
            rewrite of the header drops it",
        risk: UnclearDataFile,
    }
    E24 "data-file-name-missing" Warning Extra {
        title: "an image with an external data file should name it; otherwise each user must supply it",
        why: "the image cannot be opened without somebody who knows the data file",
        advice: "ask for the file, and open with data-file.filename=…",
        spec: "not in the specification, which makes the name optional",
        fields: ["header.incompatible_features"],
        qemu: Varies Refused "info shows the image; opening it for data: ''data-file' is required for this \
            image'",
        risk: UnclearDataFile,
    }
    E25 "data-file-untrusted" Warning Extra {
        title: "the data file name decides which file of the host QEMU takes for the guest's disk",
        why: "the guest's disk is whatever file is named there, with the rights of the process that opens it",
        advice: "open it only with the data file given by hand, and never in a service that follows the name",
        spec: "not in the specification; opening the image opens that file (CVE-2024-32498, CVE-2024-4467)",
        fields: ["data-file.name"],
        qemu: Varies Varies "info does not open it; check, map and reading do. json: and nbd: are plain file \
            names here, a NUL cuts the name, the image itself is accepted. Missing file: exit 1; empty name: \
            'The 'file' block driver requires a file name'",
        risk: OtherFile,
    }
    E26 "unknown-extension" Note Extra {
        title: "a header extension of unknown type may be ignored; it can carry any data",
        why: "readers skip it, and keep it when they rewrite the header: a place for data that nobody looks at",
        advice: "look at its bytes with `dump --only extensions --hex`",
        spec: "Header extensions",
        fields: ["extension.magic"],
        qemu: Silently Silently "ignored, and kept when QEMU rewrites the header, though several change \
            their order",
        risk: HiddenBytes,
    }
    E27 "extension-string-malformed" Warning Extra {
        title: "an extension that holds a name must be valid UTF-8 without NUL",
        why: "text that is cut at a NUL, or is no text, is read as different names",
        advice: "set the string anew with `qemu-img rebase -u` or `amend` on a copy",
        spec: "String header extensions",
        fields: ["extension.data", "data-file.name"],
        qemu: Silently Silently "the string is cut at its first NUL, and otherwise taken as it stands",
        risk: FalseName,
    }
}
