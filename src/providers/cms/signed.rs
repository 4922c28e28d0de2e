//! The parts of a CMS SignedData that matter, taken out with a real ASN.1 library.

use super::error::CmsError;
use crate::domain::Timestamp;
use crate::domain::signing::Encapsulation;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode as _, DecodeOwned, Encode as _, Tag, Tagged as _};
use x509_cert::Certificate;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::time::Time;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");

/// A CMS with one signer whose certificate is inside.
pub(super) struct Signed {
    data: SignedData,
    certificate: Certificate,
    info: SignerInfo,
    attributes: Attributes,
    message_digest: Vec<u8>,
}

impl Signed {
    /// Takes DER apart.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, CmsError> {
        let outer = ContentInfo::from_der(bytes).map_err(|error| structure(&error))?;
        if outer.content_type != SIGNED_DATA {
            return Err(CmsError::NotSignedData);
        }
        let data: SignedData = outer.content.decode_as().map_err(|error| structure(&error))?;
        let info = match data.signer_infos.0.as_slice() {
            [only] => only.clone(),
            several => return Err(CmsError::Signers(several.len())),
        };
        let certificate = certificate_of(&data, &info).ok_or(CmsError::NoCertificate)?;
        let attributes = info.signed_attrs.clone().ok_or(CmsError::Attribute("messageDigest"))?;
        let content_type = only_value(&attributes, CONTENT_TYPE, "contentType")?;
        if content_type.value_as::<ObjectIdentifier>() != Some(data.encap_content_info.econtent_type) {
            return Err(CmsError::Attribute("contentType"));
        }
        let digest = only_value(&attributes, MESSAGE_DIGEST, "messageDigest")?;
        let digest = digest.octets().ok_or(CmsError::Attribute("messageDigest"))?;
        Ok(Self { certificate, message_digest: digest, info, attributes, data })
    }

    /// The content inside, which must be there or not.
    pub(super) fn content(&self, wanted: Encapsulation) -> Result<Option<&[u8]>, CmsError> {
        match (wanted, &self.data.encap_content_info.econtent) {
            (Encapsulation::Attached, Some(content)) if content.tag() == Tag::OctetString => {
                Ok(Some(content.value()))
            }
            (Encapsulation::Attached, Some(_)) => {
                Err(CmsError::Structure("the content is no octet string".into()))
            }
            (Encapsulation::Attached, None) => Err(CmsError::ContentMissing),
            (Encapsulation::Detached, Some(_)) => Err(CmsError::ContentInside),
            (Encapsulation::Detached, None) => Ok(None),
        }
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }
    pub(super) fn digest_algorithm(&self) -> ObjectIdentifier {
        self.info.digest_alg.oid
    }
    pub(super) fn signature_algorithm(&self) -> ObjectIdentifier {
        self.info.signature_algorithm.oid
    }
    pub(super) fn signature_value(&self) -> &[u8] {
        self.info.signature.as_bytes()
    }
    pub(super) fn message_digest(&self) -> &[u8] {
        &self.message_digest
    }

    /// What was signed: the attributes as a SET in DER (RFC 5652, 5.4).
    pub(super) fn signed_bytes(&self) -> Result<Vec<u8>, CmsError> {
        self.attributes.to_der().map_err(|error| structure(&error))
    }

    pub(super) fn serial_hex(&self) -> String {
        let serial = self.certificate.tbs_certificate.serial_number.as_bytes();
        serial.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    pub(super) fn valid_from(&self) -> Timestamp {
        moment(&self.certificate.tbs_certificate.validity.not_before)
    }
    pub(super) fn valid_to(&self) -> Timestamp {
        moment(&self.certificate.tbs_certificate.validity.not_after)
    }

    /// When the signer's computer said it was signed.
    pub(super) fn signing_time(&self) -> Option<Timestamp> {
        let value = only_value(&self.attributes, SIGNING_TIME, "signingTime").ok()?;
        value.value_as::<Time>().as_ref().map(moment)
    }
}

fn structure(error: &der::Error) -> CmsError {
    CmsError::Structure(error.to_string())
}

fn moment(time: &Time) -> Timestamp {
    Timestamp(i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX))
}

fn certificate_of(data: &SignedData, info: &SignerInfo) -> Option<Certificate> {
    let certificates = data.certificates.as_ref()?.0.iter().filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    });
    certificates.into_iter().find(|certificate| is_named(certificate, &info.sid)).cloned()
}

fn is_named(certificate: &Certificate, name: &SignerIdentifier) -> bool {
    let certificate = &certificate.tbs_certificate;
    match name {
        SignerIdentifier::IssuerAndSerialNumber(name) => {
            name.issuer == certificate.issuer && name.serial_number == certificate.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(name) => {
            let extensions = certificate.extensions.iter().flatten();
            extensions.filter(|extension| extension.extn_id == KEY_IDENTIFIER).any(|extension| {
                SubjectKeyIdentifier::from_der(extension.extn_value.as_bytes()).is_ok_and(|own| own == *name)
            })
        }
    }
}

/// The one value of an attribute.
struct Value<'a>(&'a der::Any);

impl Value<'_> {
    fn value_as<T: DecodeOwned>(&self) -> Option<T> {
        T::from_der(&self.0.to_der().ok()?).ok()
    }
    fn octets(&self) -> Option<Vec<u8>> {
        let octets: OctetStringRef<'_> = self.0.decode_as().ok()?;
        Some(octets.as_bytes().to_vec())
    }
}

/// An attribute that must be there exactly once, with exactly one value (RFC 5652, 11.1 to 11.3).
fn only_value<'a>(
    attributes: &'a Attributes,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<Value<'a>, CmsError> {
    let mut fitting = attributes.iter().filter(|attribute: &&Attribute| attribute.oid == oid);
    match (fitting.next().map(|attribute| attribute.values.as_slice()), fitting.next()) {
        (Some([only]), None) => Ok(Value(only)),
        (Some(_), _) | (None, _) => Err(CmsError::Attribute(name)),
    }
}
