//! Backup: one file with everything, made while running; verify and restore.

use super::error::BackupError;
use super::invariants::InvariantReport;
use std::path::{Path, PathBuf};

/// How far a backup has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupProgress {
    /// Entries of the view written.
    pub entries: u64,
    /// Files of the spool written.
    pub files: u64,
    /// Bytes of the backup file so far.
    pub bytes: u64,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Where it is.
    pub path: PathBuf,
    /// The journal entry it stands at.
    pub sequence: u64,
    /// Entries of the view.
    pub entries: u64,
    /// Sagas among them.
    pub sagas: u64,
    /// Files of the spool.
    pub files: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of all that precedes the trailer, hex.
    pub sha256: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// What the backup holds.
    pub backup: BackupReport,
    /// The invariants of the store that was restored from it.
    pub invariants: InvariantReport,
}

/// Reads the whole of `file`, restores it into a temporary directory beside it, opens that, counts, and checks
/// the invariants. Blocking; needs as much free space as a restore.
///
/// # Errors
/// [`BackupError::Damaged`] if a byte is wrong, [`BackupError::Invariants`] if what was restored is not sound.
pub fn verify_backup(file: &Path) -> Result<VerifyReport, BackupError> {
    let _ = file;
    todo!()
}

/// Makes a store in `target_dir` from `file`. Blocking.
///
/// # Errors
/// [`BackupError::TargetNotEmpty`] if there is anything in `target_dir`; [`BackupError::Damaged`].
pub fn restore_backup(file: &Path, target_dir: &Path) -> Result<BackupReport, BackupError> {
    let _ = (file, target_dir);
    todo!()
}
