//! Family E: the header extensions and what the known ones hold.

use crate::finding::rules;

rules! {
    E01 "extension-too-large" Fatal Must {
        title: "each header extension must end before the backing file name or the end of the first cluster",
        spec: "Header extensions",
        fields: ["extension.length"],
        qemu: Varies Varies "'Header extension too large'. Where it would fit, and only the file ends before, zeros \
            are read: it opens, and check counts what the missing tables cost",
    }
    E02 "duplicate-extension" Warning Must {
        title: "each type of header extension must occur at most once",
        spec: "Header extensions",
        fields: ["extension.magic"],
        qemu: Silently Silently "the last one wins; other readers take the first, or refuse",
    }
    E03 "extension-end-missing" Warning Should {
        title: "the list of header extensions should close with an end mark, or fill its space exactly",
        spec: "Header extensions",
        fields: [],
        qemu: Silently Silently "accepted, also where only the padding of the last extension passes the end. \
            Where 1 to 7 bytes are left over they are taken for one more extension: 'Header extension too \
            large'",
    }
    E04 "extension-end-length" Note Should {
        title: "the extension that ends the list should have length 0",
        spec: "Header extensions",
        fields: ["extension.length"],
        qemu: Varies Varies "a length that still fits is ignored; a larger one: 'Header extension too \
            large', because lengths are checked before the type is looked at",
    }
    E05 "backing-format-too-long" Fatal Qemu {
        title: "the backing format's name must have at most 15 bytes for QEMU to open the image",
        spec: "QEMU block/qcow2.c, qcow2_read_extensions (a buffer of 16 bytes)",
        fields: ["extension.length"],
        qemu: Refused Refused "'ERROR: ext_backing_format: len=N too large (>=16)'",
    }
    E06 "backing-format-unexpected" Note Extra {
        title: "a backing format is expected only where there is a backing file, and to name a known format",
        spec: "not in the specification; QEMU resolves the name to one of its drivers",
        fields: ["extension.data"],
        qemu: Silently Varies "not looked at without a backing file. With one, check opens it, and fails on \
            the name of a driver that does not exist",
    }
    E07 "feature-table-malformed" Warning Must {
        title: "the feature name table must consist of 48-byte rows with type 0 to 2, bit 0 to 63, a \
            printable name, and no feature named twice",
        spec: "Feature name table",
        fields: ["extension.length", "feature-name.type", "feature-name.bit", "feature-name.name"],
        qemu: Silently Silently "used only to name an unknown incompatible bit, and not checked: the bit \
            number counts modulo 64, the first of two rows wins, and a table of 47 bytes is used too",
    }
    E08 "feature-name-spoofed" Warning Extra {
        title: "the feature name table must give the known feature bits their usual names",
        spec: "not in the specification; readers print these names in their messages",
        fields: ["feature-name.name"],
        qemu: Silently Silently "names of bits that QEMU knows are never used",
    }
    E09 "crypto-extension-unexpected" Fatal Must {
        title: "the encryption header extension may occur only where crypt_method is 2 (LUKS)",
        spec: "Full disk encryption header pointer",
        fields: ["extension.magic"],
        qemu: Refused Refused "'CRYPTO header extension only expected with LUKS encryption method'",
    }
    E10 "crypto-extension-missing" Fatal Must {
        title: "an image with crypt_method 2 (LUKS) must have the encryption header extension",
        spec: "Full disk encryption header pointer",
        fields: ["header.crypt_method"],
        qemu: Refused Refused "'Missing CRYPTO header for crypt method 2'",
    }
    E11 "crypto-extension-length" Fatal Must {
        title: "the encryption header extension must have 16 bytes",
        spec: "Full disk encryption header pointer",
        fields: ["extension.length"],
        qemu: Refused Refused "'CRYPTO header extension size N, but expected size 16'",
    }
    E12 "crypto-header-unaligned" Fatal Must {
        title: "the encryption header must start on a cluster boundary",
        spec: "Full disk encryption header pointer",
        fields: ["crypto-extension.offset"],
        qemu: Refused Refused "'Encryption header offset 'N' is not a multiple of cluster size 'M''",
    }
    E13 "crypto-header-range" Fatal Must {
        title: "the encryption header must lie inside the file, hold a whole LUKS header, and be followed by \
            zeros up to the end of its last cluster",
        spec: "Full disk encryption header pointer",
        fields: ["crypto-extension.offset", "crypto-extension.length"],
        qemu: Varies Varies "offset behind the end: 'Volume is not in LUKS format'; length too small: \
            'Request for data outside of extension header'; length past the end opens. Check wants the key, \
            then counts a region past the end and leaks; junk behind the header is not seen",
    }
    E14 "bitmaps-extension-length" Fatal Must {
        title: "the bitmaps extension must have 24 bytes",
        spec: "Bitmaps extension",
        fields: ["extension.length"],
        qemu: Refused Refused "'bitmaps_ext: Invalid extension length'",
    }
    E15 "bitmaps-reserved-nonzero" Fatal Must {
        title: "the reserved field of the bitmaps extension must be 0",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.reserved"],
        qemu: Refused Refused "'bitmaps_ext: Reserved field is not zero'; not checked while autoclear bit 0 \
            is clear",
    }
    E16 "bitmaps-count-zero" Fatal Must {
        title: "a bitmaps extension must announce at least one bitmap",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.nb_bitmaps"],
        qemu: Refused Refused "'found bitmaps extension with zero bitmaps'; not checked while autoclear bit \
            0 is clear",
    }
    E17 "too-many-bitmaps" Fatal Qemu {
        title: "nb_bitmaps must be at most 65535 for QEMU to open the image",
        spec: "QEMU block/qcow2.h, QCOW2_MAX_BITMAPS",
        fields: ["bitmaps-extension.nb_bitmaps"],
        qemu: Refused Refused "'bitmaps_ext: Image has N bitmaps, exceeding the QEMU supported maximum of \
            65535'",
    }
    E18 "bitmap-directory-offset-invalid" Fatal Must {
        title: "bitmap_directory_offset must be a multiple of the cluster size, not 0, and inside the file",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.bitmap_directory_offset"],
        qemu: Refused Refused "unaligned: 'bitmaps_ext: invalid bitmap directory offset'; 0: the header is read as the \
            directory ('Broken bitmap directory'); behind the end: 'Bitmap '' doesn't satisfy the constraints'; 2^63: 'Failed to read \
            bitmap directory: Input/output error'",
    }
    E19 "bitmap-directory-size-invalid" Fatal Qemu {
        title: "bitmap_directory_size must be from 1 to 67107840 bytes for QEMU to open the image",
        spec: "QEMU block/qcow2.h, QCOW2_MAX_BITMAP_DIRECTORY_SIZE",
        fields: ["bitmaps-extension.bitmap_directory_size"],
        qemu: Refused Refused "'bitmaps_ext: bitmap directory size (N) exceeds the maximum supported size \
            (67107840)', or 'Requested bitmap directory size is zero'",
    }
    E20 "bitmaps-bit-without-extension" Warning Must {
        title: "the bitmaps bit (autoclear bit 0) must not be set without a bitmaps extension",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Silently Silently "accepted, though the specification calls it an error",
    }
    E21 "bitmaps-inconsistent" Warning Must {
        title: "a bitmaps extension is trusted only while autoclear bit 0 is set; here it is clear, and the \
            bitmaps are out of date",
        spec: "Header",
        fields: ["extension.magic"],
        qemu: Varies Leak "opens with the warning 'a program lacking bitmap support modified this file, so \
            all bitmaps are now considered inconsistent', and checks only the extension's length. Check \
            counts their clusters as leaks; opening for writing drops the extension",
    }
    E22 "bitmaps-in-version-2" Warning Extra {
        title: "a version 2 image is not expected to have a bitmaps extension: it has no bit to say that it \
            is consistent",
        spec: "not in the specification; QEMU considers such bitmaps inconsistent",
        fields: ["extension.magic"],
        qemu: Varies Varies "opens with the warning 'This qcow2 v2 image contains bitmaps, but they may have \
            been modified by a program without persistent bitmap support'. Check counts leaks only where the \
            bitmaps' clusters have a refcount",
    }
    E23 "data-file-name-unexpected" Warning Extra {
        title: "a data file name is expected only with the external data file bit (incompatible bit 2)",
        spec: "not in the specification; a reader may show or open a file that the image does not use",
        fields: ["extension.magic"],
        qemu: Silently Silently "info shows the name as the data file, though it is not used; the next \
            rewrite of the header drops it",
    }
    E24 "data-file-name-missing" Warning Extra {
        title: "an image with an external data file should name it; otherwise each user must supply it",
        spec: "not in the specification, which makes the name optional",
        fields: ["header.incompatible_features"],
        qemu: Varies Refused "info shows the image; opening it for data: ''data-file' is required for this \
            image'",
    }
    E25 "data-file-untrusted" Warning Extra {
        title: "the data file name decides which file of the host QEMU takes for the guest's disk",
        spec: "not in the specification; opening the image opens that file (CVE-2024-32498, CVE-2024-4467)",
        fields: ["data-file.name"],
        qemu: Varies Varies "info does not open it; check, map and reading do. json: and nbd: are plain file \
            names here, a NUL cuts the name, the image itself is accepted. Missing file: exit 1; empty name: \
            'The 'file' block driver requires a file name'",
    }
    E26 "unknown-extension" Note Extra {
        title: "a header extension of unknown type may be ignored; it can carry any data",
        spec: "Header extensions",
        fields: ["extension.magic"],
        qemu: Silently Silently "ignored, and kept when QEMU rewrites the header, though several change \
            their order",
    }
    E27 "extension-string-malformed" Warning Extra {
        title: "an extension that holds a name must be valid UTF-8 without NUL",
        spec: "String header extensions",
        fields: ["extension.data", "data-file.name"],
        qemu: Silently Silently "the string is cut at its first NUL, and otherwise taken as it stands",
    }
}
