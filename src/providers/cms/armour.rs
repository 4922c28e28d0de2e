//! From what a stranger sends to bytes: PEM with CMS armour, Base64, or binary.

use super::error::CmsError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Armours that signing programs write: RFC 7468 calls it CMS, older programs PKCS7.
const ARMOURS: [(&str, &str); 2] =
    [("-----BEGIN CMS-----", "-----END CMS-----"), ("-----BEGIN PKCS7-----", "-----END PKCS7-----")];
/// Every BER value of a CMS begins with a SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// The binary form of what was sent, at most `bytes_max` of it.
///
/// Text may have white space anywhere between its characters, since mail programs and clipboards put it there; nothing
/// else is forgiven: an armour has to be whole, Base64 padded and canonical, and nothing may follow.
///
/// # Errors
/// [`CmsError::Empty`], [`CmsError::TooLarge`], [`CmsError::Coding`].
pub fn decode(sent: &[u8], bytes_max: u64) -> Result<Vec<u8>, CmsError> {
    let limited = |bytes: Vec<u8>| match bytes.len() as u64 {
        0 => Err(CmsError::Empty),
        length if length > bytes_max => Err(CmsError::TooLarge { bytes_max }),
        _ => Ok(bytes),
    };
    // no text in Base64 begins with '0' followed by a byte above ASCII, and no CMS is shorter than 128 bytes
    if sent.first() == Some(&SEQUENCE) && sent.get(1).is_some_and(|byte| !byte.is_ascii()) {
        return limited(sent.to_vec());
    }
    let text = std::str::from_utf8(sent).map_err(|_| CmsError::Coding)?.trim();
    let inner = inside_armour(text)?;
    let plain: Vec<u8> = inner.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if plain.len() as u64 / 4 * 3 > bytes_max.saturating_add(3) {
        return Err(CmsError::TooLarge { bytes_max });
    }
    STANDARD.decode(plain).map_err(|_| CmsError::Coding).and_then(limited)
}

fn inside_armour(text: &str) -> Result<&str, CmsError> {
    if !text.starts_with('-') {
        return Ok(text);
    }
    let inner = ARMOURS.into_iter().find_map(|(begin, end)| text.strip_prefix(begin)?.strip_suffix(end));
    inner.ok_or(CmsError::Coding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(sent: &[u8]) -> &'static str {
        decode(sent, 100).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn the_three_forms_mean_the_same_bytes() {
        let bytes = [0x30, 0x82, 0x00, 0x01, 0xff];
        for sent in [
            &bytes[..],
            b"MIIAAf8=",
            b" MIIA\r\nAf8=\n",
            b"-----BEGIN CMS-----\nMIIA\nAf8=\n-----END CMS-----\n",
            b"\xEF\xBB\xBF-----BEGIN CMS-----MIIAAf8=-----END CMS-----"
                .strip_prefix(b"\xEF\xBB\xBF")
                .unwrap(),
            b"-----BEGIN PKCS7-----\r\nMIIAAf8=\r\n-----END PKCS7-----",
        ] {
            assert_eq!(decode(sent, 100).unwrap(), bytes, "{sent:?}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for (sent, want) in [
            (&b""[..], "empty"),
            (b"  \n", "empty"),
            (b"-----BEGIN CMS----------END CMS-----", "empty"),
            (b"MIIAAf8", "unreadable"),
            (b"MIIAAf9=", "unreadable"),
            (b"MIIA-f8=", "unreadable"),
            (b"MIIAAf8=MIIA", "unreadable"),
            (b"-----BEGIN CMS-----\nMIIA", "unreadable"),
            (b"-----BEGIN CMS-----\nMIIA\n-----END PKCS7-----", "unreadable"),
            (b"-----BEGIN CERTIFICATE-----\nMIIA\n-----END CERTIFICATE-----", "unreadable"),
            (b"-----BEGIN CMS-----MIIA-----END CMS-----MIIA", "unreadable"),
            (b"\xff\xfe", "unreadable"),
        ] {
            assert_eq!(code(sent), want, "{}", String::from_utf8_lossy(sent));
        }
    }

    #[test]
    fn the_limit_holds_for_every_form() {
        let long = [&[0x30, 0x82][..], &[0; 99]].concat();
        assert_eq!(code(&long), "too_large");
        assert_eq!(code(STANDARD.encode(&long).as_bytes()), "too_large");
        assert_eq!(decode(&long[..100], 100).unwrap().len(), 100);
        assert_eq!(decode(STANDARD.encode(&long[..100]).as_bytes(), 100).unwrap().len(), 100);
    }
}
