//! The checks on real signatures.

use crate::pki::{ATTACHED, BIN, DETACHED, IIN, Manner, people, sign};
use edobridge::domain::signing::{Encapsulation, SignerIdentity};
use edobridge::domain::subject_pattern::SubjectPatterns;
use edobridge::providers::cms::{self, Check, Checked, CmsError, Finding, Wanted};

const CONTENT: &[u8] = b"what was agreed upon, \x00\xff and then some";

fn aigul() -> SignerIdentity {
    SignerIdentity { iin: Some(IIN.into()), bin: Some(BIN.into()) }
}

fn check_as(
    bytes: &[u8],
    content: &[u8],
    encapsulation: Encapsulation,
    signer: &SignerIdentity,
) -> Result<Checked, CmsError> {
    let patterns = SubjectPatterns::default();
    cms::check(bytes, &Wanted { encapsulation, signer, patterns: &patterns }, &mut &content[..])
}

fn check(bytes: &[u8], encapsulation: Encapsulation) -> Result<Checked, CmsError> {
    check_as(bytes, CONTENT, encapsulation, &aigul())
}

#[track_caller]
fn assert_refused(result: Result<Checked, CmsError>, code: &str) {
    match result {
        Ok(checked) => panic!("accepted instead of {code}: {checked:?}"),
        Err(error) => assert_eq!(error.code(), code, "{error}"),
    }
}

#[test]
fn honest_signatures_of_every_known_kind_fit_and_are_verified() {
    let people = people();
    for (signer, digest, oid) in [
        (&people.aigul, "sha256", "2.16.840.1.101.3.4.2.1"),
        (&people.aigul, "sha384", "2.16.840.1.101.3.4.2.2"),
        (&people.aigul, "sha512", "2.16.840.1.101.3.4.2.3"),
        (&people.on_p256, "sha256", "2.16.840.1.101.3.4.2.1"),
        (&people.on_p384, "sha384", "2.16.840.1.101.3.4.2.2"),
    ] {
        for encapsulation in [Encapsulation::Attached, Encapsulation::Detached] {
            let attached = encapsulation == Encapsulation::Attached;
            let more: &'static [&'static str] = match digest {
                "sha256" => &["-md", "sha256"],
                "sha384" => &["-md", "sha384"],
                _ => &["-md", "sha512"],
            };
            let bytes = signer.sign(CONTENT, Manner { attached, more });
            let checked = check(&bytes, encapsulation).unwrap_or_else(|e| panic!("{digest} {attached}: {e}"));
            assert_eq!(checked.evidence.digest_algorithm, oid);
            assert!(checked.evidence.digest_checked && checked.evidence.signature_checked);
            assert_eq!(checked.evidence.signer, aigul());
            assert!(checked.signed_at.is_some_and(|at| at > checked.evidence.valid_from));
            let content = if attached { Finding::Fits } else { Finding::NotAsked };
            assert_eq!(checked.findings[0], (Check::Content, content));
            assert!(checked.findings.contains(&(Check::Chain, Finding::LeftToService)), "no false claim");
        }
    }
}

#[test]
fn ber_as_some_programs_stream_it_is_read_like_der() {
    let stream = Manner { attached: true, more: &["-stream"] };
    // longer than one piece of openssl's
    let content = CONTENT.repeat(2_000);
    let bytes = people().aigul.sign(&content, stream);
    assert_eq!(&bytes[..2], [0x30, 0x80], "openssl has written an indefinite length");
    let checked = check_as(&bytes, &content, Encapsulation::Attached, &aigul()).unwrap();
    assert!(checked.evidence.signature_checked);
    assert_refused(check_as(&bytes, CONTENT, Encapsulation::Attached, &aigul()), "foreign_content");
}

#[test]
fn a_signer_named_by_key_identifier_is_found() {
    let bytes = people().aigul.sign(CONTENT, Manner { attached: true, more: &["-keyid"] });
    assert!(check(&bytes, Encapsulation::Attached).unwrap().evidence.signature_checked);
}

#[test]
fn foreign_content_is_refused_attached_and_detached() {
    let other = [CONTENT, b"."].concat();
    let aigul_signs = |manner| people().aigul.sign(&other, manner);
    assert_refused(check(&aigul_signs(ATTACHED), Encapsulation::Attached), "foreign_content");
    assert_refused(check(&aigul_signs(DETACHED), Encapsulation::Detached), "foreign_content");
    assert_refused(
        check_as(&people().aigul.sign(CONTENT, ATTACHED), &[], Encapsulation::Attached, &aigul()),
        "foreign_content",
    );
}

#[test]
fn the_form_is_the_one_that_was_asked_for() {
    let people = people();
    assert_refused(check(&people.aigul.sign(CONTENT, DETACHED), Encapsulation::Attached), "content_missing");
    assert_refused(check(&people.aigul.sign(CONTENT, ATTACHED), Encapsulation::Detached), "content_inside");
}

#[test]
fn two_signers_none_of_the_certificates_or_no_attributes_are_refused() {
    let people = people();
    let two = sign(&[&people.aigul, &people.stranger], CONTENT, ATTACHED);
    assert_refused(check(&two, Encapsulation::Attached), "signer_count");
    let bare = people.aigul.sign(CONTENT, Manner { attached: true, more: &["-nocerts"] });
    assert_refused(check(&bare, Encapsulation::Attached), "no_certificate");
    let plain = people.aigul.sign(CONTENT, Manner { attached: true, more: &["-noattr"] });
    assert_refused(check(&plain, Encapsulation::Attached), "attributes");
}

#[test]
fn another_ones_key_is_refused_and_told_by_the_ends_of_its_numbers() {
    let people = people();
    let error = check(&people.stranger.sign(CONTENT, ATTACHED), Encapsulation::Attached).unwrap_err();
    assert_eq!(error.code(), "wrong_signer");
    let words = error.words();
    assert!(
        words.ru.contains("4444") && words.ru.contains("1111") && !words.ru.contains("33333333"),
        "{words:?}"
    );
    assert_refused(check(&people.nameless.sign(CONTENT, ATTACHED), Encapsulation::Attached), "no_number");
    let anybody = SignerIdentity::default();
    let bytes = people.nameless.sign(CONTENT, ATTACHED);
    let checked = check_as(&bytes, CONTENT, Encapsulation::Attached, &anybody).unwrap();
    assert_eq!(checked.evidence.subject, "NOBODY");
    assert!(checked.findings.contains(&(Check::Signer, Finding::NotAsked)));
}

/// Every byte of the signature value and of the signed attributes matters.
#[test]
fn a_changed_byte_of_the_value_or_the_attributes_is_refused() {
    let bytes = people().on_p256.sign(CONTENT, DETACHED);
    assert!(check(&bytes, Encapsulation::Detached).is_ok());
    // the end of a CMS without time stamp is the signature value, before it the attributes
    for at in bytes.len() - 220..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x01;
        assert!(check(&changed, Encapsulation::Detached).is_err(), "byte {at} of {}", bytes.len());
    }
}

#[test]
fn a_message_that_is_only_enveloped_is_no_signature() {
    assert_refused(check(b"", Encapsulation::Attached), "not_cms");
    assert_refused(check(&[0x30, 0x00], Encapsulation::Attached), "not_cms");
    // ContentInfo { id-data, [0] OCTET STRING "a" }
    let data = [
        0x30, 0x10, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01, 0xa0, 0x03, 0x04, 0x01,
        0x61,
    ];
    assert_refused(check(&data, Encapsulation::Attached), "not_signed_data");
}

/// The national algorithms cannot be computed here: taken, and said to be unchecked. Any other name is refused.
#[test]
fn national_algorithms_are_named_as_unchecked_and_unknown_ones_refused() {
    let gost =
        national(&people().on_p256.sign(CONTENT, ATTACHED), "1.2.398.3.10.1.3.2", "1.2.398.3.10.1.1.2.3.1");
    let checked = check(&gost, Encapsulation::Attached).unwrap();
    assert!(!checked.evidence.digest_checked && !checked.evidence.signature_checked);
    assert_eq!(checked.evidence.digest_algorithm, "1.2.398.3.10.1.3.2");
    assert!(matches!(checked.findings[1], (Check::Digest, Finding::NotChecked(_))));
    assert!(matches!(checked.findings[2], (Check::Signature, Finding::NotChecked(_))));
    assert_refused(check_as(&gost, b"other", Encapsulation::Attached, &aigul()), "foreign_content");
    let made_up = national(&people().on_p256.sign(CONTENT, ATTACHED), "1.2.3.4", "1.2.398.3.10.1.1.2.3.1");
    assert_refused(check(&made_up, Encapsulation::Attached), "algorithm");
    let made_up = national(&people().on_p256.sign(CONTENT, ATTACHED), "1.2.398.3.10.1.3.2", "1.2.3.4");
    assert_refused(check(&made_up, Encapsulation::Attached), "algorithm");
}

/// The same signature with other names of algorithms, the certificate's key included.
fn national(bytes: &[u8], digest: &str, signature: &str) -> Vec<u8> {
    use ::cms::cert::CertificateChoices;
    use ::cms::content_info::ContentInfo;
    use ::cms::signed_data::{CertificateSet, SignedData, SignerInfos};
    use der::asn1::{ObjectIdentifier, SetOfVec};
    use der::{Any, Decode as _, Encode as _};
    let outer = ContentInfo::from_der(bytes).unwrap();
    let mut data: SignedData = outer.content.decode_as().unwrap();
    let mut info = data.signer_infos.0.get(0).unwrap().clone();
    info.digest_alg.oid = ObjectIdentifier::new(digest).unwrap();
    info.signature_algorithm.oid = ObjectIdentifier::new(signature).unwrap();
    data.signer_infos = SignerInfos(SetOfVec::try_from(vec![info]).unwrap());
    let certificates = data.certificates.take().unwrap();
    let Some(CertificateChoices::Certificate(own)) = certificates.0.get(0) else { panic!("no certificate") };
    let mut own = own.clone();
    own.tbs_certificate.subject_public_key_info.algorithm.oid =
        ObjectIdentifier::new("1.2.398.3.10.1.1.2.3.1").unwrap();
    let own = SetOfVec::try_from(vec![CertificateChoices::Certificate(own)]).unwrap();
    data.certificates = Some(CertificateSet(own));
    let content = Any::from_der(&data.to_der().unwrap()).unwrap();
    ContentInfo { content_type: outer.content_type, content }.to_der().unwrap()
}

/// What strangers send: every truncation, and a bit flipped in every byte. Nothing panics, and what is accepted is the
/// signature itself in other clothes: the evidence is the same.
#[test]
fn no_damaged_signature_panics_or_passes() {
    let kinds = [
        (people().on_p256.sign(CONTENT, ATTACHED), Encapsulation::Attached),
        (people().on_p256.sign(CONTENT, DETACHED), Encapsulation::Detached),
        (
            people().on_p256.sign(CONTENT, Manner { attached: true, more: &["-stream"] }),
            Encapsulation::Attached,
        ),
    ];
    for (bytes, encapsulation) in &kinds {
        for length in 0..bytes.len() {
            assert!(check(&bytes[..length], *encapsulation).is_err(), "cut at {length}");
        }
        let whole = check(bytes, *encapsulation).unwrap();
        for at in 0..bytes.len() {
            let bit = at * 5 % 8;
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            // outside of what is signed (an authority's signature, an unused version) a bit may differ
            if let Ok(checked) = check(&changed, *encapsulation) {
                let (found, want) = (checked.evidence, &whole.evidence);
                assert!(found.signature_checked && found.digest_checked, "byte {at} bit {bit}");
                assert_eq!(found.signer, want.signer, "byte {at} bit {bit}");
            }
        }
    }
}
