//! Our content against what is inside the signature: read once, compared and hashed in the same pass.

use super::error::CmsError;
use super::verify::DigestKind;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::io::{self, Read};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    None,
}

impl Hasher {
    fn new(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Sha256 => Self::Sha256(Sha256::new()),
            DigestKind::Sha384 => Self::Sha384(Sha384::new()),
            DigestKind::Sha512 => Self::Sha512(Sha512::new()),
            DigestKind::National => Self::None,
        }
    }
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::None => {}
        }
    }
    fn finish(self) -> Option<Vec<u8>> {
        match self {
            Self::Sha256(hasher) => Some(hasher.finalize().to_vec()),
            Self::Sha384(hasher) => Some(hasher.finalize().to_vec()),
            Self::Sha512(hasher) => Some(hasher.finalize().to_vec()),
            Self::None => None,
        }
    }
}

/// The digest of `content`, if it is of a kind that we have; with something `inside`, only if that is the same bytes.
///
/// # Errors
/// [`CmsError::ForeignContent`] for other bytes, [`CmsError::Content`] if ours cannot be read.
pub(super) fn compare(
    content: &mut dyn Read,
    inside: Option<&[u8]>,
    kind: DigestKind,
) -> Result<Option<Vec<u8>>, CmsError> {
    let mut hasher = Hasher::new(kind);
    let mut rest = inside;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CmsError::Content(error)),
        };
        let piece = &buffer[..count];
        if let Some(expected) = rest {
            rest = Some(expected.strip_prefix(piece).ok_or(CmsError::ForeignContent)?);
        }
        hasher.update(piece);
    }
    if rest.is_some_and(|left| !left.is_empty()) {
        return Err(CmsError::ForeignContent);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_the_same() {
        let ours = vec![5_u8; READ_BYTES + 10];
        let run = |inside: &[u8]| compare(&mut &ours[..], Some(inside), DigestKind::National).is_ok();
        assert!(run(&ours));
        assert!(!run(&ours[1..]));
        assert!(!run(&[&ours[..], &[5]].concat()));
        assert!(!run(&[]));
        let mut other = ours.clone();
        other[READ_BYTES + 3] = 6;
        assert!(!run(&other));
    }
}
