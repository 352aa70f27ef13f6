//! Runs the command, and holds it to what every call promises.

use std::ffi::OsStr;
use std::io::{Read, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use qcow2_testkit::check_schema;
use serde_json::{Value, json};

/// Read at run time: a shell that wraps the compiler may drop a variable with such a name.
const PROGRAM: &str = "CARGO_BIN_EXE_qcow2-inspect";

/// What "at once" is on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a signal is ignored, as SIGINT is in the background of a shell: a process inherits it.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & 1 << (signal - 1) != 0
}

/// What a call gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// What it wrote, where it went through without a word beside the report.
    pub(crate) fn report(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout.escape_ascii());
        String::from_utf8(self.stdout).unwrap()
    }

    /// The JSON documents of a call, one a line or one in all. A limit may have cut the work, as the last of them
    /// and the exit code say alike.
    pub(crate) fn documents(self) -> Vec<Value> {
        let documents: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_slice(&self.stdout).into_iter().collect();
        let documents = documents.unwrap();
        let complete = documents.last().and_then(|last| last["complete"].as_bool()).unwrap();
        assert_eq!((self.code, self.stderr.as_str()), (Some(i32::from(!complete)), ""));
        documents
    }

    /// The JSON document of a call that went through.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.report()).unwrap()
    }
}

/// The command with these arguments, free of what the environment says of colours.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env::var_os(PROGRAM).expect("cargo says where the command is"));
    command.args(arguments).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    command
}

/// Runs the command in the current folder.
pub(crate) fn run(arguments: &[impl AsRef<OsStr>]) -> Ran {
    finish(command(arguments))
}

/// Runs it to its end, which has to come soon.
pub(crate) fn finish(mut command: Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (stdout, stderr) = (thread::spawn(|| everything(stdout)), thread::spawn(|| everything(stderr)));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(1)),
            None => {
                child.kill().unwrap();
                panic!("still running after {PATIENCE:?}: {command:?}");
            }
        }
    };
    let stderr = String::from_utf8(stderr.join().unwrap()).unwrap();
    let ran = Ran { code: status.code(), stdout: stdout.join().unwrap(), stderr };
    let starts = ["{\"schema\":", "{\"type\":", "["];
    if starts.iter().any(|start| ran.stdout.starts_with(start.as_bytes())) {
        check_schema(&ran.stdout);
    }
    ran
}

fn everything(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The commands have to refuse `path`, which reports show as `shown`, for this reason and in each format.
pub(crate) fn refuses(path: impl AsRef<OsStr>, shown: &str, reason: &str) {
    for name in ["dump", "info", "audit"] {
        for format in ["text", "json", "jsonl"] {
            let arguments = [name.as_ref(), "--format".as_ref(), format.as_ref(), path.as_ref()];
            check_refusal(run(&arguments), shown, reason, format != "text");
        }
    }
}

/// One line on stderr, exit 1, and on stdout the error document or nothing.
pub(crate) fn check_refusal(ran: Ran, shown: &str, reason: &str, json: bool) {
    assert_eq!(ran.stderr, format!("qcow2-inspect: {shown}: {reason}\n"));
    assert_eq!(ran.code, Some(1), "{shown}");
    if json {
        let mut document: Value = serde_json::from_slice(&ran.stdout).unwrap();
        // The tests of paths look at the bytes.
        document["file"].as_object_mut().unwrap().remove("path_hex");
        let wanted = json!({"schema": "qcow2-inspect/error/1", "file": {"path": shown}, "error": reason});
        assert_eq!(document, wanted);
    } else {
        assert_eq!(ran.stdout.escape_ascii().to_string(), "", "{shown}");
    }
}

/// An image of the corpus, such as `valid/v3-basic`.
pub(crate) fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{name}.qcow2"))
}

/// Its bytes.
pub(crate) fn image(name: &str) -> Vec<u8> {
    fs::read(corpus(name)).unwrap()
}

/// Says past the capture of the harness what could not be tried here.
pub(crate) fn skipped(what: &str, why: &str) {
    stderr().write_all(format!("skipped: {what}: {why}\n").as_bytes()).unwrap();
}
