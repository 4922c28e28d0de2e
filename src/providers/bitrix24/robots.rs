//! Robots in workflows of the portal (scope `bizproc`): what they send, how they are answered, and what the portal is
//! told of them.
//!
//! `api-reference/bizproc/bizproc-robot`, and the SDKs where the docs are silent. Robots come as events do: no
//! retry, and the proof is `auth[application_token]`. It decides nothing about documents: which file is meant is
//! only read here.

use super::client::{Call, Caller};
use super::drive::{PAGE_ROWS, read};
use super::error::misshapen;
use super::events::AUTH_BYTES_MAX;
use super::forms::{self, FormError};
use super::{item_pages, wire};
use crate::domain::{CrmItem, Failure, Secret, Timestamp};
use crate::providers::remote::Nature;
use crate::providers::strict_json::{self, NotStrictJson};
use serde_json::{Map, Value, json};
use std::fmt;

/// Code of the robot "Send for signature".
pub const SEND: &str = "edobridge_send";
/// Code of the robot "Check signature status".
pub const STATUS: &str = "edobridge_status";

/// Longest id or code that is taken; the portal's own have 13 to 64 characters.
const ID_BYTES_MAX: usize = 128;
/// Longest event token that is taken; the documented ones have about 90 characters.
const EVENT_TOKEN_BYTES_MAX: usize = 1_024;
/// Longest value of a property that is taken.
const PROPERTY_BYTES_MAX: usize = 512;
/// More people than a robot can name; the rest is left out.
const PEOPLE_MAX: usize = 50;
/// How many pages of running workflows are looked through: 1,000 workflows.
pub const WORKFLOW_PAGES_MAX: usize = 20;

/// A robot's request, decoded and not yet trusted.
#[derive(Clone, PartialEq)]
pub struct RobotRequest {
    /// The robot's code.
    pub code: String,
    /// The workflow's instance.
    pub workflow_id: String,
    /// What the answer must carry.
    pub event_token: Secret,
    /// The CRM item in which the workflow runs; none for documents of other modules.
    pub item: Option<CrmItem>,
    /// Whether the workflow waits for the answer.
    pub waits: bool,
    /// The properties that the designer filled in, as texts; lists are kept.
    pub properties: Map<String, Value>,
    /// `auth[member_id]`: the portal.
    pub member_id: Option<String>,
    /// `auth[application_token]`; empty if there was none.
    pub application_token: Secret,
}

impl fmt::Debug for RobotRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RobotRequest")
            .field("code", &self.code)
            .field("workflow_id", &self.workflow_id)
            .field("item", &self.item)
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}

/// Why a body is not a robot's request. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RobotError {
    /// A form that is refused.
    #[error("unreadable form")]
    Form(#[source] FormError),
    /// JSON that is refused.
    #[error("unreadable JSON")]
    Json(#[source] NotStrictJson),
    /// A member is missing or cannot be what it should.
    #[error("no usable {0}")]
    Lacks(&'static str),
}

/// Which file the robot means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedSource {
    /// The newest document that the document generator made for the item.
    Generated,
    /// The files of this field of the item.
    Field(String),
    /// A file of the Drive.
    DriveFile(u64),
}

impl RobotRequest {
    /// Decodes a body: a form as the portal sends it, or the same as JSON.
    ///
    /// # Errors
    /// [`RobotError`].
    pub fn decode(body: &[u8]) -> Result<Self, RobotError> {
        let looks_like_json = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        let tree = if looks_like_json {
            strict_json::parse(body).map_err(RobotError::Json)?
        } else {
            forms::listed(forms::decode(body).map_err(RobotError::Form)?)
        };
        Self::of_tree(&tree)
    }

    fn of_tree(tree: &Value) -> Result<Self, RobotError> {
        let bounded = |map: &Value, name, max: usize| {
            wire::member(map, name).and_then(wire::filled).filter(|text| text.len() <= max)
        };
        let auth = wire::member(tree, "auth").cloned().unwrap_or_default();
        let lacks = RobotError::Lacks;
        let token = bounded(tree, "event_token", EVENT_TOKEN_BYTES_MAX).ok_or(lacks("event_token"))?;
        // Empty means "wait": that is what the portal's own documentation says of a missing wish.
        let waits = wire::member(tree, "use_subscription").and_then(wire::truth).unwrap_or(true);
        Ok(Self {
            code: bounded(tree, "code", ID_BYTES_MAX).ok_or(lacks("code"))?,
            workflow_id: bounded(tree, "workflow_id", ID_BYTES_MAX).ok_or(lacks("workflow_id"))?,
            event_token: Secret::new(token),
            item: item_of(tree),
            waits,
            properties: wire::member(tree, "properties")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            member_id: bounded(&auth, "member_id", AUTH_BYTES_MAX),
            application_token: Secret::new(
                bounded(&auth, "application_token", AUTH_BYTES_MAX).unwrap_or_default(),
            ),
        })
    }

    /// A property as text; the first value of a list. The designer and the SDKs differ in the case of names.
    pub fn property(&self, name: &str) -> Option<String> {
        let value = self.values(name).into_iter().next()?;
        Some(value.trim().to_owned()).filter(|text| !text.is_empty() && text.len() <= PROPERTY_BYTES_MAX)
    }

    fn values(&self, name: &str) -> Vec<String> {
        let found = self.properties.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match found.map(|(_, value)| value) {
            Some(Value::Array(_) | Value::Object(_)) => {
                let rows = found.and_then(|(_, value)| wire::rows(value)).unwrap_or_default();
                rows.into_iter().filter_map(wire::filled).collect()
            }
            Some(one) => wire::filled(one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A yes or no of the designer.
    pub fn wish(&self, name: &str) -> Option<bool> {
        wire::truth(&Value::String(self.property(name)?))
    }

    /// Users: `user_17`, `17`, or a list of them. What is no user (a group, a role) is left out.
    pub fn people(&self, name: &str) -> Vec<u64> {
        let mut people = Vec::new();
        for value in self.values(name).iter().flat_map(|value| value.split(',')) {
            let value = value.trim();
            let id = value.strip_prefix("user_").unwrap_or(value).parse().ok().filter(|id| *id > 0);
            if let Some(id) = id.filter(|id| !people.contains(id) && people.len() < PEOPLE_MAX) {
                people.push(id);
            }
        }
        people
    }

    /// Which file is meant, by the properties `source` and `file`. None if `file` does not fit `source`.
    pub fn wanted_source(&self) -> Option<WantedSource> {
        let file = self.property("file");
        let drive = |text: &str| {
            let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
            digits.parse().ok().filter(|id| *id > 0).map(WantedSource::DriveFile)
        };
        let is_field = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let field = |text: &str| is_field(text).then(|| WantedSource::Field(text.to_owned()));
        match (self.property("source").as_deref(), file.as_deref()) {
            (Some("generated"), _) | (None, None | Some("generated")) => Some(WantedSource::Generated),
            (Some("drive"), Some(file)) => drive(file),
            (Some("field"), Some(file)) => field(file),
            (None, Some(file)) if file.bytes().all(|b| b.is_ascii_digit()) => drive(file),
            (None, Some(file)) => field(file),
            (Some(_), _) => None,
        }
    }
}

/// The CRM item that `document_id` names: `['crm', …, 'DEAL_165752']`, `DYNAMIC_1032_4`.
fn item_of(tree: &Value) -> Option<CrmItem> {
    let parts = wire::rows(wire::member(tree, "document_id")?)?;
    let module = parts.first().and_then(|part| wire::text(part))?;
    let (kind, id) = parts.last().and_then(|part| wire::text(part)).and_then(|text| {
        let (kind, id) = text.rsplit_once('_')?;
        Some((kind.to_ascii_uppercase(), id.parse::<u64>().ok().filter(|id| *id > 0)?))
    })?;
    let entity_type_id = match kind.as_str() {
        "LEAD" => 1,
        "DEAL" => 2,
        "CONTACT" => 3,
        "COMPANY" => 4,
        "QUOTE" => 7,
        "SMART_INVOICE" => 31,
        other => other.strip_prefix("DYNAMIC_")?.parse().ok()?,
    };
    (module == "crm").then_some(CrmItem { entity_type_id, id })
}

// ---- answers -------------------------------------------------------------------------------------------------

/// Whether the workflow took an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It did.
    Yes,
    /// The token is used or the workflow has ended.
    TooLate,
}

/// `bizproc.event.send`. The token is the key: the portal takes one answer for each, and a repeat is told as too
/// late, so repeating is harmless.
///
/// # Errors
/// `insufficient_scope` without `bizproc`; an unknown outcome is ambiguous and may be repeated.
pub async fn event_send(
    caller: &dyn Caller,
    event_token: &str,
    values: Value,
    log_message: &str,
) -> Result<Heard, Failure> {
    let params = json!({ "EVENT_TOKEN": event_token, "RETURN_VALUES": values, "LOG_MESSAGE": log_message });
    match caller.call(Call::new("bizproc.event.send", params)).await {
        Ok(_) => Ok(Heard::Yes),
        Err(failure) if failure.code == "access_denied" => Ok(Heard::TooLate),
        Err(failure) => Err(failure),
    }
}

/// A running workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowInstance {
    /// Its id.
    pub id: String,
    /// The template that it was started from.
    pub template_id: Option<u64>,
    /// When it last moved; none if the portal does not tell.
    pub moved_at: Option<Timestamp>,
    /// In what it runs, as the portal names it: `DEAL_501`.
    pub document: Option<String>,
}

/// The running workflows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Those that have not moved for longest first.
    pub instances: Vec<WorkflowInstance>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// `bizproc.workflow.instances`: the running workflows, at most [`WORKFLOW_PAGES_MAX`] pages, oldest first
/// (`api-reference/bizproc/bizproc-workflow-instances.md`).
///
/// # Errors
/// `access_denied` for a user who is no administrator.
pub async fn workflows(caller: &dyn Caller) -> Result<Running, Failure> {
    const METHOD: &str = "bizproc.workflow.instances";
    let mut all = Running::default();
    for page in 0..WORKFLOW_PAGES_MAX {
        let params = json!({
            "SELECT": ["ID", "TEMPLATE_ID", "MODIFIED", "DOCUMENT_ID"], "ORDER": { "MODIFIED": "ASC" },
            "start": page * PAGE_ROWS
        });
        let answer = read(caller, METHOD, params).await?;
        let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))?;
        all.more = rows.len() >= PAGE_ROWS;
        all.instances.extend(rows.into_iter().filter_map(instance));
        if !all.more {
            break;
        }
    }
    Ok(all)
}

fn instance(row: &Value) -> Option<WorkflowInstance> {
    let text =
        |name| wire::member(row, name).and_then(wire::filled).filter(|text| text.len() <= ID_BYTES_MAX);
    Some(WorkflowInstance {
        id: text("ID")?,
        template_id: wire::member(row, "TEMPLATE_ID").and_then(wire::id),
        moved_at: text("MODIFIED").and_then(|at| item_pages::moment(&at)),
        document: text("DOCUMENT_ID"),
    })
}

// ---- what the portal is told of them ---------------------------------------------------------------------------

/// The parameters of `bizproc.robot.add` for a robot of ours, without `CODE` and `HANDLER`; none for another code.
///
/// `routes` are the choices of the property `route`: name of the rule, and what people read.
pub fn registration(code: &str, routes: &[(String, String)]) -> Option<Value> {
    match code {
        SEND => Some(send_registration(routes)),
        STATUS => Some(status_registration()),
        _ => None,
    }
}

/// Where our robots may stand: every type of the CRM that has robots.
fn filter() -> Value {
    json!({ "INCLUDE": [
        ["crm", "CCrmDocumentDeal"],
        ["crm", "CCrmDocumentLead"],
        ["crm", "Bitrix\\Crm\\Integration\\BizProc\\Document\\Quote"],
        ["crm", "Bitrix\\Crm\\Integration\\BizProc\\Document\\SmartInvoice"],
        ["crm", "Bitrix\\Crm\\Integration\\BizProc\\Document\\Dynamic"]
    ] })
}

fn send_registration(routes: &[(String, String)]) -> Value {
    let options: Map<String, Value> =
        routes.iter().map(|(id, title)| (id.clone(), Value::from(title.as_str()))).collect();
    json!({
        "NAME": { "ru": "Отправить на подпись (EasyDocs)", "en": "Send for signature (EasyDocs)" },
        "DESCRIPTION": {
            "ru": "Отправляет файл по маршруту подписания, ждёт и возвращает статус, файл и причину",
            "en": "Sends a file along a signing route, waits, and returns status, file and reason"
        },
        // explicit: an empty wish means different things in older and newer portals
        "USE_SUBSCRIPTION": "Y",
        "PROPERTIES": {
            "source": {
                "Name": { "ru": "Что подписать", "en": "What to sign" }, "Type": "select", "Required": "Y",
                "Default": "generated",
                "Options": {
                    "generated": "Документ по шаблону (последний) / Generated document (latest)",
                    "field": "Файл из поля карточки / File of a field of the item",
                    "drive": "Файл с Диска / File of the Drive"
                }
            },
            "file": {
                "Name": {
                    "ru": "Код поля (UF_CRM_…) или номер файла на Диске",
                    "en": "Code of the field (UF_CRM_…) or id of the Drive file"
                },
                "Type": "string", "Required": "N"
            },
            "route": {
                "Name": { "ru": "Маршрут (правило)", "en": "Route (rule)" }, "Type": "select", "Required": "N",
                "Options": options
            },
            "wait": {
                "Name": { "ru": "Ждать подписания", "en": "Wait for the signature" }, "Type": "bool",
                "Required": "N", "Default": "Y"
            },
            "notify": {
                "Name": { "ru": "Кому сообщить", "en": "Whom to tell" }, "Type": "user", "Required": "N",
                "Multiple": "Y"
            }
        },
        "RETURN_PROPERTIES": return_properties(),
        "FILTER": filter()
    })
}

fn status_registration() -> Value {
    json!({
        "NAME": { "ru": "Проверить статус подписи (EasyDocs)", "en": "Check signature status (EasyDocs)" },
        "DESCRIPTION": {
            "ru": "Возвращает, на каком этапе документ, отправленный на подпись",
            "en": "Returns where a document stands that was sent for signature"
        },
        "USE_SUBSCRIPTION": "Y",
        "PROPERTIES": {
            "document": {
                "Name": {
                    "ru": "Документ (значение «document» робота отправки; пусто: отправленный этим процессом)",
                    "en": "Document (value \"document\" of the sending robot; empty: the one that this workflow sent)"
                },
                "Type": "string", "Required": "N"
            },
            "file": {
                "Name": { "ru": "Или номер исходного файла на Диске", "en": "Or the id of the original Drive file" },
                "Type": "string", "Required": "N"
            }
        },
        "RETURN_PROPERTIES": return_properties(),
        "FILTER": filter()
    })
}

fn return_properties() -> Value {
    let text = |ru: &str, en: &str, kind: &str| json!({ "Name": { "ru": ru, "en": en }, "Type": kind });
    json!({
        "status": text(
            "Статус: accepted, waiting, signed, refused, cancelled, not_sent, stopped, unknown",
            "Status: accepted, waiting, signed, refused, cancelled, not_sent, stopped, unknown",
            "string"
        ),
        "file_id": text("Подписанный файл на Диске (номер)", "Signed file on the Drive (id)", "int"),
        "link": text("Ссылка на подписанный файл", "Link to the signed file", "string"),
        "reason": text("Причина словами", "The reason in words", "string"),
        "document": text("Номер документа edobridge", "Id of the edobridge document", "string")
    })
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::super::error::from_code;
    use super::*;

    fn sample() -> RobotRequest {
        let path = format!(
            "{}/tests/data/bitrix24-events/20-robot-deal-use-subscription.form",
            env!("CARGO_MANIFEST_DIR")
        );
        RobotRequest::decode(&std::fs::read(path).unwrap()).unwrap()
    }

    fn with(properties: &str) -> RobotRequest {
        let form = format!(
            "code=edobridge_send&workflow_id=w1&event_token=t1&document_id[0]=crm&document_id[1]=CCrmDocumentDeal\
             &document_id[2]=DEAL_501&auth[application_token]=a&{properties}"
        );
        RobotRequest::decode(form.as_bytes()).unwrap()
    }

    #[test]
    fn the_recorded_request_reads_whole() {
        let request = sample();
        assert!(request.waits && request.item.is_some_and(|item| item.entity_type_id == 2));
        assert!(!request.workflow_id.is_empty() && !request.event_token.is_empty());
        assert!(!request.application_token.is_empty() && request.member_id.is_some());
        let shown = format!("{request:?}");
        assert!(!shown.contains(request.event_token.expose()), "{shown}");
    }

    #[test]
    fn the_item_is_read_after_the_last_underscore() {
        for (id, expected) in [
            ("DEAL_165752", Some((2, 165_752))),
            ("LEAD_1", Some((1, 1))),
            ("SMART_INVOICE_4", Some((31, 4))),
            ("DYNAMIC_1032_4", Some((1032, 4))),
            ("42", None),
            ("DEAL_0", None),
            ("OTHER_1", None),
        ] {
            let form = format!(
                "code=c&workflow_id=w&event_token=t&document_id[0]=crm&document_id[1]=X&document_id[2]={id}"
            );
            let item = RobotRequest::decode(form.as_bytes()).unwrap().item;
            assert_eq!(item.map(|item| (item.entity_type_id, item.id)), expected, "{id}");
        }
        let task =
            "code=c&workflow_id=w&event_token=t&document_id[0]=tasks&document_id[1]=X&document_id[2]=DEAL_5";
        assert_eq!(RobotRequest::decode(task.as_bytes()).unwrap().item, None);
    }

    #[test]
    fn the_wanted_file_is_understood_in_every_shape() {
        use WantedSource::{DriveFile, Field, Generated};
        for (properties, expected) in [
            ("", Some(Generated)),
            ("properties[source]=generated&properties[file]=ignored", Some(Generated)),
            ("properties[source]=drive&properties[file]=9043", Some(DriveFile(9_043))),
            ("properties[source]=drive&properties[file]=n9043", Some(DriveFile(9_043))),
            ("properties[source]=field&properties[file][0]=UF_CRM_1", Some(Field("UF_CRM_1".into()))),
            ("properties[file]=9043", Some(DriveFile(9_043))),
            ("properties[File]=UF_CRM_1", Some(Field("UF_CRM_1".into()))),
            ("properties[source]=field", None),
            ("properties[source]=drive&properties[file]=none", None),
            ("properties[source]=field&properties[file]=a/b", None),
            ("properties[source]=other", None),
        ] {
            assert_eq!(with(properties).wanted_source(), expected, "{properties}");
        }
    }

    #[test]
    fn people_and_wishes_are_read_as_the_designer_writes_them() {
        let request = with(
            "properties[notify][0]=user_17&properties[notify][1]=5&properties[notify][2]=group_d3\
             &properties[notify][3]=user_17&properties[wait]=N",
        );
        assert_eq!(request.people("notify"), [17, 5]);
        assert_eq!(request.wish("wait"), Some(false));
        assert_eq!(with("properties[notify]=user_8, user_9").people("notify"), [8, 9]);
        assert_eq!((with("").wish("wait"), with("").waits), (None, true));
        assert!(!with("use_subscription=N").waits);
    }

    #[test]
    fn what_no_workflow_could_be_answered_by_is_refused() {
        for form in
            ["code=c&workflow_id=w", "code=c&event_token=t", "workflow_id=w&event_token=t", "", "a[=1"]
        {
            assert!(RobotRequest::decode(form.as_bytes()).is_err(), "{form}");
        }
        let long = format!("code=c&workflow_id=w&event_token={}", "t".repeat(EVENT_TOKEN_BYTES_MAX + 1));
        assert!(RobotRequest::decode(long.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_used_token_means_that_nobody_waits() {
        let portal = Scripted::new([
            Ok(json!(true)),
            Err(from_code(403, "access_denied", None, "")),
            Err(from_code(401, "insufficient_scope", None, "")),
        ]);
        let send = || event_send(&portal, "t1", json!({"status": "signed"}), "Подписан");
        assert_eq!(send().await, Ok(Heard::Yes));
        assert_eq!(send().await, Ok(Heard::TooLate));
        assert_eq!(send().await.unwrap_err().code, "insufficient_scope");
        let expected =
            json!({"EVENT_TOKEN": "t1", "RETURN_VALUES": {"status": "signed"}, "LOG_MESSAGE": "Подписан"});
        assert_eq!(portal.calls()[0].params, expected);
    }

    #[tokio::test]
    async fn running_workflows_are_read_page_by_page() {
        let page: Vec<Value> = (0..50).map(|n| json!({"ID": format!("w{n}"), "TEMPLATE_ID": "7"})).collect();
        let portal =
            Scripted::ok([json!(page), json!([{"ID": "last", "MODIFIED": "2026-01-01T00:00:00+03:00"}])]);
        let found = workflows(&portal).await.unwrap();
        let (first, last) = (&found.instances[0], &found.instances[50]);
        assert_eq!((found.instances.len(), first.template_id, last.id.as_str()), (51, Some(7), "last"));
        assert_eq!(last.moved_at, Some(Timestamp(1_767_214_800_000)));
        assert!(!found.more);
    }

    /// `bizproc.robot.add`: names, allowed types of properties, an explicit wish to wait.
    #[test]
    fn what_the_portal_is_told_is_what_it_takes() {
        const TYPES: [&str; 9] =
            ["bool", "date", "datetime", "double", "file", "int", "select", "string", "user"];
        let routes = [("contracts".to_owned(), "Договоры (17)".to_owned())];
        for code in [SEND, STATUS] {
            assert!(code.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)));
            let told = registration(code, &routes).unwrap();
            assert!(matches!(told["USE_SUBSCRIPTION"].as_str(), Some("Y" | "N")));
            for language in ["ru", "en"] {
                assert!(told["NAME"][language].as_str().is_some_and(|name| !name.is_empty()));
            }
            for group in ["PROPERTIES", "RETURN_PROPERTIES"] {
                for (name, property) in told[group].as_object().unwrap() {
                    assert!(TYPES.contains(&property["Type"].as_str().unwrap()), "{name}");
                    assert!(
                        property["Name"]["ru"].is_string() && property["Name"]["en"].is_string(),
                        "{name}"
                    );
                }
            }
        }
        assert_eq!(
            registration(SEND, &routes).unwrap()["PROPERTIES"]["route"]["Options"]["contracts"],
            "Договоры (17)"
        );
        assert_eq!(registration("other", &routes), None);
    }
}
