//! Who a certificate names: IIN and BIN in the subject, where configurable patterns find them.

use super::Finding;
use super::error::{CmsError, Number};
use crate::domain::signing::SignerIdentity;
use crate::domain::subject_pattern::{SubjectPattern, SubjectPatterns};
use der::asn1::{
    BmpString, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use der::{Any, Tag, Tagged as _};
use x509_cert::Certificate;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Characters kept of a name from a certificate.
const NAME_CHARS_MAX: usize = 200;
/// How many last digits of a number are told to whoever chose a wrong key.
const TOLD_DIGITS: usize = 4;
/// The numbers that `patterns` find.
pub(super) fn identity(patterns: &SubjectPatterns, certificate: &Certificate) -> SignerIdentity {
    let find = |patterns: &[SubjectPattern]| {
        patterns.iter().find_map(|pattern| {
            let values = values(certificate, |oid| oid.to_string() == pattern.attribute());
            values.into_iter().find_map(|value| pattern.digits(&value))
        })
    };
    SignerIdentity { iin: find(&patterns.iin), bin: find(&patterns.bin) }
}

/// The values of an attribute of the subject.
fn values(certificate: &Certificate, is_wanted: impl Fn(ObjectIdentifier) -> bool) -> Vec<String> {
    let names = certificate.tbs_certificate.subject.0.iter().flat_map(|name| name.0.iter());
    names.filter(|attribute| is_wanted(attribute.oid)).filter_map(|a| text_of(&a.value)).collect()
}

fn text_of(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|s| s.as_str().to_owned()),
        Tag::PrintableString => {
            value.decode_as::<PrintableStringRef<'_>>().ok().map(|s| s.as_str().to_owned())
        }
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|s| s.as_str().to_owned()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok().map(|s| s.as_str().to_owned()),
        Tag::BmpString => value.decode_as::<BmpString>().ok().map(|s| s.to_string()),
        _ => None,
    }
}

/// The common name, as much of it as is shown.
pub(super) fn common_name(certificate: &Certificate) -> String {
    let name = values(certificate, |oid| oid == COMMON_NAME).into_iter().next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
}

/// Compares what is wanted with what was found.
///
/// # Errors
/// [`CmsError::NoNumber`], [`CmsError::WrongSigner`].
pub(super) fn compare(wanted: &SignerIdentity, found: &SignerIdentity) -> Result<Finding, CmsError> {
    one_number(Number::Iin, wanted.iin.as_deref(), found.iin.as_deref())?;
    one_number(Number::Bin, wanted.bin.as_deref(), found.bin.as_deref())?;
    let asked = wanted.iin.is_some() || wanted.bin.is_some();
    Ok(if asked { Finding::Fits } else { Finding::NotAsked })
}

fn one_number(which: Number, wanted: Option<&str>, found: Option<&str>) -> Result<(), CmsError> {
    match (wanted, found) {
        (None, _) => Ok(()),
        (Some(wanted), Some(found)) if wanted == found => Ok(()),
        (Some(_), None) => Err(CmsError::NoNumber(which)),
        (Some(wanted), Some(found)) => {
            Err(CmsError::WrongSigner { which, expected_end: end_of(wanted), found_end: end_of(found) })
        }
    }
}

fn end_of(number: &str) -> String {
    let skipped = number.chars().count().saturating_sub(TOLD_DIGITS);
    number.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_is_told_by_its_end_only() {
        let wanted = SignerIdentity { iin: Some("111111111111".into()), bin: None };
        let found = SignerIdentity { iin: Some("222222223333".into()), bin: Some("1".into()) };
        let error = compare(&wanted, &found).unwrap_err();
        for text in [error.to_string(), format!("{error:?}"), error.words().ru.into_owned()] {
            assert!(!text.contains("222222") && !text.contains("11111"), "{text}");
        }
        assert!(error.words().en.contains("3333"), "{}", error.words().en);
        assert!(matches!(compare(&wanted, &SignerIdentity::default()), Err(CmsError::NoNumber(Number::Iin))));
        assert_eq!(compare(&SignerIdentity::default(), &found).unwrap(), Finding::NotAsked);
    }
}
