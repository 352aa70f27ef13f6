//! Family S: the snapshot table.

use crate::finding::rules;

rules! {
    S01 "snapshot-table-beyond-file" Corruption Must {
        title: "each snapshot table entry, with its extra data, id and name, must lie inside the file",
        spec: "Snapshots",
        fields: ["snapshot.id_str_size", "snapshot.name_size", "snapshot.extra_data_size"],
        qemu: Varies Varies "bytes behind the end read as zeros, so it opens; an I/O error: 'Failed to read \
            snapshot table'. Check counts a table that ends a cluster or more behind the end, and passes a \
            name that runs past it by less",
    }
    S02 "snapshot-extra-data-too-large" Fatal Qemu {
        title: "a snapshot's extra data must have at most 1024 bytes for QEMU to open the image",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOT_EXTRA_DATA",
        fields: ["snapshot.extra_data_size"],
        qemu: Refused CheckError "'Too much extra metadata in snapshot table entry N'; check says so too, \
            and -r all discards it",
    }
    S03 "snapshot-table-too-large" Fatal Qemu {
        title: "the snapshot table must have at most 64 MiB for QEMU to open the image",
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
        spec: "Snapshots",
        fields: ["snapshot.extra_data_size"],
        qemu: Silently Corruption "check: 'ERROR snapshot table entry N is incomplete'",
    }
    S05 "snapshot-l1-unaligned" Corruption Must {
        title: "a snapshot's L1 table must start on a cluster boundary",
        spec: "Snapshots",
        fields: ["snapshot.l1_table_offset"],
        qemu: Silently Corruption "not looked at until the snapshot is used. Check: 'ERROR snapshot ID \
            (NAME) l1_offset=0x..: L1 table is not cluster aligned; snapshot table entry corrupted'",
    }
    S06 "snapshot-l1-too-large" Corruption Qemu {
        title: "a snapshot's L1 table must have at most 32 MiB for QEMU to use it",
        spec: "QEMU block/qcow2.h, QCOW_MAX_L1_SIZE",
        fields: ["snapshot.l1_size"],
        qemu: Silently Corruption "not looked at until the snapshot is used. Check: 'ERROR snapshot ID \
            (NAME) l1_size=0x..: L1 table is too large; snapshot table entry corrupted'",
    }
    S07 "snapshot-l1-too-small" Corruption Extra {
        title: "a snapshot's L1 table must give its whole disk, and its VM state, an entry",
        spec: "not in the specification; the rest of the disk would be lost",
        fields: [
            "snapshot.l1_size",
            "snapshot.disk_size",
            "snapshot.vm_state_size",
            "snapshot.vm_state_size_large",
        ],
        qemu: Silently Varies "check: leaks, of the clusters that the missing entries led to; nothing where they \
            led to none",
    }
    S08 "snapshot-l1-beyond-file" Corruption Must {
        title: "a snapshot's L1 table must lie inside the file",
        spec: "Snapshots",
        fields: ["snapshot.l1_table_offset", "snapshot.l1_size"],
        qemu: Silently Corruption "its entries read as zeros. Check: 'counting reference for region \
            exceeding the end of the file'",
    }
    S09 "duplicate-snapshot" Warning Must {
        title: "snapshot ids must be unique, and names should be",
        spec: "Snapshots",
        fields: ["snapshot.id_str", "snapshot.name"],
        qemu: Silently Silently "not compared",
    }
    S10 "snapshot-date-nanoseconds" Note Extra {
        title: "a snapshot's date_nsec is expected to be less than 1,000,000,000",
        spec: "not in the specification, which calls it the part of a second",
        fields: ["snapshot.date_nsec"],
        qemu: Silently Silently "shown as it stands",
    }
    S11 "snapshot-vm-state-sizes" Note Extra {
        title: "the 32-bit and the 64-bit size of a snapshot's VM state are expected to agree, or the 32-bit \
            one to be 0",
        spec: "not in the specification, by which the 32-bit one is ignored; old readers use it",
        fields: ["snapshot.vm_state_size", "snapshot.vm_state_size_large"],
        qemu: Silently Silently "the 64-bit size wins where it is present",
    }
    S12 "snapshot-disk-size-implausible" Note Extra {
        title: "a snapshot's disk size is expected to be a multiple of 512 and not 0",
        spec: "not in the specification; QEMU never writes anything else",
        fields: ["snapshot.disk_size"],
        qemu: Silently Silently "shown as it stands: 0, 12345 and 2^64-1 are accepted",
    }
    S13 "snapshots-with-data-file" Corruption Must {
        title: "an image with an external data file must not have snapshots",
        spec: "Header",
        fields: ["header.nb_snapshots", "header.incompatible_features"],
        qemu: Silently Corruption "check: 'ERROR N snapshots in image with data file'",
    }
    S14 "snapshot-name-malformed" Warning Extra {
        title: "a snapshot's id and name must be printable UTF-8 without NUL, and the id must not be empty",
        spec: "not in the specification; readers would see different names",
        fields: ["snapshot.id_str", "snapshot.name", "snapshot.id_str_size"],
        qemu: Silently Silently "cut at the first NUL; an empty id is shown as it is",
    }
    S15 "snapshot-padding-nonzero" Note Extra {
        title: "the padding behind a snapshot table entry is expected to be zero",
        spec: "not in the specification; a few bytes can be left there",
        fields: ["snapshot.padding"],
        qemu: Silently Silently "not looked at, nor cleared where the table is written to freed clusters",
    }
    S16 "snapshot-copied-flag" Note Must {
        title: "bit 63 may be out of date in the L1 and L2 tables of a snapshot",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Silently "not checked in snapshots, and rebuilt when one is loaded",
        reported_as: "none",
    }
    S17 "snapshot-tree" Note Must {
        title: "what must hold for the tables and clusters of the active disk must hold for every snapshot's \
            too",
        spec: "Snapshots",
        fields: [],
        qemu: Silently Varies "check walks every snapshot as it does the active disk, but does not compare \
            bit 63 there",
        reported_as: "none",
    }
    S18 "snapshot-date-implausible" Note Extra {
        title: "a snapshot's date is expected to lie between 2009 and today, and ids to rise in the table's \
            order",
        spec: "not in the specification; forensics: clocks set wrong, or entries edited",
        fields: ["snapshot.date_sec", "snapshot.id_str"],
        qemu: Silently Silently "shown as it stands",
    }
}
