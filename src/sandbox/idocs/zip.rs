//! Archives as the emulated iDocs hands them out: stored, not compressed, a real zip that every tool opens.
//!
//! Invariants: the same entries, moment and comment give the same bytes; names are UTF-8 and said to be.

/// Bit 11 of the general purpose flag: names are UTF-8 (APPNOTE 4.4.4).
const UTF8_NAMES: u16 = 0x0800;
/// "Version needed to extract" of a stored entry.
const VERSION: u16 = 20;

/// One file of an archive.
pub(super) struct Entry<'a> {
    pub(super) name: String,
    pub(super) bytes: &'a [u8],
}

/// An archive of some files; the comment tells two archives of the same files apart.
pub(super) fn archive(entries: &[Entry<'_>], at_ms: i64, comment: &str) -> Vec<u8> {
    let moment = dos_moment(at_ms);
    let mut zip = Vec::with_capacity(entries.iter().map(|entry| entry.bytes.len() + 256).sum());
    let mut directory = Vec::new();
    for entry in entries {
        let offset = short(zip.len());
        zip.extend_from_slice(b"PK\x03\x04");
        put(&mut zip, &common(entry, moment));
        zip.extend_from_slice(entry.name.as_bytes());
        zip.extend_from_slice(entry.bytes);
        directory.extend_from_slice(b"PK\x01\x02");
        directory.extend_from_slice(&VERSION.to_le_bytes());
        put(&mut directory, &common(entry, moment));
        // No comment, first disk, no attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(entry.name.as_bytes());
    }
    let (start, count) = (short(zip.len()), u16::try_from(entries.len()).unwrap_or(u16::MAX));
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    put(&mut zip, &[count.to_le_bytes(), count.to_le_bytes()].concat());
    put(&mut zip, &[short(directory.len()).to_le_bytes(), start.to_le_bytes()].concat());
    zip.extend_from_slice(&u16::try_from(comment.len()).unwrap_or(0).to_le_bytes());
    zip.extend_from_slice(comment.as_bytes());
    zip
}

/// What the local head and the directory's line have in common, from "version needed" to "extra length".
fn common(entry: &Entry<'_>, (date, time): (u16, u16)) -> Vec<u8> {
    let mut part = Vec::with_capacity(26);
    for word in [VERSION, UTF8_NAMES, 0, time, date] {
        part.extend_from_slice(&word.to_le_bytes());
    }
    let size = short(entry.bytes.len());
    for word in [crc32fast::hash(entry.bytes), size, size] {
        part.extend_from_slice(&word.to_le_bytes());
    }
    for word in [u16::try_from(entry.name.len()).unwrap_or(u16::MAX), 0] {
        part.extend_from_slice(&word.to_le_bytes());
    }
    part
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(bytes);
}

/// Sizes and offsets: what is uploaded is far below 4 GB.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Date and time as DOS keeps them, UTC, in steps of two seconds.
fn dos_moment(at_ms: i64) -> (u16, u16) {
    let moment = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let civil = jiff::tz::TimeZone::UTC.to_datetime(moment);
    let word = |number: i16| u16::try_from(number).unwrap_or(0);
    let date =
        (word(civil.year() - 1_980) << 9) | (word(civil.month().into()) << 5) | word(civil.day().into());
    let time = (word(civil.hour().into()) << 11)
        | (word(civil.minute().into()) << 5)
        | (word(civil.second().into()) / 2);
    (date, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_the_sample_is_the_sample() {
        // 2025-06-01 10:00 UTC, one stored file, as `04-content-to-sign.zip` has it.
        let zip =
            archive(&[Entry { name: "contract.pdf".into(), bytes: b"%PDF-1.4\n" }], 1_748_772_000_000, "");
        assert!(zip.starts_with(b"PK\x03\x04\x14\0\0\x08\0\0\0\x50\xc1\x5a"));
        assert!(
            zip.ends_with(b"contract.pdfPK\x05\x06\0\0\0\0\x01\0\x01\0\x3a\0\0\0\x33\0\0\0\0\0"),
            "{zip:x?}"
        );
    }

    #[test]
    fn another_reader_finds_names_and_bytes() {
        let entries = [
            Entry { name: "договор.pdf".into(), bytes: b"first" },
            Entry { name: "signatures/1-sender.cms".into(), bytes: &[0xa5; 70_000] },
        ];
        let zip = archive(&entries, 1_748_772_000_000, "a comment");
        let mut reader = zip::ZipArchive::new(std::io::Cursor::new(zip)).expect("it is a zip");
        assert_eq!(reader.len(), entries.len());
        for entry in &entries {
            let mut bytes = Vec::new();
            let mut file = reader.by_name(&entry.name).expect("the name is there");
            // Checks the sum as well.
            std::io::Read::read_to_end(&mut file, &mut bytes).expect("it can be read");
            assert!(bytes == entry.bytes, "{}", entry.name);
        }
    }

    #[test]
    fn a_comment_makes_another_archive_of_the_same_files() {
        let entries = [Entry { name: "договор.pdf".into(), bytes: b"a" }];
        assert_ne!(archive(&entries, 0, "one"), archive(&entries, 0, "two"));
        assert_eq!(archive(&entries, 0, "one"), archive(&entries, 0, "one"));
    }
}
