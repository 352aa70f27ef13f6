//! Family R: refcounts.

reasons! {
    R01 {
        why: "QEMU masks the bits, and another reader finds no block",
        advice: "clear the bits in a copy: what is left is the block's place, and nothing of the guest is touched",
    }
    R02 {
        why: "QEMU can neither read nor write the counts of the range, and marks the image corrupt at the next \
            write",
        advice: "read the guest data out with `qemu-img convert`, since qemu-img does not repair this one",
    }
    R03 {
        why: "all clusters that it counts look free, so that the next writes overwrite them",
        advice: "open it read-only until the counts are rebuilt; look first whether the file was cut",
    }
    R04 {
        why: "its own cluster may be given to a guest, whose data then are the counts",
        advice: "keep writers away, and let `qemu-img check -r all` repair a copy",
    }
    R05 {
        why: "when one of the owners frees the cluster, it is free for all while others still use it",
        advice: "keep all writers away: deleting a snapshot already does harm; repair a copy first",
    }
    R06 {
        why: "space is wasted, and nothing else",
        advice: "free it at leisure with `qemu-img check -r leaks`, unless a lost table (L02, L03, L28) is among the \
            leaked clusters",
    }
    R07 {
        why: "the next write may take the cluster for a free one, and overwrite it",
        advice: "do not start the guest; `qemu-img check -r all` on a copy counts the references anew",
    }
    R08 {
        why: "counts of what is not there: the file was longer once, or was cut",
        advice: "compare the length with the source; nothing else is wrong if that agrees",
    }
    R09 {
        why: "a count that is full cannot grow, and when owners go it reaches 0 too early",
        advice: "widen the counts: `qemu-img convert` into an image with refcount_bits=16 or more",
    }
    R10 {
        why: "clusters behind what it covers count as free; QEMU enlarges the table when it needs to",
        advice: "nothing: the next allocation extends the table",
    }
    R11 {
        why: "a crash with lazy refcounts leaves them so by design",
        advice: "let QEMU bring them up to date on a copy; this tool calls them notes until then",
    }
    R12 {
        why: "nobody reads these bytes: most often what QEMU freed and did not clear, such as the tables of a bitmap \
            that was removed; but also a footer of another format, or hidden data",
        advice: "look at them before a writer reuses the space; `qemu-img convert` makes a copy without them",
    }
    R13 {
        why: "the counts of its range are not known",
        advice: "see T02: the medium has to be read first",
    }
}
