//! What the rules of one portal need there: scopes, methods, folders, fields, stages, people.
//!
//! Pure. Each subject is named once, with the rules that want it.

use crate::config::{CrmItemSource, Delivery, Folders, Recipient, RuleConfig, Trigger};
use crate::domain::CrmItem;
use std::collections::{BTreeMap, BTreeSet};

/// Subjects with the names of the rules that want them.
pub type Wanted<S> = BTreeMap<S, Vec<String>>;

/// Everything that some rules need on their portal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Scopes of the incoming webhook.
    pub scopes: BTreeSet<&'static str>,
    /// Methods that are called.
    pub methods: BTreeSet<&'static str>,
    /// Folders whose files are sent.
    pub sources: Wanted<u64>,
    /// Folders that get signed files.
    pub targets: Wanted<u64>,
    /// File fields of CRM types.
    pub fields: Wanted<(u32, String)>,
    /// Stages of CRM types.
    pub stages: Wanted<(u32, String)>,
    /// CRM items that are named by number.
    pub items: Wanted<CrmItem>,
    /// People that are named by number.
    pub users: Wanted<u64>,
    /// Events that an outgoing webhook has to send.
    pub events: BTreeSet<&'static str>,
}

impl Needs {
    /// What these rules need.
    pub fn of(rules: &[&RuleConfig]) -> Self {
        let mut needs = Self::default();
        rules.iter().for_each(|rule| needs.add(rule));
        needs
    }

    fn add(&mut self, rule: &RuleConfig) {
        self.call("disk", &["disk.file.get", "disk.folder.getchildren", "disk.folder.uploadfile"]);
        self.add_trigger(rule);
        if let Delivery::Folder(id) = rule.deliver_to {
            want(&mut self.targets, id, rule);
        }
        self.add_item(rule);
        if !rule.notify.is_empty() {
            self.call("im", &["im.notify.system.add"]);
        }
        for recipient in &rule.notify {
            match recipient {
                Recipient::User(id) => want(&mut self.users, *id, rule),
                Recipient::Responsible | Recipient::Creator => {}
            }
        }
    }

    fn add_trigger(&mut self, rule: &RuleConfig) {
        match &rule.trigger {
            Trigger::Folder { folder_id, .. } => self.add_source(*folder_id, rule),
            Trigger::FileEvent { folders } => {
                self.events.insert("ONDISKFILEADD");
                match folders {
                    Folders::Any => {}
                    Folders::Only(ids) => ids.iter().for_each(|id| self.add_source(*id, rule)),
                }
            }
            Trigger::Robot => {
                self.call("bizproc", &["bizproc.event.send"]);
                self.call("crm", &["crm.item.get", "crm.documentgenerator.document.get"]);
                self.comment_if(rule);
            }
            Trigger::GeneratedDocument { .. } => {
                self.events.insert("ONCRMDOCUMENTGENERATORDOCUMENTADD");
                self.call(
                    "crm",
                    &["crm.documentgenerator.document.get", "crm.documentgenerator.document.list"],
                );
                self.comment_if(rule);
            }
            Trigger::DealStage { entity_type_id, stages, file_field } => {
                self.events.insert(update_event(*entity_type_id));
                self.call("crm", &["crm.item.get", "crm.item.list"]);
                want(&mut self.fields, (*entity_type_id, file_field.clone()), rule);
                for stage in stages {
                    want(&mut self.stages, (*entity_type_id, stage.clone()), rule);
                }
                self.add_item_wishes(*entity_type_id, rule);
                self.comment_if(rule);
            }
        }
    }

    fn add_source(&mut self, folder_id: u64, rule: &RuleConfig) {
        want(&mut self.sources, folder_id, rule);
        if rule.deliver_to == Delivery::Same {
            want(&mut self.targets, folder_id, rule);
        }
    }

    fn add_item(&mut self, rule: &RuleConfig) {
        match &rule.crm_item {
            CrmItemSource::None => return,
            CrmItemSource::Fixed { entity_type_id, id } => {
                want(&mut self.items, CrmItem { entity_type_id: *entity_type_id, id: *id }, rule);
            }
            CrmItemSource::FromName { .. } => {}
        }
        self.call("crm", &["crm.item.get"]);
        self.comment_if(rule);
    }

    /// The field and the stages that a rule writes.
    fn add_item_wishes(&mut self, entity_type_id: u32, rule: &RuleConfig) {
        if !rule.into_field.is_empty() {
            want(&mut self.fields, (entity_type_id, rule.into_field.clone()), rule);
            self.call("crm", &["crm.item.update", "crm.item.fields"]);
        }
        for stage in [&rule.stage_on_signed, &rule.stage_on_refused].into_iter().chain(&rule.stages_from) {
            if !stage.is_empty() {
                want(&mut self.stages, (entity_type_id, stage.clone()), rule);
                self.call("crm", &["crm.item.update", "crm.status.list"]);
            }
        }
    }

    fn comment_if(&mut self, rule: &RuleConfig) {
        if rule.comment {
            self.call("crm", &["crm.timeline.comment.add", "crm.timeline.comment.list"]);
        }
    }

    fn call(&mut self, scope: &'static str, methods: &[&'static str]) {
        self.scopes.insert(scope);
        self.methods.extend(methods);
    }
}

fn want<S: Ord>(wanted: &mut Wanted<S>, subject: S, rule: &RuleConfig) {
    let rules = wanted.entry(subject).or_default();
    if !rules.contains(&rule.id) {
        rules.push(rule.id.clone());
    }
}

/// The event that tells of a changed item (Bitrix24 docs, `api-reference/crm/*/events`).
fn update_event(entity_type_id: u32) -> &'static str {
    match entity_type_id {
        1 => "ONCRMLEADUPDATE",
        2 => "ONCRMDEALUPDATE",
        3 => "ONCRMCONTACTUPDATE",
        4 => "ONCRMCOMPANYUPDATE",
        7 => "ONCRMQUOTEUPDATE",
        _ => "ONCRMDYNAMICITEMUPDATE",
    }
}

/// The directory of `crm.status.list` that holds a stage; none if the stage does not look like one of that type.
///
/// Source: apidocs.bitrix24.com, `api-reference/crm/status/index.html` (names of directories) and the page on stages
/// of smart processes (`DT135_20:…` lies in `DYNAMIC_135_STAGE_20`); deals outside the first funnel have `C5:…`.
pub fn stage_directory(entity_type_id: u32, stage: &str) -> Option<String> {
    let category = |prefix: &str| -> Option<&str> {
        let (head, _) = stage.split_once(':')?;
        let number = head.strip_prefix(prefix)?;
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
    };
    match entity_type_id {
        1 => Some("STATUS".to_owned()),
        2 if !stage.contains(':') => Some("DEAL_STAGE".to_owned()),
        2 => category("C").map(|number| format!("DEAL_STAGE_{number}")),
        7 => Some("QUOTE_STATUS".to_owned()),
        31 => category("DT31_").map(|number| format!("SMART_INVOICE_STAGE_{number}")),
        id if id >= 128 => category(&format!("DT{id}_")).map(|number| format!("DYNAMIC_{id}_STAGE_{number}")),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    /// The configuration of one portal with these rules.
    pub(in crate::commands::doctor) fn config(rules: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let portal = "[[portals]]\nid = \"p\"\nwebhook_url = \"https://p.example/rest/1/abcdefgh/\"\napplication_tokens = [\"token0123456789\"]\n";
        let base = "[public]\nbase_url = \"https://edo.example/\"\n[easydocs]\napi_key = \"key0123456789\"\n[easydocs.signature]\nsecrets = [\"secret0123456789\"]\n";
        std::fs::write(&path, format!("{base}{portal}{rules}")).unwrap();
        Config::check(Some(&path), &Environment::default()).unwrap().config
    }

    fn needs(rules: &str) -> Needs {
        let config = config(rules);
        Needs::of(&config.rules.iter().collect::<Vec<_>>())
    }

    const FOLDER: &str = "[[rules]]\nid = \"a\"\nportal = \"p\"\nroute_id = \"1\"\ntrigger = { kind = \"folder\", folder_id = 7 }\n";

    #[test]
    fn a_folder_rule_needs_its_folder_twice_and_no_crm() {
        let needs = needs(&format!("{FOLDER}notify = [17]\n"));
        assert_eq!(needs.sources[&7], ["a"]);
        assert_eq!(needs.targets[&7], ["a"]);
        assert_eq!(needs.users[&17], ["a"]);
        assert_eq!(needs.scopes.iter().copied().collect::<Vec<_>>(), ["disk", "im"]);
        assert!(needs.events.is_empty());
    }

    #[test]
    fn a_stage_rule_needs_the_field_the_stage_the_event_and_the_crm() {
        let needs = needs(
            "[[rules]]\nid = \"d\"\nportal = \"p\"\nroute_id = \"1\"\ndeliver_to = 9\nnotify = [\"responsible\"]\ntrigger = { kind = \"deal_stage\", stages = [\"C1:X\"], file_field = \"UF_CRM_F\" }\n",
        );
        assert_eq!(needs.fields[&(2, "UF_CRM_F".to_owned())], ["d"]);
        assert_eq!(needs.stages[&(2, "C1:X".to_owned())], ["d"]);
        assert_eq!(needs.targets[&9], ["d"]);
        assert!(needs.events.contains("ONCRMDEALUPDATE") && needs.scopes.contains("crm"));
        assert!(needs.methods.contains("crm.timeline.comment.add"));
    }

    #[test]
    fn one_subject_of_two_rules_is_named_once_with_both() {
        let second = FOLDER
            .replace("id = \"a\"", "id = \"b\"")
            .replace("route_id = \"1\"", "include = [\"*.docx\"]\nroute_id = \"1\"");
        let first = FOLDER.replace("route_id = \"1\"", "include = [\"*.pdf\"]\nroute_id = \"1\"");
        let needs = needs(&format!("{first}{second}"));
        assert_eq!(needs.sources[&7], ["a", "b"]);
    }

    #[test]
    fn each_kind_of_stage_has_its_directory() {
        for (id, stage, directory) in [
            (2, "NEW", Some("DEAL_STAGE")),
            (2, "C5:WON", Some("DEAL_STAGE_5")),
            (2, "Cx:WON", None),
            (1, "NEW", Some("STATUS")),
            (7, "DRAFT", Some("QUOTE_STATUS")),
            (31, "DT31_11:N", Some("SMART_INVOICE_STAGE_11")),
            (135, "DT135_20:NEW", Some("DYNAMIC_135_STAGE_20")),
            (135, "DT136_20:NEW", None),
            (135, "NEW", None),
            (3, "NEW", None),
        ] {
            assert_eq!(stage_directory(id, stage).as_deref(), directory, "{id} {stage}");
        }
    }
}
