//! Patterns over file names: which files a rule takes, and which CRM item a name speaks of.

use super::problem::bilingual;
use super::units::TextVisitor;
use crate::domain::file_name;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;

/// The longest pattern: file names end at 255 characters in Bitrix24 Drive too.
const PATTERN_CHARS_MAX: usize = 255;

/// A file name with wildcards: `*` is any text, `?` is any one character. Upper and lower case are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamePattern(String);

impl NamePattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether the whole of `name` fits. Takes time in proportion to pattern times name at worst.
    pub fn matches(&self, name: &str) -> bool {
        file_name::fits(&self.0, name)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            deserializer.deserialize_str(TextVisitor("a file name with wildcards, such as \"*.pdf\""))?;
        if text.is_empty() || text.contains('/') || text.chars().count() > PATTERN_CHARS_MAX {
            return Err(D::Error::custom(bilingual(
                "образец имени должен быть непустым, не длиннее 255 знаков и без `/`: сравнивается только имя файла",
                "a name pattern must not be empty, longer than 255 characters or contain `/`: only the file's name is compared",
            )));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for NamePattern {
    fn schema_name() -> Cow<'static, str> {
        "NamePattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "File name with * and ?, letter case does not matter: *.pdf, act-????.docx" })
    }
}

/// A text in a file's name right before a number: `deal-{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NameTemplate {
    before: String,
}

impl NameTemplate {
    /// The text before the number: `deal-`. Letter case does not matter.
    pub fn before(&self) -> &str {
        &self.before
    }
}

impl std::fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{{id}}", self.before)
    }
}

impl Serialize for NameTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NameTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            deserializer.deserialize_str(TextVisitor("a piece of a file name, such as \"deal-{id}\""))?;
        // without a text before it, any number in the name would do: a date, a version
        match text.strip_suffix("{id}") {
            Some(before) if !before.is_empty() && !before.contains("{id}") => {
                Ok(Self { before: before.to_owned() })
            }
            Some(_) | None => Err(D::Error::custom(bilingual(
                "шаблон имени — это текст и в конце `{id}`, например `deal-{id}`",
                "a name template is a text with `{id}` at its end, such as `deal-{id}`",
            ))),
        }
    }
}

impl JsonSchema for NameTemplate {
    fn schema_name() -> Cow<'static, str> {
        "NameTemplate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A piece of a file name with the item's number: deal-{id}", "pattern": r"^[^{]+\{id\}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern(pattern.into()).matches(name)
    }

    #[test]
    fn a_pattern_fits_whole_names_in_any_letter_case() {
        assert!(matches("*.pdf", "Договор.PDF"));
        assert!(matches("*_signed*", "a_signed (1).pdf"));
        assert!(matches("акт-??.*", "Акт-07.docx"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(!matches("*.pdf", "a.pdf.exe"));
        assert!(!matches("?.pdf", ".pdf"));
        assert!(!matches("a*b", "acbd"));
    }

    #[test]
    fn a_wicked_pattern_takes_bounded_time() {
        let name = "a".repeat(255);
        assert!(!matches(&"*a".repeat(100), &format!("{name}b")));
    }

    fn template(text: &str) -> Result<NameTemplate, toml::de::Error> {
        NameTemplate::deserialize(toml::Value::String(text.into()))
    }

    #[test]
    fn a_template_is_a_text_before_a_number() {
        let template = template("Сделка {id}").unwrap();
        assert_eq!((template.before(), template.to_string().as_str()), ("Сделка ", "Сделка {id}"));
    }

    #[test]
    fn a_template_of_another_form_is_refused() {
        for text in ["deal", "{id}", "{id}{id}", "deal-{id}.pdf", ""] {
            assert!(template(text).is_err(), "{text}");
        }
    }
}
