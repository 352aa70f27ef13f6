//! Family H: the header, its feature bits, and the backing file name that it points at.

use crate::finding::rules;

rules! {
    H01 "header-cut" Fatal Must {
        title: "the file must hold the whole header: 72 bytes in version 2, at least 104 in version 3",
        spec: "Header",
        fields: ["header.magic", "header.version", "header.header_length"],
        qemu: Varies Varies "bytes behind the end read as 0, so the cut decides. Below 24 bytes: \
            'Unsupported cluster size: 2^0'; version 3 below 104: 'qcow2 header too short'; version 2 below \
            60: 'Image does not contain a reference count table'. Cut later it opens, and check counts \
            corruptions",
    }
    H02 "bad-magic" Fatal Must {
        title: "the file must begin with the magic 0x514649fb, the letters QFI and the byte 0xfb",
        spec: "Header",
        fields: ["header.magic"],
        qemu: Refused Refused "'Image is not in qcow2 format' where -f qcow2 asks for the format; without it \
            the file is probed, and usually opened as raw",
    }
    H03 "unsupported-version" Fatal Must {
        title: "version must be 2 or 3",
        spec: "Header",
        fields: ["header.version"],
        qemu: Refused Refused "'Unsupported qcow2 version N'",
    }
    H04 "cluster-too-small" Fatal Must {
        title: "cluster_bits must be at least 9, which is a cluster of 512 bytes",
        spec: "Header",
        fields: ["header.cluster_bits"],
        qemu: Refused Refused "'Unsupported cluster size: 2^N'",
    }
    H05 "cluster-too-large" Fatal Qemu {
        title: "cluster_bits must be at most 21, which is a cluster of 2 MiB, for QEMU to open the image",
        spec: "QEMU block/qcow2.h, MAX_CLUSTER_BITS",
        fields: ["header.cluster_bits"],
        qemu: Refused Refused "'Unsupported cluster size: 2^N'",
    }
    H06 "subcluster-too-small" Fatal Must {
        title: "an image with extended L2 entries must have cluster_bits of at least 14, so that each of the \
            32 subclusters has 512 bytes or more",
        spec: "Header",
        fields: ["header.cluster_bits"],
        qemu: Refused Refused "'Unsupported subcluster size: N'",
    }
    H07 "header-length-too-short" Fatal Must {
        title: "header_length must be at least 104 in version 3",
        spec: "Header",
        fields: ["header.header_length"],
        qemu: Refused Refused "'qcow2 header too short'",
    }
    H08 "header-length-unaligned" Warning Must {
        title: "header_length must be a multiple of 8",
        spec: "Header padding",
        fields: ["header.header_length"],
        qemu: Silently Silently "any number is taken as it stands: 105, 113 or 121 open if the extensions \
            start exactly there. Where they start elsewhere, 'Header extension too large' can follow by \
            accident",
    }
    H09 "header-beyond-cluster" Fatal Must {
        title: "header_length must not exceed the cluster size: the header lies in the first cluster",
        spec: "Header",
        fields: ["header.header_length"],
        qemu: Refused Refused "'qcow2 header exceeds cluster size'",
    }
    H10 "header-padding-nonzero" Warning Must {
        title: "the padding behind the header's last known field must be zero",
        spec: "Header padding",
        fields: ["header.padding"],
        qemu: Silently Silently "these bytes are not looked at",
    }
    H11 "unknown-header-fields" Note Should {
        title: "header fields behind the known ones belong to a later version of the format, and may be \
            ignored",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.unknown_fields"],
        qemu: Silently Silently "they are ignored, and kept together with header_length when QEMU rewrites \
            the header",
    }
    H12 "unknown-incompatible-feature" Fatal Must {
        title: "no incompatible feature bit above 4 may be set: a reader that does not know it must refuse",
        spec: "Header",
        fields: ["header.incompatible_features"],
        qemu: Refused Refused "'Unsupported qcow2 feature(s): …' with the name that the image's own feature \
            name table gives, or 'Unknown incompatible feature: HEX'",
    }
    H13 "unknown-compatible-feature" Note Should {
        title: "compatible feature bits above 0 are reserved; a reader that does not know them ignores them",
        spec: "Header",
        fields: ["header.compatible_features"],
        qemu: Silently Silently "ignored, as it should be",
    }
    H14 "unknown-autoclear-feature" Note Should {
        title: "autoclear feature bits above 1 are reserved; a program that does not know them clears them \
            before it writes",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Silently Silently "ignored while the image is read only; opening it for writing rewrites the \
            header without the bits",
    }
    H15 "version-2-header-fields" Note Must {
        title: "a version 2 header ends at byte 72: what follows is extensions, and no field of version 3",
        spec: "Header",
        fields: [],
        qemu: Silently Silently "every field of version 3 counts as 0, refcount_order as 4",
        reported_as: "none",
    }
    H16 "refcount-order-too-large" Fatal Must {
        title: "refcount_order must be at most 6, which is a refcount of 64 bits",
        spec: "Header",
        fields: ["header.refcount_order"],
        qemu: Refused Refused "'Reference count entry width too large; may not exceed 64 bits'",
    }
    H17 "unknown-crypt-method" Fatal Must {
        title: "crypt_method must be 0 (none), 1 (AES) or 2 (LUKS)",
        spec: "Header",
        fields: ["header.crypt_method"],
        qemu: Refused Refused "'Unsupported encryption method N'",
    }
    H18 "weak-aes-encryption" Warning Should {
        title: "crypt_method 1 is the old AES format, deprecated because its design is weak",
        spec: "Data encryption",
        fields: ["header.crypt_method"],
        qemu: Varies Refused "info shows the image as encrypted. Reading and check want the key: 'Parameter \
            'encrypt.key-secret' is required for cipher'",
    }
    H19 "dirty-bit-set" Note Should {
        title: "the dirty bit (incompatible bit 0) is set: the image was not closed, and its refcounts may \
            be out of date",
        spec: "Header",
        fields: ["header.incompatible_features"],
        qemu: Silently Silently "info shows 'dirty-flag'. Check compares the refcounts as ever; opening for \
            writing repairs them, which destroys evidence",
    }
    H20 "corrupt-bit-set" Warning Should {
        title: "the corrupt bit (incompatible bit 1) is set: a program found broken metadata and forbade \
            writing",
        spec: "Header",
        fields: ["header.incompatible_features"],
        qemu: Varies Silently "read only it opens, and info shows 'corrupt'; for writing: 'qcow2: Image is \
            corrupt; cannot be opened read/write'. Check does not count the bit, and a repair that ends \
            clean removes it",
    }
    H21 "compression-bit-mismatch" Fatal Must {
        title: "the compression bit (incompatible bit 3) must be set exactly where compression_type is \
            present and not 0",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.incompatible_features", "header.compression_type"],
        qemu: Refused Refused "'qcow2: Compression type incompatible feature bit must be set', or 'must not \
            be set'",
    }
    H22 "unknown-compression-type" Fatal Must {
        title: "compression_type must be 0 (deflate) or 1 (zstd)",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.compression_type"],
        qemu: Refused Refused "'qcow2: unknown compression type: N', before the compression bit is looked at",
    }
    H23 "compression-type-absent" Fatal Must {
        title: "the compression bit needs a header_length above 104, so that compression_type is present",
        spec: "Additional fields (version 3 and higher)",
        fields: ["header.incompatible_features", "header.header_length"],
        qemu: Refused Refused "an absent compression_type counts as 0: 'qcow2: Compression type incompatible \
            feature bit must not be set'",
        reported_as: "H21",
    }
    H24 "l1-offset-invalid" Fatal Must {
        title: "l1_table_offset must be a multiple of the cluster size, and the table must end below 2^63",
        spec: "Header",
        fields: ["header.l1_table_offset"],
        qemu: Refused Refused "'Active L1 table offset invalid'; aligned but close below 2^63: 'Could not \
            read L1 table: Input/output error'",
    }
    H25 "l1-table-too-large" Fatal Qemu {
        title: "l1_size must be at most 4,194,304 entries, which is 32 MiB, for QEMU to open the image",
        spec: "QEMU block/qcow2.h, QCOW_MAX_L1_SIZE",
        fields: ["header.l1_size"],
        qemu: Refused Refused "'Active L1 table too large'",
    }
    H26 "l1-table-too-small" Fatal Must {
        title: "l1_size must give the whole virtual disk an entry: the size divided by what one L2 table \
            maps, rounded up",
        spec: "Cluster mapping",
        fields: ["header.l1_size"],
        qemu: Refused Refused "'L1 table is too small'; the size counts as it stands, not rounded down to \
            sectors",
    }
    H27 "disk-size-too-large" Fatal Qemu {
        title: "size must be one that QEMU can count: fewer than 2^31 L1 entries, and no overflow when \
            rounded",
        spec: "QEMU block/qcow2.c, qcow2_do_open",
        fields: ["header.size"],
        qemu: Refused Refused "'Image is too big'; so near 2^64 that rounding wraps: 'Could not refresh \
            total sector count: File too large'",
    }
    H28 "disk-size-unaligned" Note Extra {
        title: "size is expected to be a multiple of 512, because QEMU shows the guest whole sectors only",
        spec: "not in the specification; QEMU rounds down to sectors",
        fields: ["header.size"],
        qemu: Silently Silently "the size is rounded down to 512 bytes, so the last bytes are out of reach",
    }
    H29 "refcount-table-missing" Fatal Must {
        title: "refcount_table_clusters must be at least 1",
        spec: "Header",
        fields: ["header.refcount_table_clusters"],
        qemu: Refused Corruption "'Image does not contain a reference count table'. Check opens it all the \
            same, and counts a corruption for each cluster in use",
    }
    H30 "refcount-table-too-large" Fatal Qemu {
        title: "the refcount table must be at most 8 MiB for QEMU to open the image",
        spec: "QEMU block/qcow2.h, QCOW_MAX_REFTABLE_SIZE",
        fields: ["header.refcount_table_clusters"],
        qemu: Refused Refused "'Reference count table too large'",
    }
    H31 "refcount-table-offset-invalid" Fatal Must {
        title: "refcount_table_offset must be a multiple of the cluster size, and the table must end below \
            2^63",
        spec: "Header",
        fields: ["header.refcount_table_offset"],
        qemu: Refused Refused "'Reference count table offset invalid'",
    }
    H32 "snapshots-offset-invalid" Fatal Must {
        title: "snapshots_offset must be a multiple of the cluster size, even where there are no snapshots",
        spec: "Header",
        fields: ["header.snapshots_offset"],
        qemu: Refused CheckError "'Snapshot table offset invalid'",
    }
    H33 "too-many-snapshots" Fatal Qemu {
        title: "nb_snapshots must be at most 65536 for QEMU to open the image",
        spec: "QEMU block/qcow2.h, QCOW_MAX_SNAPSHOTS",
        fields: ["header.nb_snapshots"],
        qemu: Refused CheckError "'Snapshot table too large'. Check: 'You can force-remove all N overhanging \
            snapshots with qemu-img check -r all', and that repair drops them",
    }
    H34 "table-beyond-file" Corruption Must {
        title: "the L1 table, the refcount table and the snapshot table must lie inside the file",
        spec: "Header",
        fields: ["header.l1_table_offset", "header.refcount_table_offset", "header.snapshots_offset"],
        qemu: Silently Varies "bytes behind the end read as zeros. Check: 'counting reference for region \
            exceeding the end of the file' where a cluster or more is missing, and leaks for what the table \
            led to; a small table that starts less than a cluster behind the end gives leaks only",
    }
    H35 "table-in-header-cluster" Corruption Extra {
        title: "no table may lie in cluster 0, which belongs to the header",
        spec: "not in the specification; the header's own bytes would be read as table entries",
        fields: ["header.l1_table_offset", "header.refcount_table_offset", "header.snapshots_offset"],
        qemu: Silently Corruption "the header is read as entries. Check: 'ERROR found L1 entry with reserved \
            bits set: 514649fb00000003', or 'refcount table entry N has reserved bits set'",
    }
    H36 "backing-name-offset-invalid" Fatal Must {
        title: "backing_file_offset must lie inside the first cluster",
        spec: "Header extensions",
        fields: ["header.backing_file_offset"],
        qemu: Refused Refused "'Invalid backing file offset'; exactly at the cluster's end with a length: \
            'Backing file name too long', without one it opens",
    }
    H37 "backing-name-too-long" Fatal Must {
        title: "the backing file name must have at most 1023 bytes and end inside the first cluster",
        spec: "Header",
        fields: ["header.backing_file_size"],
        qemu: Refused Refused "'Backing file name too long'; not checked where backing_file_offset is 0",
    }
    H38 "backing-name-in-header" Warning Must {
        title: "the backing file name must lie behind the header and its extensions, not over them",
        spec: "Header extensions",
        fields: ["header.backing_file_offset"],
        qemu: Silently Silently "extensions end where the name starts, so a name at offset 4 hides all of \
            them; other readers may still see them",
    }
    H39 "backing-offset-without-size" Warning Extra {
        title: "backing_file_offset and backing_file_size are expected to be both 0 or both not 0",
        spec: "not in the specification; readers differ",
        fields: ["header.backing_file_offset", "header.backing_file_size"],
        qemu: Silently Silently "no backing file; but an offset with length 0 still ends the extensions \
            there, which can hide them",
    }
    H40 "backing-name-malformed" Warning Extra {
        title: "the backing file name must be valid UTF-8 without NUL and control characters",
        spec: "not in the specification; what is shown would not be what is opened",
        fields: ["backing-file.name"],
        qemu: Silently Silently "the name is cut at its first NUL: 'bk.raw\\0zz' opens bk.raw",
    }
    H41 "backing-file-untrusted" Warning Extra {
        title: "the backing file name decides what QEMU opens next: another file of the host, a device, a \
            network address or the image itself",
        spec: "not in the specification; opening the image opens what the name says",
        fields: ["backing-file.name"],
        qemu: Varies Varies "info shows the name only; check, map and reading open it, and connect for nbd: \
            and the like. Missing file: exit 1. An image that is its own backing file never ends: memory \
            grows without bound; only --backing-chain says 'creates an infinite loop'",
    }
    H42 "backing-format-missing" Warning Extra {
        title: "an image with a backing file should name that file's format, or readers must guess it",
        spec: "not in the specification; a raw backing file whose guest wrote an image header is probed as \
            that",
        fields: [],
        qemu: Silently Silently "the backing file's format is probed; QEMU deprecates this",
    }
    H43 "header-cluster-hidden-data" Warning Must {
        title: "the first cluster must be zero behind the extensions and the backing file name",
        spec: "Header extensions",
        fields: [],
        qemu: Silently Silently "not looked at, and zeroed without a word by any rewrite of the header",
    }
    H44 "raw-bit-without-data-file" Fatal Must {
        title: "the raw external data bit (autoclear bit 1) needs the external data file bit (incompatible \
            bit 2)",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Varies Refused "info shows the image; opening it for data: 'data-file-raw requires a data \
            file'",
    }
    H45 "raw-bit-with-backing" Warning Must {
        title: "the raw external data bit (autoclear bit 1) must not be set in an image with a backing file",
        spec: "Header",
        fields: ["header.autoclear_features"],
        qemu: Silently Silently "accepted: info, opening and reading work",
    }
    H46 "lazy-refcounts-enabled" Note Should {
        title: "refcounts may be updated lazily (compatible bit 0): a crash leaves them out of date",
        spec: "Header",
        fields: ["header.compatible_features"],
        qemu: Silently Silently "info shows 'lazy-refcounts'",
    }
    H47 "version-2-newer-features" Note Must {
        title: "a version 2 image has no zero clusters, no compression type and no extended L2 entries",
        spec: "Standard Cluster Descriptor",
        fields: ["l2-table.entry"],
        qemu: FailsOnRead Silently "a zero flag: 'Zero cluster entry found in pre-v3 image' when it is read",
        reported_as: "L07",
    }
}
