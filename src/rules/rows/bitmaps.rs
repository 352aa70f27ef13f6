//! Family B: the bitmap directory, the bitmap tables and the bits themselves.
//! QEMU loads every bitmap whenever it opens an image, so most breaches keep it from opening.

use crate::finding::rules;

rules! {
    B01 "bitmap-directory-broken" Fatal Must {
        title: "the bitmap directory must be readable, and its entries must fill bitmap_directory_size \
            exactly",
        why: "no bitmap can be found behind the first broken entry, and QEMU opens the image no more",
        advice: "remove all bitmaps in a copy by clearing the extension; a full backup starts anew",
        spec: "Bitmap directory",
        fields: ["bitmaps-extension.bitmap_directory_size", "bitmap.name_size", "bitmap.extra_data_size"],
        qemu: Refused Refused "'Broken bitmap directory'",
    }
    B02 "bitmap-count-mismatch" Fatal Must {
        title: "the bitmap directory must have as many entries as nb_bitmaps says",
        why: "either an entry was lost or the number is wrong, and QEMU refuses both",
        advice: "count the entries that `dump --only bitmaps` shows, and set nb_bitmaps in a copy",
        spec: "Bitmaps extension",
        fields: ["bitmaps-extension.nb_bitmaps"],
        qemu: Refused Refused "'More bitmaps found than specified in header extension', or 'Less bitmaps \
            found …'",
    }
    B03 "bitmap-extra-data" Fatal Should {
        title: "a bitmap's extra_data_size should be 0: no extra data is defined yet, and QEMU opens no \
            image with any",
        why: "what the data means is not defined, and QEMU opens no image with any",
        advice: "set the size to 0 in a copy and move the name up, or drop the bitmap",
        spec: "Bitmap directory",
        fields: ["bitmap.extra_data_size"],
        qemu: Refused Refused "'Bitmap extra data is not supported', even with flag bit 2",
        bitmap: Broken,
    }
    B04 "bitmap-table-offset-invalid" Fatal Must {
        title: "a bitmap's bitmap_table_offset must be a multiple of the cluster size, not 0, and inside the \
            file",
        why: "the bitmap's contents are read from another structure, or read as clean",
        advice: "do not base a backup on it; drop it in a copy",
        spec: "Bitmap directory",
        fields: ["bitmap.bitmap_table_offset"],
        qemu: Varies Varies "0 or unaligned: 'Bitmap 'N' doesn't satisfy the constraints'. Behind the end it \
            opens, with all bits 0; check then counts a region past the end and leaks, but nothing for a \
            small table less than a cluster behind it",
        bitmap: Broken,
    }
    B05 "bitmap-table-size-invalid" Fatal Qemu {
        title: "a bitmap table must have from 1 to 134,217,728 entries, and the bitmap at most 512 MiB, for \
            QEMU to open the image",
        why: "QEMU loads a bitmap into memory, and refuses what would take more",
        advice: "coarser granularity makes it smaller: drop it, and make a new one with a larger granularity",
        spec: "QEMU block/qcow2-bitmap.c, BME_MAX_TABLE_SIZE and BME_MAX_PHYS_SIZE",
        fields: ["bitmap.bitmap_table_size"],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
    }
    B06 "bitmap-granularity-invalid" Fatal Must {
        title: "a bitmap's granularity_bits must be at most 63, and from 9 to 31 for QEMU to open the image",
        why: "a shift by so many bits means nothing, and QEMU takes only 512 bytes to 2 GiB",
        advice: "look at the table's length: disk size, divided by its bits, gives the true granularity",
        spec: "Bitmap directory",
        fields: ["bitmap.granularity_bits"],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
        bitmap: Broken,
    }
    B07 "bitmap-flags-reserved" Fatal Must {
        title: "the reserved bits 3 to 31 of a bitmap's flags must be zero, and for QEMU bit 2 too",
        why: "a flag that nobody knows may say that the bitmap must not be used",
        advice: "clear it in a copy only if no newer program made the bitmap",
        spec: "Bitmap directory",
        fields: ["bitmap.flags"],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints', for bit 2 as well",
        bitmap: Broken,
    }
    B08 "bitmap-type-unknown" Fatal Must {
        title: "a bitmap's type must be 1, the dirty tracking bitmap",
        why: "its bits may mean anything but changed data",
        advice: "drop the bitmap, or use the program that knows its type",
        spec: "Bitmap directory",
        fields: ["bitmap.type"],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
        bitmap: Broken,
    }
    B09 "bitmap-name-too-long" Fatal Qemu {
        title: "a bitmap's name must have at most 1023 bytes for QEMU to open the image",
        why: "QEMU keeps names up to 1,023 bytes",
        advice: "rename it with the program that made it",
        spec: "QEMU block/qcow2-bitmap.c, BME_MAX_NAME_SIZE",
        fields: ["bitmap.name_size"],
        qemu: Refused Refused "'Bitmap 'N' doesn't satisfy the constraints'",
    }
    B10 "bitmap-name-empty" Warning Must {
        title: "a bitmap must have a name",
        why: "nobody can ask for a bitmap without a name, and QEMU cannot remove it",
        advice: "remove it by editing the directory of a copy",
        spec: "Bitmap directory",
        fields: ["bitmap.name_size"],
        qemu: Silently Silently "accepted",
        risk: FalseName,
    }
    B11 "duplicate-bitmap" Fatal Must {
        title: "bitmap names must be unique",
        why: "a backup that asks by name gets either of them, and QEMU refuses the image",
        advice: "rename one in a copy, and trust neither without knowing which is newer",
        spec: "Bitmap directory",
        fields: ["bitmap.name"],
        qemu: Refused Refused "'Bitmap already exists: N'",
    }
    B12 "bitmap-name-malformed" Warning Extra {
        title: "a bitmap's name must be printable UTF-8 without NUL",
        why: "a NUL cuts the name, so that two may become one, and control characters attack whoever prints it",
        advice: "rename it; this tool shows it escaped",
        spec: "not in the specification; readers would see different names",
        fields: ["bitmap.name"],
        qemu: Varies Varies "accepted, and shown with U+FFFD for each bad byte. A NUL cuts the name, so that \
            'a\\0b' and 'a\\0c' collide: 'Bitmap already exists: a'",
        risk: FalseName,
    }
    B13 "bitmap-padding-nonzero" Warning Must {
        title: "the padding behind a bitmap directory entry must be zero",
        why: "a reader ignores the bytes, which can hide data or be a sign of shifted entries",
        advice: "look at them; QEMU zeroes them when it saves the bitmaps",
        spec: "Bitmap directory",
        fields: ["bitmap.padding"],
        qemu: Silently Silently "not looked at",
        risk: HiddenBytes,
    }
    B14 "bitmap-entry-reserved-bits" Fatal Must {
        title: "the reserved bits 1 to 8 and 56 to 63 of a bitmap table entry must be zero",
        why: "a reader that does not mask the bits looks for the bitmap elsewhere, and QEMU refuses the image",
        advice: "drop the bitmap in a copy: what it marked is not sure any more",
        spec: "Bitmap table",
        fields: ["bitmap-table.entry"],
        qemu: Varies Varies "'Could not read bitmap_table table from image for bitmap 'N': Invalid \
            argument'. In a bitmap marked in_use it opens, and check ends with 'Check failed: Invalid \
            argument', exit 1",
        bitmap: Broken,
    }
    B15 "bitmap-entry-flag-with-offset" Fatal Must {
        title: "bit 0 of a bitmap table entry must be zero where the entry has a cluster",
        why: "all ones and a cluster of data are said at once",
        advice: "take the range as dirty, and back it up in full",
        spec: "Bitmap table",
        fields: ["bitmap-table.entry"],
        qemu: Varies Varies "'Could not read bitmap_table table from image for bitmap 'N': Invalid \
            argument'. In a bitmap marked in_use it opens, and check ends with 'Check failed: Invalid \
            argument', exit 1",
        bitmap: Broken,
    }
    B16 "bitmap-data-offset-invalid" Fatal Must {
        title: "a cluster of bitmap data must start on a cluster boundary and lie inside the file",
        why: "the bitmap's bits are other data, or zeros: changes are missed",
        advice: "do not use it for a backup; a cut file is the usual reason",
        spec: "Bitmap table",
        fields: ["bitmap-table.entry"],
        qemu: Varies Varies "unaligned: 'Could not read bitmap_table table from image for bitmap 'N': \
            Invalid argument'. Behind the end: reads as zeros, and check counts a corruption from a cluster \
            on",
        bitmap: Broken,
    }
    B17 "bitmap-table-size-mismatch" Fatal Must {
        title: "a bitmap table must have as many entries as the disk's size and the granularity call for",
        why: "bits are missing for a part of the disk, or speak of more: the disk was resized without the bitmap",
        advice: "drop the bitmap, and make a full backup of the new size",
        spec: "Bitmaps",
        fields: ["bitmap.bitmap_table_size", "bitmap.granularity_bits"],
        qemu: Refused Refused "'Could not read bitmap 'N' from image: Invalid argument', or 'doesn't satisfy \
            the constraints'; a bitmap marked in_use may have any size",
        bitmap: Broken,
    }
    B18 "bitmap-tail-bits" Warning Must {
        title: "the bits of a bitmap behind the end of the disk must be zero",
        why: "readers that count them see changes behind the end of the disk",
        advice: "nothing is missed; drop the bitmap if a tool refuses it",
        spec: "Bitmap data",
        fields: [],
        qemu: Silently Silently "not looked at",
        risk: HiddenBytes,
    }
    B19 "bitmap-in-use" Note Should {
        title: "the bitmap is marked in_use: it was not saved, and no backup may rely on it",
        why: "the program that used it did not close the image, and changes since are not in it",
        advice: "drop it (`qemu-img bitmap --remove`), and make a full backup",
        spec: "Dirty tracking bitmaps",
        fields: ["bitmap.flags"],
        qemu: Silently Silently "info shows the flag 'in-use'",
        bitmap: InUse,
    }
    B20 "bitmap-auto-wrong-type" Note Must reported_as "B08" {
        title: "only a dirty tracking bitmap, type 1, may have the auto flag",
        why: "only for dirty tracking is it defined what automatic means",
        advice: "see B08",
        spec: "Bitmap directory",
        fields: ["bitmap.type", "bitmap.flags"],
        qemu: Refused Refused "every type but 1 is refused: 'Bitmap 'N' doesn't satisfy the constraints'",
    }
    B21 "bitmap-refcounts" Note Must reported_as "R05" {
        title: "the clusters of the bitmap directory, the bitmap tables and the bitmap data must have \
            refcount 1",
        why: "a bitmap's cluster that is free gets overwritten, and then marks anything",
        advice: "see R05 and R07, which report it",
        spec: "Host cluster management",
        fields: ["refcount-block.entry"],
        qemu: Silently Varies "check: 'ERROR cluster N refcount=A reference=B' where it is too low, 'Leaked \
            cluster N …' where it is too high",
    }
}
