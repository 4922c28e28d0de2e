//! A scripted signer: what NCALayer and a person's key make of some bytes, with a throw-away key, for tests and the
//! demo.
//!
//! The CMS (RFC 5652) and the certificate (RFC 5280) are written byte by byte, so that nothing is shared with the
//! library that checks them. ECDSA over P-256 with SHA-256, because GOST has no public implementation here; the
//! subject is written as Kazakhstan's PKI does it: `serialNumber=IIN...`, `OU=BIN...`.
//!
//! Invariants: the certificate is in the signature; the signed attributes are contentType, signingTime and
//! messageDigest; the key is never given out and dies with the signer.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};

/// Object identifiers in DER, without tag and length.
mod oid {
    pub(super) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    pub(super) const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    pub(super) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
    pub(super) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
    pub(super) const SIGNING_TIME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x05];
    pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    pub(super) const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    pub(super) const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    pub(super) const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];
    pub(super) const COUNTRY: &[u8] = &[0x55, 0x04, 0x06];
    pub(super) const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
    pub(super) const UNIT: &[u8] = &[0x55, 0x04, 0x0b];
    pub(super) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
}

/// Tags of DER.
mod tag {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const BIT_STRING: u8 = 0x03;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const OID: u8 = 0x06;
    pub(super) const UTF8: u8 = 0x0c;
    pub(super) const PRINTABLE: u8 = 0x13;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    /// `[0]`, constructed.
    pub(super) const CONTEXT_0: u8 = 0xa0;
    /// `[3]`, constructed.
    pub(super) const CONTEXT_3: u8 = 0xa3;
}

/// Bits digitalSignature and nonRepudiation of a key's usage.
const SIGNING_USAGE: &[u8] = &[0x06, 0xc0];
/// The certificate begins so long before it is made, and ends so long after: clocks differ.
const VALID_BEFORE_S: i64 = 86_400;
const VALID_AFTER_S: i64 = 365 * 86_400;

/// Somebody with a key who signs whatever bytes he is shown.
pub struct ScriptedSigner {
    iin: String,
    bin: Option<String>,
    key: EcdsaKeyPair,
    name: Vec<u8>,
    serial: Vec<u8>,
    certificate: Vec<u8>,
}

impl std::fmt::Debug for ScriptedSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedSigner")
            .field("iin", &self.iin)
            .field("bin", &self.bin)
            .finish_non_exhaustive()
    }
}

impl ScriptedSigner {
    /// Somebody with this IIN who signs for the company with this BIN; each call makes another key.
    pub fn new(iin: &str, bin: &str) -> Self {
        Self::with(iin, Some(bin))
    }

    /// Somebody who signs for himself.
    pub fn individual(iin: &str) -> Self {
        Self::with(iin, None)
    }

    fn with(iin: &str, bin: Option<&str>) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .expect("a machine that speaks TLS has randomness for a key");
        let name = subject(iin, bin);
        let serial = uuid::Uuid::new_v4().as_bytes().to_vec();
        let mut signer = Self {
            iin: iin.to_owned(),
            bin: bin.map(str::to_owned),
            key,
            name,
            serial: positive(&serial),
            certificate: Vec::new(),
        };
        signer.certificate = signer.certify(jiff::Timestamp::now().as_second());
        signer
    }

    /// The IIN in the certificate.
    pub fn iin(&self) -> &str {
        &self.iin
    }
    /// The BIN in the certificate, if the signer signs for a company.
    pub fn bin(&self) -> Option<&str> {
        self.bin.as_deref()
    }
    /// The certificate in DER, signed by its own key.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// A CMS in DER over the bytes, which are not inside.
    pub fn sign_detached(&self, content: &[u8]) -> Vec<u8> {
        self.cms(content, None)
    }

    /// A CMS in DER over the bytes, with them inside.
    pub fn sign_attached(&self, content: &[u8]) -> Vec<u8> {
        self.cms(content, Some(content))
    }

    fn cms(&self, content: &[u8], inside: Option<&[u8]>) -> Vec<u8> {
        let mut data = vec![tlv(tag::OID, oid::DATA)];
        data.extend(inside.map(|bytes| tlv(tag::CONTEXT_0, &tlv(tag::OCTET_STRING, bytes))));
        let signed_data = sequence(&[
            &tlv(tag::INTEGER, &[1]),
            &tlv(tag::SET, &algorithm(oid::SHA256)),
            &tlv(tag::SEQUENCE, &data.concat()),
            &tlv(tag::CONTEXT_0, &self.certificate),
            &tlv(tag::SET, &self.signer_info(content)),
        ]);
        sequence(&[&tlv(tag::OID, oid::SIGNED_DATA), &tlv(tag::CONTEXT_0, &signed_data)])
    }

    fn signer_info(&self, content: &[u8]) -> Vec<u8> {
        let attributes = signed_attributes(content, jiff::Timestamp::now().as_second());
        // Signed as a SET, carried under [0] (RFC 5652, 5.4).
        let signature = self.sign(&tlv(tag::SET, &attributes));
        sequence(&[
            &tlv(tag::INTEGER, &[1]),
            &sequence(&[&self.name, &tlv(tag::INTEGER, &self.serial)]),
            &algorithm(oid::SHA256),
            &tlv(tag::CONTEXT_0, &attributes),
            &algorithm(oid::ECDSA_WITH_SHA256),
            &tlv(tag::OCTET_STRING, &signature),
        ])
    }

    fn certify(&self, now_s: i64) -> Vec<u8> {
        let usage = sequence(&[
            &tlv(tag::OID, oid::KEY_USAGE),
            &tlv(tag::OCTET_STRING, &tlv(tag::BIT_STRING, SIGNING_USAGE)),
        ]);
        let validity =
            [now_s - VALID_BEFORE_S, now_s + VALID_AFTER_S].map(|moment| tlv(tag::UTC_TIME, &utc(moment)));
        let to_be_signed = sequence(&[
            &tlv(tag::CONTEXT_0, &tlv(tag::INTEGER, &[2])),
            &tlv(tag::INTEGER, &self.serial),
            &algorithm(oid::ECDSA_WITH_SHA256),
            &self.name,
            &tlv(tag::SEQUENCE, &validity.concat()),
            &self.name,
            &self.public_key(),
            &tlv(tag::CONTEXT_3, &sequence(&[&usage])),
        ]);
        let signature = bits(&self.sign(&to_be_signed));
        sequence(&[&to_be_signed, &algorithm(oid::ECDSA_WITH_SHA256), &signature])
    }

    fn public_key(&self) -> Vec<u8> {
        let kind = sequence(&[&tlv(tag::OID, oid::EC_PUBLIC_KEY), &tlv(tag::OID, oid::PRIME256V1)]);
        sequence(&[&kind, &bits(self.key.public_key().as_ref())])
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), bytes);
        signature.expect("a machine that speaks TLS has randomness for a signature").as_ref().to_vec()
    }
}

/// The subject in the order in which the samples have it.
fn subject(iin: &str, bin: Option<&str>) -> Vec<u8> {
    let part = |kind: &[u8], string: u8, text: &str| {
        tlv(tag::SET, &sequence(&[&tlv(tag::OID, kind), &tlv(string, text.as_bytes())]))
    };
    let mut parts = vec![
        part(oid::COUNTRY, tag::PRINTABLE, "KZ"),
        part(oid::COMMON_NAME, tag::UTF8, "ТЕСТОВ ТЕСТ"),
        part(oid::SERIAL_NUMBER, tag::PRINTABLE, &format!("IIN{iin}")),
    ];
    if let Some(bin) = bin {
        parts.push(part(oid::ORGANIZATION, tag::UTF8, "Synthetic LLP"));
        parts.push(part(oid::UNIT, tag::UTF8, &format!("BIN{bin}")));
    }
    tlv(tag::SEQUENCE, &parts.concat())
}

/// The attributes, in the order that DER wants of a SET.
fn signed_attributes(content: &[u8], now_s: i64) -> Vec<u8> {
    let attribute = |kind: &[u8], value: Vec<u8>| sequence(&[&tlv(tag::OID, kind), &tlv(tag::SET, &value)]);
    let mut attributes = [
        attribute(oid::CONTENT_TYPE, tlv(tag::OID, oid::DATA)),
        attribute(oid::SIGNING_TIME, tlv(tag::UTC_TIME, &utc(now_s))),
        attribute(oid::MESSAGE_DIGEST, tlv(tag::OCTET_STRING, &Sha256::digest(content))),
    ];
    attributes.sort();
    attributes.concat()
}

fn algorithm(kind: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(tag::OID, kind)])
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[0], bytes].concat())
}

/// An INTEGER's bytes for a positive number.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let mut number = bytes.to_vec();
    // Never negative and never with a needless zero in front.
    number[0] = (number[0] & 0x7f) | 0x40;
    number
}

fn utc(second: i64) -> Vec<u8> {
    let moment = jiff::Timestamp::from_second(second).unwrap_or_default();
    moment.strftime("%y%m%d%H%M%SZ").to_string().into_bytes()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &parts.concat())
}

/// One element of DER.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            element.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            element.extend(length);
        }
    }
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::{Command, Output};

    /// Runs openssl; nothing where there is none, which is not allowed in CI.
    fn openssl(dir: &Path, args: &[&str]) -> Option<Output> {
        let output = Command::new("openssl").current_dir(dir).args(args).output();
        assert!(output.is_ok() || option_env!("CI").is_none(), "CI has openssl");
        output.ok()
    }

    fn written(signer: &ScriptedSigner, cms: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let files = [("content", &b"content"[..]), ("other", b"other content"), ("cms", cms)];
        for (name, bytes) in files.into_iter().chain([("certificate", signer.certificate_der())]) {
            std::fs::write(dir.path().join(name), bytes).expect("a file for the test");
        }
        let pem = ["x509", "-inform", "DER", "-in", "certificate", "-out", "ca.pem"];
        openssl(dir.path(), &pem);
        dir
    }

    const VERIFY: [&str; 11] =
        ["cms", "-verify", "-inform", "DER", "-in", "cms", "-CAfile", "ca.pem", "-purpose", "any", "-binary"];

    #[test]
    fn openssl_finds_a_detached_signature_right_over_its_content_only() {
        let signer = ScriptedSigner::new("000000000000", "210987654321");
        let dir = written(&signer, &signer.sign_detached(b"content"));
        let verify = |content| openssl(dir.path(), &[&VERIFY[..], &["-content", content]].concat());
        let (Some(right), Some(wrong)) = (verify("content"), verify("other")) else { return };
        assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
        assert_eq!(right.stdout, b"content");
        assert!(!wrong.status.success());
    }

    #[test]
    fn openssl_finds_the_content_inside_an_attached_signature() {
        let signer = ScriptedSigner::individual("000000000000");
        let dir = written(&signer, &signer.sign_attached(b"content"));
        let Some(right) = openssl(dir.path(), &VERIFY) else { return };
        assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
        assert_eq!(right.stdout, b"content");
    }

    #[test]
    fn the_certificate_names_the_person_and_the_company() {
        let signer = ScriptedSigner::new("000000000000", "210987654321");
        let dir = written(&signer, b"");
        let show = ["x509", "-in", "ca.pem", "-noout", "-subject", "-nameopt", "RFC2253"];
        let Some(shown) = openssl(dir.path(), &show) else { return };
        let subject = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(subject.contains("serialNumber=IIN000000000000"), "{subject}");
        assert!(subject.contains("OU=BIN210987654321"), "{subject}");
        assert_eq!((signer.iin(), signer.bin()), ("000000000000", Some("210987654321")));
    }

    #[test]
    fn long_content_gets_a_long_length() {
        assert_eq!(tlv(0x04, &[0; 3])[..2], [0x04, 3]);
        assert_eq!(tlv(0x04, &[0; 200])[..3], [0x04, 0x81, 200]);
        assert_eq!(tlv(0x04, &[0; 70_000])[..5], [0x04, 0x83, 0x01, 0x11, 0x70]);
    }
}
