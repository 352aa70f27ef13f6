//! The L2 entries of compressed clusters. What they lead to is judged where it is decompressed: L15 in check/compressed.

use super::ends_past_file;
use super::l1::zero_bits;
use super::l2::EntryJudge;
use crate::finding::rules;
use crate::format::mapping::Compressed;
use crate::units::Span;

rules! {
    COMPRESSED_COPIED_FLAG: L12 "compressed-copied-flag" Corruption Must {
        title: "bit 63 must be zero in the L2 entry of a compressed cluster",
        why: "a compressed cluster must never be written in place, and the bit says that it may",
        advice: "clear bit 63 in a copy: the stream itself is not touched by that",
        spec: "L2 table entry",
        fields: [L2Table.ENTRY],
        qemu: Silently Corruption "check: 'ERROR: coffset=0xHEX: copied flag must never be set for \
            compressed clusters'",
    }
    COMPRESSED_OFFSET_BITS: L13 "compressed-offset-bits" Corruption Must {
        title: "a compressed cluster's offset must not use bits above 55",
        why: "the bits make the offset point far behind any file, so the cluster cannot be read",
        advice: "clear them in a copy: what is left is mostly the true offset",
        spec: "Compressed Clusters Descriptor",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Corruption "plain 'Input/output error' when it is read. Check takes the bits as \
            part of the offset: 'region exceeding the end of the file', and a leak of the cluster that is \
            meant",
        guest: Lost,
    }
    COMPRESSED_BEYOND_FILE: L14 "compressed-beyond-file" Corruption Must {
        title: "a compressed cluster's data must lie inside the file",
        why: "the stream is not there, and QEMU gives an I/O error to the guest",
        advice: "complete the file, or restore the guest range from a backup",
        spec: "Compressed Clusters Descriptor",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Corruption "plain 'Input/output error' when it is read. Check: 'region exceeding \
            the end of the file by one cluster or more', and a leak of the lost cluster",
        guest: Lost,
    }
    COMPRESSED_DATA_BROKEN: L15 "compressed-data-broken" Corruption Must {
        title: "a compressed cluster must decompress to exactly one cluster of data",
        why: "the guest gets an I/O error when it reads there, perhaps years after the damage, and no other check \
            looks",
        advice: "restore the named guest ranges; a flipped bit in the stream cannot be told from here, so restore \
            whole clusters",
        spec: "Compressed Clusters Descriptor",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Silently "plain 'Input/output error' when it is read, if the stream is cut, too \
            short or damaged; too long is an error with zstd, accepted with deflate. Check decompresses \
            nothing",
        guest: Lost,
    }
    COMPRESSED_WITH_DATA_FILE: L16 "compressed-with-data-file" Corruption Must {
        title: "an image with an external data file must not have compressed clusters",
        why: "nobody can say in which of the two files the stream lies",
        advice: "find out which file has it, and convert the image into one file",
        spec: "Header",
        fields: [L2Table.ENTRY],
        qemu: FailsOnRead Corruption "'Compressed cluster entry found in image with external data file' when \
            it is read. Check: 'ERROR compressed cluster N with data file, entry=0x..'",
        guest: Lost,
    }
    COMPRESSED_WITH_SUBCLUSTERS: L17 "compressed-with-subclusters" Corruption Must {
        title: "the subcluster bitmap of a compressed cluster must be zero",
        why: "readers differ on whether the bitmap or the stream wins",
        advice: "zero the bitmap in a copy: a compressed cluster has all its subclusters",
        spec: "Extended L2 Entries",
        fields: [L2Table.ENTRY],
        qemu: Silently Corruption "check: 'ERROR compressed cluster N with non-zero subcluster allocation \
            bitmap, entry=0x..', and a leak, because such a cluster is not counted",
    }
}

impl EntryJudge<'_> {
    pub(super) fn compressed(&mut self, stream: Compressed) {
        if self.entry.copied() {
            self.push(&COMPRESSED_COPIED_FLAG, zero_bits(1 << 63));
        }
        if self.bitmap().0 != 0 {
            let finding = self.bitmap_finding(&COMPRESSED_WITH_SUBCLUSTERS, "0x0");
            self.out.push(finding);
        }
        if self.rules.external_data {
            // In which file its bytes would lie, nothing says.
            return self.push_hurting(
                &COMPRESSED_WITH_DATA_FILE,
                "no compressed cluster with an external data file",
            );
        }
        let span = Span::new(stream.at, stream.len);
        if stream.high_bits != 0 {
            self.push_hurting(&COMPRESSED_OFFSET_BITS, zero_bits(stream.high_bits));
        } else if ends_past_file(self.rules.file_len, span, self.rules.geometry) {
            self.push_hurting(&COMPRESSED_BEYOND_FILE, self.rules.inside_file());
        }
    }
}
