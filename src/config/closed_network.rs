//! What boxes in closed networks want: certificates of their own authority, one more parameter of proof.

use super::problem::bilingual;
use super::secret_ref::SecretRef;
use crate::domain::Text;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest file of certificates: whole bundles of all public authorities have a quarter of it.
const CA_BYTES_MAX: u64 = 1024 * 1024;
/// What a PEM certificate begins with.
const PEM_BEGINS: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// A parameter that a box with its own token validator (`onRestCheckAuth`) wants with each call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtraAuthConfig {
    /// Its name, as `auth_provider`.
    pub name: String,
    /// Its value.
    pub value: SecretRef,
}

/// A file with the certificates of a private authority, PEM. They are trusted besides those of the system, for this
/// remote only.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFile {
    path: PathBuf,
    pem: Vec<u8>,
}

impl CaFile {
    /// The certificates; empty if the file was not read.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// Reads the file; its path counts from `base`.
    ///
    /// # Errors
    /// A sentence for the operator: it is absent, unreadable, too large, or holds no certificate.
    pub(super) fn read(&mut self, base: &Path) -> Result<(), Text> {
        let path = base.join(&self.path);
        let unusable = |ru: &dyn fmt::Display, en: &dyn fmt::Display| {
            Text::new(
                format!(
                    "файл сертификатов {} непригоден ({ru}): нужен PEM, и служба должна его читать",
                    path.display()
                ),
                format!(
                    "the file of certificates {} is not usable ({en}): it must be PEM, and readable for the service",
                    path.display()
                ),
            )
        };
        let mut pem = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(CA_BYTES_MAX + 1).read_to_end(&mut pem))
            .map_err(|error| unusable(&error.kind(), &error.kind()))?;
        if pem.len() as u64 > CA_BYTES_MAX {
            return Err(unusable(&"больше 1 МиБ", &"more than 1 MiB"));
        }
        if !pem.windows(PEM_BEGINS.len()).any(|part| part == PEM_BEGINS) {
            return Err(unusable(&"в нём нет сертификата", &"it holds no certificate"));
        }
        self.pem = pem;
        Ok(())
    }
}

impl fmt::Debug for CaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

impl Serialize for CaFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.path.to_string_lossy())
    }
}

impl<'de> Deserialize<'de> for CaFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        if path.is_empty() {
            return Err(D::Error::custom(bilingual(
                "путь к файлу сертификатов пуст: уберите ключ или назовите файл",
                "the path of the file of certificates is empty: remove the key or name a file",
            )));
        }
        Ok(Self { path: path.into(), pem: Vec::new() })
    }
}

impl JsonSchema for CaFile {
    fn schema_name() -> Cow<'static, str> {
        "CaFile".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Path of a PEM file with certificates of a private authority" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: Option<&[u8]>) -> Result<Vec<u8>, Text> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            std::fs::write(dir.path().join("ca.pem"), content).unwrap();
        }
        let mut file = CaFile { path: "ca.pem".into(), pem: Vec::new() };
        file.read(dir.path()).map(|()| file.pem().to_vec())
    }

    #[test]
    fn only_a_file_with_a_certificate_is_taken() {
        let good = b"# ours\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(read(Some(good)).unwrap(), good);
        for bad in [None, Some(&b""[..]), Some(b"-----BEGIN PRIVATE KEY-----\n")] {
            let text = read(bad).unwrap_err();
            assert!(text.en.contains("ca.pem") && text.ru.contains("PEM"), "{text:?}");
        }
        assert!(read(Some(&vec![b'x'; CA_BYTES_MAX as usize + 1])).unwrap_err().en.contains("1 MiB"));
    }
}
