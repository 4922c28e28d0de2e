//! Files between the spool and the wire, in constant memory: what goes out is framed and checked, what comes in is
//! counted. It is hashed where it is named by its hash, in the spool, and not here once more.
//!
//! Knows nothing of where the spool lies; it is given paths and sinks.
//!
//! Invariant: the end of an outgoing file is held back until its SHA-256 has been compared, so a damaged spool file
//! never reaches a remote as a whole request. Bytes at hand need no comparing: they are those that were hashed.

use crate::domain::{FileDigest, SpoolFile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of a file read at once: a multiple of 3, so that Base64 needs padding at the end only.
const READ_BYTES: usize = 48 * 1024;

/// A file up to this size is read, checked and coded at once, by one hand-over to a thread that may block: a hand-over
/// costs more than the reading. It is then in memory for as long as its request lasts.
const AT_ONCE_BYTES_MAX: u64 = 256 * 1024;

/// A file of ours to be sent: where it lies and what its bytes must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// Where it lies.
    pub path: PathBuf,
    /// What its bytes must be.
    pub facts: SpoolFile,
    /// Its bytes, if whoever hashed them still has them: then the file is not read.
    pub at_hand: AtHand,
}

impl FileSource {
    /// A file that is read from its path.
    pub fn new(path: PathBuf, facts: SpoolFile) -> Self {
        Self { path, facts, at_hand: AtHand::default() }
    }

    /// The same with its bytes: the very ones whose hash `facts` tells.
    #[must_use]
    pub fn at_hand(self, bytes: Option<Bytes>) -> Self {
        let bytes = bytes.filter(|bytes| bytes.len() as u64 == self.facts.size_bytes);
        Self { at_hand: AtHand(bytes), ..self }
    }
}

/// The bytes of a file, perhaps. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AtHand(Option<Bytes>);

impl std::fmt::Debug for AtHand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "AtHand(..)" } else { "AtHand(none)" })
    }
}

/// How the file's bytes are written into the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As they are (a part of multipart/form-data).
    Raw,
    /// Standard alphabet with padding, no line breaks (a JSON string).
    Base64,
}

/// A request body made of a beginning, a file and an end, and perhaps another of the same. Its length is known before
/// it is read.
#[derive(Debug, Clone)]
pub struct FramedFile {
    /// What comes before the file.
    pub prefix: Bytes,
    /// The file.
    pub file: FileSource,
    /// How the file is written.
    pub coding: Coding,
    /// What comes after the file.
    pub suffix: Bytes,
    /// What comes after that.
    pub then: Option<Box<FramedFile>>,
}

/// Watches a body while it is sent: how far it got, and what went wrong on our side.
#[derive(Debug, Clone, Default)]
pub struct SendWatch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    fault: OnceLock<String>,
    chunks: AtomicU64,
}

impl SendWatch {
    /// The fault on our side, if there was one: then the remote got no whole body.
    pub fn fault(&self) -> Option<&str> {
        self.0.fault.get().map(String::as_str)
    }
    /// How many chunks were handed over: as long as it grows, the remote is reading.
    pub fn chunks(&self) -> u64 {
        self.0.chunks.load(Ordering::Relaxed)
    }
    fn note<T>(&self, step: &io::Result<T>) {
        match step {
            Ok(_) => {
                self.0.chunks.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                // The first fault is the cause; a second one cannot follow, the stream has ended.
                let _ = self.0.fault.set(error.to_string());
            }
        }
    }
}

impl FramedFile {
    /// The length of the whole body in bytes.
    pub fn content_length(&self) -> u64 {
        let size = self.file.facts.size_bytes;
        let coded = match self.coding {
            Coding::Raw => size,
            Coding::Base64 => size.div_ceil(3).saturating_mul(4),
        };
        let rest = self.then.as_deref().map_or(0, Self::content_length);
        let frame = (self.prefix.len() + self.suffix.len()) as u64;
        coded.saturating_add(frame).saturating_add(rest)
    }

    /// Opens the file and gives the body's chunks.
    ///
    /// # Errors
    /// The file cannot be opened or has another size than recorded: nothing was sent.
    pub async fn open(
        &self,
    ) -> io::Result<(impl Stream<Item = io::Result<Bytes>> + Send + 'static, SendWatch)> {
        let watch = SendWatch::default();
        let mut frames = Vec::new();
        let mut next = Some(self);
        while let Some(framed) = next {
            let content = if framed.file.facts.size_bytes <= AT_ONCE_BYTES_MAX {
                Content::Whole(framed.whole().await?)
            } else {
                Content::Reader(framed.reader().await?)
            };
            frames.push((framed.prefix.clone(), content, framed.suffix.clone()));
            next = framed.then.as_deref();
        }
        frames.reverse();
        let start = Sending::Between { frames };
        let seen = watch.clone();
        let chunks = stream::try_unfold(start, move |state| {
            let seen = seen.clone();
            async move {
                let step = state.next().await;
                seen.note(&step);
                step
            }
        });
        Ok((chunks, watch))
    }

    /// The whole file, coded. Only if it is what it should be.
    async fn whole(&self) -> io::Result<Bytes> {
        if let AtHand(Some(bytes)) = &self.file.at_hand {
            // A hand-over would cost as much as the coding.
            return Ok(self.coding.code(bytes.clone()));
        }
        let (path, facts, coding) = (self.file.path.clone(), self.file.facts, self.coding);
        let work = move || {
            let mut bytes = Vec::with_capacity(usize::try_from(facts.size_bytes).unwrap_or(0) + 1);
            // One byte more than it should have tells a file that is too long, whatever its length.
            std::fs::File::open(&path)?.take(facts.size_bytes + 1).read_to_end(&mut bytes)?;
            check_size(bytes.len() as u64, facts.size_bytes)?;
            check_digest(FileDigest(Sha256::digest(&bytes).into()), facts.digest)?;
            Ok(coding.code(bytes.into()))
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// The file at its beginning.
    async fn reader(&self) -> io::Result<Box<Reader>> {
        let file = File::open(&self.file.path).await?;
        check_size(file.metadata().await?.len(), self.file.facts.size_bytes)?;
        Ok(Box::new(Reader {
            file,
            left: self.file.facts.size_bytes,
            hasher: Sha256::new(),
            expected: self.file.facts.digest,
            coding: self.coding,
        }))
    }
}

impl Coding {
    fn code(self, bytes: Bytes) -> Bytes {
        match self {
            Self::Raw => bytes,
            Self::Base64 => Bytes::from(STANDARD.encode(&bytes)),
        }
    }
}

/// What stands between the frame's two ends.
enum Content {
    /// Coded and checked.
    Whole(Bytes),
    /// To be read piece by piece.
    Reader(Box<Reader>),
}

/// Beginning, file, end.
type Frame = (Bytes, Content, Bytes);

enum Sending {
    /// What is still to come, the next at the end.
    Between {
        frames: Vec<Frame>,
    },
    File {
        content: Content,
        suffix: Bytes,
        frames: Vec<Frame>,
    },
    /// What stands behind a file.
    End {
        suffix: Bytes,
        frames: Vec<Frame>,
    },
}

impl Sending {
    async fn next(self) -> io::Result<Option<(Bytes, Self)>> {
        match self {
            Sending::Between { mut frames } => Ok(frames
                .pop()
                .map(|(prefix, content, suffix)| (prefix, Sending::File { content, suffix, frames }))),
            Sending::File { content: Content::Whole(bytes), suffix, frames } => {
                Ok(Some((bytes, Sending::End { suffix, frames })))
            }
            Sending::File { content: Content::Reader(mut reader), suffix, frames } => Ok(Some(match reader
                .chunk()
                .await?
            {
                Some(chunk) => (chunk, Sending::File { content: Content::Reader(reader), suffix, frames }),
                None => (suffix, Sending::Between { frames }),
            })),
            Sending::End { suffix, frames } => Ok(Some((suffix, Sending::Between { frames }))),
        }
    }
}

struct Reader {
    file: File,
    left: u64,
    hasher: Sha256,
    expected: FileDigest,
    coding: Coding,
}

impl Reader {
    /// The next coded chunk; the last one only if the whole file is what it should be.
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(READ_BYTES).min(READ_BYTES);
        let mut buffer = vec![0_u8; wanted];
        self.file.read_exact(&mut buffer).await?;
        self.hasher.update(&buffer);
        self.left -= wanted as u64;
        if self.left == 0 {
            check_digest(FileDigest(self.hasher.clone().finalize().into()), self.expected)?;
        }
        Ok(Some(self.coding.code(buffer.into())))
    }
}

fn check_size(found: u64, expected: u64) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(damaged(&format!("the file has {found} bytes or more instead of {expected}")))
}

fn check_digest(found: FileDigest, expected: FileDigest) -> io::Result<()> {
    if found == expected { Ok(()) } else { Err(damaged("the file's SHA-256 is not the recorded one")) }
}

fn damaged(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// What came into a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes.
    pub size_bytes: u64,
}

/// Counts what goes into a sink.
pub struct CountingSink<'s> {
    sink: &'s mut (dyn AsyncWrite + Unpin + Send),
    size_bytes: u64,
}

impl<'s> CountingSink<'s> {
    /// Writes into `sink`.
    pub fn new(sink: &'s mut (dyn AsyncWrite + Unpin + Send)) -> Self {
        Self { sink, size_bytes: 0 }
    }

    /// Bytes written so far.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Writes a chunk.
    ///
    /// # Errors
    /// Those of the sink: the disk is full, the file is gone.
    pub async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.sink.write_all(chunk).await?;
        self.size_bytes += chunk.len() as u64;
        Ok(())
    }

    /// Flushes the sink and says what was written. Syncing to the disk is the owner's business.
    ///
    /// # Errors
    /// Those of the sink.
    pub async fn finish(self) -> io::Result<Received> {
        self.sink.flush().await?;
        Ok(Received { size_bytes: self.size_bytes })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use futures_util::TryStreamExt as _;

    /// Writes `bytes` into a file of `dir` and describes it truthfully.
    pub(crate) fn source_of(dir: &tempfile::TempDir, bytes: &[u8]) -> FileSource {
        let path = dir.path().join("source");
        std::fs::write(&path, bytes).unwrap();
        let digest = FileDigest(Sha256::digest(bytes).into());
        FileSource::new(path, SpoolFile { digest, size_bytes: bytes.len() as u64 })
    }

    /// Bytes that repeat with a period no chunk size divides.
    pub(crate) fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    async fn body(framed: &FramedFile) -> io::Result<Vec<u8>> {
        let (chunks, _) = framed.open().await?;
        chunks
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend(&chunk);
                Ok(all)
            })
            .await
    }

    fn framed(file: FileSource, coding: Coding) -> FramedFile {
        FramedFile {
            prefix: Bytes::from_static(b"<<"),
            file,
            coding,
            suffix: Bytes::from_static(b">>"),
            then: None,
        }
    }

    #[tokio::test]
    async fn two_files_in_one_body_come_whole_and_in_order() {
        let dirs = [tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap()];
        let second = framed(source_of(&dirs[1], b"two"), Coding::Raw);
        let first = framed(source_of(&dirs[0], b"one"), Coding::Base64);
        let both = FramedFile { then: Some(Box::new(second)), ..first };
        assert_eq!(body(&both).await.unwrap(), b"<<b25l>><<two>>");
        assert_eq!(both.content_length(), 15);
    }

    #[tokio::test]
    async fn a_framed_file_has_the_length_it_promises() {
        let dir = tempfile::tempdir().unwrap();
        let at_once = AT_ONCE_BYTES_MAX as usize;
        let large = (at_once / READ_BYTES + 1) * READ_BYTES;
        for len in [0, 1, 2, 3, 4, at_once, at_once + 1, large - 1, large, large + 1, large + 7] {
            let bytes = pattern(len);
            let raw = framed(source_of(&dir, &bytes), Coding::Raw);
            let coded = framed(source_of(&dir, &bytes), Coding::Base64);
            let raw_body = body(&raw).await.unwrap();
            let coded_body = body(&coded).await.unwrap();
            assert_eq!(raw_body, [b"<<", bytes.as_slice(), b">>"].concat());
            assert_eq!(coded_body, [b"<<", STANDARD.encode(&bytes).as_bytes(), b">>"].concat());
            assert_eq!(raw.content_length(), raw_body.len() as u64);
            assert_eq!(coded.content_length(), coded_body.len() as u64);
        }
    }

    #[tokio::test]
    async fn bytes_at_hand_are_sent_without_the_file_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let source = source_of(&dir, b"one");
        std::fs::remove_file(&source.path).unwrap();
        for (coding, sent) in [(Coding::Raw, b"<<one>>".as_slice()), (Coding::Base64, b"<<b25l>>")] {
            let at_hand = source.clone().at_hand(Some(Bytes::from_static(b"one")));
            assert!(!format!("{at_hand:?}").contains("one"));
            assert_eq!(body(&framed(at_hand, coding)).await.unwrap(), sent);
            let of_another_size = source.clone().at_hand(Some(Bytes::from_static(b"four")));
            assert!(
                body(&framed(of_another_size, coding)).await.is_err(),
                "the file is read, and is not there"
            );
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_never_sent_whole() {
        let dir = tempfile::tempdir().unwrap();
        for len in [READ_BYTES * 2, AT_ONCE_BYTES_MAX as usize + 1] {
            let bytes = pattern(len);
            let source = source_of(&dir, &bytes);
            let framed = framed(source.clone(), Coding::Raw);
            let mut changed = bytes.clone();
            changed[5] ^= 1;
            std::fs::write(&source.path, &changed).unwrap();
            let fault = match framed.open().await {
                // A small one is found out before anything is sent, a large one before its end is.
                Err(error) => error.to_string(),
                Ok((chunks, watch)) => {
                    assert!(chunks.try_collect::<Vec<_>>().await.is_err());
                    watch.fault().unwrap_or_default().to_owned()
                }
            };
            assert!(fault.contains("SHA-256"), "{fault}");
            for wrong in [&bytes[1..], &[bytes.as_slice(), b"more"].concat(), b"short"] {
                std::fs::write(&source.path, wrong).unwrap();
                assert!(framed.open().await.is_err());
            }
        }
    }

    #[tokio::test]
    async fn what_is_received_is_counted() {
        let mut sink = Vec::new();
        let mut counting = CountingSink::new(&mut sink);
        counting.write(b"ab").await.unwrap();
        counting.write(b"c").await.unwrap();
        assert_eq!(counting.size_bytes(), 3);
        assert_eq!(counting.finish().await.unwrap(), Received { size_bytes: 3 });
        assert_eq!(sink, b"abc");
    }
}
