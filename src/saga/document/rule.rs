//! Which trigger at which origin sends which file along which route: matching, as pure functions.

use super::own_signature::OwnSigner;
use super::state::{CommentFile, Delivery, DriveCopy, Occasion};
use crate::domain::{CrmItem, PortalId, file_name};

/// What is known of a source file when it is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFacts {
    /// Name with extension.
    pub name: String,
    /// The Drive folder it lies in.
    pub folder_id: Option<u64>,
    /// Size in bytes, if known before the download.
    pub size_bytes: Option<u64>,
    /// `GLOBAL_CONTENT_VERSION`.
    pub version: Option<u64>,
    /// The user who created it.
    pub created_by: Option<u64>,
}

/// What a rule listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// New files of one folder, found by polling.
    Folder {
        /// The folder.
        folder_id: u64,
    },
    /// The event ONDISKFILEADD; no folders = any.
    FileEvent {
        /// Folders whose files are wanted.
        folders: Vec<u64>,
    },
    /// An item of the CRM reached one of the stages and has files in a field.
    Stage {
        /// Type of the item (2 = deal).
        entity_type_id: u32,
        /// Stages, exact.
        stages: Vec<String>,
        /// The file field, as `crm.item.get` spells it.
        file_field: String,
    },
    /// The robot "Send for signature" of a workflow; the robot says which file.
    Robot,
    /// The document generator of the CRM made a document.
    Generated {
        /// Templates whose documents are wanted; none = any.
        template_ids: Vec<u64>,
        /// Types of items whose documents are wanted; none = any.
        entity_type_ids: Vec<u32>,
    },
}

/// The name of a portal in a rule that works for every one.
pub const EVERY_PORTAL: &str = "*";

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressee {
    /// The responsible user of the CRM item.
    Responsible,
    /// Who put the file there.
    Creator,
    /// This user.
    User(u64),
}

/// Which CRM item a Drive file belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemRule {
    /// None.
    None,
    /// Always this one.
    Fixed(CrmItem),
    /// The number that stands in the file's name at `{id}` of the pattern, e.g. `deal-{id}`.
    FromName {
        /// Type of the item.
        entity_type_id: u32,
        /// Text before the number.
        before: String,
    },
}

/// One rule of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// The portal it belongs to.
    pub portal: PortalId,
    /// What it listens to.
    pub trigger: Trigger,
    /// Names that are wanted (globs with `*` and `?`, case-insensitive); none = all.
    pub include: Vec<String>,
    /// Names that are not, stronger than `include`.
    pub exclude: Vec<String>,
    /// Smallest size in bytes.
    pub size_min: u64,
    /// Largest size in bytes.
    pub size_max: u64,
    /// Route at the signing service.
    pub route_id: String,
    /// Folder for the signed copy; none = the folder of the original.
    pub deliver_to: Option<u64>,
    /// Suffix of the signed copy's stem.
    pub suffix: String,
    /// Whether the timeline gets a comment.
    pub comment: bool,
    /// Whom to tell.
    pub notify: Vec<Addressee>,
    /// What they are told of.
    pub notify_on: Vec<Occasion>,
    /// Which CRM item a Drive file belongs to.
    pub item: ItemRule,
    /// Whether a copy goes to the Drive.
    pub drive: DriveCopy,
    /// What happens to the CRM item.
    pub into_item: IntoItem,
    /// Who of ours signs first, where the service wants that.
    pub signer: Option<OwnSignerRule>,
}

/// Who of ours signs first, and where the counterparty is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSignerRule {
    /// The signer; the counterparty as far as the rule itself names it.
    pub signer: OwnSigner,
    /// The field of the CRM item that holds the counterparty's number instead.
    pub bin_field: Option<String>,
    /// The field that holds the counterparty's e-mail instead.
    pub email_field: Option<String>,
}

/// What happens to the CRM item when the document has come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntoItem {
    /// The file field that gets the signed file, as `crm.item.get` spells it.
    pub field: Option<String>,
    /// Whether the comment carries the signed file.
    pub comment_file: CommentFile,
    /// The stage after a signature.
    pub stage_on_signed: Option<String>,
    /// The stage after a refusal.
    pub stage_on_refused: Option<String>,
    /// Stages besides that of the sending that the item may be moved out of.
    pub stages_from: Vec<String>,
}

impl IntoItem {
    /// Whether the item is moved at all, so that its stage must be known when the file is taken up.
    pub fn moves(&self) -> bool {
        self.stage_on_signed.is_some() || self.stage_on_refused.is_some()
    }
}

impl Rule {
    /// Whether it works for this portal; `*` is every one.
    pub fn is_for(&self, portal: &PortalId) -> bool {
        self.portal == *portal || self.portal.as_str() == EVERY_PORTAL
    }

    /// Whether the name and the size (if known) are wanted.
    pub fn wants(&self, facts: &SourceFacts) -> bool {
        let included =
            self.include.is_empty() || self.include.iter().any(|p| file_name::fits(p, &facts.name));
        let excluded = self.exclude.iter().any(|p| file_name::fits(p, &facts.name));
        let sized = facts.size_bytes.is_none_or(|s| (self.size_min..=self.size_max).contains(&s));
        included && !excluded && sized
    }

    /// The fields of the CRM item that must be read to know the counterparty.
    pub fn counterparty_fields(&self) -> impl Iterator<Item = &str> {
        let fields = self.signer.iter().flat_map(|own| [&own.bin_field, &own.email_field]);
        fields.flatten().map(String::as_str)
    }

    /// Our signer, with the counterparty as the item's fields name it.
    pub fn signer_for(&self, field: impl Fn(&str) -> Option<String>) -> Option<Box<OwnSigner>> {
        let own = self.signer.as_ref()?;
        let mut signer = own.signer.clone();
        if let Some(bin) = own.bin_field.as_deref().and_then(&field) {
            signer.counterparty.bin = bin.chars().filter(char::is_ascii_digit).collect();
        }
        if let Some(email) = own.email_field.as_deref().and_then(&field) {
            email.trim().clone_into(&mut signer.counterparty.email);
        }
        Some(Box::new(signer))
    }

    /// How a file is to be handled, with people resolved. The item's stage is the caller's to fill in.
    pub fn delivery(&self, responsible: Option<u64>, creator: Option<u64>) -> Delivery {
        let mut notify: Vec<u64> = Vec::new();
        for addressee in &self.notify {
            let user = match addressee {
                Addressee::Responsible => responsible.or(creator),
                Addressee::Creator => creator.or(responsible),
                Addressee::User(id) => Some(*id),
            };
            if let Some(id) = user.filter(|id| !notify.contains(id)) {
                notify.push(id);
            }
        }
        Delivery {
            rule: self.id.clone(),
            route_id: self.route_id.clone(),
            folder_id: self.deliver_to,
            suffix: self.suffix.clone(),
            comment: self.comment,
            notify,
            notify_on: self.notify_on.clone(),
            drive: self.drive,
            field: self.into_item.field.clone(),
            comment_file: self.into_item.comment_file,
            stage_on_signed: self.into_item.stage_on_signed.clone(),
            stage_on_refused: self.into_item.stage_on_refused.clone(),
            stages_from: self.into_item.stages_from.clone(),
            item_stage: None,
            signer: self.signer_for(|_| None),
        }
    }

    /// The CRM item that a Drive file of this name belongs to.
    pub fn item_of(&self, name: &str) -> Option<CrmItem> {
        match &self.item {
            ItemRule::None => None,
            ItemRule::Fixed(item) => Some(*item),
            ItemRule::FromName { entity_type_id, before } => {
                number_after(name, before).map(|id| CrmItem { entity_type_id: *entity_type_id, id })
            }
        }
    }
}

/// The first rule that wants this Drive file, found by an event or in a polled folder.
pub fn rule_for_file<'a>(rules: &'a [Rule], portal: &PortalId, facts: &SourceFacts) -> Option<&'a Rule> {
    rules.iter().find(|rule| {
        let here = match &rule.trigger {
            Trigger::Folder { folder_id } => facts.folder_id == Some(*folder_id),
            Trigger::FileEvent { folders } => {
                folders.is_empty() || facts.folder_id.is_some_and(|f| folders.contains(&f))
            }
            Trigger::Stage { .. } | Trigger::Robot | Trigger::Generated { .. } => false,
        };
        here && rule.is_for(portal) && rule.wants(facts)
    })
}

/// The rules that want items of this type in this stage.
pub fn rules_for_item<'a>(
    rules: &'a [Rule],
    portal: &PortalId,
    type_id: u32,
    stage: &str,
) -> impl Iterator<Item = (&'a Rule, &'a str)> {
    rules.iter().filter_map(move |rule| match &rule.trigger {
        Trigger::Stage { entity_type_id, stages, file_field }
            if *entity_type_id == type_id && rule.is_for(portal) && stages.iter().any(|s| s == stage) =>
        {
            Some((rule, file_field.as_str()))
        }
        _ => None,
    })
}

/// The rule for one file of a file field that a person sends, and the field as the rules spell it: the rule that was
/// named, else the first that takes files from this field, whatever the item's stage.
///
/// A field has two spellings (`UF_CRM_MY_FILE`, `ufCrmMyFile`), but one file must have one name: else it would be sent
/// twice, once by a person and once by its rule.
pub fn rule_for_field<'a>(
    rules: &'a [Rule],
    portal: &PortalId,
    type_id: u32,
    field: &'a str,
    rule_id: Option<&str>,
) -> Option<(&'a Rule, &'a str)> {
    let own = || rules.iter().filter(|rule| rule.is_for(portal));
    let mut spelled = own().filter_map(|rule| match &rule.trigger {
        Trigger::Stage { entity_type_id, file_field, .. } if *entity_type_id == type_id => {
            is_same_field(file_field, field).then_some((rule, file_field.as_str()))
        }
        Trigger::Stage { .. }
        | Trigger::Generated { .. }
        | Trigger::Folder { .. }
        | Trigger::FileEvent { .. }
        | Trigger::Robot => None,
    });
    let first = spelled.next();
    match rule_id {
        None => first,
        Some(id) => {
            let named = own().find(|rule| rule.id == id)?;
            Some((named, first.map_or(field, |(_, spelling)| spelling)))
        }
    }
}

fn is_same_field(one: &str, other: &str) -> bool {
    let letters = |name: &str| name.replace('_', "").to_ascii_lowercase();
    letters(one) == letters(other)
}

/// Whether any rule listens to items of this type: others need not even be read.
pub fn listens_to_items(rules: &[Rule], portal: &PortalId, type_id: u32) -> bool {
    rules.iter().any(|rule| {
        rule.is_for(portal)
            && matches!(&rule.trigger, Trigger::Stage { entity_type_id, .. } if *entity_type_id == type_id)
    })
}

/// What is known of a generated document when a rule is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GeneratedFacts {
    /// The template, if it is known yet.
    pub template_id: Option<u64>,
    /// The item that it belongs to, if it is known yet.
    pub item: Option<CrmItem>,
}

/// The first rule that wants a generated document. What is not known yet speaks against no rule: the document is
/// read and judged again before anything is done.
pub fn rule_for_generated<'a>(
    rules: &'a [Rule],
    portal: &PortalId,
    facts: GeneratedFacts,
) -> Option<&'a Rule> {
    let fits = |rule: &&Rule| match &rule.trigger {
        Trigger::Generated { template_ids, entity_type_ids } => {
            let template =
                facts.template_id.is_none_or(|id| template_ids.is_empty() || template_ids.contains(&id));
            let of_type =
                |item: CrmItem| entity_type_ids.is_empty() || entity_type_ids.contains(&item.entity_type_id);
            rule.is_for(portal) && template && facts.item.is_none_or(of_type)
        }
        _ => false,
    };
    rules.iter().find(fits)
}

/// Stem and extension; a name without a dot has no extension, a leading dot does not start one.
pub fn split_name(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(0) | None => (name, ""),
        Some(dot) => (&name[..dot], &name[dot + 1..]),
    }
}

/// `<stem><suffix>.pdf`: the guide's replacement of `.pdf` changes nothing for other names, so the stem is used.
pub fn signed_name(original: &str, suffix: &str) -> String {
    format!("{}{suffix}.pdf", split_name(original).0)
}

/// A name without the ` (1)` that the Drive adds to make it unique, in lower case: what echoes are compared by.
pub fn normalised_name(name: &str) -> String {
    let (stem, extension) = split_name(name);
    let bare = stem
        .strip_suffix(')')
        .and_then(|s| s.rsplit_once(" ("))
        .filter(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        .map_or(stem, |(s, _)| s);
    format!("{bare}.{extension}").to_lowercase()
}

/// `name`, or `stem (n).ext` with the lowest n that none of `taken` has (compared without case).
pub fn free_name(name: &str, taken: &[String]) -> String {
    let is_taken = |candidate: &str| taken.iter().any(|t| t.to_lowercase() == candidate.to_lowercase());
    if !is_taken(name) {
        return name.to_owned();
    }
    let (stem, extension) = split_name(name);
    (1u32..)
        .map(
            |n| {
                if extension.is_empty() {
                    format!("{stem} ({n})")
                } else {
                    format!("{stem} ({n}).{extension}")
                }
            },
        )
        .find(|candidate| !is_taken(candidate))
        .unwrap_or_else(|| name.to_owned())
}

/// The first number that stands right after `before`; `ideal-deal-12` has one after `deal-`.
fn number_after(name: &str, before: &str) -> Option<u64> {
    let (lower, before) = (name.to_lowercase(), before.to_lowercase());
    let number_at = |start: usize| {
        let rest = &lower[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok().filter(|n| *n > 0)
    };
    if before.is_empty() {
        return number_at(0);
    }
    lower.match_indices(&before).find_map(|(at, found)| number_at(at + found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sent_by_hand_gets_the_rule_and_the_spelling_that_its_trigger_would_give_it() {
        let rule = |id: &str, trigger| Rule { id: id.into(), trigger, ..any_rule() };
        let stage = |field: &str| Trigger::Stage {
            entity_type_id: 2,
            stages: vec!["C1:X".into()],
            file_field: field.into(),
        };
        let rules = [
            rule("a", stage("UF_CRM_OTHER")),
            rule("b", stage("ufCrmMyFile")),
            rule("c", Trigger::Folder { folder_id: 7 }),
        ];
        let portal = rules[0].portal.clone();
        let chosen = |field, id| {
            rule_for_field(&rules, &portal, 2, field, id).map(|(rule, field)| (rule.id.as_str(), field))
        };
        assert_eq!(chosen("UF_CRM_MY_FILE", None), Some(("b", "ufCrmMyFile")));
        assert_eq!(chosen("UF_CRM_MY_FILE", Some("c")), Some(("c", "ufCrmMyFile")));
        assert_eq!(chosen("UF_CRM_FREE", Some("c")), Some(("c", "UF_CRM_FREE")));
        assert_eq!(chosen("UF_CRM_FREE", None), None);
        assert_eq!(chosen("UF_CRM_MY_FILE", Some("nobody")), None);
    }

    #[test]
    fn a_generated_document_finds_its_rule_by_template_and_type_as_far_as_they_are_known() {
        let rule = |id: &str, template_ids: Vec<u64>, entity_type_ids: Vec<u32>| Rule {
            id: id.into(),
            trigger: Trigger::Generated { template_ids, entity_type_ids },
            ..any_rule()
        };
        let rules = [rule("five", vec![5], vec![]), rule("deals", vec![], vec![2])];
        let found = |template_id, kind: Option<u32>| {
            let item = kind.map(|entity_type_id| CrmItem { entity_type_id, id: 1 });
            let facts = GeneratedFacts { template_id, item };
            rule_for_generated(&rules, &PortalId("p".into()), facts).map(|rule| rule.id.as_str())
        };
        assert_eq!(found(Some(5), Some(31)), Some("five"));
        assert_eq!(found(Some(6), Some(2)), Some("deals"));
        assert_eq!(found(Some(6), Some(31)), None);
        assert_eq!(found(None, Some(31)), Some("five"));
        let elsewhere = PortalId("q".into());
        assert!(rule_for_generated(&rules, &elsewhere, GeneratedFacts::default()).is_none());
    }

    fn any_rule() -> Rule {
        Rule {
            id: "any".into(),
            portal: PortalId("p".into()),
            trigger: Trigger::Folder { folder_id: 1 },
            include: vec![],
            exclude: vec![],
            size_min: 0,
            size_max: u64::MAX,
            route_id: "1".into(),
            deliver_to: None,
            suffix: "_signed".into(),
            comment: false,
            notify: vec![],
            notify_on: vec![],
            item: ItemRule::None,
            drive: DriveCopy::default(),
            into_item: IntoItem::default(),
            signer: None,
        }
    }

    #[test]
    fn the_signed_copy_is_named_after_the_stem_whatever_the_extension() {
        assert_eq!(signed_name("contract.pdf", "_signed"), "contract_signed.pdf");
        assert_eq!(signed_name("act.docx", "_signed"), "act_signed.pdf");
        assert_eq!(signed_name("ACT.PDF", "_signed"), "ACT_signed.pdf");
        assert_eq!(signed_name("noext", "_signed"), "noext_signed.pdf");
        assert_eq!(signed_name("a.b.c.pdf", "-ok"), "a.b.c-ok.pdf");
    }

    #[test]
    fn a_name_made_unique_by_the_drive_is_still_recognised() {
        assert_eq!(normalised_name("Contract_signed (12).pdf"), "contract_signed.pdf");
        assert_eq!(normalised_name("contract_signed.pdf"), "contract_signed.pdf");
        assert_eq!(normalised_name("plan (draft).pdf"), "plan (draft).pdf");
    }

    #[test]
    fn a_taken_name_gets_the_lowest_free_number() {
        let taken = vec!["A.pdf".to_owned(), "a (1).pdf".to_owned()];
        assert_eq!(free_name("a.pdf", &taken), "a (2).pdf");
        assert_eq!(free_name("b.pdf", &taken), "b.pdf");
    }

    #[test]
    fn the_item_number_is_read_from_the_name() {
        assert_eq!(number_after("Договор deal-501 v2.pdf", "deal-"), Some(501));
        assert_eq!(number_after("contract.pdf", "deal-"), None);
        assert_eq!(number_after("deal-0.pdf", "deal-"), None);
        assert_eq!(number_after("ideal-deal-12.pdf", "deal-"), Some(12));
        assert_eq!(number_after("12-a.pdf", ""), Some(12));
        assert_eq!(number_after("a-12.pdf", ""), None);
    }
}
