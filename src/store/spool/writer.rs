//! One file on its way into the spool: gathered, hashed and written by blocking threads, named when it is whole.

use super::super::disk::DiskFile;
use super::super::error::SpoolError;
use super::landing::Arrival;
use super::{Inner, LEASE, Spool, blocking};
use crate::domain::{FileDigest, SpoolFile};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How much is gathered before it is given to the disk: large enough that an ordinary contract costs one hand-over
/// and a 100 MB file few, small enough that many files at once do not fill the memory.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// What the buffer begins with: grown from nothing, it would be copied ten times over.
const BUFFER_BYTES_FIRST: usize = 128 << 10;

impl Spool {
    /// A file that is about to be written. Blocking.
    pub(in super::super) fn create_blocking(&self) -> Result<SpoolSink, SpoolError> {
        let file = self.0.disk.create(&self.0.next_temp_path())?;
        let sink = SpoolSink {
            inner: Arc::clone(&self.0),
            file,
            hash: Sha256::new(),
            written: 0,
            fate: Fate::Dropped,
        };
        self.0.check_room(0)?;
        Ok(sink)
    }

    /// Keeps a small file: in the landing, or where nobody takes it in as a file of its own.
    async fn keep_small(&self, bytes: Bytes) -> Result<SpoolFile, SpoolError> {
        if self.0.landing.is_open() {
            self.0.check_room(bytes.len() as u64)?;
            let (reply, answer) = oneshot::channel();
            let gone = || io::Error::other("the store is closed");
            let size = bytes.len() as u64;
            if !self.0.landing.give(Arrival { bytes, reply }) {
                self.0.give_back(size);
                return Err(gone().into());
            }
            return answer.await.map_err(|_| gone())?;
        }
        let spool = self.clone();
        blocking(move || {
            let file = spool.written(None, &bytes)?.finish()?;
            spool.0.fresh().keep(file.digest, bytes);
            Ok(file)
        })
        .await?
    }

    /// The file, begun if it was not yet, with these bytes at its end.
    fn written(&self, sink: Option<Box<SpoolSink>>, bytes: &[u8]) -> Result<Box<SpoolSink>, SpoolError> {
        let mut sink = match sink {
            Some(sink) => sink,
            None => Box::new(self.create_blocking()?),
        };
        if !bytes.is_empty() {
            sink.write(bytes)?;
        }
        Ok(sink)
    }
}

/// The blocking half of a file that is being written.
pub(in super::super) struct SpoolSink {
    inner: Arc<Inner>,
    file: DiskFile,
    hash: Sha256,
    written: u64,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The temporary file is removed.
    Dropped,
    /// It got its name.
    Kept,
}

impl SpoolSink {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.inner.check_room(bytes.len() as u64)?;
        let at = self.written;
        self.written += bytes.len() as u64;
        self.file.write_all_at(bytes, at)?;
        self.hash.update(bytes);
        Ok(())
    }

    /// Makes the file durable under its digest.
    pub fn finish(mut self) -> Result<SpoolFile, SpoolError> {
        self.file.sync_all()?;
        let digest = FileDigest(std::mem::take(&mut self.hash).finalize().into());
        let path = self.inner.path(digest);
        let shard = path.parent().unwrap_or(&self.inner.dir).to_owned();
        self.inner.make_shard(&shard)?;
        self.name(digest, &path)?;
        self.inner.disk.sync_dir(&shard)?;
        Ok(SpoolFile { digest, size_bytes: self.written })
    }

    fn name(&mut self, digest: FileDigest, path: &Path) -> io::Result<()> {
        let mut ledger = self.inner.ledger();
        // One of the same digest and another size is damaged: ours takes its place.
        let old = path.metadata().map(|m| m.len()).ok();
        if old != Some(self.written) {
            self.inner.disk.rename(self.file.path(), path)?;
            self.fate = Fate::Kept;
            ledger.held = ledger.held.saturating_sub(old.unwrap_or(0));
        }
        ledger.leases.insert(digest, Instant::now() + LEASE);
        Ok(())
    }
}

impl Drop for SpoolSink {
    fn drop(&mut self) {
        if self.fate == Fate::Dropped {
            // What cannot be removed now is removed at the next opening.
            let _ = self.inner.disk.remove(self.file.path());
            let mut ledger = self.inner.ledger();
            ledger.held = ledger.held.saturating_sub(self.written);
        }
    }
}

/// One file on its way into the spool. Dropped unfinished, it leaves nothing behind.
///
/// To flush it means to wait for what is with the disk: only [`SpoolWriter::finish`] makes anything of it.
pub struct SpoolWriter {
    spool: Spool,
    work: Work,
}

/// The file and the emptied buffer, back from the blocking thread.
type Rest = (Box<SpoolSink>, Vec<u8>);

/// Writing and hashing happen on a blocking thread, a buffer at a time. A hand-over to it costs more than the work on
/// a small file, which is therefore begun, written and finished by one.
enum Work {
    /// The file, if it was begun, and what is gathered.
    Idle(Option<Box<SpoolSink>>, Vec<u8>),
    Busy(JoinHandle<Result<Rest, SpoolError>>),
    Failed,
}

impl SpoolWriter {
    pub(super) fn new(spool: &Spool) -> Self {
        Self { spool: spool.clone(), work: Work::Idle(None, Vec::new()) }
    }

    /// Makes the file durable under its digest.
    ///
    /// It stays at least until a commit names it, or for a day if none does.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::DiskLow`], [`SpoolError::Io`]; nothing is left behind then.
    pub async fn finish(mut self) -> Result<SpoolFile, SpoolError> {
        poll_fn(|cx| self.poll_idle(cx)).await?;
        let Work::Idle(sink, mut buffer) = std::mem::replace(&mut self.work, Work::Failed) else {
            return Err(failed_before().into());
        };
        if sink.is_none() {
            buffer.shrink_to_fit();
            return self.spool.keep_small(buffer.into()).await;
        }
        blocking(move || self.spool.written(sink, &buffer)?.finish()).await?
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Work::Busy(handle) = &mut self.work else {
            let failed = matches!(self.work, Work::Failed);
            return Poll::Ready(if failed { Err(failed_before()) } else { Ok(()) });
        };
        let done = ready!(Pin::new(handle).poll(cx));
        self.work = Work::Failed;
        let (sink, buffer) = done.map_err(io::Error::other)??;
        self.work = Work::Idle(Some(sink), buffer);
        Poll::Ready(Ok(()))
    }

    fn hand_over(&mut self) {
        if let Work::Idle(sink, mut buffer) = std::mem::replace(&mut self.work, Work::Failed) {
            let spool = self.spool.clone();
            self.work = Work::Busy(tokio::task::spawn_blocking(move || {
                let sink = spool.written(sink, &buffer)?;
                buffer.clear();
                Ok((sink, buffer))
            }));
        }
    }
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write to this file failed")
}

impl AsyncWrite for SpoolWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.work {
                Work::Idle(_, buffer) if buffer.len() < BUFFER_BYTES => {
                    let part = bytes.len().min(BUFFER_BYTES - buffer.len());
                    if buffer.capacity() == 0 {
                        buffer.reserve_exact(BUFFER_BYTES_FIRST.max(part));
                    }
                    buffer.extend_from_slice(&bytes[..part]);
                    return Poll::Ready(Ok(part));
                }
                Work::Idle(..) => self.hand_over(),
                Work::Busy(_) | Work::Failed => ready!(self.poll_idle(cx))?,
            }
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_idle(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_idle(cx)
    }
}
