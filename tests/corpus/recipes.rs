//! How real qemu-img and qemu-io made the images of the corpus that are no damages.

use std::path::Path;
use std::process::Command;

/// An image by its name and the shell commands that make it; `$F` is the file.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    commands: &'static str,
}

macro_rules! recipes {
    ($($name:literal: $commands:literal;)*) => {
        /// Every image that is no damage of another.
        pub(crate) const RECIPES: &[Recipe] = &[$(Recipe { name: $name, commands: $commands }),*];
    };
}

const CREATE: &str = "create() { qemu-img create -q -f qcow2 \"$@\"; }; io() { qemu-io \"$@\" >/dev/null; }; \
    key=secret,id=key,data=secret; bytes() { head -c \"$1\" /dev/zero | tr '\\0' \"$2\"; }; ";

recipes! {
    "valid/v2-basic": "create -o cluster_size=512,compat=0.10 $F 64K
        io -c 'write -P 1 0 1k' -c 'write -P 2 8k 512' $F";
    "valid/v2-snapshot": "create -o cluster_size=512,compat=0.10 $F 32K; io -c 'write -P 1 0 1k' $F
        qemu-img snapshot -c old $F; io -c 'write -P 2 0 512' $F";
    "valid/v3-basic": "create -o cluster_size=1k $F 1M
        io -c 'write -P 1 0 2k' -c 'write -z -u 4k 1k' -c 'write -P 3 6k 1k' -c 'write -z 6k 1k' \
           -c 'write -P 4 512k 1k' $F";
    "valid/v3-512": "create -o cluster_size=512 $F 64K; io -c 'write -P 1 0 1k' -c 'write -P 2 40k 512' $F";
    "valid/v3-zlib": "(bytes 9000 a; bytes 3000 b) >src.raw
        qemu-img convert -q -f raw -O qcow2 -c -o cluster_size=1k src.raw $F";
    "valid/v3-zstd": "(bytes 9000 a; bytes 3000 b) >src.raw
        qemu-img convert -q -f raw -O qcow2 -c -o cluster_size=1k,compression_type=zstd src.raw $F";
    "valid/v3-extended-l2": "create -o cluster_size=16k,extended_l2=on $F 256K
        io -c 'write -P 1 0 512' -c 'write -z 1k 1k' -c 'write -z -u 32k 16k' $F";
    "valid/v3-backing": "qemu-img create -q -f raw base.raw 64K; create -o cluster_size=1k -b base.raw -F raw $F
        io -c 'write -P 1 2k 1k' $F";
    "valid/v3-bitmap-tail": "create -o cluster_size=512 $F 688640; qemu-img bitmap --add -g 64k $F tail
        io -c 'write -P 7 0 512' -c 'write -P 8 655360 512' $F";
    // No qemu-img of today leaves the format out; bytes 112 to 135 are its extension.
    "valid/v3-backing-no-format": "qemu-img create -q -f raw base.raw 64K
        create -o cluster_size=1k -b base.raw -F raw $F; io -c 'write -P 1 2k 1k' $F
        dd if=/dev/zero of=$F bs=1 seek=112 count=24 conv=notrunc 2>/dev/null";
    "valid/v3-data-file": "create -o cluster_size=1k,data_file=data.raw $F 64K; io -c 'write -P 1 2k 1k' $F";
    "valid/v3-data-file-raw": "create -o cluster_size=1k,data_file=data.raw,data_file_raw=on $F 64K";
    "valid/v3-snapshots": "create -o cluster_size=1k $F 64K; io -c 'write -P 1 0 3k' $F
        qemu-img snapshot -c before-update $F; io -c 'write -P 2 1k 1k' -c 'write -P 2 8k 1k' $F
        qemu-img snapshot -c second $F; io -c 'write -P 3 2k 1k' $F";
    "valid/v3-bitmaps": "create -o cluster_size=1k $F 4M; qemu-img bitmap --add -g 512 $F daily
        qemu-img bitmap --add -g 64k --disable $F weekly
        io -c 'write -P 1 1M 3k' -c 'write -P 2 3M 1k' $F";
    "valid/v3-bitmaps-512": "create -o cluster_size=512 $F 64K; qemu-img bitmap --add -g 512 $F daily
        qemu-img bitmap --add -g 64k --disable $F weekly
        io -c 'write -P 1 8k 1k' -c 'write -P 2 40k 512' $F";
    "valid/v3-aes": "create --object $key -o cluster_size=1k,encrypt.format=aes,encrypt.key-secret=key $F 64K";
    "valid/v3-lazy-refcounts": "create -o cluster_size=1k,lazy_refcounts=on $F 64K; io -c 'write -P 1 0 1k' $F";
    "valid/v3-refcount-1": "create -o cluster_size=512,refcount_bits=1 $F 32K; io -c 'write -P 1 0 1k' $F";
    "valid/v3-refcount-2": "create -o cluster_size=512,refcount_bits=2 $F 32K; io -c 'write -P 1 0 1k' $F";
    "valid/v3-refcount-4": "create -o cluster_size=512,refcount_bits=4 $F 32K; io -c 'write -P 1 0 1k' $F";
    "valid/v3-refcount-8": "create -o cluster_size=512,refcount_bits=8 $F 32K; io -c 'write -P 1 0 1k' $F";
    "valid/v3-refcount-32": "create -o cluster_size=512,refcount_bits=32 $F 32K; io -c 'write -P 1 0 1k' $F";
    "valid/v3-refcount-64": "create -o cluster_size=512,refcount_bits=64 $F 32K; io -c 'write -P 1 0 1k' $F";
    // No qemu-img writes an extension of 5,000 bytes: it begins with the feature name table's bytes.
    "valid/v3-long-extension": "create -o cluster_size=8k $F 0
        printf '\\022\\064\\126\\170\\000\\000\\023\\210' | dd of=$F bs=1 seek=112 conv=notrunc 2>/dev/null";
    "valid/v3-size-0": "create -o cluster_size=512 $F 0";
    // Cut behind the partition header: key slots whole would make it half a MiB.
    "damaged/E13-luks-header-cut": "create --object $key \
           -o cluster_size=1k,encrypt.format=luks,encrypt.key-secret=key \
           -o encrypt.iter-time=10,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc $F 0; truncate -s 4k $F";
    "valid/v3-preallocation-metadata": "create -o cluster_size=512,preallocation=metadata $F 4K";
}

impl Recipe {
    /// Makes the image in `folder`, with whatever else the commands make there.
    pub(crate) fn make(&self, folder: &Path) -> Vec<u8> {
        let file = format!("{}.qcow2", self.name.replace('/', "-"));
        let script = format!("set -e; {CREATE}\n{}", self.commands);
        let made =
            Command::new("sh").args(["-c", &script]).env("F", &file).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&made.stderr));
        std::fs::read(folder.join(file)).unwrap()
    }
}
