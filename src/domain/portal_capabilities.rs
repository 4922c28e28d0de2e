//! What a portal can do, by its own word when it was last asked: methods, events, scopes, features of its plan.
//!
//! What is not in it is unknown, and unknown is not missing: a map only ever takes away what the portal itself has
//! denied.

use super::Timestamp;
use serde::{Deserialize, Serialize};

/// How events of the CRM begin.
const CRM_EVENTS: &str = "ONCRM";

/// The capability map of one portal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityMap {
    /// When the portal was last asked and answered.
    pub checked_at: Timestamp,
    /// As what it was asked: `webhook`, or `app`. Another way in may show another portal.
    pub asked_as: String,
    /// Scopes of our access, lower case; none: not told.
    pub scopes: Option<Vec<String>>,
    /// The methods that it was asked about, by name.
    pub methods: Vec<MethodCapability>,
    /// Names of its events, upper case; none: not told (only applications may ask).
    pub events: Option<Vec<String>>,
    /// Features of its plan, by code.
    pub features: Vec<FeatureCapability>,
}

/// Whether a portal has a method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodCapability {
    /// Its name, lower case.
    pub name: String,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a method can be called. Stored by place: append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// It can.
    Available,
    /// It is there, and our scopes do not reach it.
    OutOfScope,
    /// The portal does not have it.
    Missing,
}

/// Whether the plan of a portal has a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureCapability {
    /// Its code, as `rest_auth_connector`.
    pub code: String,
    /// Whether it is there.
    pub is_on: bool,
}

impl CapabilityMap {
    /// What is known of a method.
    pub fn presence(&self, method: &str) -> Option<Presence> {
        self.methods.iter().find(|known| known.name == method).map(|known| known.presence)
    }

    /// Whether the portal has said that it does not have this method.
    pub fn lacks(&self, method: &str) -> bool {
        self.presence(method) == Some(Presence::Missing)
    }

    /// What is known of a feature of the plan.
    pub fn feature(&self, code: &str) -> Option<bool> {
        self.features.iter().find(|known| known.code == code).map(|known| known.is_on)
    }

    /// Whether the portal has named events of the same family and not this one. A family of which it names none may be
    /// beyond our scopes, and the life of applications is not a family: then nothing is known.
    pub fn lacks_event(&self, name: &str) -> bool {
        let Some(events) = self.events.as_ref().filter(|_| name.starts_with(CRM_EVENTS)) else {
            return false;
        };
        events.iter().any(|known| known.starts_with(CRM_EVENTS)) && !events.iter().any(|known| known == name)
    }

    /// Takes over what a later look has seen. What that look could not see stays as it was; what belongs to another
    /// way in goes.
    #[must_use]
    pub fn with(mut self, later: Self) -> Self {
        if self.asked_as != later.asked_as {
            return later;
        }
        for method in later.methods {
            match self.methods.iter_mut().find(|known| known.name == method.name) {
                Some(known) => *known = method,
                None => self.methods.push(method),
            }
        }
        for feature in later.features {
            match self.features.iter_mut().find(|known| known.code == feature.code) {
                Some(known) => *known = feature,
                None => self.features.push(feature),
            }
        }
        self.checked_at = later.checked_at;
        self.scopes = later.scopes.or(self.scopes);
        self.events = later.events.or(self.events);
        self.methods.sort_by(|a, b| a.name.cmp(&b.name));
        self.features.sort_by(|a, b| a.code.cmp(&b.code));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, presence: Presence) -> MethodCapability {
        MethodCapability { name: name.to_owned(), presence }
    }

    #[test]
    fn what_a_later_look_could_not_see_stays_as_it_was() {
        let before = CapabilityMap {
            checked_at: Timestamp(1),
            asked_as: "app".into(),
            scopes: Some(vec!["crm".into()]),
            methods: vec![method("a", Presence::Missing), method("b", Presence::Available)],
            events: Some(vec!["ONCRMX".into()]),
            features: vec![FeatureCapability { code: "f".into(), is_on: true }],
        };
        let later = CapabilityMap {
            checked_at: Timestamp(2),
            asked_as: "app".into(),
            methods: vec![method("b", Presence::Missing)],
            ..CapabilityMap::default()
        };
        let merged = before.clone().with(later.clone());
        assert_eq!(merged.checked_at, Timestamp(2));
        assert_eq!(
            (merged.presence("a"), merged.presence("b")),
            (Some(Presence::Missing), Some(Presence::Missing))
        );
        assert_eq!(merged.feature("f"), Some(true));
        assert!(merged.lacks_event("ONCRMY") && !merged.lacks_event("ONCRMX"));
        assert!(!merged.lacks_event("ONAPPUPDATE"), "the life of applications is bound whatever is listed");
        assert!(merged.scopes.is_some());
        let by_webhook = CapabilityMap { asked_as: "webhook".into(), ..later };
        assert_eq!(before.with(by_webhook.clone()), by_webhook, "another way in begins anew");
    }

    #[test]
    fn the_unknown_is_not_missing() {
        let map = CapabilityMap::default();
        assert!(!map.lacks("crm.item.get") && !map.lacks_event("ONCRMDEALADD"));
        assert_eq!((map.presence("x"), map.feature("x")), (None, None));
    }
}
