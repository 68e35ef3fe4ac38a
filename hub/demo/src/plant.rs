//! A plant: one directory for all its processes, and the programs.
//!
//! ```text
//! DIR/NAME/        data directory of the process NAME
//! DIR/NAME.toml    its config
//! DIR/NAME.log     what it said
//! ```
//!
//! Promise: the directory is removed with the plant, unless somebody keeps it or a test fails in it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{PlantError, Programs, Road, RoadOptions};

/// A directory and programs.
#[derive(Debug)]
pub struct Plant {
    directory: PathBuf,
    temporary: Option<TempDir>,
    programs: Programs,
}

impl Plant {
    /// A plant in a new directory among the temporary files.
    ///
    /// # Errors
    /// When a program is missing, or no directory can be made.
    pub fn build() -> Result<Self, PlantError> {
        let programs = Programs::find()?;
        // Short, because the path of a Unix socket below it has at most 107 bytes.
        let temporary = tempfile::Builder::new().prefix("millrace-").tempdir();
        let temporary = temporary.map_err(PlantError::file(std::env::temp_dir()))?;
        Ok(Self { directory: temporary.path().to_owned(), temporary: Some(temporary), programs })
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its programs.
    #[must_use]
    pub const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Leaves the directory where it is when the plant ends.
    pub fn keep(&mut self) -> &Path {
        if let Some(temporary) = self.temporary.take() {
            self.directory = temporary.keep();
        }
        &self.directory
    }

    /// Where the process `name` keeps its data.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where its words go.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// Writes a config file for the process `name`.
    pub(crate) fn configure(&self, name: &str, config: &serde_json::Value) -> Result<PathBuf, PlantError> {
        let path = self.directory.join(format!("{name}.toml"));
        let table =
            toml::Table::try_from(config).map_err(|error| PlantError::answer("the config", &error))?;
        fs::write(&path, table.to_string()).map_err(PlantError::file(&path))?;
        Ok(path)
    }

    /// A road to `hub`, whole and without losses.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn road(&self, hub: &crate::Hub) -> Result<Road, PlantError> {
        self.road_to(hub.quic()).await
    }

    /// A road to an address where somebody listens, or will.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn road_to(&self, target: std::net::SocketAddr) -> Result<Road, PlantError> {
        let road = Road::start(target, RoadOptions::default()).await;
        road.map_err(|source| PlantError::Road { target: target.to_string(), source })
    }
}

/// Copies a directory with everything in it, as a backup does; sockets are left out.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<(), PlantError> {
    fs::create_dir_all(to).map_err(PlantError::file(to))?;
    for entry in fs::read_dir(from).map_err(PlantError::file(from))? {
        let entry = entry.map_err(PlantError::file(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(PlantError::file(&source))?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(PlantError::file(&source))?;
        }
    }
    Ok(())
}

impl Drop for Plant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the plant is kept in {}", self.keep().display());
        }
    }
}
