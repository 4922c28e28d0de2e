//! What kind of portal it is: cloud or box, what its version lacks, what its plan has, how its frame is filled.
//! Source: `settings/cloud-and-on-premise/**`, `api-reference/common/system/feature-get.md` of the Bitrix24 docs.
//!
//! Knows no method: it holds names, the callers ask.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where the portal runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortalKind {
    /// At the vendor's.
    Cloud,
    /// On a server of its owner.
    Box,
}

/// Which fields the portal posts into an application's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameFields {
    /// All of them.
    Current,
    /// Without `SERVER_ENDPOINT`, `APPLICATION_TOKEN`, `APPLICATION_SCOPE`, which came with the edition of August 2026.
    Old,
}

/// The properties of a portal that an application has to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortalTraits {
    /// Where it runs.
    pub kind: PortalKind,
    /// Names of methods, events and placements that this version lacks; a star at the end stands for a family.
    pub missing: BTreeSet<String>,
    /// Answers of `feature.get` by code; an unknown code is `N`.
    pub features: BTreeMap<String, bool>,
    /// How a frame is filled.
    pub frame: FrameFields,
    /// Name and value of the parameter that a box with its own token validator wants beside `auth`.
    pub validator: Option<(String, String)>,
}

impl Default for PortalTraits {
    fn default() -> Self {
        Self::cloud()
    }
}

impl PortalTraits {
    /// A cloud portal of the Professional plan: everything is there.
    pub fn cloud() -> Self {
        let features = ["rest_auth_connector", "rest_offline_extended"];
        Self {
            kind: PortalKind::Cloud,
            missing: BTreeSet::new(),
            features: features.into_iter().map(|code| (code.to_owned(), true)).collect(),
            frame: FrameFields::Current,
            validator: None,
        }
    }
    /// A box of some years ago: without `crm.item.*`, `method.get`, `feature.get` and the newer events, with the
    /// older frame, on a plan without the extended offline queue.
    pub fn old_box() -> Self {
        let missing = [
            "crm.item.*",
            "crm.documentgenerator.*",
            "method.get",
            "feature.get",
            "placement.list",
            "im.notify.system.add",
            "im.notify.personal.add",
            "ONCRMDYNAMICITEM*",
            "ONCRMDOCUMENTGENERATOR*",
            "ONCRMDEALMOVETOCATEGORY",
        ];
        Self {
            kind: PortalKind::Box,
            missing: missing.into_iter().map(str::to_owned).collect(),
            features: BTreeMap::new(),
            frame: FrameFields::Old,
            validator: None,
        }
    }

    /// Whether this portal lacks a method, an event or a placement of that name.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.missing.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == entry,
        })
    }
    pub(crate) fn has_feature(&self, code: &str) -> bool {
        self.features.get(code).copied().unwrap_or(false)
    }
    /// `member_type` of the OAuth server's answer.
    pub(crate) fn member_type(&self) -> &'static str {
        match self.kind {
            PortalKind::Cloud => "C",
            PortalKind::Box => "B",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_box_lacks_families_and_single_names() {
        let traits = PortalTraits::old_box();
        assert!(
            traits.lacks("crm.item.get") && traits.lacks("method.get") && traits.lacks("ONCRMDYNAMICITEMADD")
        );
        assert!(
            !traits.lacks("crm.deal.get")
                && !traits.lacks("methods")
                && !traits.has_feature("rest_offline_extended")
        );
        assert!(!PortalTraits::cloud().lacks("crm.item.get"));
    }
}
