//! Where the two programs are.

use std::env;
use std::path::{Path, PathBuf};

use crate::PlantError;

/// Names the directory of the programs when they are not beside the running one.
pub const BIN_DIR: &str = "MILLRACE_BIN_DIR";

/// The two programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `millrace-hub`.
    pub hub: PathBuf,
    /// `millrace-agent`.
    pub agent: PathBuf,
}

impl Programs {
    /// Finds them: in `$MILLRACE_BIN_DIR`, or beside the running program, or (a test) one directory above it.
    ///
    /// # Errors
    /// When one is missing; the text says how to build it.
    pub fn find() -> Result<Self, PlantError> {
        if let Some(directory) = env::var_os(BIN_DIR) {
            return Self::within(&PathBuf::from(directory));
        }
        let own = env::current_exe().map_err(PlantError::file("the running program"))?;
        let beside = own.parent().unwrap_or(Path::new("."));
        // cargo puts tests into target/<profile>/deps and programs into target/<profile>.
        let beside = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
        Self::within(beside)
    }

    /// The programs in `directory`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn within(directory: &Path) -> Result<Self, PlantError> {
        let program = |name: &'static str| {
            let place = directory.join(name);
            if place.is_file() { Ok(place) } else { Err(PlantError::ProgramMissing { name, place }) }
        };
        Ok(Self { hub: program("millrace-hub")?, agent: program("millrace-agent")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_command_that_builds_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = Programs::within(empty.path()).unwrap_err().to_string();
        assert!(error.contains("cargo build -p millrace-agent -p millrace-hub"), "{error}");
    }
}
