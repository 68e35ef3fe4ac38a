//! Rules about source files: headers, sizes, purity, leftovers, names, the proof of a flush.
//!
//! Promise: each breach is one line with file, line, rule and fix.
//! Absent: rules that the compiler or clippy can check; those stand in `Cargo.toml` and `clippy.toml`.

use std::collections::BTreeSet;
use std::path::Path;

use super::code::{code, lines_with, shipped, test_modules};
use super::house::Source;

const LINES_MAX: usize = 600;
const LINES_TO_THINK: usize = 400;

/// Where pure code lives.
const PURE: [&str; 6] = [
    "shared/model/src/",
    "shared/wire/src/",
    "shared/merkle/src/",
    "agent/engine/src/",
    "hub/engine/src/",
    "hub/control/src/kv/",
];

/// What pure code must not name, and what it should use.
const IMPURE: [(&str, &str); 13] = [
    ("Instant", "take a Moment as an argument"),
    ("SystemTime", "take a Wall as an argument"),
    ("std::fs", "ask for it with a Command"),
    ("std::net", "addresses are text here; the link resolves them"),
    ("std::process", "ask for it with a Command"),
    ("std::env", "take it from the validated config"),
    ("thread::", "be called, do not run"),
    ("Mutex", "take &mut self"),
    ("HashMap", "use BTreeMap, whose order is the same everywhere"),
    ("HashSet", "use BTreeSet, whose order is the same everywhere"),
    ("rand::", "take a seeded fastrand::Rng"),
    ("tokio::", "be called, do not run"),
    ("println!", "report with a Command or a Notice"),
];

/// Modules of the standard library that pure code must not import in a group (`use std::{fs, …}`).
const IMPURE_GROUPED: [&str; 5] = ["fs", "net", "process", "env", "thread"];

/// Drawers: names that say nothing about what is inside.
const DRAWERS: [&str; 9] =
    ["util", "utils", "common", "type", "types", "helper", "helpers", "manager", "misc"];

pub(crate) fn headers(files: &[Source]) -> Vec<String> {
    let bare = files.iter().filter(|file| !file.text.starts_with("//!"));
    bare.map(|file| {
        format!(
            "{}:1: no header; fix: begin with `//!`, what it is, what it promises, what is absent",
            file.path
        )
    })
    .collect()
}

pub(crate) fn sizes(files: &[Source]) -> Vec<String> {
    let long =
        files.iter().map(|file| (file, file.text.lines().count())).filter(|(_, lines)| *lines > LINES_MAX);
    long.map(|(file, lines)| format!("{}: {lines} lines; fix: split it along its parts", file.path)).collect()
}

pub(crate) fn long_files(files: &[Source]) -> Vec<String> {
    let lines = files.iter().map(|file| (file, file.text.lines().count()));
    let long = lines.filter(|(_, lines)| (LINES_TO_THINK + 1..=LINES_MAX).contains(lines));
    long.map(|(file, lines)| format!("{}: {lines} lines, think about splitting it", file.path)).collect()
}

pub(crate) fn purity(files: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (file, code) in shipped_files(files) {
        if !PURE.iter().any(|pure| file.path.starts_with(pure)) {
            continue;
        }
        for (word, instead) in IMPURE {
            for line in lines_with(&code, word) {
                breaches.push(format!("{}:{line}: pure code names `{word}`; fix: {instead}", file.path));
            }
        }
        for module in grouped_imports(&code) {
            breaches
                .push(format!("{}: pure code imports `std::{module}`; fix: hand it in or out", file.path));
        }
    }
    breaches
}

/// The impure modules that stand in `std::{…}` groups.
fn grouped_imports(code: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (at, opening) in code.match_indices("std::{") {
        let group = &code[at + opening.len()..];
        let group = &group[..group.find(';').unwrap_or(group.len())];
        found.extend(IMPURE_GROUPED.into_iter().filter(|module| !lines_with(group, module).is_empty()));
    }
    found
}

pub(crate) fn leftovers(files: &[Source]) -> Vec<String> {
    let words = [
        ("todo!(", "write it, or leave out what calls it"),
        ("unimplemented!(", "write it, or leave out what calls it"),
        ("#[ignore", "make the test pass, or remove it and say so"),
    ];
    found(files, &words)
}

pub(crate) fn test_names(files: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let code = code(&file.text);
        let lines: Vec<&str> = code.lines().collect();
        for line in lines_with(&code, "fn test_") {
            // A helper may be called so; a test has its attribute close above.
            let above = &lines[line.saturating_sub(4)..line - 1];
            if above.iter().any(|line| line.contains("test]") || line.contains("test(")) {
                breaches.push(format!("{}:{line}: `test_`; fix: say what is true, as a sentence", file.path));
            }
        }
    }
    breaches
}

fn found(files: &[Source], words: &[(&str, &str)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let code = code(&file.text);
        for (word, instead) in words {
            for line in lines_with(&code, word) {
                breaches.push(format!("{}:{line}: `{word}`; fix: {instead}", file.path));
            }
        }
    }
    breaches
}

pub(crate) fn drawers(files: &[Source]) -> Vec<String> {
    let mut breaches = BTreeSet::new();
    for file in files {
        for part in Path::new(&file.path).with_extension("").iter().map(|part| part.to_string_lossy()) {
            if DRAWERS.contains(&part.as_ref()) {
                breaches.insert(format!(
                    "{}: `{part}` names a drawer; fix: name it after what it holds",
                    file.path
                ));
            }
        }
        let code = code(&file.text);
        for drawer in DRAWERS {
            for line in lines_with(&code, &format!("mod {drawer}")) {
                breaches.insert(format!(
                    "{}:{line}: `mod {drawer}` names a drawer; fix: name it after what it holds",
                    file.path
                ));
            }
        }
    }
    breaches.into_iter().collect()
}

pub(crate) fn mqtt_stays_home(files: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let home = file.path.starts_with("agent/daemon/src/mqtt/")
            || file.path.starts_with("hub/demo/")
            || !file.path.contains("/src/");
        if home {
            continue;
        }
        for line in lines_with(&code(&file.text), "rumqttc") {
            breaches
                .push(format!("{}:{line}: names rumqttc; fix: go through agent/daemon/src/mqtt", file.path));
        }
    }
    breaches
}

pub(crate) fn attestation(files: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (file, code) in shipped_files(files) {
        if file.path.starts_with("shared/journal/src/") || file.path.starts_with("hub/fleet/") {
            continue;
        }
        for line in lines_with(&code, "Durable::attest(") {
            breaches.push(format!(
                "{}:{line}: makes its own proof of a flush; fix: take the one that the journal returns",
                file.path
            ));
        }
    }
    breaches
}

/// The files under `src/` with their shipped code, without what only tests compile.
fn shipped_files(files: &[Source]) -> Vec<(&Source, String)> {
    let coded: Vec<(&Source, String)> = files.iter().map(|file| (file, code(&file.text))).collect();
    let mut only_tests: Vec<String> = Vec::new();
    for (file, code) in &coded {
        let path = Path::new(&file.path);
        let inner = match path.file_name().and_then(|name| name.to_str()) {
            Some("lib.rs" | "main.rs" | "mod.rs") => path.parent().unwrap_or(path).to_owned(),
            _ => path.with_extension(""),
        };
        only_tests
            .extend(test_modules(code).iter().map(|name| inner.join(name).to_string_lossy().into_owned()));
    }
    let is_test = |path: &str| {
        !path.contains("/src/")
            || only_tests.iter().any(|module| {
                path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            })
    };
    coded
        .into_iter()
        .filter(|(file, _)| !is_test(&file.path))
        .map(|(file, code)| (file, shipped(&code).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_file_without_header_or_too_long_is_found() {
        let files = [
            file("a.rs", "use x;\n"),
            file("b.rs", &"//! b\n".repeat(601)),
            file("c.rs", &"//!\n".repeat(401)),
        ];
        assert_eq!(headers(&files).len(), 1);
        assert!(sizes(&files)[0].starts_with("b.rs: 601"));
        assert!(long_files(&files)[0].starts_with("c.rs: 401"));
    }

    #[test]
    fn impure_words_are_found_in_shipped_pure_code_only() {
        let text = "//! x\nuse std::time::{Duration, Instant};\nuse std::{fmt, fs};\n// HashMap\n\
                    #[cfg(test)]\nmod tests {\n use std::collections::HashMap;\n}\n";
        let files = [
            file("agent/engine/src/uplink.rs", text),
            file("agent/daemon/src/wiring.rs", text),
            file("agent/engine/tests/uplink.rs", text),
        ];
        let found = purity(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("agent/engine/src/uplink.rs:2: pure code names `Instant`"), "{found:?}");
        assert!(found[1].contains("std::fs"), "{found:?}");
    }

    #[test]
    fn modules_for_tests_alone_are_not_shipped() {
        let files = [
            file("agent/engine/src/lib.rs", "//! x\n#[cfg(test)]\nmod bench_side;\n"),
            file("agent/engine/src/bench_side.rs", "use std::fs;\n"),
            file("agent/engine/src/bench_side/deep.rs", "use std::fs;\n"),
            file("agent/engine/src/bench_sides.rs", "use std::fs;\n"),
        ];
        let found = purity(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("agent/engine/src/bench_sides.rs:1"), "{found:?}");
    }

    #[test]
    fn leftovers_drawers_and_old_test_names_are_found() {
        let text = "//! x\nfn a() { todo!() }\n#[ignore]\n#[test]\nfn test_b() {}\n\n\n\nfn test_bench() {}\nmod helpers;\n// todo!()\n";
        let files = [file("hub/daemon/src/utils.rs", text)];
        assert_eq!(leftovers(&files).len(), 2);
        assert_eq!(test_names(&files).len(), 1);
        assert_eq!(drawers(&files).len(), 2);
        assert!(drawers(&[file("hub/daemon/src/helpers_of_steel.rs", "mod types_of_steel;")]).is_empty());
    }

    #[test]
    fn the_broker_library_outside_its_module_is_found() {
        let text = "use rumqttc::AsyncClient;\n";
        let files = [
            file("agent/daemon/src/mqtt/client.rs", text),
            file("agent/daemon/src/wiring.rs", text),
            file("agent/daemon/tests/broker.rs", text),
        ];
        let found = mqtt_stays_home(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("agent/daemon/src/wiring.rs:1"));
    }

    #[test]
    fn a_proof_of_a_flush_made_elsewhere_is_found() {
        let text = "let proof = Durable::attest(1);\n";
        let tested = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        let files = [
            file("shared/journal/src/commit.rs", text),
            file("agent/daemon/src/store.rs", text),
            file("agent/engine/src/intake.rs", &tested),
            file("agent/engine/tests/intake.rs", text),
            file("hub/fleet/src/main.rs", text),
        ];
        let found = attestation(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("agent/daemon/src/store.rs:1"));
    }
}
