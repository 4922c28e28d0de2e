//! A look at a signature, as far as an emulator needs one: is it a CMS, and is it over these bytes?
//!
//! It looks for patterns and parses nothing: what the connector checks with a real library must not be checked here
//! by the same means. Whether the signature itself is right is not looked at.

use super::options::SignatureCheck;
use sha2::{Digest as _, Sha256};

/// `1.2.840.113549.1.7.2`, SignedData (RFC 5652).
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `1.2.840.113549.1.9.4`, the attribute messageDigest.
const MESSAGE_DIGEST: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// `2.16.840.1.101.3.4.2.1`, SHA-256.
const SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// First byte of a DER or BER SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// Whether the bytes begin as a CMS in its binary form does.
pub(super) fn looks_binary(cms: &[u8]) -> bool {
    cms.first() == Some(&SEQUENCE)
}

/// What is wrong with a signature over `content`.
pub(super) fn fault(cms: &[u8], content: &[u8], check: SignatureCheck) -> Option<&'static str> {
    if check == SignatureCheck::Anything {
        return None;
    }
    if !looks_binary(cms) || find(cms, SIGNED_DATA).is_none() {
        return Some("the signature is not a CMS");
    }
    // The digest of a GOST signature cannot be computed here: such a one passes.
    if find(cms, SHA256).is_some() && find(cms, &expected_attribute(content)).is_none() {
        return Some("the signature is not over the content of this ticket");
    }
    let attached = find(cms, content).is_some();
    match (check, attached) {
        (SignatureCheck::Attached, false) => Some("the content is not inside the signature"),
        (SignatureCheck::Detached, true) => Some("the content is inside the signature"),
        _ => None,
    }
}

/// The attribute as it must stand in the signature: its type, a SET of one OCTET STRING, the digest.
fn expected_attribute(content: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(content);
    [MESSAGE_DIGEST, &[0x31, 0x22, 0x04, 0x20], &digest[..]].concat()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::signer::ScriptedSigner;

    #[test]
    fn a_signature_fits_its_own_content_and_its_own_form_only() {
        let signer = ScriptedSigner::new("000000000000", "210987654321");
        let (detached, attached) = (signer.sign_detached(b"content"), signer.sign_attached(b"content"));
        use SignatureCheck::{Anything, Attached, Content, Detached};
        for (cms, check, fits) in [
            (&detached, Content, true),
            (&attached, Content, true),
            (&detached, Attached, false),
            (&attached, Attached, true),
            (&detached, Detached, true),
            (&attached, Detached, false),
        ] {
            assert_eq!(fault(cms, b"content", check).is_none(), fits, "{check:?}");
            assert!(fault(cms, b"other content", check).is_some(), "{check:?}");
        }
        assert!(fault(b"no CMS at all", b"content", Content).is_some());
        assert!(fault(b"no CMS at all", b"content", Anything).is_none());
    }
}
