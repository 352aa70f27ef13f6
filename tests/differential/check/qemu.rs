//! Real `qemu-img check`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What it answered.
pub(crate) struct Answer {
    pub(crate) exit: i32,
    pub(crate) report: Option<Value>,
    pub(crate) stderr: String,
}

/// Checks the image, without its backing file, and with a data file of zeros where it calls for one.
pub(crate) fn check(path: &Path, key: Option<&str>) -> Answer {
    let dir = path.parent().unwrap();
    let file = path.file_name().unwrap().to_str().unwrap();
    let bytes = std::fs::read(path).map(|bytes| bytes.get(..112).map(<[u8]>::to_vec)).unwrap();
    let number = |at: usize, len: usize| {
        let field = bytes.as_deref().and_then(|bytes| bytes.get(at..at + len)).unwrap_or(&[]);
        field.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let mut options = json!({ "driver": "qcow2", "file": { "driver": "file", "filename": file } });
    if number(8, 8) != 0 {
        options["backing"] = Value::Null;
    }
    if number(4, 4) >= 3 && number(72, 8) & 4 != 0 {
        options["data-file"] = json!({ "driver": "null-co", "size": 1_u64 << 40, "read-zeroes": true });
    }
    let mut command = Command::new("timeout");
    command.args(["20", "qemu-img", "check", "--output=json"]).current_dir(dir);
    if let Some(key) = key {
        command.args(["--object", &format!("secret,id=key,data={key}")]);
        let format = if number(32, 4) == 1 { "aes" } else { "luks" };
        options["encrypt"] = json!({ "format": format, "key-secret": "key" });
    }
    let output = command.arg(format!("json:{options}")).output().expect("qemu-img on the PATH");
    Answer {
        exit: output.status.code().unwrap_or(-1),
        report: serde_json::from_slice(&output.stdout).ok(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
