//! Files that must be kept until delivery.

use super::error::SpoolError;
use crate::domain::{FileDigest, SpoolFile};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// The directory of files, named by what their bytes are.
#[derive(Clone)]
pub struct Spool(#[allow(dead_code)] Arc<()>);

/// One file on its way into the spool. Dropped unfinished, it leaves nothing behind.
pub struct SpoolWriter(#[allow(dead_code)] Arc<()>);

impl Spool {
    /// Begins a file.
    ///
    /// # Errors
    /// [`SpoolError::Full`] and [`SpoolError::DiskLow`] when nothing more is taken.
    pub async fn create(&self) -> Result<SpoolWriter, SpoolError> {
        todo!()
    }
    /// Where the file with this digest lies, whether or not it is there.
    pub fn path(&self, digest: FileDigest) -> PathBuf {
        let _ = digest;
        todo!()
    }
    /// How many bytes of files there are.
    pub fn bytes(&self) -> u64 {
        todo!()
    }
}

impl SpoolWriter {
    /// Makes the file durable under its digest.
    ///
    /// It stays at least until a commit names it, or for a day if none does.
    ///
    /// # Errors
    /// [`SpoolError::Io`] if it cannot be made durable; nothing is left behind then.
    pub async fn finish(self) -> Result<SpoolFile, SpoolError> {
        todo!()
    }
}

impl AsyncWrite for SpoolWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        todo!()
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        todo!()
    }
}
