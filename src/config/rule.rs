//! `[[rules]]`: which files are sent for signing, along which route, and what happens with the result.

use super::idocs::ServiceName;
use super::pattern::{NamePattern, NameTemplate};
use super::problem::bilingual;
use super::units::{Period, Size};
use crate::domain::{PortalId, SigningService};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// One rule. Keys that are absent come from `[rule_defaults]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Our name of the rule: documents remember it.
    pub id: String,
    /// The portal whose files are meant.
    #[schemars(with = "String")]
    pub portal: PortalId,
    /// What starts a document.
    pub trigger: Trigger,
    /// The signing service.
    #[schemars(with = "ServiceName")]
    pub service: SigningService,
    /// The route of approval and signing at EasyDocs; iDocs needs none.
    pub route_id: String,
    /// The name of our person who signs, for iDocs.
    pub signer: String,
    /// The group of the document at iDocs.
    pub document_group: String,
    /// The counterparty's 12 digits (BIN, or IIN of an individual), for iDocs.
    pub counterparty_bin: String,
    /// The field of the CRM item that holds them instead.
    pub counterparty_bin_field: String,
    /// The counterparty's e-mail, for iDocs; empty: none is sent.
    pub counterparty_email: String,
    /// The field of the CRM item that holds it instead.
    pub counterparty_email_field: String,
    /// Whether the counterparty is a person and not a company.
    pub counterparty_is_individual: bool,
    /// Only files whose name fits one of these.
    pub include: Vec<NamePattern>,
    /// Never files whose name fits one of these.
    pub exclude: Vec<NamePattern>,
    /// Smaller files are left alone.
    pub min_size: Size,
    /// Larger files are left alone.
    pub max_size: Size,
    /// Where the signed file goes.
    pub deliver_to: Delivery,
    /// Put between stem and `.pdf` of the signed file's name.
    pub suffix: String,
    /// Who is told.
    pub notify: Vec<Recipient>,
    /// What they are told of.
    pub notify_on: Vec<Occasion>,
    /// The CRM item that the document belongs to.
    pub crm_item: CrmItemSource,
    /// Whether the item's timeline gets a comment.
    pub comment: bool,
    /// Whether that comment carries the signed file.
    pub comment_file: bool,
    /// The file field of the item that gets the signed file, such as `UF_CRM_1700000001`; empty: none.
    pub into_field: String,
    /// The stage that the item is moved to when the document is signed; empty: it stays.
    pub stage_on_signed: String,
    /// The stage that the item is moved to when the document is refused; empty: it stays.
    pub stage_on_refused: String,
    /// Stages that the item may be moved out of, besides the one in which it stood when it was sent.
    pub stages_from: Vec<String>,
}

impl RuleConfig {
    /// Whether the rule's patterns take a file of this name.
    pub fn takes_name(&self, name: &str) -> bool {
        self.include.iter().any(|p| p.matches(name)) && !self.exclude.iter().any(|p| p.matches(name))
    }
}

/// What starts a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "RawTrigger")]
#[schemars(!try_from)]
pub enum Trigger {
    /// A file appears in a watched Drive folder (polled, the dependable way).
    Folder {
        /// The folder's id.
        folder_id: u64,
        /// Pause between two looks.
        interval: Period,
        /// So many ids below the highest seen are looked at again: files can become visible late.
        overlap: u32,
        /// What happens with files that are there at the first look.
        existing: Existing,
    },
    /// The portal's event `ONDISKFILEADD` (named by the EasyDocs guide, by no Bitrix24 documentation).
    FileEvent {
        /// The folders whose files are meant.
        folders: Folders,
    },
    /// A CRM item reaches a stage and has a file in a field. Written `item_stage`; `deal_stage` (a deal, unless
    /// `entity_type_id` says otherwise) and `lead_stage` (a lead) are shorter ways to say the same.
    #[serde(rename = "item_stage")]
    DealStage {
        /// Type of the item: 1 lead, 2 deal, 128 and above smart processes.
        entity_type_id: u32,
        /// The stages, such as `C1:EXECUTING`.
        stages: Vec<String>,
        /// The field with the file.
        file_field: String,
    },
    /// The document generator of the CRM makes a document.
    GeneratedDocument {
        /// Templates whose documents are meant; empty: any.
        templates: Vec<u64>,
        /// Types of items whose documents are meant (2 deal, 1 lead, 31 smart invoice); empty: any.
        entity_types: Vec<u32>,
    },
    /// The robot "Send for signature" of a workflow; the robot says which file.
    Robot,
}

impl Trigger {
    /// Whether it lives on events of the portal, so that an application token is needed.
    pub fn needs_events(&self) -> bool {
        match self {
            Self::Folder { .. } => false,
            Self::FileEvent { .. }
            | Self::DealStage { .. }
            | Self::GeneratedDocument { .. }
            | Self::Robot => true,
        }
    }

    /// Whether a sweep of the portal finds what its events would have told.
    pub fn is_swept(&self) -> bool {
        match self {
            Self::DealStage { .. } | Self::GeneratedDocument { .. } => true,
            Self::Folder { .. } | Self::FileEvent { .. } | Self::Robot => false,
        }
    }
}

/// All keys of all triggers, so that a wrong key is reported where it stands.
///
/// A derive on the tagged enum would buffer the table and lose the places of its keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrigger {
    kind: TriggerKind,
    folder_id: Option<u64>,
    interval: Option<Period>,
    overlap: Option<u32>,
    existing: Option<Existing>,
    folders: Option<Folders>,
    entity_type_id: Option<u32>,
    stages: Option<Vec<String>>,
    file_field: Option<String>,
    templates: Option<Vec<u64>>,
    entity_types: Option<Vec<u32>>,
}

/// `entityTypeId` of a lead (Bitrix24 docs, `api-reference/crm/universal`).
const LEAD: u32 = 1;

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum TriggerKind {
    Folder,
    FileEvent,
    DealStage,
    ItemStage,
    LeadStage,
    GeneratedDocument,
    Robot,
}

impl TriggerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::FileEvent => "file_event",
            Self::DealStage => "deal_stage",
            Self::ItemStage => "item_stage",
            Self::LeadStage => "lead_stage",
            Self::GeneratedDocument => "generated_document",
            Self::Robot => "robot",
        }
    }
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Folder => &["folder_id", "interval", "overlap", "existing"],
            Self::FileEvent => &["folders"],
            Self::DealStage | Self::ItemStage => &["entity_type_id", "stages", "file_field"],
            Self::LeadStage => &["stages", "file_field"],
            Self::GeneratedDocument => &["templates", "entity_types"],
            Self::Robot => &[],
        }
    }
}

impl RawTrigger {
    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("folder_id", self.folder_id.is_some()),
            ("interval", self.interval.is_some()),
            ("overlap", self.overlap.is_some()),
            ("existing", self.existing.is_some()),
            ("folders", self.folders.is_some()),
            ("entity_type_id", self.entity_type_id.is_some()),
            ("stages", self.stages.is_some()),
            ("file_field", self.file_field.is_some()),
            ("templates", self.templates.is_some()),
            ("entity_types", self.entity_types.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
    }

    /// The packed sentence about keys that do not belong to this kind, or that it lacks.
    fn complaint(&self) -> Option<String> {
        let (kind, keys) = (self.kind.name(), self.kind.keys().join(", "));
        if let Some(stray) = self.given().find(|key| !self.kind.keys().contains(key)) {
            return Some(bilingual(
                &format!("ключ `{stray}` не относится к триггеру {kind}; его ключи: {keys}"),
                &format!("the key `{stray}` does not belong to a {kind} trigger; its keys are: {keys}"),
            ));
        }
        let lacking = self.kind.keys().iter().find(|key| !self.given().any(|given| given == **key))?;
        Some(bilingual(
            &format!("триггеру {kind} не хватает ключа `{lacking}`; его ключи: {keys}"),
            &format!("the {kind} trigger lacks the key `{lacking}`; its keys are: {keys}"),
        ))
    }
}

impl TryFrom<RawTrigger> for Trigger {
    type Error = String;

    fn try_from(raw: RawTrigger) -> Result<Self, String> {
        if let Some(complaint) = raw.complaint() {
            return Err(complaint);
        }
        match raw {
            RawTrigger {
                kind: TriggerKind::Folder,
                folder_id: Some(folder_id),
                interval: Some(interval),
                overlap: Some(overlap),
                existing: Some(existing),
                ..
            } => Ok(Self::Folder { folder_id, interval, overlap, existing }),
            RawTrigger { kind: TriggerKind::FileEvent, folders: Some(folders), .. } => {
                Ok(Self::FileEvent { folders })
            }
            RawTrigger {
                kind: TriggerKind::DealStage | TriggerKind::ItemStage,
                entity_type_id: Some(entity_type_id),
                stages: Some(stages),
                file_field: Some(file_field),
                ..
            } => Ok(Self::DealStage { entity_type_id, stages, file_field }),
            RawTrigger {
                kind: TriggerKind::LeadStage,
                stages: Some(stages),
                file_field: Some(file_field),
                ..
            } => Ok(Self::DealStage { entity_type_id: LEAD, stages, file_field }),
            RawTrigger {
                kind: TriggerKind::GeneratedDocument,
                templates: Some(templates),
                entity_types: Some(entity_types),
                ..
            } => Ok(Self::GeneratedDocument { templates, entity_types }),
            RawTrigger { kind: TriggerKind::Robot, .. } => Ok(Self::Robot),
            RawTrigger { kind, .. } => Err(format!("the {} trigger is incomplete", kind.name())),
        }
    }
}

/// What happens with files that are in a watched folder at the first look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// They are left alone.
    Skip,
    /// They are sent.
    Send,
}

/// Folders of an event trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folders {
    /// Any folder.
    Any,
    /// Only these ids.
    Only(Vec<u64>),
}

impl Folders {
    /// Whether a file of this folder is meant.
    pub fn contain(&self, folder_id: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ids) => ids.contains(&folder_id),
        }
    }
}

impl Serialize for Folders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Only(ids) => ids.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Folders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FoldersVisitor)
    }
}

struct FoldersVisitor;

impl<'de> Visitor<'de> for FoldersVisitor {
    type Value = Folders;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"any\" or a list of folder ids")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Folders, E> {
        if text == "any" {
            Ok(Folders::Any)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Folders, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Folders::Only)
    }
}

impl JsonSchema for Folders {
    fn schema_name() -> Cow<'static, str> {
        "Folders".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "any" }, { "type": "array", "items": { "type": "integer", "minimum": 1 } }] })
    }
}

/// Where the signed file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The folder of the original.
    Same,
    /// The folder with this id.
    Folder(u64),
    /// No folder: only into the CRM item.
    Nowhere,
}

impl Serialize for Delivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same => serializer.serialize_str("same"),
            Self::Folder(id) => serializer.serialize_u64(*id),
            Self::Nowhere => serializer.serialize_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for Delivery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(WordOrId {
            words: &["same", "none"],
            expected: "\"same\", \"none\" or a folder id",
        })? {
            Chosen::Word(1) => Ok(Self::Nowhere),
            Chosen::Word(_) => Ok(Self::Same),
            Chosen::Id(id) => Ok(Self::Folder(id)),
        }
    }
}

impl JsonSchema for Delivery {
    fn schema_name() -> Cow<'static, str> {
        "Delivery".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": ["same", "none"] }, { "type": "integer", "minimum": 1 }] })
    }
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Whoever is responsible for the CRM item; without an item, whoever put the file there.
    Responsible,
    /// Whoever put the file there.
    Creator,
    /// The user with this id.
    User(u64),
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Responsible => serializer.serialize_str("responsible"),
            Self::Creator => serializer.serialize_str("creator"),
            Self::User(id) => serializer.serialize_u64(*id),
        }
    }
}

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choice = WordOrId {
            words: &["responsible", "creator"],
            expected: "\"responsible\", \"creator\" or a user id",
        };
        Ok(match deserializer.deserialize_any(choice)? {
            Chosen::Word(0) => Self::Responsible,
            Chosen::Word(_) => Self::Creator,
            Chosen::Id(id) => Self::User(id),
        })
    }
}

impl JsonSchema for Recipient {
    fn schema_name() -> Cow<'static, str> {
        "Recipient".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": ["responsible", "creator"] }, { "type": "integer", "minimum": 1 }] })
    }
}

/// One of a few words, or a positive id.
struct WordOrId {
    words: &'static [&'static str],
    expected: &'static str,
}

enum Chosen {
    Word(usize),
    Id(u64),
}

impl Visitor<'_> for WordOrId {
    type Value = Chosen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Chosen, E> {
        let found = self.words.iter().position(|word| *word == text);
        found.map(Chosen::Word).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
    fn visit_i64<E: serde::de::Error>(self, id: i64) -> Result<Chosen, E> {
        match u64::try_from(id) {
            Ok(id) if id > 0 => Ok(Chosen::Id(id)),
            Ok(_) | Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(id), &self)),
        }
    }
    fn visit_u64<E: serde::de::Error>(self, id: u64) -> Result<Chosen, E> {
        if id > 0 {
            Ok(Chosen::Id(id))
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Unsigned(id), &self))
        }
    }
}

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The signed file is in its place.
    Signed,
    /// Somebody refused to sign.
    Refused,
    /// It waits for long.
    Reminder,
}

/// The CRM item that a document belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrmItemSource {
    /// None; for a `deal_stage` trigger, the item itself.
    None,
    /// Always this one.
    Fixed {
        /// `entityTypeId` of the CRM.
        entity_type_id: u32,
        /// The item's id.
        id: u64,
    },
    /// The one whose number is in the file's name.
    FromName {
        /// `entityTypeId` of the CRM.
        entity_type_id: u32,
        /// Where in the name the number is.
        template: NameTemplate,
    },
}

/// Names of entities and their `entityTypeId` (Bitrix24 docs, `api-reference/crm/universal`).
const ENTITIES: [(&str, u32); 5] = [("lead", 1), ("deal", 2), ("contact", 3), ("company", 4), ("quote", 7)];

fn entity_name(entity_type_id: u32) -> String {
    let known = ENTITIES.iter().find(|(_, id)| *id == entity_type_id);
    known.map_or_else(|| format!("dynamic_{entity_type_id}"), |(name, _)| (*name).to_owned())
}

fn entity_type_id(name: &str) -> Option<u32> {
    let known = ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, id)| *id);
    known.or_else(|| name.strip_prefix("dynamic_")?.parse().ok().filter(|id| *id >= 128))
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawCrmItem {
    /// `lead`, `deal`, `contact`, `company`, `quote`, `dynamic_1046`.
    entity: String,
    /// Always the item with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    /// The item whose number is in the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_name: Option<NameTemplate>,
}

impl TryFrom<RawCrmItem> for CrmItemSource {
    type Error = String;

    fn try_from(raw: RawCrmItem) -> Result<Self, String> {
        let entity_type_id = entity_type_id(&raw.entity).ok_or_else(|| {
            bilingual(
                "неизвестный вид объекта CRM: есть lead, deal, contact, company, quote и dynamic_ с номером типа",
                "unknown kind of CRM item: there are lead, deal, contact, company, quote and dynamic_ with the number of the type",
            )
        })?;
        match (raw.id, raw.from_name) {
            (Some(id), None) if id > 0 => Ok(Self::Fixed { entity_type_id, id }),
            (None, Some(template)) => Ok(Self::FromName { entity_type_id, template }),
            (Some(_) | None, Some(_) | None) => Err(bilingual(
                "укажите одно из двух: id = 501 или from_name = \"deal-{id}\"",
                "give one of the two: id = 501 or from_name = \"deal-{id}\"",
            )),
        }
    }
}

impl Serialize for CrmItemSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (entity_type_id, id, from_name) = match self {
            Self::None => return serializer.serialize_str("none"),
            Self::Fixed { entity_type_id, id } => (*entity_type_id, Some(*id), None),
            Self::FromName { entity_type_id, template } => (*entity_type_id, None, Some(template.clone())),
        };
        RawCrmItem { entity: entity_name(entity_type_id), id, from_name }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CrmItemSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CrmItemVisitor)
    }
}

struct CrmItemVisitor;

impl<'de> Visitor<'de> for CrmItemVisitor {
    type Value = CrmItemSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"none\", { entity = \"deal\", id = 501 } or { entity = \"deal\", from_name = \"deal-{id}\" }",
        )
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<CrmItemSource, E> {
        if text == "none" {
            Ok(CrmItemSource::None)
        } else {
            Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CrmItemSource, A::Error> {
        let raw = RawCrmItem::deserialize(MapAccessDeserializer::new(map))?;
        CrmItemSource::try_from(raw).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for CrmItemSource {
    fn schema_name() -> Cow<'static, str> {
        "CrmItemSource".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<RawCrmItem>();
        json_schema!({ "anyOf": [{ "const": "none" }, item] })
    }
}
