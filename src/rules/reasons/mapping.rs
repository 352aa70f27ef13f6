//! Families L and O: the tables, and who owns a cluster.

reasons! {
    L01 {
        why: "a later format may give the bits a meaning, and a reader that does not mask them looks elsewhere for \
            the table",
        advice: "clear the bits in a copy after comparing with the neighbours; whole entries of noise mean that the \
            table was overwritten",
    }
    L02 {
        why: "a table is one cluster, so half of this one is another's bytes",
        advice: "its guest range is lost unless the low bits alone were flipped: try the offset rounded down, in a \
            copy",
    }
    L03 {
        why: "all that the table maps reads as zeros, without any error",
        advice: "look for the missing end of the file first; a table behind it cannot be had otherwise",
    }
    L04 {
        why: "where it is set wrongly, a write changes a table that a snapshot shares; where clear, each write \
            copies it for nothing",
        advice: "leave the image unwritten until `qemu-img check -r all` on a copy has set the flags by the refcounts",
    }
    L05 {
        why: "readers that do not mask the bits find another cluster, and many such entries are a table that was \
            overwritten",
        advice: "compare the entries around it: single bits are bit rot and can be cleared in a copy",
    }
    L06 {
        why: "the bit has another meaning in short entries, and a reader that looks at it reads zeros where there \
            is data",
        advice: "clear bit 0 in a copy; the subcluster bitmap says which parts are zero",
    }
    L07 {
        why: "version 2 defines no zero clusters: QEMU fails to read there, others return old data",
        advice: "upgrade a copy to version 3 if zeros are meant, else clear the bit",
    }
    L08 {
        why: "a guest cluster would take parts of two host clusters, of which one belongs to another owner",
        advice: "round the offset down in a copy and look whether the data fits what the guest had there",
    }
    L09 {
        why: "the guest range reads as zeros, without any error",
        advice: "compare the file's length with its source, and restore the named range if the file cannot be \
            completed",
    }
    L10 {
        why: "the cluster's end reads as zeros, which is right for a fresh image and wrong for a cut copy",
        advice: "compare the length with the source; nothing is wrong if the guest never wrote there",
    }
    L11 {
        why: "set wrongly, a write in place changes what a snapshot should keep; clear wrongly, it only costs a \
            copy",
        advice: "let `qemu-img check -r all` set the flags on a copy; where the refcount is wrong, mend that first",
    }
    L12 {
        why: "a compressed cluster must never be written in place, and the bit says that it may",
        advice: "clear bit 63 in a copy: the stream itself is not touched by that",
    }
    L13 {
        why: "the bits make the offset point far behind any file, so the cluster cannot be read",
        advice: "clear them in a copy: what is left is mostly the true offset",
    }
    L14 {
        why: "the stream is not there, and QEMU gives an I/O error to the guest",
        advice: "complete the file, or restore the guest range from a backup",
    }
    L15 {
        why: "the guest gets an I/O error when it reads there, perhaps years after the damage, and no other check \
            looks",
        advice: "restore the named guest ranges; a flipped bit in the stream cannot be told from here, so restore \
            whole clusters",
    }
    L16 {
        why: "nobody can say in which of the two files the stream lies",
        advice: "find out which file has it, and convert the image into one file",
    }
    L17 {
        why: "readers differ on whether the bitmap or the stream wins",
        advice: "zero the bitmap in a copy: a compressed cluster has all its subclusters",
    }
    L18 {
        why: "the subcluster would be data and zeros at once, and QEMU refuses the whole cluster",
        advice: "choose per subcluster in a copy: data where the host cluster has some, else zeros",
    }
    L19 {
        why: "data is promised where no cluster is",
        advice: "clear the bits in a copy; what they promised is lost unless another snapshot has it",
    }
    L20 {
        why: "the data file would be read at one place as QCOW2 and at another as raw",
        advice: "compare both places in the data file, and set the entry to the guest offset in a copy",
    }
    L21 {
        why: "cluster 0 of the data file is told from an unallocated one by this bit alone",
        advice: "set bit 63 in a copy for the clusters that the data file holds",
    }
    L22 {
        why: "only there can an offset of 0 be told from no offset",
        advice: "see L23 for images without a data file, and L20 for those with one",
    }
    L23 {
        why: "a program took the entry for a cluster at offset 0, where the header lies",
        advice: "clear the bit in a copy; no data hangs on it",
    }
    L24 {
        why: "no guest can read what is mapped there: it is a leftover of a shrunk disk, or hidden",
        advice: "look at it in a copy with a larger size, and ask who shrank the disk",
    }
    L25 {
        why: "clusters hang there that no guest can reach, left by VM state or put there",
        advice: "nothing, if the image once held snapshots with VM state; else look at what they hold",
    }
    L26 {
        why: "a write to one guest range changes the other too",
        advice: "read both ranges out of a copy: one of them is the true owner, and the other has to be restored",
    }
    L27 {
        why: "a write through one of them changes the other, and which of the two the data belongs to is not known",
        advice: "read both and compare with what the guest expects; rewriting one of them in a repaired copy gives it \
            a cluster of its own",
    }
    L28 {
        why: "metadata is read as a table, and a guest write changes it",
        advice: "find the true table among the leaked clusters (R06), which then has no owner",
    }
    L29 {
        why: "the flags speak of a table that is not there, and QEMU's check takes the header for it",
        advice: "zero the entry in a copy, after looking whether a leaked cluster is the lost table",
    }
    O01 {
        why: "updating one structure destroys the other",
        advice: "do not write; the one whose contents make no sense is the one that lost, and can be rebuilt if it is \
            refcounts",
    }
    O02 {
        why: "the guest can read the image's own metadata, and by writing point it at anything",
        advice: "treat it as an attack until shown otherwise; copy out the guest's other data and rebuild the image",
    }
    O03 {
        why: "a bitmap that shares a cluster marks the wrong guest data as changed, or overwrites it",
        advice: "drop the bitmaps on a copy (`qemu-img bitmap --remove`), and check the data that shared with them",
    }
    O04 {
        why: "one of the streams was written over the other, or a write that frees one frees the other's clusters",
        advice: "find with `--deep` which of the two still decompresses, and restore the other",
    }
    O05 {
        why: "a refcount update of one range changes the other's counts, so that clusters in use get free",
        advice: "have the refcounts rebuilt on a copy: they follow from the tables",
    }
    O06 {
        why: "snapshots and compression live from it",
        advice: "nothing: the other rules of this family say what may not be shared",
    }
}
