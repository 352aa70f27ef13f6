//! Makes the images: runs each recipe of `recipes/` with real `qemu-img` and `qemu-io`.
//!
//! A step that fails fails the test with what the command said: an image that is quietly missing would be a
//! comparison that is quietly not made.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::bytes::Image;

const RECIPES: [&str; 2] = [include_str!("recipes/disks.txt"), include_str!("recipes/companions.txt")];
const IMAGE: &str = "disk.qcow2";
const UNLOCKED: &str = "driver=qcow2,encrypt.key-secret=key,file.filename=disk.qcow2";
pub(crate) const KEYS: [&str; 4] =
    ["--object", "secret,id=key,data=sesame", "--object", "secret,id=other,data=tahini"];
/// More L2 tables than `qemu-img` walks over in a second.
const MANY_TABLES: u64 = 1 << 18;
const WORKERS: usize = 2;

/// An image, and what one has to know before handing it to a tool.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Its recipe's name, with the variant.
    pub(crate) name: String,
    /// Where it lies, in a directory with whatever it refers to.
    pub(crate) path: PathBuf,
    /// Reading guest data, and `qemu-img check`, take the key.
    pub(crate) needs_key: bool,
    /// It names a backing file, which may be missing.
    pub(crate) has_backing: bool,
    /// Its guest data is in another file.
    pub(crate) has_data_file: bool,
    /// It is of version 2.
    pub(crate) v2: bool,
    /// Its tables claim so much that `qemu-img map` and `convert` take minutes.
    pub(crate) slow_to_walk: bool,
    /// The rules above the severity `note` that are right to fire on it.
    pub(crate) fires: Vec<String>,
}

/// Every image of the tables, made under `dir`, in the tables' order.
pub(crate) fn samples(dir: &Path) -> Vec<Sample> {
    let recipes = recipes();
    let next = Mutex::new(recipes.iter().enumerate());
    let made = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((place, recipe)) = next.lock().unwrap().next() else { break };
                    let sample = recipe.make(&dir.join(&recipe.name));
                    made.lock().unwrap().push((place, sample));
                }
            });
        }
    });
    let mut made = made.into_inner().unwrap();
    made.sort_by_key(|(place, _)| *place);
    made.into_iter().map(|(_, sample)| sample).collect()
}

/// What `qemu-img --version` says of itself.
pub(crate) fn qemu_version() -> String {
    let output = Command::new("qemu-img").arg("--version").output().expect("qemu-img on the PATH");
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
}

/// One image to make: the steps with the variant filled in.
struct Recipe {
    name: String,
    steps: Vec<String>,
}

fn recipes() -> Vec<Recipe> {
    let mut recipes = Vec::new();
    let lines = RECIPES
        .iter()
        .flat_map(|table| table.lines())
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut lines = lines.peekable();
    while let Some(head) = lines.next() {
        let mut steps = Vec::new();
        while let Some(step) = lines.next_if(|line| line.starts_with(' ')) {
            steps.push(step.trim());
        }
        let (name, variants) = head.split_once(':').unwrap_or((head, "-"));
        for variant in variants.split_whitespace() {
            let fill = |text: &str| text.replace('*', variant);
            recipes.push(Recipe { name: fill(name), steps: steps.iter().map(|step| fill(step)).collect() });
        }
    }
    recipes
}

impl Recipe {
    fn make(&self, dir: &Path) -> Sample {
        fs::create_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let kitchen = Kitchen { dir, recipe: &self.name };
        // RULE…: no step, but what is said of the image in the end.
        let fires = self.steps.iter().filter_map(|step| step.strip_prefix("fires "));
        let fires = fires.flat_map(str::split_whitespace).map(str::to_owned).collect();
        for step in self.steps.iter().filter(|step| !step.starts_with("fires ")) {
            kitchen.step(step);
        }
        let path = dir.join(IMAGE);
        let image = Image::open(&path);
        Sample {
            name: self.name.clone(),
            path,
            needs_key: image.header("crypt_method") != 0,
            has_backing: image.header("backing_file_offset") != 0,
            has_data_file: image.has_data_file(),
            v2: image.header("version") == 2,
            slow_to_walk: image.header("l1_size") > MANY_TABLES,
            fires,
        }
    }
}

/// A recipe's directory, where its steps are carried out.
struct Kitchen<'a> {
    dir: &'a Path,
    recipe: &'a str,
}

impl Kitchen<'_> {
    /// Carries out one line of a recipe.
    fn step(&self, step: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            // OPTIONS SIZE: the image itself.
            "create" => {
                let (options, size) = rest.rsplit_once(' ').unwrap_or(("", rest));
                let keys = KEYS.join(" ");
                self.img(&format!("create -q -f qcow2 {keys} {options} {IMAGE} {size}"));
            }
            // Any command of qemu-img.
            "img" => self.img(rest),
            // What qemu-img check repairs; it exits 0 if nothing is left to say.
            "repair" => self.img(&format!("check -q -r all {IMAGE}")),
            // COMMAND; COMMAND…, given to qemu-io.
            "io" => self.io(&["-f", "qcow2", IMAGE], rest),
            "io-unlocked" => self.io(&["--image-opts", UNLOCKED], rest),
            "io-on" => {
                let (file, commands) = rest.split_once(' ').unwrap();
                self.io(&[file], commands);
            }
            // The same, and then the process dies with the image open.
            "crash" => self.io(&["-f", "qcow2", IMAGE], &format!("{rest}; abort")),
            // COUNT: something new written before each.
            "snapshots" => {
                for number in 0..rest.parse().unwrap() {
                    self.io(&[IMAGE], &format!("write -P {} {}k 8k", number + 1, number * 4));
                    self.img(&format!("snapshot -c s{number} {IMAGE}"));
                }
            }
            // FILE LENGTH: a plain file of text, noise and zeros.
            "raw" => {
                let (name, length) = rest.split_once(' ').unwrap();
                fs::write(self.dir.join(name), mixture(length.parse().unwrap())).unwrap();
            }
            // FILE: holes for its zeros, where the file system has holes.
            "dig" => {
                let file = File::options().read(true).write(true).open(self.dir.join(rest)).unwrap();
                let bytes = fs::read(self.dir.join(rest)).unwrap();
                let data =
                    bytes.chunks(4096).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
                file.set_len(0).unwrap();
                for (number, block) in data {
                    file.write_all_at(block, u64::try_from(number).unwrap() * 4096).unwrap();
                }
                file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
            }
            // OFFSET BYTE…, in hexadecimal: over what the image has there.
            "put" => {
                let (offset, bytes) = rest.split_once(' ').unwrap();
                let bytes: Vec<u8> =
                    bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
                self.put(offset, &bytes);
            }
            // OFFSET LENGTH: zeros.
            "wipe" => {
                let (offset, length) = rest.split_once(' ').unwrap();
                self.put(offset, &vec![0; length.parse().unwrap()]);
            }
            _ => panic!("{}: what is {step:?}?", self.recipe),
        }
    }

    fn img(&self, words: &str) {
        let mut command = Command::new("qemu-img");
        for word in words.split_whitespace() {
            match word.strip_prefix('#').map(str::parse) {
                Some(letters) => command.arg("n".repeat(letters.unwrap())),
                None if word == "@unlocked" => command.args(KEYS).args(["--image-opts", UNLOCKED]),
                None if word == "\"\"" => command.arg(""),
                None => command.arg(word),
            };
        }
        self.run(command, false);
    }

    fn io(&self, image: &[&str], commands: &str) {
        let mut command = Command::new("qemu-io");
        command.args(KEYS);
        for each in commands.split(';') {
            command.args(["-c", each.trim()]);
        }
        command.args(image);
        self.run(command, commands.ends_with("abort"));
    }

    fn run(&self, mut command: Command, aborts: bool) {
        let output = command.current_dir(self.dir).output().expect("qemu-img and qemu-io on the PATH");
        let done = if aborts { output.status.signal().is_some() } else { output.status.success() };
        assert!(
            done,
            "{}: {command:?}: {}\n{}{}",
            self.recipe,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }

    /// Puts bytes at an offset; each `@` before it stands for the pointer that the image has there.
    fn put(&self, offset: &str, bytes: &[u8]) {
        let image = File::options().read(true).write(true).open(self.dir.join(IMAGE)).unwrap();
        let (start, distance) = offset.split_once('+').unwrap_or((offset, "0"));
        let pointers = start.matches('@').count();
        let mut start = start.trim_start_matches('@').parse().unwrap();
        for _ in 0..pointers {
            let mut pointer = [0; 8];
            image.read_exact_at(&mut pointer, start).unwrap();
            start = u64::from_be_bytes(pointer);
        }
        image.write_all_at(bytes, start + distance.parse::<u64>().unwrap()).unwrap();
    }
}

/// Text that compresses, noise that does not, and zeros, in turns of 32 KiB.
pub(crate) fn mixture(length: usize) -> Vec<u8> {
    let mut noise = 0x9e37_79b9_u32;
    let mut bytes = Vec::with_capacity(length + 32);
    while bytes.len() < length {
        match bytes.len() >> 15 & 3 {
            0 | 1 => bytes.extend(format!("line {:08} of the source\n", bytes.len()).bytes()),
            2 => {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push(noise.to_be_bytes()[0]);
            }
            _ => bytes.push(0),
        }
    }
    bytes.truncate(length);
    bytes
}
