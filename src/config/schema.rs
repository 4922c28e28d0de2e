//! The JSON schema of the configuration file, for editors.

use super::{AppConfig, Config, PortalConfig, RuleConfig};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Keys that a file must give, wherever they occur: nothing in `default.toml` stands for them.
const NEVER_DEFAULTED: [&str; 6] = ["id", "portal", "trigger", "kind", "client_id", "client_secret"];

/// The schema. Keys that have a default are optional in it, and the two tables of defaults are there.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let portal = generator.subschema_for::<PortalConfig>();
    let app = generator.subschema_for::<AppConfig>();
    let rule = generator.subschema_for::<RuleConfig>();
    let mut schema = Value::from(generator.into_root_schema_for::<Config>());
    relax(&mut schema, &NEVER_DEFAULTED);
    allow_short_kinds(&mut schema);
    for (section, entry) in [("portal_defaults", portal), ("app_defaults", app), ("rule_defaults", rule)] {
        add_defaults_section(&mut schema, section, &Value::from(entry));
    }
    schema
}

/// `deal_stage` and `lead_stage` are accepted wherever `item_stage` is.
fn allow_short_kinds(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("const").and_then(Value::as_str) == Some("item_stage") {
                map.remove("const");
                map.insert("enum".to_owned(), serde_json::json!(["item_stage", "deal_stage", "lead_stage"]));
            }
            map.values_mut().for_each(allow_short_kinds);
        }
        Value::Array(items) => items.iter_mut().for_each(allow_short_kinds),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Leaves only `kept` names in every `required` list.
fn relax(value: &mut Value, kept: &[&str]) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Array(required)) = map.get_mut("required") {
                required
                    .retain(|name| name.as_str().is_some_and(|name| kept.contains(&name)) || is_place(name));
            }
            map.values_mut().for_each(|value| relax(value, kept));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| relax(value, kept)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The places of a secret: the one key of its table is what tells its kind.
fn is_place(name: &Value) -> bool {
    matches!(name.as_str(), Some("file" | "env" | "credential"))
}

/// A copy of an entry's schema in which nothing is required.
fn add_defaults_section(schema: &mut Value, section: &str, reference: &Value) {
    let Some(pointer) =
        reference.get("$ref").and_then(Value::as_str).map(|r| r.trim_start_matches('#').to_owned())
    else {
        return;
    };
    let Some(mut entry) = schema.pointer(&pointer).cloned() else { return };
    relax(&mut entry, &[]);
    if let Some(Value::Object(properties)) = entry.get_mut("properties")
        && section == "rule_defaults"
    {
        for kind in
            ["folder", "file_event", "deal_stage", "item_stage", "lead_stage", "generated_document", "idocs"]
        {
            properties.insert(
                kind.to_owned(),
                Value::Object(Map::from_iter([("type".to_owned(), "object".into())])),
            );
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(section.to_owned(), entry);
    }
}
