//! The route of a draft as a template: to whom it goes, and who must sign.
//!
//! Guide and snapshot disagree on its members, and one integrator needed a third set, so that the route is a template:
//! three of them are built in, a fourth can be configured. In a template `{bin}`, `{email}` and `{comment}` stand for
//! texts; the whole strings `"{emails}"` and `"{is_individual}"` become a list and a boolean.

use super::error;
use crate::domain::Failure;
use serde_json::{Value, json};

/// Most addresses that one counterparty gets.
const EMAILS_MAX: usize = 10;

/// Whether the counterparty is a company or a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CounterpartyKind {
    /// A company: the number is a BIN.
    #[default]
    Company,
    /// A person: the number is an IIN, which goes into the same member.
    Individual,
}

/// Who signs after us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counterparty {
    /// BIN or IIN, 12 digits.
    pub bin: String,
    /// Where iDocs writes to; may be empty.
    pub emails: Vec<String>,
    /// What the number is.
    pub kind: CounterpartyKind,
}

/// The value of the member `route`, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTemplate {
    shape: Value,
    comment: String,
}

/// A template that is no JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template of the route is not a JSON object")]
pub struct BadRouteTemplate;

impl RouteTemplate {
    /// The members of the guide. `required_action` is the value of `requiredActionType`, which is not published.
    pub fn guide(required_action: &str, comment: &str) -> Self {
        let node = json!({
            "order": 0,
            "counterpartyBin": "{bin}",
            "comment": "{comment}",
            "isIndividual": "{is_individual}",
            "counterpartyEmails": "{emails}",
            "requiredActionType": required_action,
        });
        Self { shape: json!({"external": {"nodes": [node]}}), comment: comment.to_owned() }
    }

    /// The members of the OpenAPI snapshot.
    pub fn snapshot(comment: &str) -> Self {
        let node = json!({
            "order": 0,
            "counterpartyBin": "{bin}",
            "comment": "{comment}",
            "isIndividual": "{is_individual}",
            "counterpartyEmails": "{emails}",
            "isSignRequiredByCounterparty": true,
            "orgUnitId": null,
        });
        let external =
            json!({"routeOrderType": "SEQUENTIAL", "isSignRequiredBySender": true, "nodes": [node]});
        Self { shape: json!({"external": external}), comment: comment.to_owned() }
    }

    /// The same with `isSenderPayer`, which one integrator added against an error about payment; its place is assumed.
    pub fn snapshot_payer(comment: &str) -> Self {
        let mut template = Self::snapshot(comment);
        if let Some(external) = template.shape.pointer_mut("/external").and_then(Value::as_object_mut) {
            external.insert("isSenderPayer".to_owned(), Value::Bool(true));
        }
        template
    }

    /// A template of the configuration.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn own(text: &str, comment: &str) -> Result<Self, BadRouteTemplate> {
        let shape: Value = serde_json::from_str(text).map_err(|_| BadRouteTemplate)?;
        if !shape.is_object() {
            return Err(BadRouteTemplate);
        }
        Ok(Self { shape, comment: comment.to_owned() })
    }

    /// The route to this counterparty.
    pub fn filled(&self, counterparty: &Counterparty) -> Value {
        let mut route = self.shape.clone();
        fill(&mut route, counterparty, &self.comment);
        route
    }
}

fn fill(value: &mut Value, counterparty: &Counterparty, comment: &str) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|v| fill(v, counterparty, comment)),
        Value::Array(items) => items.iter_mut().for_each(|v| fill(v, counterparty, comment)),
        Value::String(text) => {
            let filled = match text.as_str() {
                "{emails}" => json!(counterparty.emails),
                "{is_individual}" => json!(counterparty.kind == CounterpartyKind::Individual),
                "{comment}" if comment.is_empty() => Value::Null,
                _ => Value::String(filled_text(text, counterparty, comment)),
            };
            *value = filled;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Each placeholder once, from left to right: what is filled in is never looked at again.
fn filled_text(text: &str, counterparty: &Counterparty, comment: &str) -> String {
    let email = counterparty.emails.first().map_or("", String::as_str);
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('{') {
        out.push_str(before);
        let (value, after) = match tail.split_once('}') {
            Some(("bin", after)) => (counterparty.bin.as_str(), after),
            Some(("email", after)) => (email, after),
            Some(("comment", after)) => (comment, after),
            Some(_) | None => ("{", tail),
        };
        out.push_str(value);
        rest = after;
    }
    out + rest
}

impl Counterparty {
    /// Whether it can be sent: 12 digits, and few addresses of a usable form.
    ///
    /// # Errors
    /// Permanent, with the remedy; nothing is sent.
    pub fn check(&self) -> Result<(), Failure> {
        if self.bin.len() != 12 || !self.bin.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error::local(
                "bad_counterparty",
                "БИН (ИИН) контрагента должен состоять из 12 цифр. Исправьте его в правиле или в карточке.",
                "The counterparty's BIN (IIN) must have 12 digits. Correct it in the rule or in the item.",
            ));
        }
        let usable = |email: &String| {
            email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
                && email.len() <= 254
                && !email.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        if self.emails.len() > EMAILS_MAX || !self.emails.iter().all(usable) {
            return Err(error::local(
                "bad_counterparty_email",
                "Адрес почты контрагента имеет недопустимый вид. Исправьте его в правиле или в карточке.",
                "The counterparty's e-mail has a form that is not allowed. Correct it in the rule or in the item.",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counterparty() -> Counterparty {
        Counterparty {
            bin: "123456789012".into(),
            emails: vec!["signer@example.com".into()],
            kind: CounterpartyKind::Company,
        }
    }

    fn sample(name: &str) -> Value {
        let path = format!("{}/tests/data/idocs/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn the_presets_are_the_samples() {
        let guide = RouteTemplate::guide("SIGN", "Просим подписать");
        assert_eq!(guide.filled(&counterparty()), sample("03-quick-route-request.guide")["route"]);
        let snapshot = RouteTemplate::snapshot("Просим подписать");
        assert_eq!(snapshot.filled(&counterparty()), sample("03-quick-route-request.openapi")["route"]);
        let payer = RouteTemplate::snapshot_payer("").filled(&counterparty());
        assert_eq!(payer["external"]["isSenderPayer"], json!(true));
        assert_eq!(payer["external"]["nodes"][0]["comment"], Value::Null);
    }

    #[test]
    fn a_template_of_ones_own_is_filled_and_values_are_never_templates() {
        let text = r#"{"a":["{bin}","BIN {bin} / {email} {x}"],"i":"{is_individual}","e":"{emails}","c":"{comment}"}"#;
        let template = RouteTemplate::own(text, "{bin}").unwrap();
        let mut person = counterparty();
        person.kind = CounterpartyKind::Individual;
        person.emails = vec!["{bin}@x".into(), "b@x".into()];
        let filled = template.filled(&person);
        assert_eq!(filled["a"], json!(["123456789012", "BIN 123456789012 / {bin}@x {x}"]));
        assert_eq!((&filled["i"], &filled["e"]), (&json!(true), &json!(["{bin}@x", "b@x"])));
        assert_eq!(filled["c"], json!("{bin}"));
        assert_eq!(RouteTemplate::own("[1]", ""), Err(BadRouteTemplate));
    }

    #[test]
    fn a_counterparty_that_cannot_be_sent_is_named_before_anything_is() {
        assert!(counterparty().check().is_ok());
        for bin in ["", "12345678901", "1234567890123", "12345678901x", "１２３４５６７８９０１２"]
        {
            let bad = Counterparty { bin: bin.into(), ..counterparty() };
            assert_eq!(bad.check().unwrap_err().code, "bad_counterparty", "{bin}");
        }
        for email in ["", "x", "@x", "x@", "a b@x", "a@x\nBcc: y"] {
            let bad = Counterparty { emails: vec![email.into()], ..counterparty() };
            assert_eq!(bad.check().unwrap_err().code, "bad_counterparty_email", "{email}");
        }
    }
}
