//! Disks that are small, damaged or fail: mounts of one test's own, flipped bits, a shim between SQLite and the kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

/// Set in the process that has mounts of its own.
const INSIDE: &str = "MILLRACE_TEST_OWN_MOUNTS";

/// Runs the test `name` once more in a process with mounts of its own, which end with it. True: this is that process.
///
/// Root needs a mount namespace alone; everybody else becomes root of a user namespace first, where the kernel allows.
pub(crate) fn in_own_mounts(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    let possible = ways.into_iter().find(|way| {
        let script = "d=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs \"$d\"";
        let tried = Command::new("unshare").args(*way).args(["sh", "-c", script]).output();
        tried.is_ok_and(|output| output.status.success())
    });
    let way =
        possible.expect("a small disk needs a mount: run as root, or allow unprivileged user namespaces");
    let own = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(way)
        .arg(own)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed inside its own mounts: see above");
    false
}

fn mount(arguments: &[&str], at: &Path) {
    let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
    assert!(output.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A disk of this size at `at`.
pub(crate) fn small_disk(at: &Path, mebibytes: u32) {
    std::fs::create_dir_all(at).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0700"), "tmpfs"], at);
}

/// The disk at `at` has this size from now on.
pub(crate) fn resize(at: &Path, mebibytes: u32) {
    mount(&["-o", &format!("remount,size={mebibytes}m")], at);
}

/// Every place at which `needle` stands in `file`.
pub(crate) fn places(file: &Path, needle: &[u8]) -> Vec<usize> {
    let bytes = std::fs::read(file).unwrap();
    let found = bytes.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
    found.map(|(place, _)| place).collect()
}

/// The last of them.
pub(crate) fn place_of(file: &Path, needle: &[u8]) -> usize {
    *places(file, needle).last().unwrap_or_else(|| panic!("{needle:?} is not in {}", file.display()))
}

/// Flips one bit.
pub(crate) fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0b0000_1000;
    std::fs::write(file, bytes).unwrap();
}

/// A library that makes one flush of a journal fail, for `LD_PRELOAD`.
pub(crate) struct FailingFlush {
    pub(crate) library: PathBuf,
    trigger: PathBuf,
}

impl FailingFlush {
    pub(crate) fn compile(directory: &Path) -> Self {
        let source = directory.join("failing_flush.c");
        std::fs::write(&source, include_str!("failing_flush.c")).unwrap();
        let library = directory.join("failing_flush.so");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .output()
            .expect("a C compiler, `cc`, is needed");
        assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        Self { library, trigger: directory.join("fail-the-flush") }
    }

    /// What the process must be started with.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library.clone()), ("MILLRACE_TEST_FAIL_FLUSH", self.trigger.clone())]
    }

    /// From now on the `nth` flush of a journal in a process fails, and every later one succeeds again, as on Linux.
    pub(crate) fn arm(&self, nth: u32) {
        std::fs::write(&self.trigger, nth.to_string()).unwrap();
    }

    pub(crate) fn disarm(&self) {
        std::fs::remove_file(&self.trigger).unwrap();
    }
}

/// The `[store]` of an agent with this policy on every lane, that trims at once what is acknowledged.
pub(crate) fn table(policy: &str, budget: &str) -> serde_json::Value {
    json!({
        "budget": budget, "reserve": "1MiB", "grace": "0s",
        "full": { "urgent": policy, "normal": policy, "bulk": policy },
    })
}
