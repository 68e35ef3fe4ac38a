//! Reads the workspace: crates with their dependencies, and all Rust files.
//!
//! Promise: directories that do not exist yet are no error; order is by path.
//! Absent: rules.

use std::fs;
use std::path::{Path, PathBuf};

/// The three storeys under which crates live.
const STOREYS: [&str; 3] = ["shared", "agent", "hub"];

/// Directories that hold no source of ours.
const FOREIGN: [&str; 6] = ["target", ".git", "node_modules", "corpus", "artifacts", "bench-results"];

/// A crate.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// Its directory, such as `shared/model`.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) needs: Vec<Need>,
}

/// One dependency of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) name: String,
    /// Whether the shipped program contains it; false for dev-dependencies.
    pub(crate) shipped: bool,
    /// The features that are asked for.
    pub(crate) features: Vec<String>,
}

/// A Rust file, its path relative to the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct House {
    pub(crate) rooms: Vec<Room>,
    pub(crate) files: Vec<Source>,
}

impl House {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
        let mut files = Vec::new();
        collect(&root, &root, &mut files);
        Self { rooms: rooms(&root), files }
    }
}

fn rooms(root: &Path) -> Vec<Room> {
    let mut rooms = Vec::new();
    for storey in STOREYS {
        for directory in children(&root.join(storey)) {
            let Ok(text) = fs::read_to_string(directory.join("Cargo.toml")) else { continue };
            rooms.push(room(&relative(root, &directory), &text));
        }
    }
    rooms
}

/// The crate that a `Cargo.toml` describes.
pub(crate) fn room(path: &str, manifest: &str) -> Room {
    let manifest: toml::Table = manifest.parse().unwrap_or_else(|error| panic!("{path}/Cargo.toml: {error}"));
    let name = manifest["package"]["name"].as_str().unwrap().to_owned();
    let mut needs = Vec::new();
    gather(&manifest, &mut needs);
    for target in manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.values())
    {
        gather(target.as_table().unwrap(), &mut needs);
    }
    Room { path: path.to_owned(), name, needs }
}

fn gather(table: &toml::Table, needs: &mut Vec<Need>) {
    for (key, shipped) in [("dependencies", true), ("build-dependencies", true), ("dev-dependencies", false)]
    {
        for (name, value) in table.get(key).and_then(toml::Value::as_table).into_iter().flatten() {
            let renamed = value.get("package").and_then(toml::Value::as_str);
            let features = value.get("features").and_then(toml::Value::as_array).into_iter().flatten();
            let features = features.filter_map(toml::Value::as_str).map(str::to_owned).collect();
            needs.push(Need { name: renamed.unwrap_or(name).to_owned(), shipped, features });
        }
    }
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<Source>) {
    for path in children(directory) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !FOREIGN.contains(&name.as_str()) {
                collect(root, &path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // A file can vanish between listing and reading while its author moves it.
            if let Ok(text) = fs::read_to_string(&path) {
                files.push(Source { path: relative(root, &path), text });
            }
        }
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().into_owned()
}

#[test]
fn dependencies_of_every_kind_and_name_are_seen() {
    let text = "
        [package]
        name = \"millrace-x\"
        [dependencies]
        store = { package = \"rusqlite\", version = \"1\" }
        serde.workspace = true
        [dev-dependencies]
        tempfile = \"3\"
        [target.'cfg(unix)'.dependencies]
        libc = \"0.2\"
    ";
    let room = room("shared/x", text);
    let mut seen: Vec<(&str, bool)> =
        room.needs.iter().map(|need| (need.name.as_str(), need.shipped)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("libc", true), ("rusqlite", true), ("serde", true), ("tempfile", false)]);
}
