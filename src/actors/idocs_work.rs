//! The orders about our own signature: to iDocs, and to the signer by a notice with the link. A part of the runner: it
//! translates and decides nothing about a document.

use super::effect_runner::EffectRunner;
use super::idocs_bulk::BulkPlan;
use super::idocs_history::HistoryPlan;
use super::local_failure::local;
use super::order::Order;
use super::signing_links::SigningLinks;
use super::spooled_file::{spool_failed, spooled};
use crate::domain::{Failure, FailureClass, FailureKind, FileDigest, SpoolFile};
use crate::providers::bitrix24::notify;
use crate::providers::idocs::content_check::{self, ContentCheck};
use crate::providers::idocs::signing::CONTENT_GONE;
use crate::providers::idocs::{self, Call, Content, Fetched, FoundDraft, NewDraft, Status, StatusClass, v1};
use crate::providers::spool_io::FileSource;
use crate::saga::document::own_signature::{
    ContentUnit, Counterparty, CounterpartyKind, DraftOrder, Holds, LINK, OwnStatus, Process, SignedOrder,
    Ticket,
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
    /// When the history of all documents is asked; none where its path is not configured.
    pub history: Option<HistoryPlan>,
    /// When content is made for many documents at once; none: never.
    pub bulk: Option<BulkPlan>,
}

impl EffectRunner {
    pub(super) async fn own_signature(
        &self,
        order: &Order,
        effect: &OwnEffect,
        made: Option<Content>,
    ) -> Result<Answer, Failure> {
        let idocs = self.parts.idocs.as_ref().ok_or_else(switched_off)?;
        if let OwnEffect::TellSigner { user_id, text, tag, signer, unit } = effect {
            self.tell_signer(order, *user_id, text, tag, (signer, unit)).await?;
            return Ok(Answer::Own(OwnAnswer::SignerTold));
        }
        let _turn = self.idocs_calls.take(&order.portal).await;
        let work = IdocsWork { idocs, spool: self.parts.store.spool(), made };
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
    /// The unit that is wanted, if it was made together with others'.
    made: Option<Content>,
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
            OwnEffect::FindRoute { document_id } if client.route_is_set(document_id).await? => {
                OwnAnswer::RouteSet
            }
            OwnEffect::FindRoute { .. } => OwnAnswer::RouteNotFound,
            OwnEffect::PrepareContent { document_id, employee_id, original } => {
                self.prepare_content(document_id, employee_id, *original).await?
            }
            OwnEffect::SendSignature { cms } => OwnAnswer::SignatureStored {
                blob_id: client.upload_signature(&self.source(*cms).await?).await?,
            },
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
            OwnEffect::SendSigned(order) => {
                OwnAnswer::Sent { process: client.send_signed(&self.signed(order).await?).await? }
            }
            OwnEffect::ReadProcess { key } => OwnAnswer::ProcessRead(match client.process(key).await? {
                v1::Process::NotYet => Process::Running,
                v1::Process::Document(document_id) => Process::Document { document_id },
                v1::Process::Failed => Process::Failed,
            }),
            OwnEffect::TellSigner { .. } => return Err(not_for_idocs()),
        })
    }

    async fn source(&self, file: SpoolFile) -> Result<FileSource, Failure> {
        spooled(self.spool, file).await
    }

    async fn upload(&self, file: &SourceFile) -> Result<String, Failure> {
        self.idocs.client.upload_blob(&self.source(file.bytes).await?, &file.name).await
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

    async fn signed(&self, order: &SignedOrder) -> Result<v1::SignedDocument, Failure> {
        Ok(v1::SignedDocument {
            name: order.name.clone(),
            number: order.number.clone(),
            group: order.group.clone(),
            counterparty: addressee(&order.counterparty),
            file: self.source(order.file.bytes).await?,
            file_name: order.file.name.clone(),
            employee: order.employee_id.clone(),
            cms: self.source(order.cms).await?,
        })
    }

    /// A route that stands is not set again: a person may have set it in the cabinet.
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
        let unit = match &self.made {
            Some(unit) => unit.clone(),
            None => client.generate_content(document, employee).await?,
        };
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
        let ours = SpoolFile { digest: original, size_bytes: self.spool.size_of(original)? };
        content_check::content_holds(self.spool.readable(content.digest).await?, ours).await
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
        if self.idocs.client.require(Call::OutboxDocument).is_err() {
            return Ok(None);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Secret, Timestamp};
    use crate::providers::http_client::{HttpClient, HttpSettings};
    use crate::providers::test_server::{Reply, TestServer};
    use crate::store::{Store, StoreOptions};
    use serde_json::json;
    use tokio::io::AsyncWriteExt as _;

    const DOCUMENT: &str = "3f2c1d50-6a7b-4c8d-9e01-23456789abcd";
    const EMPLOYEE: &str = "11111111-2222-4333-8444-555555555555";

    /// iDocs as a scripted server, and a store with a spool.
    struct Stage {
        server: TestServer,
        idocs: IdocsParts,
        store: Store,
        _dir: tempfile::TempDir,
    }

    impl Stage {
        fn new(replies: Vec<Reply>) -> Self {
            Self::with(|_| replies)
        }

        fn with(replies: impl FnOnce(&str) -> Vec<Reply>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let server = TestServer::start_with(replies);
            let settings = idocs::Settings {
                base_url: server.url("/"),
                token: Secret::new("token"),
                ..idocs::Settings::default()
            };
            let http = HttpClient::new(&HttpSettings::default()).unwrap();
            let client = Arc::new(idocs::Client::new(http, settings).unwrap());
            let (store, _) = Store::open(StoreOptions::new(dir.path().join("store")), &mut |_| {}).unwrap();
            let idocs = IdocsParts {
                client,
                author: Some(EMPLOYEE.into()),
                links: None,
                calls_max: 1,
                history: None,
                bulk: None,
            };
            Self { server, idocs, store, _dir: dir }
        }

        async fn perform(&self, effect: &OwnEffect) -> Result<OwnAnswer, Failure> {
            IdocsWork { idocs: &self.idocs, spool: self.store.spool(), made: None }.perform(effect).await
        }

        async fn keep(&self, bytes: &[u8]) -> SpoolFile {
            let mut writer = self.store.spool().create().await.unwrap();
            writer.write_all(bytes).await.unwrap();
            writer.finish().await.unwrap()
        }
    }

    fn sample(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/idocs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn file(bytes: &[u8]) -> Reply {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
        Reply::Bytes([head.as_bytes(), bytes].concat())
    }

    fn unit_at(base: &str) -> Reply {
        Reply::ok(
            &json!({"documentId": DOCUMENT, "downloadLink": format!("{base}/download//x"), "disposeOn": 9, "idempotencyTicket": "t"})
                .to_string(),
        )
    }

    fn set_route() -> OwnEffect {
        let counterparty = Counterparty {
            bin: "123456789012".into(),
            email: " ".into(),
            kind: CounterpartyKind::Individual,
        };
        OwnEffect::SetRoute { document_id: DOCUMENT.into(), employee_id: EMPLOYEE.into(), counterparty }
    }

    #[tokio::test]
    async fn a_file_and_its_draft_are_made_with_the_number_that_was_fixed_before() {
        let stage = Stage::new(vec![
            file(&sample("01-blob-upload-response.json")),
            file(&sample("02-document-create-response.json")),
            file(&sample("09-outbox-query-response.json")),
        ]);
        let bytes = stage.keep(b"%PDF-1.7").await;
        let upload = OwnEffect::UploadBlob { file: SourceFile { name: "a.pdf".into(), bytes, ..source() } };
        let OwnAnswer::BlobStored { blob_id } = stage.perform(&upload).await.unwrap() else { panic!() };
        let dated = Timestamp(1_748_772_000_000);
        let (number, name) = ("CTR-2025-1".to_owned(), "Договор поставки №1".to_owned());
        let order = DraftOrder {
            blob_id,
            number: number.clone(),
            name: name.clone(),
            dated,
            group: "Purchase".into(),
        };
        let made = OwnAnswer::DraftMade { document_id: DOCUMENT.into(), raw_status: "DRAFT".into() };
        assert_eq!(stage.perform(&OwnEffect::CreateDraft(order)).await.unwrap(), made);
        let find = OwnEffect::FindDraft { number, name, dated };
        assert_eq!(stage.perform(&find).await.unwrap(), made, "the look finds the same");
        let body = stage.server.requests()[1].json();
        assert_eq!(body["documentMetadata"]["documentAuthorEmployeeId"], json!(EMPLOYEE));
        assert_eq!(stage.server.requests()[2].json()["documentAuthorId"], json!(EMPLOYEE));
    }

    fn source() -> SourceFile {
        SourceFile {
            name: String::new(),
            bytes: SpoolFile { digest: FileDigest([0; 32]), size_bytes: 0 },
            folder_id: None,
            version: None,
        }
    }

    #[tokio::test]
    async fn a_route_that_stands_is_not_set_again() {
        let bare = json!({"response": {"id": DOCUMENT, "documentStatus": "DRAFT"}}).to_string();
        let stage = Stage::new(vec![
            file(&sample("08-single-outbox-response.json")),
            Reply::ok(&bare),
            Reply::ok(""),
        ]);
        assert_eq!(stage.perform(&set_route()).await.unwrap(), OwnAnswer::RouteSet);
        assert_eq!(stage.server.requests().len(), 1, "it was only looked at");
        assert_eq!(stage.perform(&set_route()).await.unwrap(), OwnAnswer::RouteSet);
        let node = stage.server.requests()[2].json()["route"]["external"]["nodes"][0].clone();
        assert_eq!((&node["isIndividual"], &node["counterpartyEmails"]), (&json!(true), &json!([])));
    }

    #[tokio::test]
    async fn content_comes_with_its_ticket_and_with_what_was_found_inside() {
        let zip = sample("04-content-to-sign.zip");
        let contract = {
            let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&zip)).unwrap();
            let mut bytes = Vec::new();
            std::io::copy(&mut archive.by_index(0).unwrap(), &mut bytes).unwrap();
            bytes
        };
        let stage = Stage::with(|base| {
            let other = b"PK is not a zip".as_slice();
            let mut replies = Vec::new();
            for bytes in [zip.as_slice(), &zip, other] {
                replies.extend([unit_at(base), file(bytes)]);
            }
            replies.extend([unit_at(base), Reply::status(404, "", ""), Reply::status(404, "", "")]);
            replies
        });
        let ours = stage.keep(&contract).await.digest;
        let theirs = stage.keep(b"another file").await.digest;
        for (original, expected) in
            [(ours, Holds::Original), (theirs, Holds::SomethingElse), (ours, Holds::Unreadable)]
        {
            let effect = OwnEffect::PrepareContent {
                document_id: DOCUMENT.into(),
                employee_id: EMPLOYEE.into(),
                original,
            };
            let OwnAnswer::ContentReady { content, ticket, expires_at, holds } =
                stage.perform(&effect).await.unwrap()
            else {
                panic!("no content")
            };
            assert_eq!((holds, ticket.expose(), expires_at), (expected, "t", Timestamp(9_000)));
            assert_eq!(stage.store.spool().size_of(content.digest).unwrap(), content.size_bytes);
        }
        let effect = OwnEffect::PrepareContent {
            document_id: DOCUMENT.into(),
            employee_id: EMPLOYEE.into(),
            original: ours,
        };
        let failure = stage.perform(&effect).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Transient, CONTENT_GONE),
            "the next try has a new link"
        );
    }

    #[tokio::test]
    async fn a_refusal_comes_with_its_reason_and_is_told_without_where_none_can_be_read() {
        let refused = r#"{"documentStatus":"REJECTED_BY_RECIPIENT"}"#;
        let stage = Stage::new(vec![
            Reply::ok(refused),
            file(&sample("08-single-outbox-response.json")),
            Reply::ok(refused),
            Reply::status(404, "", ""),
            Reply::ok(refused),
            Reply::status(429, "", ""),
            Reply::ok(r#"{"documentStatus":"SIGNED_ON_MARS"}"#),
            Reply::ok(r#"{"documentStatus":17}"#),
        ]);
        let read = || async { stage.perform(&OwnEffect::ReadStatus { document_id: DOCUMENT.into() }).await };
        let answer = |status: OwnStatus, raw: &str| OwnAnswer::StatusRead { status, raw_status: raw.into() };
        let with = OwnStatus::Refused(Some("Неверная сумма".into()));
        assert_eq!(read().await.unwrap(), answer(with, "REJECTED_BY_RECIPIENT"));
        assert_eq!(read().await.unwrap(), answer(OwnStatus::Refused(None), "REJECTED_BY_RECIPIENT"));
        assert_eq!(read().await.unwrap_err().class, FailureClass::Throttled, "worth asking again");
        assert_eq!(read().await.unwrap(), answer(OwnStatus::InWork, "SIGNED_ON_MARS"));
        assert_eq!(read().await.unwrap(), answer(OwnStatus::Unclear, "17"));
    }

    #[tokio::test]
    async fn the_signature_is_stored_and_saved_and_both_files_come_back() {
        let zip = sample("04-content-to-sign.zip");
        let stage = Stage::new(vec![
            file(&sample("05-signature-blob-response.json")),
            Reply::ok(""),
            file(b"%PDF-1.7"),
            Reply::status(404, "", ""),
            file(&zip),
        ]);
        let cms = stage.keep(&sample("05-signature-attached.cms")).await;
        let stored = stage.perform(&OwnEffect::SendSignature { cms }).await.unwrap();
        let OwnAnswer::SignatureStored { blob_id } = stored else { panic!("not stored") };
        let save = OwnEffect::SaveSignature {
            document_id: DOCUMENT.into(),
            employee_id: EMPLOYEE.into(),
            blob_id: blob_id.clone(),
            ticket: Ticket::new("t"),
        };
        assert_eq!(stage.perform(&save).await.unwrap(), OwnAnswer::SignatureSaved);
        assert_eq!(stage.server.requests()[1].json()["signatureBinaryContent"]["blobId"], json!(blob_id));
        let print = OwnEffect::FetchPrintForm { document_id: DOCUMENT.into() };
        let OwnAnswer::PrintForm(Some(form)) = stage.perform(&print).await.unwrap() else {
            panic!("no form")
        };
        assert_eq!(
            std::fs::read(stage.store.spool().readable(form.digest).await.unwrap()).unwrap(),
            b"%PDF-1.7"
        );
        assert_eq!(stage.perform(&print).await.unwrap(), OwnAnswer::PrintForm(None));
        let archive = OwnEffect::FetchArchive { document_id: DOCUMENT.into() };
        let OwnAnswer::Archive(Some(file)) = stage.perform(&archive).await.unwrap() else { panic!("none") };
        assert_eq!(file.size_bytes, zip.len() as u64);
    }

    #[test]
    fn several_drafts_with_one_number_are_for_a_person() {
        let failure = found(FoundDraft::Several(vec!["a".into(), "b".into()])).unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "several_documents"));
        assert!(failure.reason.en.contains("a, b"));
        assert_eq!(found(FoundDraft::None).unwrap(), OwnAnswer::DraftNotFound);
    }
}
