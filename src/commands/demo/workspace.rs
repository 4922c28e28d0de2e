//! The demo's temporary folder, readable by its owner only, since the configuration in it holds secrets.
//!
//! Invariant: unless it was told to stay, the folder is gone when this value is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// A temporary folder.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    afterwards: Afterwards,
}

/// What becomes of the folder at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    Remove,
    Keep,
}

impl Workspace {
    /// Makes the folder under the system's folder for temporary files.
    ///
    /// # Errors
    /// When that folder cannot be written to.
    pub fn make() -> io::Result<Self> {
        let name = format!("edobridge-demo-{}", uuid::Uuid::new_v4().simple());
        let root = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&root)?;
        let workspace = Self { root, afterwards: Afterwards::Remove };
        DirBuilder::new().mode(0o700).create(workspace.data_dir())?;
        Ok(workspace)
    }

    /// Where edobridge keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.root.join("edobridge.toml")
    }
    /// The log of edobridge, of all its lives.
    pub fn log(&self) -> PathBuf {
        self.root.join("edobridge.log")
    }
    /// Writes the configuration, for the owner's eyes only.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn write_config(&self, text: &str) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.config())?;
        file.write_all(text.as_bytes())
    }
    /// Leaves the folder where it is.
    pub fn keep(&mut self) {
        self.afterwards = Afterwards::Keep;
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.afterwards == Afterwards::Remove {
            // A leftover in the temporary folder is no reason to fail.
            drop(fs::remove_dir_all(&self.root));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    #[test]
    fn the_folder_is_private_and_gone_afterwards_unless_kept() {
        let workspace = Workspace::make().unwrap();
        workspace.write_config("x = 1").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let root = workspace.root.clone();
        assert_eq!((mode(&root), mode(&workspace.config())), (0o700, 0o600));
        drop(workspace);
        assert!(!root.exists());
        let mut kept = Workspace::make().unwrap();
        kept.keep();
        let root = kept.root.clone();
        drop(kept);
        assert!(root.exists());
        fs::remove_dir_all(root).unwrap();
    }
}
