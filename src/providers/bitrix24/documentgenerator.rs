//! Documents that the CRM's document generator made (scope `crm`): read one, and list what is new.
//!
//! The PDF is made after the document and appears some 30 to 40 seconds later, on a box only with the transformer
//! service (`api-reference/crm/document-generator`); whoever wants it asks again. Download links are secrets. The
//! browser's links (`downloadUrl`, `pdfUrl`) are of no use to a program, only those `…UrlMachine` are.

use super::client::Caller;
use super::drive::{PAGE_ROWS, read};
use super::error::misshapen;
use super::item_pages::moment;
use super::wire;
use crate::domain::{CrmItem, Failure, Secret, Timestamp};
use crate::providers::remote::Nature;
use serde_json::{Value, json};

/// Longest message about a failed conversion that is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// A generated document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedDocument {
    /// Its id in the generator.
    pub id: u64,
    /// Its title, without extension; what people know it by.
    pub title: Option<String>,
    /// Its number, as the template's numerator gave it.
    pub number: Option<String>,
    /// The template.
    pub template_id: Option<u64>,
    /// The item that it belongs to; documents of other providers have none.
    pub item: Option<CrmItem>,
    /// Its PDF.
    pub pdf: Pdf,
}

/// What is known of the PDF of a generated document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pdf {
    /// It is there.
    Ready {
        /// Where to fetch it, now.
        url: Secret,
    },
    /// It is being made, or never will be: the portal does not say. Ask again in 30 to 40 seconds.
    NotYet,
    /// The conversion has failed.
    Failed {
        /// What the portal says of it; may be empty.
        message: String,
    },
}

/// A generated document as a list tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDocument {
    /// Its id.
    pub id: u64,
    /// The template.
    pub template_id: Option<u64>,
    /// The item that it belongs to.
    pub item: Option<CrmItem>,
    /// When it was made, by the portal's clock.
    pub made_at: Option<Timestamp>,
}

/// `crm.documentgenerator.document.get`.
///
/// # Errors
/// `code_0` (a text only) if there is no such document, `docgen_access_error` without rights.
pub async fn get(caller: &dyn Caller, id: u64) -> Result<GeneratedDocument, Failure> {
    const METHOD: &str = "crm.documentgenerator.document.get";
    let answer = read(caller, METHOD, json!({ "id": id })).await?;
    let document = wire::member(&answer, "document").and_then(document_of);
    document.filter(|found| found.id == id).ok_or_else(|| Nature::Read.judge(misshapen(METHOD)))
}

fn document_of(row: &Value) -> Option<GeneratedDocument> {
    let text = |name| wire::member(row, name).and_then(wire::filled);
    let id = |name| wire::member(row, name).and_then(wire::id);
    Some(GeneratedDocument {
        id: id("id")?,
        title: text("title"),
        number: text("number"),
        template_id: id("templateId"),
        item: item_of(row),
        pdf: pdf_of(row),
    })
}

fn item_of(row: &Value) -> Option<CrmItem> {
    let entity_type_id = wire::member(row, "entityTypeId").and_then(wire::id)?;
    let id = wire::member(row, "entityId").and_then(wire::id)?;
    Some(CrmItem { entity_type_id: u32::try_from(entity_type_id).ok()?, id })
}

/// A PDF that is there counts more than an error of an earlier conversion.
fn pdf_of(row: &Value) -> Pdf {
    let text = |name| wire::member(row, name).and_then(wire::filled);
    if let Some(url) = text("pdfUrlMachine") {
        return Pdf::Ready { url: Secret::new(url) };
    }
    if wire::member(row, "isTransformationError").and_then(wire::truth) == Some(true) {
        let message = text("transformationErrorMessage").or_else(|| text("transformationErrorCode"));
        return Pdf::Failed {
            message: message.unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect(),
        };
    }
    Pdf::NotYet
}

/// The method of lists; a box without the module has none.
pub const LIST_METHOD: &str = "crm.documentgenerator.document.list";

/// `crm.documentgenerator.document.list`: documents with a greater id, by growing id; one page of 50. The second
/// value leads to the next page.
///
/// # Errors
/// As any read.
pub async fn newer(caller: &dyn Caller, above: u64) -> Result<(Vec<ListedDocument>, Option<u64>), Failure> {
    let rows = list(caller, json!({ ">id": above }), "ASC").await?;
    let full = rows.len() >= PAGE_ROWS;
    let last = rows.iter().map(|row| row.id).max();
    // The filter is not trusted: known documents must not come again and again.
    let newer: Vec<_> = rows.into_iter().filter(|row| row.id > above).collect();
    Ok((newer, last.filter(|id| full && *id > above)))
}

/// The documents of one item, newest first, at most 50.
///
/// # Errors
/// As any read.
pub async fn of_item(caller: &dyn Caller, item: CrmItem) -> Result<Vec<ListedDocument>, Failure> {
    let filter = json!({ "entityTypeId": item.entity_type_id, "entityId": item.id });
    let mut rows = list(caller, filter, "DESC").await?;
    rows.retain(|row| row.item.is_none_or(|found| found == item));
    Ok(rows)
}

/// The highest id there is; zero without documents.
///
/// # Errors
/// As any read.
pub async fn highest_id(caller: &dyn Caller) -> Result<u64, Failure> {
    let rows = list(caller, json!({}), "DESC").await?;
    Ok(rows.iter().map(|row| row.id).max().unwrap_or(0))
}

async fn list(caller: &dyn Caller, filter: Value, order: &str) -> Result<Vec<ListedDocument>, Failure> {
    const METHOD: &str = LIST_METHOD;
    let params = json!({
        "select": ["id", "title", "templateId", "entityTypeId", "entityId", "createTime"],
        "filter": filter, "order": { "id": order }
    });
    let answer = read(caller, METHOD, params).await?;
    let misshapen = || Nature::Read.judge(misshapen(METHOD));
    let rows = wire::member(&answer, "documents").and_then(wire::rows).ok_or_else(misshapen)?;
    let listed = |row: &Value| {
        Some(ListedDocument {
            id: wire::member(row, "id").and_then(wire::id)?,
            template_id: wire::member(row, "templateId").and_then(wire::id),
            item: item_of(row),
            made_at: wire::member(row, "createTime").and_then(wire::text).and_then(|text| moment(&text)),
        })
    };
    rows.into_iter().map(listed).collect::<Option<Vec<_>>>().ok_or_else(misshapen)
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::*;

    fn answer(more: &Value) -> Value {
        let mut row = json!({"id": "61", "title": "Договор 7", "number": "7", "templateId": "5",
            "entityTypeId": "2", "entityId": "501", "downloadUrlMachine": "https://p/rest/docx?token=t"});
        for (key, value) in more.as_object().unwrap() {
            row[key] = value.clone();
        }
        json!({ "document": row })
    }

    #[tokio::test]
    async fn a_pdf_is_there_or_not_yet_or_never() {
        let portal = Scripted::ok([
            answer(&json!({})),
            answer(&json!({"pdfUrlMachine": "", "isTransformationError": false})),
            answer(&json!({"pdfUrlMachine": "https://p/rest/pdf?token=t"})),
            answer(&json!({"isTransformationError": "Y", "transformationErrorMessage": "no transformer"})),
            answer(&json!({"pdfUrlMachine": "https://p/rest/pdf", "isTransformationError": 1})),
        ]);
        let mut seen = Vec::new();
        for _ in 0..5 {
            let document = get(&portal, 61).await.unwrap();
            assert_eq!(document.item, Some(CrmItem { entity_type_id: 2, id: 501 }));
            assert!(!format!("{document:?}").contains("token=t"));
            seen.push(match document.pdf {
                Pdf::Ready { .. } => "ready".to_owned(),
                Pdf::NotYet => "not yet".to_owned(),
                Pdf::Failed { message } => message,
            });
        }
        assert_eq!(seen, ["not yet", "not yet", "ready", "no transformer", "ready"]);
    }

    #[tokio::test]
    async fn new_documents_come_page_by_page_and_never_twice() {
        let row = |id: u64| json!({"id": id.to_string(), "templateId": "5", "createTime": "2026-01-01T10:00:00+03:00"});
        let full: Vec<Value> = (1..=50).map(row).collect();
        let portal = Scripted::ok([json!({"documents": full}), json!({"documents": [row(50), row(51)]})]);
        let (page, next) = newer(&portal, 0).await.unwrap();
        assert_eq!((page.len(), next), (50, Some(50)));
        assert_eq!(page[0].made_at, Some(Timestamp(1_767_250_800_000)));
        let (page, next) = newer(&portal, 50).await.unwrap();
        assert_eq!((page.iter().map(|row| row.id).collect::<Vec<_>>(), next), (vec![51], None));
    }

    #[tokio::test]
    async fn the_documents_of_another_item_are_not_taken_for_ours() {
        let rows = json!({"documents": [
            {"id": 9, "entityTypeId": 2, "entityId": 501}, {"id": 8, "entityTypeId": "2", "entityId": "7"}
        ]});
        let portal = Scripted::ok([rows]);
        let found = of_item(&portal, CrmItem { entity_type_id: 2, id: 501 }).await.unwrap();
        assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [9]);
    }
}
