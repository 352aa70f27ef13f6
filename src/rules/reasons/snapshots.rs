//! Family S: snapshots.

reasons! {
    S01 {
        why: "ids and names are cut or invented from zeros, and so may be the place of the snapshot's table",
        advice: "complete the file; the active disk is not touched by it",
    }
    S02 {
        why: "QEMU reads at most 1,024 bytes, and refuses what it cannot keep",
        advice: "`qemu-img check -r all` on a copy cuts the data to what QEMU knows",
    }
    S03 {
        why: "the whole table is loaded and rewritten at each change, and QEMU bounds it",
        advice: "delete snapshots with the program that made them, or extract those that matter with `read \
            --snapshot`",
    }
    S04 {
        why: "without these fields the size of the disk at that time is guessed",
        advice: "`qemu-img check -r all` on a copy adds them, with the size of today",
    }
    S05 {
        why: "the snapshot's whole tree is read from the wrong bytes",
        advice: "look for its table on the boundary before; else the snapshot is lost, and only it",
    }
    S06 {
        why: "QEMU refuses to use a table of that length, so the snapshot cannot be read or deleted",
        advice: "compare l1_size with the disk size: mostly the number alone is damaged",
    }
    S07 {
        why: "a part of the snapshot's disk or of its VM state cannot be reached",
        advice: "set disk_size or l1_size right in a copy by the active table's, if the disk was not resized since",
    }
    S08 {
        why: "the snapshot reads as zeros where its table is missing, and its clusters are leaked",
        advice: "complete the file before anything deletes the snapshot or repairs the leaks",
    }
    S09 {
        why: "`-l ID` and delete pick the first that fits, which may be the wrong one",
        advice: "rename one by editing a copy; `dump --only snapshots` shows which is which",
    }
    S10 {
        why: "a reader that adds it to the seconds shows another time, or fails",
        advice: "nothing; dates decide nothing",
    }
    S11 {
        why: "old programs use the short field and new ones the long one, and load different VM states",
        advice: "trust the long one, which version 3 requires",
    }
    S12 {
        why: "QEMU rounds it down to sectors, and a disk of 0 bytes has nothing to restore",
        advice: "compare with the tree: `map --snapshot` shows how far it reaches",
    }
    S13 {
        why: "the data file holds one disk, and cannot keep what a snapshot should",
        advice: "delete the snapshots on a copy; the data that they had is gone since the first write",
    }
    S14 {
        why: "a name that is cut at a NUL or attacks a terminal cannot be used to pick the snapshot",
        advice: "find it by its place in `dump --only snapshots`, and print its name only escaped",
    }
    S15 {
        why: "a reader ignores them; QEMU leaves there what a cluster held before, where it takes a freed one for the \
            table",
        advice: "nothing: they are seven bytes at most; `qemu-img convert` makes a copy without them, and without the \
            snapshots",
    }
    S16 {
        why: "QEMU sets the bit anew when it goes back to the snapshot",
        advice: "nothing: it is not reported",
    }
    S17 {
        why: "a snapshot that cannot be read is found out when it is needed",
        advice: "nothing: what breaks there is reported by its own rule, with the snapshot's name",
    }
    S18 {
        why: "a clock was wrong, the table was edited, or entries were moved",
        advice: "take it as a hint when you ask in which order things happened",
    }
}
