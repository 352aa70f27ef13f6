//! Family S: the snapshot table.

use crate::finding::rules;

rules! {
    S01 "snapshot-table-beyond-file" Corruption Must {
        title: "each snapshot table entry, with its extra data, id and name, must lie inside the file",
        why: "ids and names are cut or invented from zeros, and so may be the place of the snapshot's table",
        advice: "complete the file; the active disk is not touched by it",
        spec: "Snapshots",
        fields: ["snapshot.id_str_size", "snapshot.name_size", "snapshot.extra_data_size"],
        qemu: Varies Varies "bytes behind the end read as zeros, so it opens; an I/O error: 'Failed to read \
            snapshot table'. Check counts a table that ends a cluster or more behind the end, and passes a \
            name that runs past it by less",
    }
    S02 "snapshot-extra-data-too-large" Fatal Qemu {
        title: "a snapshot's extra data must have at most 1024 bytes for QEMU to open the image",
        why: "QEMU reads at most 1,024 bytes, and refuses what it cannot keep",
        advice: "`qemu-img check -r all` on a copy cuts the data to what QEMU knows",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOT_EXTRA_DATA",
        fields: ["snapshot.extra_data_size"],
        qemu: Refused CheckError "'Too much extra metadata in snapshot table entry N'; check says so too, \
            and -r all discards it",
    }
    S03 "snapshot-table-too-large" Fatal Qemu {
        title: "the snapshot table must have at most 64 MiB for QEMU to open the image",
        why: "the whole table is loaded and rewritten at each change, and QEMU bounds it",
        advice: "delete snapshots with the program that made them, or extract those that matter with `read \
            --snapshot`",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOTS_SIZE",
        fields: [
            "snapshot.id_str_size",
            "snapshot.name_size",
            "snapshot.extra_data_size",
            "header.nb_snapshots",
        ],
        qemu: Refused CheckError "'Snapshot table is too big', and 'You can force-remove all N overhanging \
            snapshots with qemu-img check -r all'",
    }
    S04 "snapshot-extra-data-too-short" Corruption Must {
        title: "in version 3 a snapshot's extra data must have at least 16 bytes: its VM state's and its \
            disk's size",
        why: "without these fields the size of the disk at that time is guessed",
        advice: "`qemu-img check -r all` on a copy adds them, with the size of today",
        spec: "Snapshots",
        fields: ["snapshot.extra_data_size"],
        qemu: Silently Corruption "check: 'ERROR snapshot table entry N is incomplete'",
        counted_one_by_one: true,
    }
    S05 "snapshot-l1-unaligned" Corruption Must {
        title: "a snapshot's L1 table must start on a cluster boundary",
        why: "the snapshot's whole tree is read from the wrong bytes",
        advice: "look for its table on the boundary before; else the snapshot is lost, and only it",
        spec: "Snapshots",
        fields: ["snapshot.l1_table_offset"],
        qemu: Silently Corruption "not looked at until the snapshot is used. Check: 'ERROR snapshot ID \
            (NAME) l1_offset=0x..: L1 table is not cluster aligned; snapshot table entry corrupted'",
        counted_one_by_one: true,
    }
    S06 "snapshot-l1-too-large" Corruption Qemu {
        title: "a snapshot's L1 table must have at most 32 MiB for QEMU to use it",
        why: "QEMU refuses to use a table of that length, so the snapshot cannot be read or deleted",
        advice: "compare l1_size with the disk size: mostly the number alone is damaged",
        spec: "QEMU block/qcow2.h, QCOW_MAX_L1_SIZE",
        fields: ["snapshot.l1_size"],
        qemu: Silently Corruption "not looked at until the snapshot is used. Check: 'ERROR snapshot ID \
            (NAME) l1_size=0x..: L1 table is too large; snapshot table entry corrupted'",
        counted_one_by_one: true,
    }
    S07 "snapshot-l1-too-small" Corruption Extra {
        title: "a snapshot's L1 table must give its whole disk, and its VM state, an entry",
        why: "a part of the snapshot's disk or of its VM state cannot be reached",
        advice: "set disk_size or l1_size right in a copy by the active table's, if the disk was not resized since",
        spec: "not in the specification; the rest of the disk would be lost",
        fields: [
            "snapshot.l1_size",
            "snapshot.disk_size",
            "snapshot.vm_state_size",
            "snapshot.vm_state_size_large",
        ],
        qemu: Silently Varies "check: leaks, of the clusters that the missing entries led to; nothing where they \
            led to none",
        reads_as_unallocated: true,
    }
    S08 "snapshot-l1-beyond-file" Corruption Must {
        title: "a snapshot's L1 table must lie inside the file",
        why: "the snapshot reads as zeros where its table is missing, and its clusters are leaked",
        advice: "complete the file before anything deletes the snapshot or repairs the leaks",
        spec: "Snapshots",
        fields: ["snapshot.l1_table_offset", "snapshot.l1_size"],
        qemu: Silently Corruption "its entries read as zeros. Check: 'counting reference for region \
            exceeding the end of the file'",
        reads_as_unallocated: true,
    }
    S09 "duplicate-snapshot" Warning Must {
        title: "snapshot ids must be unique, and names should be",
        why: "`-l ID` and delete pick the first that fits, which may be the wrong one",
        advice: "rename one by editing a copy; `dump --only snapshots` shows which is which",
        spec: "Snapshots",
        fields: ["snapshot.id_str", "snapshot.name"],
        qemu: Silently Silently "not compared",
        risk: FromWarning,
    }
    S10 "snapshot-date-nanoseconds" Note Extra {
        title: "a snapshot's date_nsec is expected to be less than 1,000,000,000",
        why: "a reader that adds it to the seconds shows another time, or fails",
        advice: "nothing; dates decide nothing",
        spec: "not in the specification, which calls it the part of a second",
        fields: ["snapshot.date_nsec"],
        qemu: Silently Silently "shown as it stands",
    }
    S11 "snapshot-vm-state-sizes" Note Extra {
        title: "the 32-bit and the 64-bit size of a snapshot's VM state are expected to agree, or the 32-bit \
            one to be 0",
        why: "old programs use the short field and new ones the long one, and load different VM states",
        advice: "trust the long one, which version 3 requires",
        spec: "not in the specification, by which the 32-bit one is ignored; old readers use it",
        fields: ["snapshot.vm_state_size", "snapshot.vm_state_size_large"],
        qemu: Silently Silently "the 64-bit size wins where it is present",
    }
    S12 "snapshot-disk-size-implausible" Note Extra {
        title: "a snapshot's disk size is expected to be a multiple of 512 and not 0",
        why: "QEMU rounds it down to sectors, and a disk of 0 bytes has nothing to restore",
        advice: "compare with the tree: `map --snapshot` shows how far it reaches",
        spec: "not in the specification; QEMU never writes anything else",
        fields: ["snapshot.disk_size"],
        qemu: Silently Silently "shown as it stands: 0, 12345 and 2^64-1 are accepted",
    }
    S13 "snapshots-with-data-file" Corruption Must {
        title: "an image with an external data file must not have snapshots",
        why: "the data file holds one disk, and cannot keep what a snapshot should",
        advice: "delete the snapshots on a copy; the data that they had is gone since the first write",
        spec: "Header",
        fields: ["header.nb_snapshots", "header.incompatible_features"],
        qemu: Silently Corruption "check: 'ERROR N snapshots in image with data file'",
        counted_one_by_one: true,
    }
    S14 "snapshot-name-malformed" Warning Extra {
        title: "a snapshot's id and name must be printable UTF-8 without NUL, and the id must not be empty",
        why: "a name that is cut at a NUL or attacks a terminal cannot be used to pick the snapshot",
        advice: "find it by its place in `dump --only snapshots`, and print its name only escaped",
        spec: "not in the specification; readers would see different names",
        fields: ["snapshot.id_str", "snapshot.name", "snapshot.id_str_size"],
        qemu: Silently Silently "cut at the first NUL; an empty id is shown as it is",
        risk: FalseName,
    }
    S15 "snapshot-padding-nonzero" Note Extra {
        title: "the padding behind a snapshot table entry is expected to be zero",
        why: "a reader ignores them; QEMU leaves there what a cluster held before, where it takes a freed one for the \
            table",
        advice: "nothing: they are seven bytes at most; `qemu-img convert` makes a copy without them, and without the \
            snapshots",
        spec: "not in the specification; a few bytes can be left there",
        fields: ["snapshot.padding"],
        qemu: Silently Silently "not looked at, nor cleared where the table is written to freed clusters",
    }
    S16 "snapshot-copied-flag" Note Must reported_as "none" {
        title: "bit 63 may be out of date in the L1 and L2 tables of a snapshot",
        why: "QEMU sets the bit anew when it goes back to the snapshot",
        advice: "nothing: it is not reported",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Silently "not checked in snapshots, and rebuilt when one is loaded",
    }
    S17 "snapshot-tree" Note Must reported_as "none" {
        title: "what must hold for the tables and clusters of the active disk must hold for every snapshot's \
            too",
        why: "a snapshot that cannot be read is found out when it is needed",
        advice: "nothing: what breaks there is reported by its own rule, with the snapshot's name",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Varies "check walks every snapshot as it does the active disk, but does not compare \
            bit 63 there",
    }
    S18 "snapshot-date-implausible" Note Extra {
        title: "a snapshot's date is expected to lie between 2009 and today, and ids to rise in the table's \
            order",
        why: "a clock was wrong, the table was edited, or entries were moved",
        advice: "take it as a hint when you ask in which order things happened",
        spec: "not in the specification; forensics: clocks set wrong, or entries edited",
        fields: ["snapshot.date_sec", "snapshot.id_str"],
        qemu: Silently Silently "shown as it stands",
    }
}
