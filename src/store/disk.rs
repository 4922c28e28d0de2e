//! All file work of the journal, the checkpoint, the snapshots and the spool goes through here.
//!
//! One small layer, so that a test (or a whole failure sweep) can stand between the store and the disk: make the
//! n-th write or sync fail, tear it, fill the disk, or take the power away. The view (sled) does its own file
//! work and is therefore never believed after anything that this layer could not see.
//!
//! It deliberately does not know what the files mean.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing that is about to be done, or was done.
#[derive(Debug)]
pub enum DiskOp<'a> {
    /// A file is opened; `create` tells whether it may be made.
    Open {
        /// Its path.
        path: &'a Path,
        /// Whether it is made.
        create: bool,
    },
    /// Bytes are written at a place of a file.
    Write {
        /// Its path.
        path: &'a Path,
        /// The open file: what the bytes replace can be read from it.
        file: &'a File,
        /// Where.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// A file's data are made durable.
    Sync {
        /// Its path.
        path: &'a Path,
    },
    /// A directory's entries are made durable.
    SyncDir {
        /// Its path.
        path: &'a Path,
    },
    /// A file gets another name.
    Rename {
        /// The old name.
        from: &'a Path,
        /// The new name.
        to: &'a Path,
    },
    /// A file is removed.
    Remove {
        /// Its path.
        path: &'a Path,
    },
}

/// What shall happen to an operation.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Go,
    /// It fails, and nothing of it is done.
    Fail(io::Error),
    /// A write fails after this many bytes.
    Torn(usize, io::Error),
}

/// Stands between the store and the disk. Production has none.
pub trait DiskHook: Send + Sync + 'static {
    /// Asked before each operation.
    fn before(&self, op: &DiskOp<'_>) -> Answer;
    /// Told after each operation that succeeded.
    fn after(&self, op: &DiskOp<'_>);
    /// What the disk says of its free space, if not the truth.
    fn free_bytes(&self) -> Option<u64>;
}

/// The disk, as the store sees it.
#[derive(Clone, Default)]
pub struct Disk {
    hook: Option<Arc<dyn DiskHook>>,
}

impl Disk {
    /// The real disk.
    pub fn real() -> Self {
        Self::default()
    }
    /// The real disk with `hook` in front.
    pub fn hooked(hook: Arc<dyn DiskHook>) -> Self {
        Self { hook: Some(hook) }
    }

    fn run<T>(&self, op: &DiskOp<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(hook) = &self.hook else { return act() };
        match hook.before(op) {
            Answer::Go => {}
            Answer::Fail(error) | Answer::Torn(_, error) => return Err(error),
        }
        let value = act()?;
        hook.after(op);
        Ok(value)
    }

    /// Opens a file for reading and writing.
    pub(super) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        let file = self.run(&DiskOp::Open { path, create: false }, || {
            OpenOptions::new().read(true).write(true).open(path)
        })?;
        Ok(DiskFile { disk: self.clone(), file, path: path.to_owned() })
    }

    /// Opens a file for reading only.
    pub(super) fn open_read(&self, path: &Path) -> io::Result<DiskFile> {
        let file = self.run(&DiskOp::Open { path, create: false }, || File::open(path))?;
        Ok(DiskFile { disk: self.clone(), file, path: path.to_owned() })
    }

    /// Makes a file that is not there yet, or empties the one that is.
    pub(super) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        let file = self.run(&DiskOp::Open { path, create: true }, || {
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
        })?;
        Ok(DiskFile { disk: self.clone(), file, path: path.to_owned() })
    }

    /// Gives a file another name, replacing what had it.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(&DiskOp::Rename { from, to }, || fs::rename(from, to))
    }

    /// Removes a file; one that is not there is fine.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.run(&DiskOp::Remove { path }, || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    /// Makes a directory's entries durable.
    pub(super) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(&DiskOp::SyncDir { path }, || File::open(path)?.sync_all())
    }

    /// Makes a directory and those above it that are missing, all durable with their names. The name of one that is
    /// there already is made durable as well: whoever made it may have died before he could.
    pub(super) fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.make_dir(path, 0o777)
    }

    /// The same for nobody else to read.
    pub(super) fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        self.make_dir(path, 0o700)
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if path.is_dir() {
            return match self.sync_dir(parent) {
                // Not made by us: somebody else's directory that we may enter and not read.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            };
        }
        if !parent.is_dir() {
            self.make_dir(parent, mode)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            other => other?,
        }
        self.sync_dir(parent)
    }

    /// Replaces a small file so that after a power cut there is either the old one or the new one.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let tmp = path.with_extension("tmp");
        let file = self.create(&tmp)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        self.rename(&tmp, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }

    /// A small file's bytes; `None` if it is not there.
    pub(super) fn read_small(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Free bytes for us on the disk that holds `path`.
    pub(super) fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        if let Some(bytes) = self.hook.as_ref().and_then(|hook| hook.free_bytes()) {
            return Ok(bytes);
        }
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Whether there was no room on the disk, or no more of it for us.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The paths in a directory, sorted by name; a directory that is not there has none.
pub(super) fn list_dir(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// An open file.
pub(super) struct DiskFile {
    disk: Disk,
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Writes all of `bytes` at `offset`.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let op = DiskOp::Write { path: &self.path, file: &self.file, offset, len: bytes.len() };
        let Some(hook) = &self.disk.hook else { return self.file.write_all_at(bytes, offset) };
        match hook.before(&op) {
            Answer::Go => {}
            Answer::Fail(error) => return Err(error),
            Answer::Torn(part, error) => {
                self.file.write_all_at(&bytes[..part.min(bytes.len())], offset)?;
                return Err(error);
            }
        }
        self.file.write_all_at(bytes, offset)?;
        hook.after(&op);
        Ok(())
    }

    /// Reads until `buffer` is full or the file ends; says how much it got.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Makes the data durable, and of the metadata what is needed to read them.
    pub fn sync_data(&self) -> io::Result<()> {
        self.disk.run(&DiskOp::Sync { path: &self.path }, || self.file.sync_data())
    }

    /// Makes data and metadata durable.
    pub fn sync_all(&self) -> io::Result<()> {
        self.disk.run(&DiskOp::Sync { path: &self.path }, || self.file.sync_all())
    }

    /// How many bytes it has.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the store asks of the machine it runs on. A test gives its own.
#[derive(Clone)]
pub struct Host {
    /// The disk.
    pub disk: Disk,
    /// The kernel's id of this boot; none = unknown, and then a view left open is never trusted.
    pub boot_id: Option<String>,
}

impl Host {
    /// The machine we are on.
    pub fn here() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let boot_id = boot_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        Self { disk: Disk::real(), boot_id }
    }
}
