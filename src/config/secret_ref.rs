//! Secrets of the configuration: where they are kept, and their values once read.
//!
//! Invariant: no `Debug`, `Serialize` or error of this file holds a value, only places.

use super::environment::Environment;
use super::problem::bilingual;
use crate::domain::{Secret, Text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// No secret we know is longer; a larger file is a wrong file (a device, a log).
const SECRET_BYTES_MAX: u64 = 65_536;

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written into the configuration itself.
    Literal,
    /// A file; a relative path counts from the folder of the configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential (`LoadCredential=name:…`), that is a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A secret by reference: `{ file = "…" }`, `{ env = "NAME" }`, `{ credential = "name" }`, or the text itself.
///
/// Loading a configuration resolves all of them, so [`SecretRef::secret`] has the value afterwards. One newline
/// at the end of a file or variable is not part of the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRef {
    source: SecretSource,
    value: Secret,
}

impl SecretRef {
    /// A secret that is known already: for tests and for programs that build their configuration.
    pub fn literal(text: impl Into<String>) -> Self {
        Self { source: SecretSource::Literal, value: Secret::new(text) }
    }
    /// Where it is kept.
    pub fn source(&self) -> &SecretSource {
        &self.source
    }
    /// The value; empty if it was not resolved.
    pub fn secret(&self) -> &Secret {
        &self.value
    }
    /// Whether there is a value.
    pub fn is_resolved(&self) -> bool {
        !self.value.is_empty()
    }

    /// Reads the value from its place.
    ///
    /// # Errors
    /// A sentence for the operator if the place has no usable value: absent, unreadable, empty, not UTF-8, too long.
    pub(super) fn resolve(&mut self, env: &Environment, base: &Path) -> Result<(), Text> {
        let value = match &self.source {
            SecretSource::Literal => self.value.expose().to_owned(),
            SecretSource::File(path) => read_secret_file(&base.join(path))?,
            SecretSource::Env(name) => {
                env.get(name).map(trim_newline).ok_or_else(|| variable_missing(name))?
            }
            SecretSource::Credential(name) => read_credential(env, name)?,
        };
        if value.is_empty() {
            return Err(Text::new(
                "секрет пуст: запишите значение в указанное место",
                "the secret is empty: put its value into the place named here",
            ));
        }
        self.value = Secret::new(value);
        Ok(())
    }

    /// The file that holds the secret, if one does.
    pub(super) fn file(&self, env: &Environment, base: &Path) -> Option<PathBuf> {
        match &self.source {
            SecretSource::File(path) => Some(base.join(path)),
            SecretSource::Credential(name) => env.credentials_directory().map(|dir| dir.join(name)),
            SecretSource::Literal | SecretSource::Env(_) => None,
        }
    }
}

fn variable_missing(name: &str) -> Text {
    Text::new(
        format!("переменной окружения {name} нет: задайте её или укажите другое место секрета"),
        format!("there is no environment variable {name}: set it or name another place of the secret"),
    )
}

fn read_credential(env: &Environment, name: &str) -> Result<String, Text> {
    match env.credentials_directory() {
        Some(dir) => read_secret_file(&dir.join(name)),
        None => Err(Text::new(
            format!(
                "учётные данные systemd `{name}` видны только службе: добавьте LoadCredential={name}:… в её юнит"
            ),
            format!(
                "the systemd credential `{name}` is visible to the service only: add LoadCredential={name}:… to its unit"
            ),
        )),
    }
}

fn read_secret_file(path: &Path) -> Result<String, Text> {
    let unreadable = |why: &dyn fmt::Display| {
        Text::new(
            format!("файл секрета {} не читается ({why}): проверьте путь и права", path.display()),
            format!(
                "the secret file {} cannot be read ({why}): check the path and its permissions",
                path.display()
            ),
        )
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|err| unreadable(&err.kind()))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(unreadable(&format_args!("> {SECRET_BYTES_MAX} bytes")));
    }
    // the error of `from_utf8` would carry the bytes, so only the fact is kept
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"not UTF-8"))?;
    Ok(trim_newline(&text))
}

/// Cuts one newline, which editors and `echo` add; anything more may belong to the secret.
fn trim_newline(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text).to_owned()
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            SecretSource::Literal => f.write_str("***"),
            source => write!(f, "{source:?}"),
        }
    }
}

impl Serialize for SecretRef {
    /// The place, or stars: this is what `config show` prints.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, place) = match &self.source {
            SecretSource::Literal => return serializer.serialize_str("***"),
            SecretSource::File(path) => ("file", path.to_string_lossy()),
            SecretSource::Env(name) => ("env", Cow::from(name)),
            SecretSource::Credential(name) => ("credential", Cow::from(name)),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &place)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretRefVisitor)
    }
}

struct SecretRefVisitor;

impl<'de> Visitor<'de> for SecretRefVisitor {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: { file = \"…\" }, { env = \"NAME\" }, { credential = \"name\" } or its text")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretRef, E> {
        Ok(SecretRef::literal(text))
    }
    // the default methods would quote the number in the error, and it may be the secret
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(E::custom(must_be_quoted()))
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(E::custom(must_be_quoted()))
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<SecretRef, E> {
        Err(E::custom(must_be_quoted()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let Some((key, place)) = map.next_entry::<String, String>()? else {
            return Err(A::Error::custom(one_place()));
        };
        let source = match key.as_str() {
            "file" => SecretSource::File(place.into()),
            "env" => SecretSource::Env(place),
            "credential" if is_file_name(&place) => SecretSource::Credential(place),
            _ => return Err(A::Error::custom(one_place())),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom(one_place()));
        }
        Ok(SecretRef { source, value: Secret::new("") })
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

fn must_be_quoted() -> String {
    bilingual(
        "секрет пишется в кавычках или ссылкой на место",
        "a secret is written in quotes or as a reference to its place",
    )
}

fn one_place() -> String {
    bilingual(
        "у секрета должно быть ровно одно место: { file = \"…\" }, { env = \"ИМЯ\" } или { credential = \"имя\" }",
        "a secret has exactly one place: { file = \"…\" }, { env = \"NAME\" } or { credential = \"name\" }",
    )
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "SecretRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let place = |name: &str| {
            json_schema!({
                "type": "object", "properties": { name: { "type": "string" } }, "required": [name], "additionalProperties": false
            })
        };
        json_schema!({
            "description": "A secret: a file, an environment variable, a systemd credential, or the text itself",
            "anyOf": [place("file"), place("env"), place("credential"), { "type": "string" }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<SecretRef, String> {
        let table: toml::Table = toml::from_str(&format!("s = {toml}")).unwrap();
        SecretRef::deserialize(table["s"].clone()).map_err(|err| err.message().to_owned())
    }

    #[test]
    fn a_secret_comes_from_a_file_a_variable_a_credential_or_the_text_itself() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "from-file\n").unwrap();
        let env = Environment::of([
            ("KEY".to_owned(), "from-env\r\n".to_owned()),
            ("CREDENTIALS_DIRECTORY".to_owned(), dir.path().display().to_string()),
        ]);
        for (toml, value) in [
            ("{ file = 'key' }", "from-file"),
            ("{ env = 'KEY' }", "from-env"),
            ("{ credential = 'key' }", "from-file"),
            ("'literal\n'", "literal"),
        ] {
            let toml = toml.replace('\n', "");
            let mut secret = read(&toml).unwrap();
            secret.resolve(&env, dir.path()).unwrap();
            assert_eq!(secret.secret().expose(), value, "{toml}");
        }
    }

    #[test]
    fn only_one_newline_is_cut_from_a_secret() {
        assert_eq!(trim_newline("a\n\n"), "a\n");
        assert_eq!(trim_newline(" a "), " a ");
    }

    #[test]
    fn a_secret_without_a_usable_value_names_its_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        std::fs::write(dir.path().join("bytes"), [0xff, 0xfe]).unwrap();
        std::fs::write(dir.path().join("huge"), vec![b'x'; SECRET_BYTES_MAX as usize + 1]).unwrap();
        for (toml, words) in [
            ("{ file = 'absent' }", "absent"),
            ("{ file = 'empty' }", "empty"),
            ("{ file = 'bytes' }", "not UTF-8"),
            ("{ file = 'huge' }", "65536"),
            ("{ env = 'NOPE' }", "NOPE"),
            ("{ credential = 'easydocs' }", "LoadCredential=easydocs"),
        ] {
            let err = read(toml).unwrap().resolve(&Environment::default(), dir.path()).unwrap_err();
            assert!(err.en.contains(words), "{toml}: {}", err.en);
        }
    }

    #[test]
    fn a_misshapen_secret_is_refused_without_quoting_it() {
        for toml in [
            "731915",
            "7.31915",
            "{ file = 'a', env = 'b' }",
            "{ }",
            "{ path = 'x731915' }",
            "{ credential = '../731915' }",
        ] {
            let err = read(toml).unwrap_err();
            assert!(!err.contains("731915"), "{toml}: {err}");
        }
    }

    #[test]
    fn a_literal_secret_prints_stars_everywhere() {
        let secret = read("'hunter2'").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(toml::Value::try_from(&secret).unwrap().as_str(), Some("***"));
    }
}
