//! The first walk over a stranger's ASN.1: bounds on depth, number and width, and one form for all.
//!
//! Some signing programs write BER: indefinite lengths, and the content in pieces. The decoder reads DER only, so
//! such a CMS is rewritten with definite lengths and whole octet strings. What was signed are the signed attributes in
//! DER and the content itself, so that the rewriting changes nothing that is checked.

use super::error::CmsError;
use std::borrow::Cow;

/// Levels of constructed values. A CMS with certificates has about twelve.
const DEPTH_MAX: usize = 32;
/// Values in all. A CMS with a chain and a time stamp has under two thousand.
const VALUES_MAX: usize = 50_000;
/// Members of anything but a SEQUENCE: the decoder sorts sets in quadratic time, and no honest one has so many.
const MEMBERS_MAX: usize = 64;

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const OCTET_STRING_IN_PIECES: u8 = 0x24;
const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;
const INDEFINITE: u8 = 0x80;

/// `bytes` if they are one value within the bounds; rewritten where their form is not that of DER.
///
/// # Errors
/// [`CmsError::Structure`].
pub(super) fn definite(bytes: &[u8]) -> Result<Cow<'_, [u8]>, CmsError> {
    let mut walk = Walk { values: 0, rewrites: false };
    let end = walk.value(bytes, 0, 0)?;
    if end != bytes.len() {
        return Err(broken("bytes follow the end"));
    }
    if !walk.rewrites {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut out = Vec::with_capacity(bytes.len());
    rewrite(bytes, 0, &mut out)?;
    Ok(Cow::Owned(out))
}

fn broken(why: &str) -> CmsError {
    CmsError::Structure(why.to_owned())
}

/// The head of one value.
struct Head {
    tag: u8,
    /// Where its content begins.
    start: usize,
    /// Where its content ends; none for an indefinite length.
    end: Option<usize>,
    /// Whether the length is written as DER wants it.
    is_canonical: bool,
}

impl Head {
    /// Reads the head at `at`. Tags above 30 take several bytes and occur in no CMS.
    fn read(bytes: &[u8], at: usize) -> Result<Self, CmsError> {
        let (tag, first) = match bytes.get(at..at + 2) {
            Some(&[tag, first]) => (tag, first),
            Some(_) | None => return Err(broken("it breaks off")),
        };
        if tag & LONG_TAG == LONG_TAG {
            return Err(broken("a tag is too long"));
        }
        let start = at + 2;
        if first == INDEFINITE {
            if tag & CONSTRUCTED == 0 {
                return Err(broken("a primitive value has no length"));
            }
            return Ok(Self { tag, start, end: None, is_canonical: false });
        }
        let (length, start, is_canonical) = if first < INDEFINITE {
            (usize::from(first), start, true)
        } else {
            long_length(bytes, start, usize::from(first & 0x7f))?
        };
        let end = start.checked_add(length).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| broken("a length leads beyond the end"))?;
        Ok(Self { tag, start, end: Some(end), is_canonical })
    }

    fn is_constructed(&self) -> bool {
        self.tag & CONSTRUCTED != 0
    }
}

fn long_length(bytes: &[u8], start: usize, octets: usize) -> Result<(usize, usize, bool), CmsError> {
    if octets > 4 {
        return Err(broken("a length is too long"));
    }
    let digits = bytes.get(start..start + octets).ok_or_else(|| broken("it breaks off"))?;
    let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
    let is_canonical = length >= usize::from(INDEFINITE) && digits.first() != Some(&0);
    Ok((length, start + octets, is_canonical))
}

struct Walk {
    values: usize,
    rewrites: bool,
}

impl Walk {
    /// Goes over the value at `at` and says where it ends.
    fn value(&mut self, bytes: &[u8], at: usize, depth: usize) -> Result<usize, CmsError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(broken("it has too many parts"));
        }
        if depth > DEPTH_MAX {
            return Err(broken("it is nested too deeply"));
        }
        let head = Head::read(bytes, at)?;
        self.rewrites |= !head.is_canonical || head.tag == OCTET_STRING_IN_PIECES;
        if !head.is_constructed() {
            return head.end.ok_or_else(|| broken("a primitive value has no length"));
        }
        let (mut next, mut members) = (head.start, 0_usize);
        loop {
            if let Some(end) = ended(bytes, &head, next)? {
                return Ok(end);
            }
            members += 1;
            // content in pieces is a long list of its own
            if members > MEMBERS_MAX && !matches!(head.tag, SEQUENCE | OCTET_STRING_IN_PIECES) {
                return Err(broken("a set has too many members"));
            }
            next = self.value(within(bytes, &head), next, depth + 1)?;
        }
    }
}

/// The bytes that members of `head` may reach to.
fn within<'b>(bytes: &'b [u8], head: &Head) -> &'b [u8] {
    head.end.map_or(bytes, |end| &bytes[..end])
}

/// Where the value ends, if its members end at `next`.
fn ended(bytes: &[u8], head: &Head, next: usize) -> Result<Option<usize>, CmsError> {
    match head.end {
        Some(end) => Ok((next == end).then_some(end)),
        None => match bytes.get(next..next + 2) {
            Some([0, 0]) => Ok(Some(next + 2)),
            Some(_) => Ok(None),
            None => Err(broken("it breaks off")),
        },
    }
}

/// Writes the value at `at` with definite lengths; the walk has been over it, so it is within the bounds.
fn rewrite(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, CmsError> {
    let head = Head::read(bytes, at)?;
    if let (false, Some(end)) = (head.is_constructed(), head.end) {
        write_value(out, head.tag, &bytes[head.start..end]);
        return Ok(end);
    }
    let in_pieces = head.tag == OCTET_STRING_IN_PIECES;
    let (mut content, mut next) = (Vec::new(), head.start);
    let end = loop {
        if let Some(end) = ended(bytes, &head, next)? {
            break end;
        }
        next = if in_pieces {
            piece(within(bytes, &head), next, &mut content)?
        } else {
            rewrite(within(bytes, &head), next, &mut content)?
        };
    };
    write_value(out, if in_pieces { OCTET_STRING } else { head.tag }, &content);
    Ok(end)
}

/// One piece of an octet string; pieces of pieces occur nowhere.
fn piece(bytes: &[u8], at: usize, content: &mut Vec<u8>) -> Result<usize, CmsError> {
    let head = Head::read(bytes, at)?;
    match head.end {
        Some(end) if head.tag == OCTET_STRING => {
            content.extend_from_slice(&bytes[head.start..end]);
            Ok(end)
        }
        Some(_) | None => Err(broken("a piece of the content is no octet string")),
    }
}

fn write_value(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < INDEFINITE => out.push(short),
        Ok(_) | Err(_) => {
            let digits = length.to_be_bytes();
            let skipped = digits.iter().take_while(|digit| **digit == 0).count();
            // a usize has at most eight digits
            out.push(INDEFINITE | (digits.len() - skipped) as u8);
            out.extend_from_slice(&digits[skipped..]);
        }
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(bytes: &[u8]) -> String {
        definite(bytes).map_or_else(|error| error.to_string(), |_| "ok".to_owned())
    }

    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(Vec::new(), |inner, _| {
            let mut outer = Vec::new();
            write_value(&mut outer, SEQUENCE, &inner);
            outer
        })
    }

    #[test]
    fn der_is_left_as_it_is() {
        let der = [0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0x61];
        assert!(matches!(definite(&der), Ok(Cow::Borrowed(same)) if same == der));
    }

    #[test]
    fn ber_is_written_anew_with_definite_lengths_and_whole_content() {
        let pieces = [0x24, 0x80, 0x04, 0x01, 0x61, 0x04, 0x02, 0x62, 0x63, 0x00, 0x00];
        let mut ber = vec![0x30, 0x80, 0xa0, 0x80];
        ber.extend_from_slice(&pieces);
        ber.extend_from_slice(&[0x00, 0x00, 0x02, 0x81, 0x01, 0x05, 0x00, 0x00]);
        let want = [0x30, 0x0a, 0xa0, 0x05, 0x04, 0x03, 0x61, 0x62, 0x63, 0x02, 0x01, 0x05];
        assert_eq!(definite(&ber).unwrap().as_ref(), want);
    }

    #[test]
    fn long_contents_keep_their_length() {
        for length in [0, 127, 128, 255, 256, 70_000] {
            let mut value = Vec::new();
            write_value(&mut value, OCTET_STRING, &vec![7; length]);
            assert!(matches!(definite(&value), Ok(Cow::Borrowed(_))), "{length}");
        }
    }

    #[test]
    fn what_is_too_deep_too_wide_or_torn_is_refused() {
        assert_eq!(why(&nested(DEPTH_MAX)), "ok");
        assert!(why(&nested(DEPTH_MAX + 2)).contains("deeply"));
        let wide = |tag: u8, members: usize| {
            let mut value = Vec::new();
            write_value(&mut value, tag, &[2, 1, 5].repeat(members));
            value
        };
        assert_eq!(why(&wide(0x31, MEMBERS_MAX)), "ok");
        assert!(why(&wide(0x31, MEMBERS_MAX + 1)).contains("members"));
        assert_eq!(why(&wide(SEQUENCE, 1_000)), "ok");
        assert!(why(&wide(SEQUENCE, VALUES_MAX + 1)).contains("parts"));
        for torn in [&[][..], &[0x30], &[0x30, 0x02, 0x02], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert_ne!(why(torn), "ok", "{torn:?}");
        }
        assert!(why(&[0x30, 0x00, 0x00]).contains("follow"));
        assert!(why(&[0x30, 0x80, 0x02, 0x01, 0x05]).contains("breaks off"));
        assert!(why(&[0x30, 0x03, 0x02, 0x02, 0x05]).contains("beyond"), "a member longer than its parent");
        assert!(why(&[0x04, 0x80, 0x00, 0x00]).contains("no length"));
        assert!(why(&[0x1f, 0x81, 0x00]).contains("tag"));
    }
}
