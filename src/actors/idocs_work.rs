//! The orders about our own signature: to iDocs, and to the signer by a notice with the link. A part of the runner: it
//! translates and decides nothing about a document.

use super::effect_runner::{EffectRunner, Order, local, spool_failed};
use super::signing_links::SigningLinks;
use crate::domain::{Failure, FailureClass, FailureKind, FileDigest, SpoolFile};
use crate::providers::bitrix24::notify;
use crate::providers::idocs::content_check::{self, ContentCheck};
use crate::providers::idocs::signing::CONTENT_GONE;
use crate::providers::idocs::{self, Fetched, FoundDraft, NewDraft, Status, StatusClass};
use crate::providers::spool_io::FileSource;
use crate::saga::document::own_signature::{
    ContentUnit, Counterparty, CounterpartyKind, DraftOrder, Holds, LINK, OwnStatus, Ticket,
};
use crate::saga::document::{Answer, OwnAnswer, OwnEffect, SourceFile};
use crate::store::Spool;
use std::sync::Arc;

/// iDocs as the actors need it.
pub struct IdocsParts {
    /// The account.
    pub client: Arc<idocs::Client>,
    /// In whose name drafts are created; none: the service decides.
    pub author: Option<String>,
    /// Links to the signing page; none where nobody could open one, because our own address is not configured.
    pub links: Option<SigningLinks>,
    /// Calls at one time.
    pub calls_max: usize,
}

impl EffectRunner {
    pub(super) async fn own_signature(&self, order: &Order, effect: &OwnEffect) -> Result<Answer, Failure> {
        let idocs = self.parts.idocs.as_ref().ok_or_else(switched_off)?;
        if let OwnEffect::TellSigner { user_id, text, tag, signer, unit } = effect {
            self.tell_signer(order, *user_id, text, tag, (signer, unit)).await?;
            return Ok(Answer::Own(OwnAnswer::SignerTold));
        }
        let _turn = self.idocs_calls.take(&order.portal).await;
        let work = IdocsWork { idocs, spool: self.parts.store.spool() };
        work.perform(effect).await.map(Answer::Own)
    }

    async fn tell_signer(
        &self,
        order: &Order,
        user_id: u64,
        text: &str,
        tag: &str,
        (signer, unit): (&str, &ContentUnit),
    ) -> Result<(), Failure> {
        let links =
            self.parts.idocs.as_ref().and_then(|idocs| idocs.links.as_ref()).ok_or_else(no_address)?;
        let url = links.url(order.saga, unit, signer, self.parts.clock.now());
        let portal = self.portal(order)?;
        let client_id = &self.parts.notify_client_id;
        notify::system(&portal.caller, user_id, &text.replace(LINK, &url), tag, client_id).await
    }
}

/// One order to iDocs.
struct IdocsWork<'r> {
    idocs: &'r IdocsParts,
    spool: &'r Spool,
}

impl IdocsWork<'_> {
    async fn perform(&self, effect: &OwnEffect) -> Result<OwnAnswer, Failure> {
        let client = &self.idocs.client;
        Ok(match effect {
            OwnEffect::UploadBlob { file } => OwnAnswer::BlobStored { blob_id: self.upload(file).await? },
            OwnEffect::CreateDraft(draft) => self.create_draft(draft).await?,
            OwnEffect::FindDraft { number, name, dated } => {
                let author = self.idocs.author.as_deref();
                found(client.find_draft(number, name, *dated, author).await?)?
            }
            OwnEffect::SetRoute { document_id, employee_id, counterparty } => {
                self.set_route(document_id, employee_id, counterparty).await?
            }
            OwnEffect::PrepareContent { document_id, employee_id, original } => {
                self.prepare_content(document_id, employee_id, *original).await?
            }
            OwnEffect::SendSignature { cms } => {
                OwnAnswer::SignatureStored { blob_id: client.upload_signature(&self.source(*cms)).await? }
            }
            OwnEffect::SaveSignature { document_id, employee_id, blob_id, ticket } => {
                client.save_signature(document_id, employee_id, blob_id, ticket.expose()).await?;
                OwnAnswer::SignatureSaved
            }
            OwnEffect::ReadStatus { document_id } => self.read_status(document_id).await?,
            OwnEffect::FetchPrintForm { document_id } => {
                OwnAnswer::PrintForm(self.fetch(Part::PrintForm, document_id).await?)
            }
            OwnEffect::FetchArchive { document_id } => {
                OwnAnswer::Archive(self.fetch(Part::Archive, document_id).await?)
            }
            OwnEffect::TellSigner { .. } => return Err(not_for_idocs()),
        })
    }

    fn source(&self, file: SpoolFile) -> FileSource {
        FileSource { path: self.spool.path(file.digest), facts: file }
    }

    async fn upload(&self, file: &SourceFile) -> Result<String, Failure> {
        self.idocs.client.upload_blob(&self.source(file.bytes), &file.name).await
    }

    async fn create_draft(&self, order: &DraftOrder) -> Result<OwnAnswer, Failure> {
        let draft = NewDraft {
            name: order.name.clone(),
            number: order.number.clone(),
            date: order.dated,
            group: order.group.clone(),
            author: self.idocs.author.clone(),
            blob_ids: vec![order.blob_id.clone()],
        };
        let made = self.idocs.client.create_draft(&draft).await?;
        Ok(OwnAnswer::DraftMade { document_id: made.document_id, raw_status: word(made.status) })
    }

    /// A route that was set by an attempt whose answer was lost is not set again.
    async fn set_route(
        &self,
        document: &str,
        employee: &str,
        counterparty: &Counterparty,
    ) -> Result<OwnAnswer, Failure> {
        let client = &self.idocs.client;
        if !client.route_is_set(document).await? {
            client.create_route(document, employee, &addressee(counterparty)).await?;
        }
        Ok(OwnAnswer::RouteSet)
    }

    /// Bytes, ticket and expiry of one unit stay together: each time all of it is new.
    async fn prepare_content(
        &self,
        document: &str,
        employee: &str,
        original: FileDigest,
    ) -> Result<OwnAnswer, Failure> {
        let client = &self.idocs.client;
        let unit = client.generate_content(document, employee).await?;
        let mut writer = self.spool.create().await.map_err(spool_failed)?;
        client.download_content(&unit.link, &mut writer).await.map_err(not_there_yet)?;
        let content = writer.finish().await.map_err(spool_failed)?;
        let check = self.look_inside(content, original).await.map_err(|error| unreadable_spool(&error))?;
        Ok(OwnAnswer::ContentReady {
            content,
            ticket: Ticket::new(unit.ticket),
            expires_at: unit.dispose_on,
            holds: holds(&check),
        })
    }

    async fn look_inside(&self, content: SpoolFile, original: FileDigest) -> std::io::Result<ContentCheck> {
        let size_bytes = tokio::fs::metadata(self.spool.path(original)).await?.len();
        let ours = SpoolFile { digest: original, size_bytes };
        content_check::content_holds(self.spool.path(content.digest), ours).await
    }

    async fn read_status(&self, document: &str) -> Result<OwnAnswer, Failure> {
        let Status { class, raw } = self.idocs.client.status(document).await?;
        let status = match class {
            StatusClass::NotSent => OwnStatus::NotSent,
            // a name that nobody put into a list goes to the history and changes nothing
            StatusClass::InWork | StatusClass::Unknown => OwnStatus::InWork,
            StatusClass::Success => OwnStatus::Signed,
            StatusClass::Refused => OwnStatus::Refused(self.refusal_reason(document).await?),
            StatusClass::Withdrawn => OwnStatus::Withdrawn,
            StatusClass::Unsure => OwnStatus::Unclear,
        };
        Ok(OwnAnswer::StatusRead { status, raw_status: raw })
    }

    /// The reason is worth asking again for while iDocs is out of reach, and no more than that: a refusal must be told.
    async fn refusal_reason(&self, document: &str) -> Result<Option<String>, Failure> {
        match self.idocs.client.outbox_document(document).await {
            Ok(document) => Ok(document.refusal_reason()),
            Err(failure) if failure.is_outage() || failure.class == FailureClass::Throttled => Err(failure),
            Err(failure) => {
                tracing::warn!(code = %failure.code, "the reason of a refusal cannot be read, it is told without");
                Ok(None)
            }
        }
    }

    async fn fetch(&self, part: Part, document: &str) -> Result<Option<SpoolFile>, Failure> {
        let mut writer = self.spool.create().await.map_err(spool_failed)?;
        let client = &self.idocs.client;
        let fetched = match part {
            Part::PrintForm => client.print_form(document, &mut writer).await?,
            Part::Archive => client.archive(document, &mut writer).await?,
        };
        match fetched {
            Fetched::File(_) => writer.finish().await.map(Some).map_err(spool_failed),
            Fetched::Missing => Ok(None),
        }
    }
}

/// Which of the two files.
#[derive(Debug, Clone, Copy)]
enum Part {
    PrintForm,
    Archive,
}

fn word(status: Option<Status>) -> String {
    status.map(|status| status.raw).unwrap_or_default()
}

fn found(found: FoundDraft) -> Result<OwnAnswer, Failure> {
    match found {
        FoundDraft::None => Ok(OwnAnswer::DraftNotFound),
        FoundDraft::One(draft) => {
            Ok(OwnAnswer::DraftMade { document_id: draft.document_id, raw_status: word(draft.status) })
        }
        FoundDraft::Several(ids) => Err(several(&ids)),
    }
}

fn addressee(counterparty: &Counterparty) -> idocs::Counterparty {
    let email = counterparty.email.trim();
    idocs::Counterparty {
        bin: counterparty.bin.clone(),
        emails: if email.is_empty() { Vec::new() } else { vec![email.to_owned()] },
        kind: match counterparty.kind {
            CounterpartyKind::Company => idocs::CounterpartyKind::Company,
            CounterpartyKind::Individual => idocs::CounterpartyKind::Individual,
        },
    }
}

fn holds(check: &ContentCheck) -> Holds {
    match check {
        ContentCheck::Holds { others: 0, .. } => Holds::Original,
        ContentCheck::Holds { others, .. } => {
            tracing::warn!(others, "what is given to sign holds our file and further ones");
            Holds::Original
        }
        ContentCheck::Foreign { .. } => Holds::SomethingElse,
        ContentCheck::Unreadable { why } => {
            tracing::warn!(why, "what is given to sign cannot be looked into");
            Holds::Unreadable
        }
    }
}

/// A link that is dead at once: the next unit has a new one.
fn not_there_yet(mut failure: Failure) -> Failure {
    if failure.code == CONTENT_GONE {
        failure.class = FailureClass::Transient;
        failure.kind = FailureKind::Garbled;
    }
    failure
}

fn unreadable_spool(error: &std::io::Error) -> Failure {
    local(
        FailureClass::Transient,
        "spool",
        &format!(
            "Содержимое на подпись не читается с нашего диска ({error}). Проверьте диск и каталог данных."
        ),
        &format!(
            "The content to sign cannot be read from our disk ({error}). Check the disk and the data directory."
        ),
    )
}

fn several(ids: &[String]) -> Failure {
    let ids = ids.join(", ");
    local(
        FailureClass::Permanent,
        "several_documents",
        &format!(
            "В iDocs несколько документов с нашим номером: {ids}. Удалите лишние в личном кабинете и повторите."
        ),
        &format!(
            "iDocs has several documents with our number: {ids}. Remove the others in the account and retry."
        ),
    )
}

fn switched_off() -> Failure {
    local(
        FailureClass::Permanent,
        "idocs_off",
        "Раздела [idocs] в конфигурации нет. Верните его и выполните retry.",
        "There is no [idocs] section in the configuration. Put it back and retry.",
    )
}

fn no_address() -> Failure {
    local(
        FailureClass::Permanent,
        "no_base_url",
        "Ссылку на страницу подписания не построить: public.base_url не задан.",
        "No link to the signing page can be made: public.base_url is not set.",
    )
}

fn not_for_idocs() -> Failure {
    local(FailureClass::Permanent, "wrong_order", "Сбой внутри edobridge.", "A fault inside edobridge.")
}
