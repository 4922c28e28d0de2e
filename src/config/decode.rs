//! From the merged tree to typed values, collecting every problem instead of stopping at the first.
//!
//! serde stops at the first error. So an error is noted, the offending key is mended with its default (or
//! removed), and the tree is read again; a mended result only serves to find further problems, it is never used.

use super::Config;
use super::problem::unpack;
use super::source::Source;
use crate::domain::Text;
use serde_path_to_error::Segment;
use toml::{Table, Value};

/// Problems that one run reports at most; whoever has more mends these first.
const PROBLEMS_MAX: usize = 50;

/// One error of a type, before its place is looked up.
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) text: Text,
}

/// What reading gave.
pub(super) struct Decoded {
    /// The configuration: fit for use only if `faults` is empty.
    pub(super) config: Option<Config>,
    pub(super) faults: Vec<Fault>,
    /// Whole entries of lists were dropped, so that references to them prove nothing.
    pub(super) incomplete: bool,
}

/// Reads the tree.
pub(super) fn decode(source: &mut Source, defaults: &Table) -> Decoded {
    let mut decoded = Decoded { config: None, faults: Vec::new(), incomplete: false };
    // a second reading of a variable is a pass without a fault, so there may be more passes than faults
    for _ in 0..PROBLEMS_MAX + source.second_readings.len() {
        let err = match serde_path_to_error::deserialize::<_, Config>(source.tree.clone()) {
            Ok(config) => {
                decoded.config = Some(config);
                break;
            }
            Err(err) => err,
        };
        let steps = steps_of(err.path());
        let (key, message) = (name_of(&steps), err.inner().message().to_owned());
        if read_second(source, &steps) {
            continue;
        }
        let kind = Message::of(&message);
        let key = match &kind {
            Message::Missing(name) if !key.is_empty() => format!("{key}.{name}"),
            Message::Missing(name) => (*name).to_owned(),
            Message::Unknown { .. } | Message::Other => key,
        };
        if !decoded.faults.iter().any(|fault| fault.key == key) {
            decoded.faults.push(Fault { key, text: kind.sentence(&message) });
        }
        match mend(&mut source.tree, &steps, &kind, defaults) {
            Mended::Value => {}
            Mended::EntryDropped => decoded.incomplete = true,
            Mended::Nothing => break,
        }
    }
    decoded
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
}

fn steps_of(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Name(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn name_of(steps: &[Step]) -> String {
    let mut name = String::new();
    for step in steps {
        match step {
            Step::Name(key) if name.is_empty() => name.push_str(key),
            Step::Name(key) => {
                name.push('.');
                name.push_str(key);
            }
            Step::Index(index) => name.push_str(&format!("[{index}]")),
        }
    }
    name
}

fn at<'a>(tree: &'a mut Table, steps: &[Step]) -> Option<&'a mut Value> {
    let (Step::Name(first), rest) = steps.split_first()? else { return None };
    rest.iter().try_fold(tree.get_mut(first)?, |value, step| match (value, step) {
        (Value::Table(table), Step::Name(name)) => table.get_mut(name),
        (Value::Array(items), Step::Index(index)) => items.get_mut(*index),
        (_, Step::Name(_) | Step::Index(_)) => None,
    })
}

/// Tries the other reading of a variable at the failing key or around it.
fn read_second(source: &mut Source, steps: &[Step]) -> bool {
    for len in (1..=steps.len()).rev() {
        let name = name_of(&steps[..len]);
        if let Some(value) = source.second_readings.remove(&name)
            && let Some(slot) = at(&mut source.tree, &steps[..len])
        {
            *slot = value;
            return true;
        }
    }
    false
}

enum Mended {
    Value,
    EntryDropped,
    Nothing,
}

fn mend(tree: &mut Table, steps: &[Step], kind: &Message<'_>, defaults: &Table) -> Mended {
    match kind {
        Message::Missing(_) => drop_entry(tree, steps),
        Message::Unknown { .. } => remove(tree, steps),
        Message::Other => match default_at(defaults, steps) {
            Some(value) => match at(tree, steps) {
                Some(slot) if *slot != value => {
                    *slot = value;
                    Mended::Value
                }
                Some(_) | None => drop_entry(tree, steps),
            },
            None => remove(tree, steps),
        },
    }
}

/// The default of a key; entries of lists have theirs in their own sections.
fn default_at(defaults: &Table, steps: &[Step]) -> Option<Value> {
    let mut defaults = defaults.clone();
    match steps {
        [Step::Name(list), Step::Index(_), rest @ ..]
            if matches!(list.as_str(), "portals" | "rules" | "apps") =>
        {
            let (section, rest) = match (list.as_str(), rest) {
                ("portals", rest) => ("portal_defaults", rest),
                ("apps", [Step::Name(portal), rest @ ..]) if portal == "portal" => ("portal_defaults", rest),
                ("apps", rest) => ("app_defaults", rest),
                (_, rest) => ("rule_defaults", rest),
            };
            let Value::Table(mut section) = defaults.remove(section)? else { return None };
            at(&mut section, rest).cloned()
        }
        _ => at(&mut defaults, steps).cloned(),
    }
}

fn remove(tree: &mut Table, steps: &[Step]) -> Mended {
    let Some((last, parents)) = steps.split_last() else { return Mended::Nothing };
    let removed = match last {
        Step::Name(name) if parents.is_empty() => tree.remove(name).is_some(),
        Step::Name(name) => match at(tree, parents) {
            Some(Value::Table(table)) => table.remove(name).is_some(),
            _ => false,
        },
        Step::Index(_) => false,
    };
    if removed { Mended::Value } else { drop_entry(tree, steps) }
}

/// Drops the innermost list entry around `steps`.
fn drop_entry(tree: &mut Table, steps: &[Step]) -> Mended {
    for len in (1..=steps.len()).rev() {
        if let Step::Index(index) = steps[len - 1]
            && let Some(Value::Array(items)) = at(tree, &steps[..len - 1])
            && index < items.len()
        {
            items.remove(index);
            return Mended::EntryDropped;
        }
    }
    Mended::Nothing
}

/// The kinds of serde's messages that we put into our own words.
enum Message<'a> {
    Unknown { name: &'a str, known: Vec<&'a str> },
    Missing(&'a str),
    Other,
}

impl<'a> Message<'a> {
    fn of(message: &'a str) -> Self {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        match quoted.as_slice() {
            [name, known @ ..] if message.starts_with("unknown field") => {
                Self::Unknown { name, known: known.to_vec() }
            }
            [name, ..] if message.starts_with("missing field") => Self::Missing(name),
            _ => Self::Other,
        }
    }

    fn sentence(&self, message: &str) -> Text {
        match self {
            Self::Unknown { name, known } => unknown_key(name, known),
            Self::Missing(name) => Text::new(
                format!("не хватает ключа `{name}`: добавьте его"),
                format!("the key `{name}` is missing: add it"),
            ),
            Self::Other => unpack(message).or_else(|| misfit(message)).unwrap_or_else(|| {
                Text::new(
                    format!("значение не подходит: {message}"),
                    format!("the value does not fit: {message}"),
                )
            }),
        }
    }
}

/// serde's `invalid type: string "…", expected …` without the value: it may be a secret in the wrong place.
fn misfit(message: &str) -> Option<Text> {
    // the url crate ends with the value in quotes
    if let Some((why, _)) = message.split_once(": \"")
        && !why.starts_with("invalid type")
        && !why.starts_with("invalid value")
    {
        return Some(Text::new(
            format!("нужен адрес вида https://хост/ ({why})"),
            format!("an address such as https://host/ is needed ({why})"),
        ));
    }
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let found = found.split([' ', ',']).next().unwrap_or(found);
    let found_ru = match found {
        "string" => "текст",
        "integer" => "целое число",
        "floating" => "дробное число",
        "boolean" => "да/нет",
        "map" => "таблица",
        "sequence" => "список",
        other => other,
    };
    Some(Text::new(
        format!("значение не подходит: здесь {found_ru}, а нужно: {expected}"),
        format!("the value does not fit: here is a {found}, but this is needed: {expected}"),
    ))
}

fn unknown_key(name: &str, known: &[&str]) -> Text {
    let near = known.iter().map(|key| (distance(name, key), key)).min().filter(|(d, _)| *d <= 3);
    match near {
        Some((_, key)) => Text::new(
            format!("ключа `{name}` нет; возможно, имелся в виду `{key}`"),
            format!("there is no key `{name}`; perhaps `{key}` is meant"),
        ),
        None => {
            let known = known.join(", ");
            Text::new(
                format!("ключа `{name}` здесь нет; есть: {known}"),
                format!("there is no key `{name}` here; there are: {known}"),
            )
        }
    }
}

/// Levenshtein distance of two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_names_counts_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
