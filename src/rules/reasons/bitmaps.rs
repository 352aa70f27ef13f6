//! Family B: bitmaps.

reasons! {
    B01 {
        why: "no bitmap can be found behind the first broken entry, and QEMU opens the image no more",
        advice: "remove all bitmaps in a copy by clearing the extension; a full backup starts anew",
    }
    B02 {
        why: "either an entry was lost or the number is wrong, and QEMU refuses both",
        advice: "count the entries that `dump --only bitmaps` shows, and set nb_bitmaps in a copy",
    }
    B03 {
        why: "what the data means is not defined, and QEMU opens no image with any",
        advice: "set the size to 0 in a copy and move the name up, or drop the bitmap",
    }
    B04 {
        why: "the bitmap's contents are read from another structure, or read as clean",
        advice: "do not base a backup on it; drop it in a copy",
    }
    B05 {
        why: "QEMU loads a bitmap into memory, and refuses what would take more",
        advice: "coarser granularity makes it smaller: drop it, and make a new one with a larger granularity",
    }
    B06 {
        why: "a shift by so many bits means nothing, and QEMU takes only 512 bytes to 2 GiB",
        advice: "look at the table's length: disk size, divided by its bits, gives the true granularity",
    }
    B07 {
        why: "a flag that nobody knows may say that the bitmap must not be used",
        advice: "clear it in a copy only if no newer program made the bitmap",
    }
    B08 {
        why: "its bits may mean anything but changed data",
        advice: "drop the bitmap, or use the program that knows its type",
    }
    B09 {
        why: "QEMU keeps names up to 1,023 bytes",
        advice: "rename it with the program that made it",
    }
    B10 {
        why: "nobody can ask for a bitmap without a name, and QEMU cannot remove it",
        advice: "remove it by editing the directory of a copy",
    }
    B11 {
        why: "a backup that asks by name gets either of them, and QEMU refuses the image",
        advice: "rename one in a copy, and trust neither without knowing which is newer",
    }
    B12 {
        why: "a NUL cuts the name, so that two may become one, and control characters attack whoever prints it",
        advice: "rename it; this tool shows it escaped",
    }
    B13 {
        why: "a reader ignores the bytes, which can hide data or be a sign of shifted entries",
        advice: "look at them; QEMU zeroes them when it saves the bitmaps",
    }
    B14 {
        why: "a reader that does not mask the bits looks for the bitmap elsewhere, and QEMU refuses the image",
        advice: "drop the bitmap in a copy: what it marked is not sure any more",
    }
    B15 {
        why: "all ones and a cluster of data are said at once",
        advice: "take the range as dirty, and back it up in full",
    }
    B16 {
        why: "the bitmap's bits are other data, or zeros: changes are missed",
        advice: "do not use it for a backup; a cut file is the usual reason",
    }
    B17 {
        why: "bits are missing for a part of the disk, or speak of more: the disk was resized without the bitmap",
        advice: "drop the bitmap, and make a full backup of the new size",
    }
    B18 {
        why: "readers that count them see changes behind the end of the disk",
        advice: "nothing is missed; drop the bitmap if a tool refuses it",
    }
    B19 {
        why: "the program that used it did not close the image, and changes since are not in it",
        advice: "drop it (`qemu-img bitmap --remove`), and make a full backup",
    }
    B20 {
        why: "only for dirty tracking is it defined what automatic means",
        advice: "see B08",
    }
    B21 {
        why: "a bitmap's cluster that is free gets overwritten, and then marks anything",
        advice: "see R05 and R07, which report it",
    }
}
