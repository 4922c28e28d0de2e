//! The effective configuration as TOML, each key with the place it came from, secrets as stars.

use super::Config;
use super::source::Origins;
use toml::{Table, Value};

/// Prints the whole configuration. Reading it back gives the same values, except for secrets written as text.
pub(super) fn show(config: &Config, origins: &Origins) -> String {
    // every type of the configuration serialises to plain TOML values, and a test prints them all
    let tree = Table::try_from(config).unwrap_or_default();
    let mut out = String::new();
    print_table(&mut out, &tree, "", "", origins);
    out
}

fn print_table(out: &mut String, table: &Table, header: &str, key: &str, origins: &Origins) {
    let join = |prefix: &str, name: &str| {
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
    };
    let (sections, leaves): (Vec<_>, Vec<_>) =
        table.iter().partition(|(name, value)| is_section(name, value));
    for (name, value) in leaves {
        let origin = origins.of(&join(key, name));
        out.push_str(&format!("{} = {value}  # {origin}\n", quoted(name)));
    }
    for (name, value) in sections {
        let (header, key) = (join(header, &quoted(name)), join(key, name));
        match value {
            Value::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    out.push_str(&format!("\n[[{header}]]\n"));
                    if let Value::Table(entry) = entry {
                        print_table(out, entry, &header, &format!("{key}[{index}]"), origins);
                    }
                }
            }
            Value::Table(section) => {
                out.push_str(&format!("\n[{header}]\n"));
                print_table(out, section, &header, &key, origins);
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}

/// Lists of portals and rules get headers, and so do tables that are not one value written in one line.
fn is_section(name: &str, value: &Value) -> bool {
    match value {
        Value::Table(_) => !matches!(
            name,
            "trigger"
                | "crm_item"
                | "rate"
                | "webhook_url"
                | "api_key"
                | "token"
                | "path_secret"
                | "client_secret"
                | "seal_key"
        ),
        Value::Array(_) => matches!(name, "portals" | "rules" | "apps"),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            false
        }
    }
}

/// A bare key where TOML allows it.
fn quoted(name: &str) -> String {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}
