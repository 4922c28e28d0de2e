//! Which algorithms are known, and the signature value itself where its key is RSA or ECDSA.
//!
//! The national algorithms of Kazakhstan (GOST) are known by name only: their digests and values are taken unseen, and
//! the finding says so. Any other algorithm is refused, or a made-up name would be a way around every check.

use super::Finding;
use super::error::CmsError;
use super::signed::Signed;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::ObjectIdentifier;

/// The branch of Kazakhstan's algorithms: keys and signatures stand below `.1`, digests below `.3`
/// (`reference/signing-providers.md` d.5). Not told apart here: older programs name them freely, and none of them can be
/// computed anyway.
const NATIONAL: &str = "1.2.398.3.10.1.";

const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const SHA512: &str = "2.16.840.1.101.3.4.2.3";

const RSA_KEY: &str = "1.2.840.113549.1.1.1";
const EC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";

/// Of which kind a digest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DigestKind {
    Sha256,
    Sha384,
    Sha512,
    /// One of the national standards, which we cannot compute.
    National,
}

impl DigestKind {
    /// # Errors
    /// [`CmsError::Algorithm`].
    pub(super) fn of(oid: ObjectIdentifier) -> Result<Self, CmsError> {
        match oid.to_string().as_str() {
            SHA256 => Ok(Self::Sha256),
            SHA384 => Ok(Self::Sha384),
            SHA512 => Ok(Self::Sha512),
            name if name.starts_with(NATIONAL) => Ok(Self::National),
            name => Err(CmsError::Algorithm(name.to_owned())),
        }
    }
}

/// What a name of a signature algorithm says.
enum Scheme {
    Rsa(DigestKind),
    Ecdsa(DigestKind),
    National,
}

impl Scheme {
    /// `rsaEncryption` alone leaves the digest to the other member.
    fn of(oid: ObjectIdentifier, digest: DigestKind) -> Result<Self, CmsError> {
        use DigestKind::{Sha256, Sha384, Sha512};
        Ok(match oid.to_string().as_str() {
            RSA_KEY => Self::Rsa(digest),
            "1.2.840.113549.1.1.11" => Self::Rsa(Sha256),
            "1.2.840.113549.1.1.12" => Self::Rsa(Sha384),
            "1.2.840.113549.1.1.13" => Self::Rsa(Sha512),
            "1.2.840.10045.4.3.2" => Self::Ecdsa(Sha256),
            "1.2.840.10045.4.3.3" => Self::Ecdsa(Sha384),
            "1.2.840.10045.4.3.4" => Self::Ecdsa(Sha512),
            name if name.starts_with(NATIONAL) => Self::National,
            name => return Err(CmsError::Algorithm(name.to_owned())),
        })
    }
}

/// Verifies the value of the signature with the key of its certificate, where we can.
///
/// # Errors
/// [`CmsError::SignatureValue`], [`CmsError::Algorithm`].
pub(super) fn signature(signed: &Signed, digest: DigestKind) -> Result<Finding, CmsError> {
    let name = signed.signature_algorithm();
    let key = &signed.certificate().tbs_certificate.subject_public_key_info;
    let key_name = key.algorithm.oid.to_string();
    let scheme = Scheme::of(name, digest)?;
    let algorithm = match &scheme {
        // a national value under a key that we could have verified is somebody's trick
        Scheme::National if key_name.starts_with(NATIONAL) => {
            return Ok(Finding::NotChecked(name));
        }
        Scheme::Rsa(digest) if key_name == RSA_KEY => rsa(*digest),
        Scheme::Ecdsa(digest) if key_name == EC_KEY => {
            let parameters = key.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            ecdsa(&curve.map(|oid| oid.to_string()).unwrap_or_default(), *digest)
        }
        Scheme::National | Scheme::Rsa(_) | Scheme::Ecdsa(_) => return Err(CmsError::SignatureValue),
    };
    let algorithm = algorithm.ok_or_else(|| CmsError::Algorithm(name.to_string()))?;
    let bits = key.subject_public_key.as_bytes().ok_or(CmsError::SignatureValue)?;
    UnparsedPublicKey::new(algorithm, bits)
        .verify(&signed.signed_bytes()?, signed.signature_value())
        .map_err(|_| CmsError::SignatureValue)?;
    Ok(Finding::Fits)
}

fn rsa(digest: DigestKind) -> Option<&'static dyn VerificationAlgorithm> {
    match digest {
        DigestKind::Sha256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        DigestKind::Sha384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        DigestKind::Sha512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        DigestKind::National => None,
    }
}

fn ecdsa(curve: &str, digest: DigestKind) -> Option<&'static dyn VerificationAlgorithm> {
    match (curve, digest) {
        (P256, DigestKind::Sha256) => Some(&ECDSA_P256_SHA256_ASN1),
        (P256, DigestKind::Sha384) => Some(&ECDSA_P256_SHA384_ASN1),
        (P256, DigestKind::Sha512) => Some(&ECDSA_P256_SHA512_ASN1),
        (P384, DigestKind::Sha256) => Some(&ECDSA_P384_SHA256_ASN1),
        (P384, DigestKind::Sha384) => Some(&ECDSA_P384_SHA384_ASN1),
        (P384, DigestKind::Sha512) => Some(&ECDSA_P384_SHA512_ASN1),
        (_, _) => None,
    }
}
