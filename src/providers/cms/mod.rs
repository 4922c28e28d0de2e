//! Signatures that a signer's own program made: CMS SignedData (RFC 5652), checked as far as can be done without the
//! cryptography of Kazakhstan's standards (`reference/signing-providers.md` d.5).
//!
//! [`decode`] takes what a stranger sends and gives its binary form; [`check`] looks into it. Neither knows what a
//! document is, who signs or where bytes lie: the content is read once, as a stream.
//!
//! Not judged here: the certificate's chain, its revocation, its time. The signing service does that when the signature
//! is saved, and [`Checked::findings`] says so rather than claiming more.
//!
//! Invariants:
//! - **CM-1** no input makes this panic, recurse deeply or work for longer than its length allows: `structure` goes
//!   over it before any decoder does;
//! - **CM-2** what is accepted has one signer, the signer's certificate, and fits the content as far as the
//!   digest is one that we have; what could not be compared is named;
//! - **CM-3** no error carries a whole IIN or BIN: the page of a stranger would show it.

mod armour;
mod content;
mod error;
mod signed;
mod structure;
mod subject;
mod verify;

pub use armour::decode;
pub use error::{CmsError, Number};

use crate::domain::Timestamp;
use crate::domain::signing::{Encapsulation, SignatureEvidence, SignerIdentity};
use crate::domain::subject_pattern::SubjectPatterns;
use der::asn1::ObjectIdentifier;
use std::io::Read;

/// What a signature has to be like.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// Whether the content has to be inside.
    pub encapsulation: Encapsulation,
    /// Whose certificate it has to carry; an absent number is not compared.
    pub signer: &'w SignerIdentity,
    /// Where numbers stand in a certificate.
    pub patterns: &'w SubjectPatterns,
}

/// One thing that can be looked at in a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The content inside is ours, byte for byte.
    Content,
    /// The signed digest is that of our content.
    Digest,
    /// The signature value was made with the certificate's key over the signed attributes.
    Signature,
    /// The certificate's numbers are those of the wanted signer.
    Signer,
    /// The certificate was issued by an authority that is trusted, was valid then, and was not revoked.
    Chain,
}

impl Check {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Signer => "signer",
            Self::Chain => "chain",
        }
    }
}

/// Whether something was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It was, and it fits.
    Fits,
    /// It does not apply: nothing is inside, nobody is named.
    NotAsked,
    /// It was not: we do not have this algorithm.
    NotChecked(ObjectIdentifier),
    /// It was not: that is the signing service's business.
    LeftToService,
}

/// A signature that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What is kept of it.
    pub evidence: SignatureEvidence,
    /// When the signer's computer said it was signed; nobody vouches for it.
    pub signed_at: Option<Timestamp>,
    /// What was looked at and what was not.
    pub findings: [(Check, Finding); 5],
}

/// Checks the binary form of a signature against `content`, of which as much is read as there is.
///
/// # Errors
/// [`CmsError`] for the first thing that does not fit.
pub fn check(bytes: &[u8], wanted: &Wanted<'_>, content: &mut dyn Read) -> Result<Checked, CmsError> {
    let definite = structure::definite(bytes)?;
    let signed = signed::Signed::read(&definite)?;
    let digest = verify::DigestKind::of(signed.digest_algorithm())?;
    let inside = signed.content(wanted.encapsulation)?;
    let computed = content::compare(content, inside, digest)?;
    let digest_finding = match computed {
        Some(computed) if computed == signed.message_digest() => Finding::Fits,
        Some(_) => return Err(CmsError::ForeignContent),
        None => Finding::NotChecked(signed.digest_algorithm()),
    };
    let signature_finding = verify::signature(&signed, digest)?;
    let found = subject::identity(wanted.patterns, signed.certificate());
    let signer_finding = subject::compare(wanted.signer, &found)?;
    let evidence = SignatureEvidence {
        signer: found,
        subject: subject::common_name(signed.certificate()),
        serial_hex: signed.serial_hex(),
        valid_from: signed.valid_from(),
        valid_to: signed.valid_to(),
        digest_algorithm: signed.digest_algorithm().to_string(),
        digest_checked: digest_finding == Finding::Fits,
        signature_checked: signature_finding == Finding::Fits,
    };
    let content_finding = if inside.is_some() { Finding::Fits } else { Finding::NotAsked };
    Ok(Checked {
        evidence,
        signed_at: signed.signing_time(),
        findings: [
            (Check::Content, content_finding),
            (Check::Digest, digest_finding),
            (Check::Signature, signature_finding),
            (Check::Signer, signer_finding),
            (Check::Chain, Finding::LeftToService),
        ],
    })
}
