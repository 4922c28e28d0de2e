//! Patterns over file names: which files a rule takes, and which CRM item a name speaks of.

use super::problem::bilingual;
use super::units::TextVisitor;
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
        let pattern: Vec<char> = self.0.to_lowercase().chars().collect();
        let name: Vec<char> = name.to_lowercase().chars().collect();
        matches_from(&pattern, &name)
    }
}

/// The classic greedy match with one point of return: the last `*` seen.
fn matches_from(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match retry {
                Some((after_star, taken)) => {
                    p = after_star;
                    n = taken + 1;
                    retry = Some((after_star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
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

/// A piece of a file name that holds a number: `deal-{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NameTemplate {
    before: String,
    after: String,
}

impl NameTemplate {
    /// The number at the first place of `name` where the template fits; letter case does not matter.
    ///
    /// `deal-{id}` finds 501 in `Contract deal-501 final.pdf`, and nothing in `deal-.pdf`.
    pub fn find(&self, name: &str) -> Option<u64> {
        let name = name.to_lowercase();
        let (before, after) = (self.before.to_lowercase(), self.after.to_lowercase());
        let mut from = 0;
        while let Some(at) = name[from..].find(&before) {
            let start = from + at + before.len();
            let digits = name[start..].bytes().take_while(u8::is_ascii_digit).count();
            // a template without a text before the number must not start inside a longer number
            let whole = !before.is_empty() || !name[..start].ends_with(|c: char| c.is_ascii_digit());
            if digits > 0 && whole && name[start + digits..].starts_with(&after) {
                return name[start..start + digits].parse().ok().filter(|id| *id > 0);
            }
            from += at + name[from + at..].chars().next()?.len_utf8();
        }
        None
    }
}

impl std::fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{{id}}{}", self.before, self.after)
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
        match text.split_once("{id}") {
            Some((before, after)) if !after.contains("{id}") => {
                Ok(Self { before: before.to_owned(), after: after.to_owned() })
            }
            Some(_) | None => Err(D::Error::custom(bilingual(
                "в шаблоне имени должно быть ровно одно место `{id}`, например `deal-{id}`",
                "a name template has exactly one `{id}`, such as `deal-{id}`",
            ))),
        }
    }
}

impl JsonSchema for NameTemplate {
    fn schema_name() -> Cow<'static, str> {
        "NameTemplate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A piece of a file name with the item's number: deal-{id}", "pattern": r"^[^{]*\{id\}[^{]*$" })
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

    fn find(template: &str, name: &str) -> Option<u64> {
        let table = toml::Value::String(template.into());
        NameTemplate::deserialize(table).unwrap().find(name)
    }

    #[test]
    fn a_template_finds_the_number_in_a_name() {
        assert_eq!(find("deal-{id}", "Contract Deal-501 final.pdf"), Some(501));
        assert_eq!(find("[{id}]", "act [77].pdf"), Some(77));
        assert_eq!(find("deal-{id}", "deal-x deal-12.pdf"), Some(12));
        assert_eq!(find("{id}_", "a 12_b.pdf"), Some(12));
        assert_eq!(find("deal-{id}", "deal-.pdf"), None);
        assert_eq!(find("deal-{id}", "deal-0.pdf"), None);
        assert_eq!(find("deal-{id}", "deal-99999999999999999999999.pdf"), None);
        assert_eq!(find("сделка {id}", "Сделка 9 ё.pdf"), Some(9));
    }

    #[test]
    fn a_template_without_exactly_one_place_is_refused() {
        for text in ["deal", "{id}{id}", ""] {
            assert!(NameTemplate::deserialize(toml::Value::String(text.into())).is_err(), "{text}");
        }
    }
}
