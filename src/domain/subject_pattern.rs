//! Where the numbers of a signer stand in the subject of a certificate.
//!
//! Pure text: what a subject is made of is known by `providers::cms`.

use std::fmt;
use std::str::FromStr;

/// Names of attributes that a pattern may use instead of their object identifiers (RFC 4519, RFC 5280).
const NAMES: [(&str, &str); 7] = [
    ("CN", "2.5.4.3"),
    ("serialNumber", "2.5.4.5"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("GN", "2.5.4.42"),
    ("SN", "2.5.4.4"),
    ("organizationIdentifier", "2.5.4.97"),
];
/// Longest pattern; numbers have 12 digits.
const PATTERN_BYTES_MAX: usize = 128;

/// An attribute of the subject and the form of its whole value, in which each `#` is a digit.
///
/// Written `serialNumber=IIN############`; the attribute may be a dotted object identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectPattern {
    attribute: String,
    form: String,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form attribute=form, with a # for each digit")]
pub struct InvalidSubjectPattern(pub String);

impl FromStr for SubjectPattern {
    type Err = InvalidSubjectPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSubjectPattern(text.chars().take(PATTERN_BYTES_MAX).collect());
        let (attribute, form) = text.split_once('=').ok_or_else(invalid)?;
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let attribute = named.map_or(attribute, |(_, oid)| oid);
        if !is_object_identifier(attribute) || !form.contains('#') || text.len() > PATTERN_BYTES_MAX {
            return Err(invalid());
        }
        Ok(Self { attribute: attribute.to_owned(), form: form.to_owned() })
    }
}

fn is_object_identifier(text: &str) -> bool {
    let is_arc = |arc: &str| {
        !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
    };
    text.split('.').count() >= 2 && text.split('.').all(is_arc)
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.attribute, self.form)
    }
}

impl SubjectPattern {
    /// The dotted object identifier of the attribute.
    pub fn attribute(&self) -> &str {
        &self.attribute
    }

    /// The digits of `value`, if it is of this form as a whole.
    pub fn digits(&self, value: &str) -> Option<String> {
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
    /// The usual form in the national PKI of Kazakhstan (`reference/signing-providers.md` d.5).
    fn default() -> Self {
        let pattern = |text: &str| vec![text.parse().expect("a fixed pattern: a test reads it")];
        Self { iin: pattern("serialNumber=IIN############"), bin: pattern("OU=BIN############") }
    }
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
        for bad in
            ["", "serialNumber", "IIN############", "serialNumber=IIN", "noSuch=####", "1.2.x=##", "01.2=#"]
        {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad}");
        }
        assert_eq!(SubjectPatterns::default().bin[0].to_string(), "2.5.4.11=BIN############");
    }
}
