//! What an operator may ask of the admin API, read strictly: unknown members are refused, every text has a bound.
//!
//! The command line builds the same structs.

use super::error::{ApiError, Code};
use crate::domain::{CrmItem, PortalId, Text, Timestamp};
use crate::saga::document::{Announcement, Mend, Source, Step};
use crate::store::{DocumentFilter, ListCursor};
use serde::{Deserialize, Serialize};

/// Documents of one page if no `limit` is given.
pub const PAGE_DEFAULT: usize = 50;
/// Documents of one page at most.
pub const PAGE_MAX: usize = 500;
/// Documents of one retry by filter if no `limit` is given.
pub const RETRY_DEFAULT: usize = 100;
/// Documents of one retry by filter at most: what comes to life at once also comes to the signing service at once.
pub const RETRY_MAX: usize = 1_000;
/// Characters of a cancel reason, a part of a name, a code, an id of a rule or portal.
const TEXT_CHARS_MAX: usize = 500;
/// Users of one `notify`.
const NOTIFY_MAX: usize = 50;
/// Characters of an id at the signing service: it goes into a path.
const DOCUMENT_ID_CHARS_MAX: usize = 128;

/// Query of `GET /admin/v1/documents`; also the filter of a retry by filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentQuery {
    /// Names of steps, separated by commas; none = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Id of the portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal: Option<String>,
    /// Id of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// A part of the file's name, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Code of the dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Changed at this moment (RFC 3339) or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_from: Option<String>,
    /// Changed before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_before: Option<String>,
    /// Documents of one page, at most [`PAGE_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl DocumentQuery {
    /// The store's filter.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] names the parameter.
    pub fn filter(&self) -> Result<DocumentFilter, ApiError> {
        Ok(DocumentFilter {
            steps: steps(self.step.as_deref().unwrap_or_default())?,
            portal: bounded("portal", self.portal.as_deref())?.map(PortalId),
            rule: bounded("rule", self.rule.as_deref())?,
            name_contains: bounded("name", self.name.as_deref())?,
            updated_from: moment("updated_from", self.updated_from.as_deref())?,
            updated_before: moment("updated_before", self.updated_before.as_deref())?,
            dead_letter_code: bounded("code", self.code.as_deref())?,
        })
    }
    /// How many documents the page has.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it is 0 or more than [`PAGE_MAX`].
    pub fn page_limit(&self) -> Result<usize, ApiError> {
        limit(self.limit, PAGE_DEFAULT, PAGE_MAX)
    }
    /// Where the page begins.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it is not the place of a page.
    pub fn place(&self) -> Result<Option<ListCursor>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                invalid(
                    "Параметр cursor не от этого списка: возьмите next предыдущей страницы.",
                    "The parameter cursor is not of this list: take `next` of the page before.",
                )
            })
        };
        self.cursor.as_deref().map(parse).transpose()
    }
    /// Whether it narrows anything down.
    pub fn is_empty(&self) -> bool {
        *self == Self { limit: self.limit, cursor: self.cursor.clone(), ..Self::default() }
    }
}

/// Query of `GET /admin/v1/parked-notices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeQuery {
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Notices of one page, at most [`PAGE_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl NoticeQuery {
    /// How many notices the page has.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it is 0 or more than [`PAGE_MAX`].
    pub fn page_limit(&self) -> Result<usize, ApiError> {
        limit(self.limit, PAGE_DEFAULT, PAGE_MAX)
    }
}

/// Body of `POST /admin/v1/documents/{id}/retry`: what was mended. May be `{}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Deliver into this folder instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder_id: Option<u64>,
    /// Send along this route instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_id: Option<String>,
    /// Tell these users instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<u64>>,
    /// Go on without these: `comment`, `notices`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

impl RetryRequest {
    /// The saga's form of it.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] names the member.
    pub fn mend(&self) -> Result<Mend, ApiError> {
        if self.notify.as_ref().is_some_and(|users| users.len() > NOTIFY_MAX) {
            return Err(invalid(
                format!("В notify больше {NOTIFY_MAX} пользователей."),
                format!("`notify` has more than {NOTIFY_MAX} users."),
            ));
        }
        let skip = announcements(&self.skip)?;
        if self.notify.is_some() && skip.contains(&Announcement::Notices) {
            return Err(invalid(
                "notify и skip notices исключают друг друга.",
                "`notify` and `skip` of notices exclude each other.",
            ));
        }
        Ok(Mend {
            folder_id: self.folder_id,
            route_id: bounded("route_id", self.route_id.as_deref())?,
            notify: self.notify.clone(),
            skip,
        })
    }
}

/// Body of `POST /admin/v1/documents/retry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryManyRequest {
    /// Which dead letters; `{}` = all. `step` and `cursor` are not allowed: only dead letters are retried.
    #[serde(default)]
    pub filter: DocumentQuery,
    /// Only say which would be retried.
    #[serde(default)]
    pub dry_run: bool,
    /// Let all of them go on without these: `comment`, `notices`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

impl RetryManyRequest {
    /// The store's filter: dead letters only.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] names the parameter.
    pub fn filter(&self) -> Result<DocumentFilter, ApiError> {
        if self.filter.step.is_some() || self.filter.cursor.is_some() {
            return Err(invalid(
                "Повторяются только остановленные документы: уберите step и cursor.",
                "Only stopped documents are retried: remove step and cursor.",
            ));
        }
        Ok(DocumentFilter { steps: vec![Step::Parked], ..self.filter.filter()? })
    }
    /// The order to each of them.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] names the member.
    pub fn mend(&self) -> Result<Mend, ApiError> {
        Ok(Mend { skip: announcements(&self.skip)?, ..Mend::default() })
    }
    /// How many at most.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it is 0 or more than [`RETRY_MAX`].
    pub fn limit(&self) -> Result<usize, ApiError> {
        limit(self.filter.limit, RETRY_DEFAULT, RETRY_MAX)
    }
}

/// Body of `POST /admin/v1/documents/{id}/cancel` and `…/discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Why, for the history.
    pub reason: String,
}

impl CancelRequest {
    /// The reason, checked.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it is empty or too long.
    pub fn reason(&self) -> Result<String, ApiError> {
        filled("reason", &self.reason)
    }
}

/// Body of `POST /admin/v1/documents/{id}/sign-link`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignLinkRequest {
    /// Who asks, for the history: the token is one for all operators.
    pub asked_by: String,
}

impl SignLinkRequest {
    /// Who asks, checked.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it is empty or too long.
    pub fn asked_by(&self) -> Result<String, ApiError> {
        filled("asked_by", &self.asked_by)
    }
}

/// Body of `POST /admin/v1/documents/{id}/bind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindRequest {
    /// The document's id at the signing service.
    pub document_id: String,
}

impl BindRequest {
    /// The id, checked: it is going to be a segment of a path.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] if it has other characters than an id has.
    pub fn document_id(&self) -> Result<String, ApiError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let id = self.document_id.trim();
        if (1..=DOCUMENT_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(plain) {
            return Ok(id.to_owned());
        }
        Err(invalid(
            "Идентификатор документа — от 1 до 128 латинских букв, цифр и знаков . _ ~ -",
            "A document id has 1 to 128 Latin letters, digits and the signs . _ ~ -",
        ))
    }
}

/// Body of `POST /admin/v1/documents/send`:
/// `{"portal":"main","source":{"drive_file":9043},"rule":"contracts"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Id of the portal.
    pub portal: String,
    /// Which file.
    pub source: SourceRequest,
    /// Id of the rule; none = the first that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// Which file is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRequest {
    /// A file of the Drive, by its id.
    DriveFile(u64),
    /// A CRM item; the rules say which files of it.
    CrmItem {
        /// 1 lead, 2 deal, 31 invoice, 128 and above smart processes.
        entity_type_id: u32,
        /// Its id.
        id: u64,
    },
    /// One file in a file field of a CRM item, whatever its stage.
    CrmFile {
        /// As in `crm_item`.
        entity_type_id: u32,
        /// The item's id.
        id: u64,
        /// The field, as `UF_CRM_1700000000`.
        field: String,
        /// The file's id in the field, as `crm.item.get` shows it.
        file_id: u64,
    },
}

impl SendRequest {
    /// Portal, source and rule, checked.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] names the member.
    pub fn parts(&self) -> Result<(PortalId, Source, Option<String>), ApiError> {
        let source = match &self.source {
            SourceRequest::DriveFile(file_id) => Source::DriveFile { file_id: *file_id },
            SourceRequest::CrmItem { entity_type_id, id } => {
                Source::CrmItem { item: CrmItem { entity_type_id: *entity_type_id, id: *id } }
            }
            SourceRequest::CrmFile { entity_type_id, id, field, file_id } => Source::CrmFile {
                item: CrmItem { entity_type_id: *entity_type_id, id: *id },
                field: field_name(field)?,
                file_id: *file_id,
            },
        };
        Ok((PortalId(filled("portal", &self.portal)?), source, bounded("rule", self.rule.as_deref())?))
    }
}

/// Each at most once: skipping twice makes no sense to a document.
fn announcements(names: &[String]) -> Result<Vec<Announcement>, ApiError> {
    let mut found = Vec::new();
    for name in names {
        let what = Announcement::from_name(name.trim()).ok_or_else(|| {
            invalid(
                "skip: что угодно из comment, notices, field, stage, robot.",
                "`skip` has any of comment, notices, field, stage, robot.",
            )
        })?;
        if !found.contains(&what) {
            found.push(what);
        }
    }
    Ok(found)
}

fn steps(names: &str) -> Result<Vec<Step>, ApiError> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| Step::from_name(name).ok_or_else(|| unknown_step(name))).collect()
}

fn unknown_step(name: &str) -> ApiError {
    let name: String = name.chars().take(32).collect();
    let known = Step::ALL.map(Step::name).join(", ");
    invalid(
        format!("Шага «{name}» нет. Есть: {known}."),
        format!("There is no step `{name}`. There are: {known}."),
    )
}

fn bounded(name: &str, text: Option<&str>) -> Result<Option<String>, ApiError> {
    text.filter(|text| !text.is_empty()).map(|text| filled(name, text)).transpose()
}

fn filled(name: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) {
        return Ok(text.to_owned());
    }
    Err(invalid(
        format!("В {name} нужно от 1 до {TEXT_CHARS_MAX} знаков."),
        format!("`{name}` needs 1 to {TEXT_CHARS_MAX} characters."),
    ))
}

/// A name of a field, never a piece of a key: it becomes a part of the name that keeps a file from being sent twice.
fn field_name(text: &str) -> Result<String, ApiError> {
    let name = filled("field", text)?;
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(name);
    }
    Err(invalid(
        "field — код поля из латинских букв, цифр и _, например UF_CRM_1700000000.",
        "`field` is a field's code of Latin letters, digits and _, such as UF_CRM_1700000000.",
    ))
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let parse = |text: &str| {
        text.parse::<jiff::Timestamp>().map(|moment| Timestamp(moment.as_millisecond())).map_err(|_| {
            invalid(
                format!("Параметр {name} — момент вида 2026-02-03T04:05:06Z."),
                format!("The parameter {name} is a moment like 2026-02-03T04:05:06Z."),
            )
        })
    };
    text.map(parse).transpose()
}

fn limit(given: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match given {
        None => Ok(default),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => {
            Err(invalid(format!("limit — от 1 до {max}."), format!("`limit` is a number from 1 to {max}.")))
        }
    }
}

fn invalid(ru: impl Into<String>, en: impl Into<String>) -> ApiError {
    ApiError::with(Code::InvalidRequest, Text::new(ru, en))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_the_filter_that_it_says() {
        let query = DocumentQuery {
            step: Some("parked, create".into()),
            portal: Some("main".into()),
            updated_from: Some("1970-01-01T00:00:01Z".into()),
            limit: Some(7),
            ..DocumentQuery::default()
        };
        let filter = query.filter().unwrap();
        assert_eq!(filter.steps, [Step::Parked, Step::Create]);
        assert_eq!(filter.portal, Some(PortalId("main".into())));
        assert_eq!(filter.updated_from, Some(Timestamp(1_000)));
        assert_eq!(query.page_limit().unwrap(), 7);
        assert!(!query.is_empty());
        assert!(DocumentQuery { limit: Some(1), ..DocumentQuery::default() }.is_empty());
    }

    #[test]
    fn a_wrong_parameter_is_named_with_the_remedy() {
        let step = DocumentQuery { step: Some("parkd".into()), ..DocumentQuery::default() };
        assert!(step.filter().unwrap_err().message().en.contains("await_signature"));
        let moment = DocumentQuery { updated_before: Some("yesterday".into()), ..DocumentQuery::default() };
        assert!(moment.filter().unwrap_err().message().en.contains("updated_before"));
        let page = DocumentQuery { limit: Some(PAGE_MAX + 1), ..DocumentQuery::default() };
        assert_eq!(page.page_limit().unwrap_err().code, Code::InvalidRequest);
        let place = DocumentQuery { cursor: Some("x".into()), ..DocumentQuery::default() };
        assert!(place.place().is_err());
        assert!(serde_json::from_str::<DocumentQuery>(r#"{"stepp":"parked"}"#).is_err());
    }

    #[test]
    fn only_dead_letters_are_retried_by_filter() {
        let mut request = RetryManyRequest::default();
        assert_eq!(request.filter().unwrap().steps, [Step::Parked]);
        request.filter.step = Some("delivered".into());
        assert!(request.filter().is_err());
    }

    #[test]
    fn an_id_that_could_leave_its_path_segment_is_refused() {
        let bind = |id: &str| BindRequest { document_id: id.into() }.document_id();
        assert_eq!(bind(" doc-1_A.b~c ").unwrap(), "doc-1_A.b~c");
        for bad in ["", "a/b", "..%2f", "a b", "д", &"x".repeat(129)] {
            assert!(bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_send_request_reads_as_documented() {
        let text = r#"{"portal":"main","source":{"drive_file":9043},"rule":"contracts"}"#;
        let request: SendRequest = serde_json::from_str(text).unwrap();
        let (portal, source, rule) = request.parts().unwrap();
        assert_eq!((portal.as_str(), rule.as_deref()), ("main", Some("contracts")));
        assert_eq!(source, Source::DriveFile { file_id: 9043 });
        let item = r#"{"portal":"main","source":{"crm_item":{"entity_type_id":2,"id":501}}}"#;
        assert!(serde_json::from_str::<SendRequest>(item).unwrap().parts().is_ok());
        let file = |field: &str| {
            let source = format!(r#"{{"entity_type_id":2,"id":501,"field":"{field}","file_id":9}}"#);
            let text = format!(r#"{{"portal":"main","source":{{"crm_file":{source}}}}}"#);
            serde_json::from_str::<SendRequest>(&text).unwrap().parts()
        };
        let item = CrmItem { entity_type_id: 2, id: 501 };
        let wanted = Source::CrmFile { item, field: "UF_CRM_1".into(), file_id: 9 };
        assert_eq!(file("UF_CRM_1").unwrap().1, wanted);
        assert!(file("UF_CRM/1").is_err() && file("").is_err());
    }

    #[test]
    fn what_is_to_be_skipped_is_known_by_name_and_does_not_contradict_the_people_to_be_told() {
        let retry = |text: &str| serde_json::from_str::<RetryRequest>(text).unwrap().mend();
        let both = retry(r#"{"skip":["comment","notices","comment"]}"#).unwrap();
        assert_eq!(both.skip, [Announcement::Comment, Announcement::Notices]);
        let all = retry(r#"{"skip":["comment","notices","field","stage","robot"]}"#).unwrap();
        assert_eq!(all.skip, Announcement::ALL);
        assert!(retry(r#"{"skip":["everything"]}"#).is_err());
        assert!(retry(r#"{"skip":["notices"],"notify":[7]}"#).is_err());
        assert!(retry(r#"{"skip":["comment"],"notify":[7]}"#).is_ok());
    }
}
