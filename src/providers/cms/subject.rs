//! Who a certificate names: IIN and BIN in the subject, where configurable patterns find them.

use super::Finding;
use super::error::{CmsError, Number};
use crate::domain::signing::SignerIdentity;
use der::asn1::{
    BmpString, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use der::{Any, Tag, Tagged as _};
use std::fmt;
use std::str::FromStr;
use x509_cert::Certificate;

/// Names of attributes that a pattern may use instead of their object identifiers.
const NAMES: [(&str, &str); 7] = [
    ("CN", "2.5.4.3"),
    ("serialNumber", "2.5.4.5"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("GN", "2.5.4.42"),
    ("SN", "2.5.4.4"),
    ("organizationIdentifier", "2.5.4.97"),
];
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Characters kept of a name from a certificate.
const NAME_CHARS_MAX: usize = 200;
/// How many last digits of a number are told to whoever chose a wrong key.
const TOLD_DIGITS: usize = 4;
/// Longest form of a pattern; numbers have 12 digits.
const FORM_BYTES_MAX: usize = 64;

/// Where a number stands: an attribute of the subject and the form of its whole value, in which each `#` is a digit.
///
/// Written `serialNumber=IIN############`; the attribute may be an object identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPattern {
    attribute: ObjectIdentifier,
    form: String,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form attribute=form, with a # for each digit")]
pub struct InvalidSubjectPattern(pub String);

impl FromStr for SubjectPattern {
    type Err = InvalidSubjectPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSubjectPattern(text.chars().take(FORM_BYTES_MAX).collect());
        let (attribute, form) = text.split_once('=').ok_or_else(invalid)?;
        let oid = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let oid = oid.map_or(attribute, |(_, oid)| oid);
        let attribute = ObjectIdentifier::new(oid).map_err(|_| invalid())?;
        if !form.contains('#') || form.len() > FORM_BYTES_MAX {
            return Err(invalid());
        }
        Ok(Self { attribute, form: form.to_owned() })
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.attribute, self.form)
    }
}

impl SubjectPattern {
    /// The digits of `value`, if it is of this form as a whole.
    fn digits(&self, value: &str) -> Option<String> {
        let mut digits = String::new();
        let mut value = value.trim().chars();
        for wanted in self.form.chars() {
            match (wanted, value.next()?) {
                ('#', digit) if digit.is_ascii_digit() => digits.push(digit),
                ('#', _) => return None,
                (wanted, found) if wanted == found => {}
                (_, _) => return None,
            }
        }
        value.next().is_none().then_some(digits)
    }
}

/// Where the numbers stand; the first pattern that fits wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPatterns {
    /// Of a person.
    pub iin: Vec<SubjectPattern>,
    /// Of an organisation.
    pub bin: Vec<SubjectPattern>,
}

impl Default for SubjectPatterns {
    /// The usual form in the national PKI (`reference/signing-providers.md` d.5).
    fn default() -> Self {
        let pattern = |text: &str| vec![text.parse().expect("a fixed pattern: a test reads it")];
        Self { iin: pattern("serialNumber=IIN############"), bin: pattern("OU=BIN############") }
    }
}

impl SubjectPatterns {
    pub(super) fn identity(&self, certificate: &Certificate) -> SignerIdentity {
        let find = |patterns: &[SubjectPattern]| {
            patterns.iter().find_map(|pattern| {
                values(certificate, pattern.attribute).find_map(|value| pattern.digits(&value))
            })
        };
        SignerIdentity { iin: find(&self.iin), bin: find(&self.bin) }
    }
}

/// The values of an attribute of the subject.
fn values(certificate: &Certificate, oid: ObjectIdentifier) -> impl Iterator<Item = String> {
    let names = certificate.tbs_certificate.subject.0.iter();
    names.flat_map(|name| name.0.iter()).filter(move |a| a.oid == oid).filter_map(|a| text_of(&a.value))
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
    let name = values(certificate, COMMON_NAME).next().unwrap_or_default();
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
    fn a_pattern_fits_a_whole_value_and_nothing_else() {
        let pattern: SubjectPattern = "serialNumber=IIN############".parse().unwrap();
        assert_eq!(pattern.digits("IIN123456789012").as_deref(), Some("123456789012"));
        for other in ["", "IIN", "IIN12345678901", "IIN1234567890123", "BIN123456789012", "IIN12345678901x"] {
            assert_eq!(pattern.digits(other), None, "{other}");
        }
        assert_eq!(pattern.to_string(), "2.5.4.5=IIN############");
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for bad in ["", "serialNumber", "IIN############", "serialNumber=IIN", "noSuch=####", "1.2.x=##"] {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad}");
        }
        assert_eq!(SubjectPatterns::default().bin[0].to_string(), "2.5.4.11=BIN############");
    }

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
