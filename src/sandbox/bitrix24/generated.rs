//! Documents that the portal generates: `crm.documentgenerator.document.*`.
//! Source: `api-reference/crm/document-generator/**` of the Bitrix24 docs; what happens to the PDF from
//! `bitrix24-rest.md` section 11.
//!
//! Invariants: DOCX is there at once, PDF later or never; before that `pdfUrlMachine` is absent or empty, by turns;
//! ids are numbers in the answer of `add` and texts everywhere else; `add` makes a new document every time.

use super::bindings::given_value;
use super::crm::{item_note, parameter_missing};
use super::portal::LinkKind;
use super::rows::{self, integer};
use super::tree::{NotMade, OnTaken};
use super::wire::{Answer, MethodError, date};
use super::{Ctx, Outcome};
use crate::domain::CrmItem;
use crate::sandbox::bitrix24::events::EventSpec;
use crate::sandbox::ledger::Note;
use crate::sandbox::world::{World, WorldError, now_ms};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What becomes of the PDF of a generated document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PdfPlan {
    /// It is there this many milliseconds after the document.
    After(u64),
    /// The conversion fails after this many milliseconds: `isTransformationError`.
    Fails(u64),
    /// It never comes, and nothing is said: a box without the transformer service.
    Never,
}

#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub(crate) id: u64,
    pub(crate) item: CrmItem,
    template_id: u64,
    title: String,
    created_ms: i64,
    /// Drive ids.
    docx: u64,
    pdf: u64,
    plan: PdfPlan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PdfState {
    Coming,
    Ready,
    Failed,
}

impl Generated {
    fn pdf_state(&self, now_ms: i64) -> PdfState {
        let passed =
            |ms: u64| now_ms.saturating_sub(self.created_ms) >= i64::try_from(ms).unwrap_or(i64::MAX);
        match self.plan {
            PdfPlan::After(ms) if passed(ms) => PdfState::Ready,
            PdfPlan::Fails(ms) if passed(ms) => PdfState::Failed,
            PdfPlan::After(_) | PdfPlan::Fails(_) | PdfPlan::Never => PdfState::Coming,
        }
    }
}

/// What a template is filled into.
pub(crate) struct NewGenerated {
    pub(crate) item: CrmItem,
    pub(crate) template_id: u64,
    pub(crate) title: String,
    pub(crate) pdf: Bytes,
    pub(crate) plan: PdfPlan,
}

impl super::portal::Portal {
    /// Makes a document with its files.
    pub(crate) fn generate(&mut self, new: NewGenerated, user_id: u64, now_ms: i64) -> Result<u64, NotMade> {
        let NewGenerated { item, template_id, title, pdf, plan } = new;
        let folder = self.tree.attachments();
        let docx = Bytes::from(format!("PK\u{3}\u{4} {title}"));
        let docx =
            self.tree.add_file(folder, &format!("{title}.docx"), docx, user_id, now_ms, OnTaken::Number)?;
        let pdf =
            self.tree.add_file(folder, &format!("{title}.pdf"), pdf, user_id, now_ms, OnTaken::Number)?;
        let id = self.fresh_id();
        let made = Generated { id, item, template_id, title, created_ms: now_ms, docx, pdf, plan };
        self.generated.insert(id, made);
        Ok(id)
    }
}

pub(crate) fn get(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let document = find(ctx, params)?;
    let row = ctx.generated_row(document);
    let note = item_note(Note::read(), document.item).fact("document_id", document.id);
    Ok(Answer::of(json!({"document": row})).noted(note))
}

pub(crate) fn list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let rows = ctx.portal.generated.values().map(|document| ctx.generated_row(document)).collect();
    let mut page = rows::list(rows, params, &[], "id")?;
    page.select(params, "id");
    let note = Note::read().fact("rows", page.rows.len());
    Ok(page.answer(|rows| json!({"documents": rows})).noted(note))
}

/// Every call makes a document, a repeated one too.
pub(crate) fn add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let number = |name: &str| {
        let value = params.get(name).and_then(integer).and_then(|n| u64::try_from(n).ok());
        value.ok_or_else(|| parameter_missing(name))
    };
    let (template_id, id) = (number("templateId")?, number("entityId")?);
    let entity_type_id =
        u32::try_from(number("entityTypeId")?).map_err(|_| parameter_missing("entityTypeId"))?;
    let item = CrmItem { entity_type_id, id };
    if !ctx.portal.items.contains_key(&item) {
        return Err(MethodError::new(400, "0", "Не удалось найти элемент CRM"));
    }
    let title = format!("Документ {id}");
    let pdf = Bytes::from(format!("%PDF-1.4\n% {title}, шаблон {template_id}\n%%EOF\n"));
    let new = NewGenerated { item, template_id, title, pdf, plan: ctx.portal.pdf_plan };
    let made = ctx.portal.generate(new, ctx.caller.user_id(), ctx.now_ms);
    let made = made.map_err(|_| MethodError::new(400, "0", "Не удалось создать документ"))?;
    ctx.echo("ONCRMDOCUMENTGENERATORDOCUMENTADD", event_data(made, item));
    let mut row = ctx.portal.generated.get(&made).map(|d| ctx.generated_row(d)).unwrap_or_default();
    row.insert("id".into(), made.into());
    Ok(Answer::of(json!({"document": row})).noted(item_note(Note::effect(), item).fact("document_id", made)))
}

pub(crate) fn enable_public_url(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let id = find(ctx, params)?.id;
    let on = given_value(params, "status").is_some_and(super::drive::truthy);
    let url = if on { format!("{}/~{id:05}", ctx.origin).into() } else { Value::Null };
    Ok(Answer::of(json!({"publicUrl": url})).noted(Note::effect().fact("document_id", id)))
}

fn find<'a>(ctx: &'a Ctx<'_>, params: &Value) -> Result<&'a Generated, MethodError> {
    let id = params.get("id").and_then(integer).ok_or_else(|| parameter_missing("id"))?;
    let found = u64::try_from(id).ok().and_then(|id| ctx.portal.generated.get(&id));
    found.ok_or_else(|| MethodError::new(400, "0", "Документ не найден"))
}

fn event_data(id: u64, item: CrmItem) -> Value {
    json!({"FIELDS": {"ID": id, "ENTITY_TYPE_ID": item.entity_type_id, "ENTITY_ID": item.id}})
}

impl Ctx<'_> {
    fn generated_row(&self, document: &Generated) -> Map<String, Value> {
        let state = document.pdf_state(self.now_ms);
        let ready = state == PdfState::Ready;
        let machine =
            |id: u64| format!("{}{}", self.origin, self.portal.link(LinkKind::Drive, id, self.now_ms));
        let person = |kind: &str| format!("{}/bitrix/services/main/ajax.php?action=get{kind}", self.origin);
        let failed = state == PdfState::Failed;
        let row = json!({
            "id": document.id.to_string(), "title": document.title, "number": document.id.to_string(),
            "templateId": document.template_id.to_string(),
            "entityTypeId": document.item.entity_type_id.to_string(),
            "entityId": document.item.id.to_string(),
            "createTime": date(document.created_ms), "updateTime": date(document.created_ms),
            "createdBy": "1", "updatedBy": null, "stampsEnabled": true, "values": [],
            "fileId": document.docx.to_string(), "imageId": null,
            "pdfId": if ready { document.pdf.to_string().into() } else { Value::Null },
            "downloadUrl": person("File"), "downloadUrlMachine": machine(document.docx), "publicUrl": null,
            "emailDiskFile": if ready { document.pdf } else { document.docx },
            "isTransformationError": failed,
            "transformationErrorMessage": if failed { json!("Не удалось преобразовать документ") } else { Value::Null },
            "transformationErrorCode": if failed { json!(104) } else { Value::Null },
            "pullTag": format!("TRANSFORMDOCUMENT{}", document.id),
        });
        let mut row = row.as_object().cloned().unwrap_or_default();
        // Absent or empty until it is there: both are seen.
        if ready || document.id.is_multiple_of(2) {
            let pdf = if ready { (person("Pdf"), machine(document.pdf)) } else { Default::default() };
            row.insert("pdfUrl".into(), pdf.0.into());
            row.insert("pdfUrlMachine".into(), pdf.1.into());
        }
        row
    }
}

/// The document generator, as people use it.
impl World {
    /// Somebody generates a document in the card of an item; its event is fired. Returns the document's id.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn generate_document(
        self: &Arc<Self>,
        item: CrmItem,
        template_id: u64,
        title: &str,
        pdf: impl Into<Bytes>,
        plan: PdfPlan,
    ) -> Result<u64, WorldError> {
        let id = self.generate_document_quietly(item, template_id, title, pdf, plan)?;
        self.fire(EventSpec::new("ONCRMDOCUMENTGENERATORDOCUMENTADD", event_data(id, item)));
        Ok(id)
    }
    /// The same without an event: one that was lost.
    ///
    /// # Errors
    ///
    /// There is no such item.
    pub fn generate_document_quietly(
        &self,
        item: CrmItem,
        template_id: u64,
        title: &str,
        pdf: impl Into<Bytes>,
        plan: PdfPlan,
    ) -> Result<u64, WorldError> {
        let (title, pdf) = (title.to_owned(), pdf.into());
        let made = self.with_portal(|portal| {
            portal.items.contains_key(&item).then(|| {
                let new = NewGenerated { item, template_id, title, pdf, plan };
                portal.generate(new, super::portal::OWNER_ID, now_ms())
            })
        });
        let missing = || WorldError::Missing { what: "CRM item", id: item.to_string() };
        made.and_then(Result::ok).ok_or_else(missing)
    }
    /// What becomes of the PDF of documents that are made through REST.
    pub fn set_pdf_plan(&self, plan: PdfPlan) {
        self.with_portal(|portal| portal.pdf_plan = plan);
    }
}
