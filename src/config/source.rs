//! Where values come from: the built-in defaults, the file, the environment; merged into one tree.
//!
//! The tree is untyped; types are the business of `decode`. What is kept beside it is the origin of each key, so
//! that every problem found later can name its line.

use super::environment::{ENV_PREFIX, Environment};
use super::problem::{Origin, Problem, Severity};
use crate::domain::Text;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// The built-in defaults, with their explanations.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// No configuration is larger; a larger file is a wrong file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Entries that one list can get from the environment: `EDOBRIDGE__PORTALS__7__ID`.
const ENV_INDEX_MAX: usize = 1_000;

/// Origins of keys, by their full name: `portals[0].webhook_url`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Where this very key was set.
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Default)
    }
    /// Where the key was set, or else the nearest section around it: the place to show for a problem.
    pub fn nearest(&self, key: &str) -> Origin {
        let mut key = key;
        loop {
            if let Some(origin) = self.0.get(key) {
                return origin.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return Origin::Default,
            }
        }
    }
    fn set(&mut self, key: String, origin: Origin) {
        self.0.insert(key, origin);
    }
    /// Forgets what was set below `key`, because something else replaces it whole.
    fn forget_below(&mut self, key: &str) {
        let below = |known: &String| known.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.0.retain(|known, _| !below(known));
    }
}

/// The merged tree and what is known about it.
pub(super) struct Source {
    pub(super) tree: Table,
    pub(super) origins: Origins,
    /// For keys set by a variable as text: the same text read as a TOML value, if it is one.
    pub(super) second_readings: BTreeMap<String, Value>,
    pub(super) problems: Vec<Problem>,
}

/// The defaults as a tree.
pub(super) fn defaults() -> Table {
    toml::from_str(DEFAULT_TOML).expect("the built-in default.toml is valid TOML: a test reads it")
}

/// Merges defaults, file and environment.
pub(super) fn gather(path: Option<&Path>, env: &Environment) -> Source {
    let mut source = Source {
        tree: defaults(),
        origins: Origins::default(),
        second_readings: BTreeMap::new(),
        problems: Vec::new(),
    };
    let optional = source.tree.remove(OPTIONAL_SECTION);
    if let Some(path) = path {
        source.read_file(path);
    }
    for (name, value) in env.overlay() {
        source.overlay(name, value);
    }
    if let Some(defaults) = optional {
        source.fill_optional(&defaults);
    }
    source.spread_defaults();
    source
}

/// A section that switches something on by being there: its defaults apply only to whoever names it.
const OPTIONAL_SECTION: &str = "idocs";

impl Source {
    fn fill_optional(&mut self, defaults: &Value) {
        if let (Some(Value::Table(section)), Value::Table(defaults)) =
            (self.tree.get_mut(OPTIONAL_SECTION), defaults)
        {
            fill(section, defaults, OPTIONAL_SECTION, OPTIONAL_SECTION, &mut self.origins);
        }
    }

    fn read_file(&mut self, path: &Path) {
        let path: Arc<Path> = path.into();
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(why) => {
                let text = Text::new(
                    format!("файл конфигурации не читается ({why}): проверьте путь и права"),
                    format!(
                        "the configuration file cannot be read ({why}): check the path and its permissions"
                    ),
                );
                let origin = Origin::File { path, line: 1 };
                self.problems.push(Problem { severity: Severity::Error, key: String::new(), origin, text });
                return;
            }
        };
        let (spanned, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            // not `Display`: that one quotes the line, which may hold a secret
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            let text = Text::new(
                format!("это не TOML: {}", error.message()),
                format!("this is not TOML: {}", error.message()),
            );
            let origin = Origin::File { path: Arc::clone(&path), line };
            self.problems.push(Problem { severity: Severity::Error, key: String::new(), origin, text });
        }
        let lines = LineIndex { text: &text, path: &path };
        lines.table(spanned.get_ref(), "", &mut self.origins);
        if errors.is_empty()
            && let Ok(table) = toml::from_str::<Table>(&text)
        {
            merge(&mut self.tree, table);
        }
    }

    /// Puts one variable into the tree.
    fn overlay(&mut self, name: &str, text: &str) {
        let origin = Origin::Env { name: name.to_owned() };
        let segments: Vec<String> =
            name[ENV_PREFIX.len()..].split("__").map(|segment| segment.to_ascii_lowercase()).collect();
        let placed = if segments.iter().any(String::is_empty) {
            Err(Text::new(
                "имя переменной должно быть вида EDOBRIDGE__РАЗДЕЛ__КЛЮЧ",
                "the name of the variable must have the form EDOBRIDGE__SECTION__KEY",
            ))
        } else {
            place(&mut self.tree, &segments, text)
        };
        match placed {
            Ok(Placed { key, value, second_reading }) => {
                self.origins.forget_below(&key);
                note_all(&key, &value, &origin, &mut self.origins);
                if let Some(second) = second_reading {
                    self.second_readings.insert(key, second);
                }
            }
            Err(text) => self.problems.push(Problem {
                severity: Severity::Error,
                key: segments.join("."),
                origin,
                text,
            }),
        }
    }

    /// Gives each portal and rule what it does not say itself, and takes the tables of defaults out of the tree.
    fn spread_defaults(&mut self) {
        self.spread_app_defaults();
        for (list, section) in [("portals", "portal_defaults"), ("rules", "rule_defaults")] {
            let Some(Value::Table(mut given)) = self.tree.remove(section) else { continue };
            let triggers = if list == "rules" { split_triggers(&mut given) } else { Table::new() };
            let services = if list == "rules" { split_services(&mut given) } else { Table::new() };
            let Some(Value::Array(entries)) = self.tree.get_mut(list) else { continue };
            for (index, entry) in entries.iter_mut().enumerate() {
                let Value::Table(entry) = entry else { continue };
                let key = format!("{list}[{index}]");
                if let Some(Value::Table(trigger)) = entry.get_mut("trigger")
                    && let Some(kind) = trigger.get("kind").and_then(Value::as_str).map(str::to_owned)
                    && let Some(Value::Table(defaults)) = triggers.get(&kind)
                {
                    fill(
                        trigger,
                        defaults,
                        &format!("{key}.trigger"),
                        &format!("{section}.{kind}"),
                        &mut self.origins,
                    );
                }
                let service = entry.get("service").or_else(|| given.get("service")).and_then(Value::as_str);
                if let Some((service, Value::Table(defaults))) =
                    service.and_then(|service| services.get_key_value(service))
                {
                    fill(entry, defaults, &key, &format!("{section}.{service}"), &mut self.origins);
                }
                fill(entry, &given, &key, section, &mut self.origins);
            }
        }
    }
}

impl Source {
    /// An application's own defaults, and in its table `portal` those of a portal.
    fn spread_app_defaults(&mut self) {
        let portal = self.tree.get("portal_defaults").and_then(Value::as_table).cloned().unwrap_or_default();
        let Some(Value::Table(given)) = self.tree.remove("app_defaults") else { return };
        let Some(Value::Array(apps)) = self.tree.get_mut("apps") else { return };
        for (index, app) in apps.iter_mut().enumerate() {
            let Value::Table(app) = app else { continue };
            let key = format!("apps[{index}]");
            fill(app, &given, &key, "app_defaults", &mut self.origins);
            let entry = app.entry("portal").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(entry) = entry {
                entry.entry("id").or_insert_with(|| Value::String("installed".to_owned()));
                fill(entry, &portal, &format!("{key}.portal"), "portal_defaults", &mut self.origins);
            }
        }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|err| err.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|err| err.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

/// The number of the line that holds the byte at `offset`, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

struct LineIndex<'a> {
    text: &'a str,
    path: &'a Arc<Path>,
}

impl LineIndex<'_> {
    fn origin(&self, offset: usize) -> Origin {
        Origin::File { path: Arc::clone(self.path), line: line_of(self.text, offset) }
    }
    fn table(&self, table: &DeTable<'_>, prefix: &str, origins: &mut Origins) {
        for (name, value) in table {
            let key = join(prefix, name.get_ref());
            origins.set(key.clone(), self.origin(name.span().start));
            self.value(value, &key, origins);
        }
    }
    fn value(&self, value: &Spanned<DeValue<'_>>, key: &str, origins: &mut Origins) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, key, origins),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let key = format!("{key}[{index}]");
                    origins.set(key.clone(), self.origin(item.span().start));
                    self.value(item, &key, origins);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// Tables merge key by key; anything else is replaced. A secret is one value, not a table to be merged.
fn merge(base: &mut Table, over: Table) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// Keys of `defaults` that `target` lacks, with their origins if they were set somewhere.
fn fill(target: &mut Table, defaults: &Table, key: &str, section: &str, origins: &mut Origins) {
    for (name, value) in defaults {
        let (key, section) = (join(key, name), join(section, name));
        match (target.get_mut(name), value) {
            (Some(Value::Table(target)), Value::Table(defaults)) if !is_whole(name) => {
                fill(target, defaults, &key, &section, origins);
            }
            (Some(_), _) => {}
            (None, value) => {
                copy_origins(origins, &section, &key);
                target.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Tables that are one value: half of one and half of another would make no sense.
fn is_whole(name: &str) -> bool {
    matches!(name, "rate" | "crm_item" | "trigger" | "webhook_url" | "client_secret" | "seal_key")
}

fn copy_origins(origins: &mut Origins, from: &str, to: &str) {
    let below = |known: &str| match known.strip_prefix(from) {
        Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => Some(format!("{to}{rest}")),
        Some(_) | None => None,
    };
    let copies: Vec<_> =
        origins.0.iter().filter_map(|(known, origin)| Some((below(known)?, origin.clone()))).collect();
    origins.0.extend(copies);
}

fn split_triggers(rule_defaults: &mut Table) -> Table {
    ["folder", "file_event", "deal_stage", "item_stage", "lead_stage", "generated_document"]
        .into_iter()
        .filter_map(|kind| Some((kind.to_owned(), rule_defaults.remove(kind)?)))
        .collect()
}

/// What rules of one service have by default, besides what all rules have.
fn split_services(rule_defaults: &mut Table) -> Table {
    [OPTIONAL_SECTION]
        .into_iter()
        .filter_map(|service| Some((service.to_owned(), rule_defaults.remove(service)?)))
        .collect()
}

struct Placed {
    key: String,
    value: Value,
    second_reading: Option<Value>,
}

/// Puts the text of a variable where `segments` lead.
fn place(tree: &mut Table, segments: &[String], text: &str) -> Result<Placed, Text> {
    let (first, rest) = segments.split_first().ok_or_else(not_a_section)?;
    let slot = tree.entry(first.clone()).or_insert_with(|| empty_for(rest));
    let (key, slot) = descend(slot, rest, first.clone())?;
    let (value, second_reading) = read_variable(slot, text);
    *slot = value.clone();
    Ok(Placed { key, value, second_reading })
}

fn descend<'a>(
    slot: &'a mut Value,
    segments: &[String],
    key: String,
) -> Result<(String, &'a mut Value), Text> {
    let Some((segment, rest)) = segments.split_first() else { return Ok((key, slot)) };
    match slot {
        Value::Table(table) => {
            let next = table.entry(segment.clone()).or_insert_with(|| empty_for(rest));
            descend(next, rest, join(&key, segment))
        }
        Value::Array(items) => {
            let index: usize = segment.parse().map_err(|_| not_an_index(&key))?;
            if index > items.len() || index > ENV_INDEX_MAX {
                return Err(index_leaves_a_gap(&key, items.len()));
            }
            if index == items.len() {
                items.push(empty_for(rest));
            }
            descend(&mut items[index], rest, format!("{key}[{index}]"))
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            Err(not_a_section())
        }
    }
}

/// What stands at a place that does not exist yet: a list if a number leads on, a table if a name does.
fn empty_for(rest: &[String]) -> Value {
    match rest.first() {
        Some(segment) if segment.bytes().all(|b| b.is_ascii_digit()) => Value::Array(Vec::new()),
        Some(_) => Value::Table(Table::new()),
        None => Value::String(String::new()),
    }
}

/// Reads a variable by what stands in its place already; says what else it could be.
fn read_variable(present: &Value, text: &str) -> (Value, Option<Value>) {
    let as_toml =
        toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
    let as_text = Value::String(text.to_owned());
    let structured = text.trim_start().starts_with(['{', '[', '"']);
    match as_toml {
        None => (as_text, None),
        Some(value) if present.is_str() && !structured => (as_text, Some(value)),
        Some(value) => (value, Some(as_text)),
    }
}

fn note_all(key: &str, value: &Value, origin: &Origin, origins: &mut Origins) {
    origins.set(key.to_owned(), origin.clone());
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                note_all(&join(key, name), value, origin, origins);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                note_all(&format!("{key}[{index}]"), value, origin, origins);
            }
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn not_a_section() -> Text {
    Text::new(
        "переменная ведёт внутрь значения, а не раздела: проверьте имя по `config show`",
        "the variable leads into a value, not into a section: compare its name with `config show`",
    )
}

fn not_an_index(key: &str) -> Text {
    Text::new(
        format!("{key} — список: после него в имени переменной нужен номер, например __0__"),
        format!("{key} is a list: a number must follow in the name of the variable, such as __0__"),
    )
}

fn index_leaves_a_gap(key: &str, len: usize) -> Text {
    Text::new(
        format!("в списке {key} сейчас {len} элементов: следующий номер — {len}"),
        format!("the list {key} has {len} entries: the next number is {len}"),
    )
}
