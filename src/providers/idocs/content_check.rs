//! The hash guard: whether the bytes that our signer is given to sign hold the file that we sent.
//!
//! What iDocs gives to sign is a zip of the original files (OpenAPI snapshot). It holds ours if an entry inflates to
//! exactly our bytes. What else is in it is counted, so that a person can be told. Nothing is ever unpacked to disk.
//!
//! Invariant: never more than the size of our own file is inflated from one entry, whatever the zip claims.

use crate::domain::{FileDigest, SpoolFile};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::read::ZipFile;

/// Most entries of a zip that is looked at: a document has one file, rarely a few.
const ENTRIES_MAX: usize = 100;
/// The end record of a zip, and the longest comment after it (APPNOTE 4.3.16).
const END_BYTES: u64 = 22;
const COMMENT_BYTES_MAX: u64 = 65_535;
const END_MARK: &[u8] = b"PK\x05\x06";
/// Bytes inflated at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest name of an entry that is kept.
const NAME_CHARS_MAX: usize = 200;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentCheck {
    /// An entry is exactly our file.
    Holds {
        /// Its name in the zip.
        entry: String,
        /// How many other files are in it.
        others: usize,
    },
    /// No entry is: something else would be signed.
    Foreign {
        /// How many files are in it.
        files: usize,
    },
    /// It is no zip that can be read.
    Unreadable {
        /// Why, for the operator.
        why: String,
    },
}

impl ContentCheck {
    /// Whether our file is in it.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Holds { .. })
    }
}

/// Looks whether a zip holds our file. Works on a thread of its own: it reads and hashes.
///
/// # Errors
/// The zip cannot be read from our disk.
pub async fn content_holds(zip: PathBuf, ours: SpoolFile) -> io::Result<ContentCheck> {
    let work = tokio::task::spawn_blocking(move || check(&zip, ours));
    work.await.map_err(io::Error::other)?
}

/// The same on this thread.
///
/// # Errors
/// The zip cannot be read from our disk.
pub fn check(zip: &Path, ours: SpoolFile) -> io::Result<ContentCheck> {
    let mut file = File::open(zip)?;
    let unreadable = |why: &dyn std::fmt::Display| ContentCheck::Unreadable { why: why.to_string() };
    match entry_count(&mut file)? {
        None => return Ok(unreadable(&"it has no end record of a zip")),
        Some(count) if count > ENTRIES_MAX => return Ok(unreadable(&format!("it has {count} entries"))),
        Some(_) => {}
    }
    let mut archive = match ZipArchive::new(file) {
        Ok(archive) => archive,
        Err(zip::result::ZipError::Io(error)) if is_of_our_disk(&error) => return Err(error),
        Err(error) => return Ok(unreadable(&error)),
    };
    let mut files = 0;
    let mut holds = None;
    for place in 0..archive.len().min(ENTRIES_MAX) {
        let mut entry = match archive.by_index(place) {
            Ok(entry) => entry,
            Err(error) => return Ok(unreadable(&error)),
        };
        if entry.is_dir() {
            continue;
        }
        files += 1;
        // an entry of another size cannot be ours, and inflating it would prove nothing
        if holds.is_some() || entry.size() != ours.size_bytes {
            continue;
        }
        match digest_of(&mut entry, ours.size_bytes) {
            Ok(Some(digest)) if digest == ours.digest => holds = Some(name_of(&entry)),
            Ok(_) => {}
            Err(error) if is_of_our_disk(&error) => return Err(error),
            Err(error) => return Ok(unreadable(&error)),
        }
    }
    Ok(holds
        .map_or(ContentCheck::Foreign { files }, |entry| ContentCheck::Holds { entry, others: files - 1 }))
}

/// The number of entries by the end record, which is read before the directory is: a small file can claim very many.
fn entry_count(file: &mut File) -> io::Result<Option<usize>> {
    let length = file.metadata()?.len();
    let tail_length = length.min(END_BYTES + COMMENT_BYTES_MAX);
    file.seek(SeekFrom::Start(length - tail_length))?;
    let mut tail = Vec::new();
    file.take(tail_length).read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    let end = tail.windows(END_MARK.len()).rposition(|window| window == END_MARK);
    let count = end.and_then(|end| tail.get(end + 10..end + 12));
    Ok(count.and_then(|bytes| Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))))
}

/// The digest of an entry; none if it is longer than it says.
fn digest_of(entry: &mut impl Read, size_bytes: u64) -> io::Result<Option<FileDigest>> {
    let mut hasher = Sha256::new();
    let mut bounded = entry.take(size_bytes.saturating_add(1));
    let mut buffer = vec![0_u8; CHUNK_BYTES];
    let mut seen: u64 = 0;
    loop {
        let read = bounded.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        seen += read as u64;
        hasher.update(&buffer[..read]);
    }
    Ok((seen == size_bytes).then(|| FileDigest(hasher.finalize().into())))
}

/// Whether an error is about our own disk and not about what is in the file.
fn is_of_our_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof, Unsupported};
    !matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof | Unsupported)
}

/// The entry's name for the history; empty where it is in no readable alphabet.
fn name_of<R: Read>(entry: &ZipFile<'_, R>) -> String {
    let name = entry.name().unwrap_or_default();
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    fn facts(bytes: &[u8]) -> SpoolFile {
        SpoolFile { digest: FileDigest(Sha256::digest(bytes).into()), size_bytes: bytes.len() as u64 }
    }

    fn zipped(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in entries {
            if name.ends_with('/') {
                writer.add_directory(*name, options).unwrap();
            } else {
                writer.start_file(*name, options).unwrap();
                writer.write_all(bytes).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    }

    fn check_bytes(zip: &[u8], ours: &[u8]) -> ContentCheck {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        std::fs::write(&path, zip).unwrap();
        check(&path, facts(ours)).unwrap()
    }

    #[test]
    fn our_bytes_are_found_under_any_name_and_in_both_methods() {
        let ours = crate::providers::spool_io::tests::pattern(300_000);
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let zip = zipped(&[("d/", b""), ("note.txt", b"x"), ("d/Договор.pdf", &ours)], method);
            let found = check_bytes(&zip, &ours);
            assert_eq!(found, ContentCheck::Holds { entry: "d/Договор.pdf".into(), others: 1 });
        }
    }

    #[test]
    fn one_changed_byte_and_another_length_are_foreign() {
        let ours = b"contract".to_vec();
        for other in [&b"Contract"[..], b"contract ", b"contrac", b""] {
            let zip = zipped(&[("contract.pdf", other)], CompressionMethod::Deflated);
            assert_eq!(check_bytes(&zip, &ours), ContentCheck::Foreign { files: 1 });
        }
        assert_eq!(
            check_bytes(&zipped(&[], CompressionMethod::Stored), &ours),
            ContentCheck::Foreign { files: 0 }
        );
    }

    #[test]
    fn the_sample_of_the_service_is_read() {
        let sample = format!("{}/tests/data/idocs/04-content-to-sign.zip", env!("CARGO_MANIFEST_DIR"));
        let ours = {
            let mut archive = ZipArchive::new(File::open(&sample).unwrap()).unwrap();
            let mut bytes = Vec::new();
            archive.by_name("contract.pdf").unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert!(ours.starts_with(b"%PDF-"));
        assert!(check(Path::new(&sample), facts(&ours)).unwrap().holds());
        assert!(!check(Path::new(&sample), facts(b"other")).unwrap().holds());
    }

    #[test]
    fn what_is_no_zip_or_a_damaged_one_is_unreadable() {
        let ours = crate::providers::spool_io::tests::pattern(5_000);
        let good = zipped(&[("a.pdf", &ours)], CompressionMethod::Stored);
        let mut damaged = good.clone();
        damaged[200] ^= 1;
        for bad in [&b""[..], b"PK", b"<html>", &good[..good.len() - 30], &damaged] {
            let found = check_bytes(bad, &ours);
            assert!(matches!(found, ContentCheck::Unreadable { .. }), "{found:?}");
        }
    }

    #[test]
    fn a_zip_with_a_crowd_of_entries_is_not_looked_through() {
        let names: Vec<String> = (0..=ENTRIES_MAX).map(|n| format!("{n}")).collect();
        let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        let found = check_bytes(&zipped(&entries, CompressionMethod::Stored), b"x");
        assert!(matches!(found, ContentCheck::Unreadable { .. }), "{found:?}");
    }

    #[test]
    fn a_bomb_that_lies_about_its_size_is_not_inflated() {
        // 20 MB of zeros that claim to be as long as our file
        let mut zip = zipped(&[("a.pdf", &vec![0; 20_000_000])], CompressionMethod::Deflated);
        let real = 20_000_000_u32.to_le_bytes();
        let claimed = 8_u32.to_le_bytes();
        let mut places = 0;
        for at in 0..zip.len() - 4 {
            if zip[at..at + 4] == real {
                zip[at..at + 4].copy_from_slice(&claimed);
                places += 1;
            }
        }
        assert!(places >= 1, "the size stands in the directory");
        assert!(!check_bytes(&zip, b"contract").holds());
    }

    #[test]
    fn bytes_changed_at_random_are_never_taken_for_ours_and_never_panic() {
        let ours = crate::providers::spool_io::tests::pattern(400);
        let good = zipped(&[("a.pdf", &ours)], CompressionMethod::Deflated);
        for place in 0..good.len() {
            for flip in [1_u8, 0x80] {
                let mut bad = good.clone();
                bad[place] ^= flip;
                // whatever the change was, if it is held then the inflated bytes are exactly ours
                let _ = check_bytes(&bad, &ours);
                assert!(!check_bytes(&bad, b"something else").holds());
            }
            let _ = check_bytes(&good[..place], &ours);
        }
    }

    #[tokio::test]
    async fn a_missing_file_is_our_own_trouble() {
        assert!(content_holds(PathBuf::from("/nonexistent/zip"), facts(b"x")).await.is_err());
    }
}
