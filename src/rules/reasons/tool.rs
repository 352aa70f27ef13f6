//! Family T: the tool's own.

reasons! {
    T01 {
        why: "what was not looked at can hold anything, so the image is never called clean",
        advice: "raise the limit that is named (`--limit NAME=NUMBER`), or distrust the image: no ordinary one comes near it",
    }
    T02 {
        why: "what could not be read can hold anything, and the finding says where",
        advice: "copy the file from the failing medium with a tool that goes on after errors, and check the copy",
    }
    T03 {
        why: "parts of two states were read together, so that findings may be of neither",
        advice: "stop what writes to it, or make a snapshot of the storage, and inspect that",
    }
    T04 {
        why: "a scanner, a boot loader or a probe by content sees another file than QEMU does",
        advice: "reject it from strangers; name the format wherever you open it",
    }
    T05 {
        why: "whoever converts the disk to raw and lets a program probe it hands the guest the choice of the \
            format",
        advice: "always name the format of the raw copy: `-f raw`",
    }
}
