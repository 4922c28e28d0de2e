//! The remotes, as small as they can be: a Drive folder, CRM items, notices, workflows, EasyDocs and iDocs. They do what
//! they are told and count it; what of it is told back, and when, is decided elsewhere.
//!
//! Secrets that the real ones would give us are planted here: see [`SECRET`].

use super::laws::{Broken, Law};
use super::plan::{self, DAY, FOLDER, Plan, Portal, SIGNING, Sort, Wish, deal};
use super::sent_whole::Sending;
use edobridge::domain::{
    AttemptToken, Failure, FailureClass, FailureKind, FileDigest, SagaId, SpoolFile, Text, Timestamp,
};
use edobridge::providers::bitrix24::budget::LeakyBucket;
use edobridge::saga::document::effect::RobotStatus;
use edobridge::saga::document::own_signature::{Holds, OwnAnswer, OwnEffect, OwnStatus, Ticket};
use edobridge::saga::document::rule::{SourceFacts, free_name};
use edobridge::saga::document::{
    Answer, CallbackStatus, DeliveredFile, Delivery, Effect, NamedFile, RobotHeard, Source, StageKept,
};
use std::collections::BTreeMap;

/// Every planted secret begins so: none of our words ever does.
pub const SECRET: &str = "PLANTED-SECRET";

/// One order on its way.
#[derive(Debug, Clone)]
pub struct Order {
    pub portal: Portal,
    pub saga: SagaId,
    pub token: AttemptToken,
    pub effect: Effect,
}

/// What a remote answers; bytes are put into the spool by whoever asked.
#[derive(Debug, Clone)]
pub enum Reply {
    Plain(Answer),
    Source { facts: SourceFacts, bytes: Vec<u8>, delivery: Delivery, item: Option<u64> },
    Signed(Vec<u8>),
    Content { bytes: Vec<u8>, ticket: String, expires_at: Timestamp },
    PrintForm(Vec<u8>),
    Archive(Vec<u8>),
}

/// What happened in the world because of an order, and will be heard of.
#[derive(Debug, Clone)]
pub enum News {
    /// People at EasyDocs have a document before them.
    Paper(String),
    /// A file of ours appeared in the watched folder: its event comes.
    FileAdded(u64),
    /// An item was changed by us: its event comes.
    ItemChanged(u64),
    /// Our signer has a link.
    Link(SagaId, u32),
    /// The counterparty has a document before it.
    Sent(String),
}

/// A file of the Drive.
pub struct DriveFile {
    pub name: String,
    pub digest: Option<FileDigest>,
    pub bytes: Vec<u8>,
    pub put_by: Option<SagaId>,
}

/// A CRM item.
#[derive(Default)]
pub struct Card {
    pub stage: String,
    /// Ids of the files in the field, with what is in them and who of us put them there.
    pub files: Vec<(u64, FieldFile)>,
    pub comments: Vec<(SagaId, String)>,
    pub moves: usize,
}

/// A file in a field.
pub enum FieldFile {
    Original,
    Ours(SagaId, FileDigest),
}

/// A document at EasyDocs.
pub struct Paper {
    pub external_id: String,
    pub saga: SagaId,
    pub status: CallbackStatus,
}

/// A document at iDocs.
pub struct DraftPaper {
    pub number: String,
    pub saga: SagaId,
    /// Keys that were given out, with when they die.
    pub tickets: BTreeMap<String, Timestamp>,
    /// Whether the service knows who signs.
    pub is_routed: bool,
    pub saved: Option<String>,
    pub saves: usize,
    pub status: OwnStatus,
    /// What its file is fetched as, if that is nothing but the file that we sent.
    pub bare_file: Option<Vec<u8>>,
}

/// The portal's own bucket: drains in whole seconds, as unfavourably as its docs allow.
pub struct PortalBucket {
    bucket: LeakyBucket,
    milli: u64,
    second: u64,
    highest: u64,
}

impl PortalBucket {
    /// A request is sent. Counted here and not where it arrives: how long it is on its way is nobody's choice.
    pub fn request(&mut self, now_ms: u64) -> Result<(), Broken> {
        let second = now_ms / 1_000;
        let drained = (second - self.second) * u64::from(self.bucket.rate_milli_per_s);
        self.milli = self.milli.saturating_sub(drained) + 1_000;
        self.second = second;
        self.highest = self.highest.max(self.milli);
        let size = u64::from(self.bucket.burst) * 1_000;
        if self.milli <= size {
            return Ok(());
        }
        Err(Broken::new(Law::I7, format!("{} of {size} thousandths of a request", self.milli)))
    }

    /// Whether it ever was within two requests of what the portal refuses: where it never is, the law proves nothing.
    pub fn is_nearly_full(&self) -> bool {
        self.highest + 3_000 > u64::from(self.bucket.burst) * 1_000
    }

    /// The clock was put forward: nobody who goes by it can know, so that the portal forgives.
    pub fn forgive(&mut self) {
        self.milli = 0;
    }
}

/// One portal, and what the signing services hold of its documents.
pub struct World {
    pub files: BTreeMap<u64, DriveFile>,
    pub cards: BTreeMap<u64, Card>,
    /// How often a tag was sent to a user.
    pub notices: BTreeMap<(u64, String), Vec<(SagaId, AttemptToken)>>,
    /// All that people read at the end or in between.
    pub told: Vec<String>,
    /// Workflows that were answered.
    pub answered: BTreeMap<String, Vec<RobotStatus>>,
    pub papers: BTreeMap<String, Paper>,
    pub drafts: BTreeMap<String, DraftPaper>,
    /// What iDocs has taken in one piece, by the key that it answered.
    pub sendings: BTreeMap<String, Sending>,
    pub refuses_repeats: bool,
    pub bucket: PortalBucket,
    pub news: Vec<News>,
    wishes: Vec<Wish>,
    idempotent: bool,
    next_id: u64,
    /// How often the PDF of a generated document was asked for.
    pdf_looks: BTreeMap<u64, u32>,
}

pub fn failure(class: FailureClass, kind: FailureKind, code: &str) -> Failure {
    Failure::new(class, kind, code, Text::new("Так вышло в симуляции.", "The simulation had it so."))
}

fn plain(answer: Answer) -> Result<Reply, Failure> {
    Ok(Reply::Plain(answer))
}

pub fn own(answer: OwnAnswer) -> Result<Reply, Failure> {
    plain(Answer::Own(answer))
}

impl World {
    pub fn new(plan: &Plan, portal: Portal) -> Self {
        let wishes: Vec<Wish> = plan.wishes.iter().filter(|wish| wish.portal == portal).copied().collect();
        let mut world = Self {
            files: BTreeMap::new(),
            cards: BTreeMap::new(),
            notices: BTreeMap::new(),
            told: Vec::new(),
            answered: BTreeMap::new(),
            papers: BTreeMap::new(),
            drafts: BTreeMap::new(),
            sendings: BTreeMap::new(),
            refuses_repeats: plan.refuses_repeats,
            bucket: PortalBucket { bucket: plan.buckets[portal as usize], milli: 0, second: 0, highest: 0 },
            news: Vec::new(),
            wishes: wishes.clone(),
            idempotent: plan.idempotent,
            // What the signing services make has one id over all.
            next_id: 100_000 * (1 + portal as u64),
            pdf_looks: BTreeMap::new(),
        };
        for wish in &wishes {
            world.lay_out(wish);
        }
        world
    }

    fn lay_out(&mut self, wish: &Wish) {
        let card = self.cards.entry(wish.item).or_default();
        SIGNING.clone_into(&mut card.stage);
        match wish.sort {
            Sort::Plain | Sort::Own => {
                let bytes = original(wish.file);
                let name = "contract.pdf".to_owned();
                self.files.insert(wish.file, DriveFile { name, digest: None, bytes, put_by: None });
            }
            Sort::OfItem => {
                let count = plan::files_of(wish.item);
                card.files = (0..count).map(|n| (wish.file + n, FieldFile::Original)).collect();
            }
            Sort::OfRobot | Sort::OwnOfRobot => {}
        }
    }

    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn wish_of_file(&self, file: u64) -> Option<Wish> {
        self.wishes.iter().find(|wish| (wish.file..wish.file + 10).contains(&file)).copied()
    }

    /// What may be sent for a signature at iDocs in one piece.
    pub fn originals(&self) -> impl Iterator<Item = Vec<u8>> {
        self.wishes.iter().map(|wish| original(wish.file))
    }

    /// The original of a document, if the source is one.
    fn source(&mut self, source: &Source) -> Result<Reply, Failure> {
        let (file, name) = match source {
            Source::DriveFile { file_id } => (*file_id, "contract.pdf".to_owned()),
            Source::CrmFile { file_id, .. } => (*file_id, format!("deal-{file_id}.pdf")),
            Source::Generated { document_id } => {
                let looks = self.pdf_looks.entry(*document_id).or_default();
                *looks += 1;
                if *looks == 1 && document_id.is_multiple_of(20) {
                    return plain(Answer::PdfPending);
                }
                (*document_id, format!("generated-{document_id}.pdf"))
            }
            Source::CrmItem { .. } | Source::OfItem { .. } => {
                return Err(failure(FailureClass::Permanent, FailureKind::Refused, "no_file"));
            }
        };
        let wish = self.wish_of_file(file);
        // Any other file of the folder is wanted by the plain rule.
        let sort = wish.map_or(Sort::Plain, |wish| wish.sort);
        let bytes = match self.files.get(&file) {
            Some(known) => known.bytes.clone(),
            None => original(file),
        };
        let folder_id = matches!(source, Source::DriveFile { .. }).then_some(FOLDER);
        let size_bytes = Some(bytes.len() as u64);
        let facts = SourceFacts { name, folder_id, size_bytes, ..SourceFacts::default() };
        let item = wish.map(|wish| wish.item);
        Ok(Reply::Source { facts, bytes, delivery: plan::delivery(sort), item })
    }

    /// Does what is ordered.
    pub fn perform(&mut self, order: &Order, wall: Timestamp) -> Result<Result<Reply, Failure>, Broken> {
        let saga = order.saga;
        Ok(match &order.effect {
            Effect::ReadItem { .. } | Effect::PickSource { .. } => unreachable!("read by the process itself"),
            Effect::FetchSource { source, .. } => self.source(source),
            Effect::CreateDocument { external_id, .. } => self.create(saga, external_id)?,
            Effect::FindDocument { external_id } => {
                let found = self.papers.iter().find(|(_, paper)| paper.external_id == *external_id);
                plain(found.map_or(Answer::DocumentNotFound, |(id, paper)| Answer::DocumentFound {
                    document_id: id.clone(),
                    status: paper.status.clone(),
                    raw_status: word(&paper.status).into(),
                }))
            }
            Effect::ReadStatus { document_id } => match self.papers.get(document_id) {
                Some(paper) => plain(Answer::StatusRead {
                    status: paper.status.clone(),
                    raw_status: word(&paper.status).into(),
                }),
                None => Err(failure(FailureClass::Permanent, FailureKind::Refused, "http_404")),
            },
            Effect::FetchSigned { document_id } => Ok(Reply::Signed(signed_bytes(document_id))),
            Effect::ScanFolder { wanted_name, .. } => {
                let taken: Vec<String> = self.files.values().map(|file| file.name.clone()).collect();
                let highest_id = self.files.keys().next_back().copied().unwrap_or(0);
                plain(Answer::FolderScanned { highest_id, free_name: free_name(wanted_name, &taken) })
            }
            Effect::Upload { folder_id, name, bytes } => self.upload(saga, *folder_id, name, *bytes)?,
            Effect::FindUpload { folder_id, name, bytes, above_id } => {
                let mut newer = self.files.range(above_id + 1..);
                let ours = newer.find(|(_, file)| file.name == *name && file.digest == Some(bytes.digest));
                plain(ours.map_or(Answer::UploadNotFound, |(id, file)| Answer::UploadFound {
                    file: DeliveredFile { file_id: *id, name: file.name.clone(), folder_id: *folder_id },
                }))
            }
            Effect::AddComment { item, text, .. } => self.comment(saga, item.id, text)?,
            Effect::FindComment { item, mark } => {
                let comments = self.cards.get(&item.id).map_or(&[][..], |card| &card.comments);
                let found = comments.iter().position(|(_, text)| text.lines().any(|line| line == mark));
                plain(
                    found.map_or(Answer::CommentNotFound, |n| Answer::Commented { comment_id: n as u64 + 1 }),
                )
            }
            Effect::Notify { user_id, text, tag } => {
                self.notify(order, *user_id, tag, text);
                plain(Answer::Notified)
            }
            Effect::ScanField { item, .. } => {
                plain(Answer::FieldScanned { file_ids: self.field_ids(item.id) })
            }
            Effect::AttachField { item, file, .. } => self.attach(saga, item.id, file)?,
            Effect::FindFieldFile { item, bytes, known, .. } => {
                let files = self.cards.get(&item.id).map_or(&[][..], |card| &card.files);
                let ours = files.iter().find(|(id, file)| {
                    !known.contains(id)
                        && matches!(file, FieldFile::Ours(_, digest) if *digest == bytes.digest)
                });
                plain(
                    ours.map_or(Answer::FieldFileNotFound, |(id, _)| Answer::FieldFileFound { file_id: *id }),
                )
            }
            Effect::MoveStage { item, to, from } => plain(self.move_stage(item.id, to, from)),
            Effect::AnswerRobot { event_token, reply } => {
                let answers = self.answered.entry(event_token.expose().to_owned()).or_default();
                let heard = if answers.is_empty() { RobotHeard::Yes } else { RobotHeard::TooLate };
                if answers.is_empty() {
                    answers.push(reply.status);
                    self.told.push(reply.reason.clone());
                }
                plain(Answer::RobotAnswered { heard })
            }
            Effect::Own(effect) => self.own_signature(order, effect, wall)?,
        })
    }

    // ---- EasyDocs ------------------------------------------------------------------------------------------

    fn create(&mut self, saga: SagaId, external_id: &str) -> Result<Result<Reply, Failure>, Broken> {
        let known = self.papers.iter().find(|(_, paper)| paper.external_id == external_id);
        let created = |id: &str| Answer::Created { document_id: id.to_owned(), raw_status: "pending".into() };
        if let Some((id, _)) = known {
            if self.idempotent {
                return Ok(plain(created(id)));
            }
            return Err(Broken::new(Law::I1, format!("a second document for {external_id}")));
        }
        let id = format!("ed-{}", self.id());
        let paper = Paper { external_id: external_id.to_owned(), saga, status: CallbackStatus::Other };
        self.papers.insert(id.clone(), paper);
        self.news.push(News::Paper(id.clone()));
        Ok(plain(created(&id)))
    }

    // ---- the portal ----------------------------------------------------------------------------------------

    fn upload(
        &mut self,
        saga: SagaId,
        folder_id: u64,
        name: &str,
        bytes: SpoolFile,
    ) -> Result<Result<Reply, Failure>, Broken> {
        if self.files.values().any(|file| file.name == name) {
            return Ok(Err(failure(FailureClass::Permanent, FailureKind::Refused, "disk_obj_22000")));
        }
        if self.files.values().any(|file| file.put_by == Some(saga) && file.digest == Some(bytes.digest)) {
            return Err(Broken::new(Law::I2, format!("{saga} puts its signed file into the folder again")));
        }
        let file_id = self.id();
        let file = DriveFile {
            name: name.to_owned(),
            digest: Some(bytes.digest),
            bytes: format!("copy {file_id}").into_bytes(),
            put_by: Some(saga),
        };
        self.files.insert(file_id, file);
        self.news.push(News::FileAdded(file_id));
        Ok(plain(Answer::Uploaded { file: DeliveredFile { file_id, name: name.to_owned(), folder_id } }))
    }

    fn comment(&mut self, saga: SagaId, item: u64, text: &str) -> Result<Result<Reply, Failure>, Broken> {
        let card = self.cards.entry(item).or_default();
        let mark = text.lines().last().unwrap_or_default();
        if card.comments.iter().any(|(_, known)| known.lines().last() == Some(mark)) {
            return Err(Broken::new(Law::I3, format!("the comment {mark} is written again")));
        }
        card.comments.push((saga, text.to_owned()));
        self.told.push(text.to_owned());
        let comment_id = card.comments.len() as u64;
        Ok(plain(Answer::Commented { comment_id }))
    }

    fn notify(&mut self, order: &Order, user: u64, tag: &str, text: &str) {
        self.notices.entry((user, tag.to_owned())).or_default().push((order.saga, order.token));
        self.told.push(text.to_owned());
    }

    fn field_ids(&self, item: u64) -> Vec<u64> {
        self.cards.get(&item).map(|card| card.files.iter().map(|(id, _)| *id).collect()).unwrap_or_default()
    }

    fn attach(
        &mut self,
        saga: SagaId,
        item: u64,
        file: &NamedFile,
    ) -> Result<Result<Reply, Failure>, Broken> {
        let file_id = self.id();
        let card = self.cards.entry(item).or_default();
        if card.files.iter().any(|(_, known)| matches!(known, FieldFile::Ours(by, _) if *by == saga)) {
            return Err(Broken::new(Law::I2, format!("{saga} puts its signed file into the field again")));
        }
        card.files.push((file_id, FieldFile::Ours(saga, file.bytes.digest)));
        self.news.push(News::ItemChanged(item));
        Ok(plain(Answer::FieldAttached { file_id }))
    }

    fn move_stage(&mut self, item: u64, to: &str, from: &[String]) -> Answer {
        let card = self.cards.entry(item).or_default();
        let before = card.stage.clone();
        if before != to {
            if !from.contains(&before) {
                return Answer::StageKept { stage: before, why: StageKept::MovedByOthers };
            }
            to.clone_into(&mut card.stage);
            card.moves += 1;
            self.news.push(News::ItemChanged(item));
        }
        Answer::StageMoved { from: before }
    }

    // ---- iDocs ---------------------------------------------------------------------------------------------

    fn own_signature(
        &mut self,
        order: &Order,
        effect: &OwnEffect,
        wall: Timestamp,
    ) -> Result<Result<Reply, Failure>, Broken> {
        let unknown = || Err(failure(FailureClass::Permanent, FailureKind::Refused, "http_404"));
        Ok(match effect {
            OwnEffect::UploadBlob { .. } => {
                own(OwnAnswer::BlobStored { blob_id: format!("blob-{}", self.id()) })
            }
            OwnEffect::SendSignature { .. } => {
                own(OwnAnswer::SignatureStored { blob_id: format!("blob-{}", self.id()) })
            }
            OwnEffect::CreateDraft(draft) => self.draft(order.saga, &draft.number)?,
            OwnEffect::FindDraft { number, .. } => {
                let found = self.drafts.iter().find(|(_, draft)| draft.number == *number);
                own(found.map_or(OwnAnswer::DraftNotFound, |(id, _)| made(id)))
            }
            // As the adapter does: a route that stands is not set again.
            OwnEffect::SetRoute { document_id, .. } => {
                let Some(draft) = self.drafts.get_mut(document_id) else { return Ok(unknown()) };
                draft.is_routed = true;
                own(OwnAnswer::RouteSet)
            }
            OwnEffect::FindRoute { document_id } => {
                let Some(draft) = self.drafts.get(document_id) else { return Ok(unknown()) };
                own(if draft.is_routed { OwnAnswer::RouteSet } else { OwnAnswer::RouteNotFound })
            }
            OwnEffect::PrepareContent { document_id, .. } => {
                let key = self.id();
                let Some(draft) = self.drafts.get_mut(document_id) else { return Ok(unknown()) };
                let (ticket, expires_at) = (format!("{SECRET}-ticket-{key}"), wall.plus_ms(2 * DAY));
                draft.tickets.insert(ticket.clone(), expires_at);
                Ok(Reply::Content {
                    bytes: format!("content of {document_id}").into_bytes(),
                    ticket,
                    expires_at,
                })
            }
            OwnEffect::TellSigner { user_id, text, tag, unit, .. } => {
                self.notify(order, *user_id, tag, text);
                self.news.push(News::Link(order.saga, unit.number));
                own(OwnAnswer::SignerTold)
            }
            OwnEffect::SaveSignature { document_id, ticket, .. } => {
                self.save(document_id, ticket.expose(), wall)?
            }
            OwnEffect::ReadStatus { document_id } => match self.drafts.get(document_id) {
                Some(draft) => own(OwnAnswer::StatusRead {
                    status: draft.status.clone(),
                    raw_status: own_word(&draft.status).into(),
                }),
                None => unknown(),
            },
            OwnEffect::FetchPrintForm { document_id } => Ok(Reply::PrintForm(signed_bytes(document_id))),
            OwnEffect::FetchArchive { document_id } => {
                let bare = self.drafts.get(document_id).and_then(|draft| draft.bare_file.clone());
                Ok(Reply::Archive(bare.unwrap_or_else(|| format!("archive of {document_id}").into_bytes())))
            }
            OwnEffect::SendSigned(sent) => self.send_signed(order.saga, sent)?,
            OwnEffect::ReadProcess { key } => own(OwnAnswer::ProcessRead(self.process(key))),
        })
    }

    fn draft(&mut self, saga: SagaId, number: &str) -> Result<Result<Reply, Failure>, Broken> {
        if self.drafts.values().any(|draft| draft.number == number) {
            return Err(Broken::new(Law::I1, format!("a second draft with number {number}")));
        }
        let id = self.new_draft(saga, number);
        Ok(own(made(&id)))
    }

    pub fn new_draft(&mut self, saga: SagaId, number: &str) -> String {
        let id = format!("00000000-0000-4000-8000-{:012x}", self.id());
        let draft = DraftPaper {
            number: number.to_owned(),
            saga,
            tickets: BTreeMap::new(),
            is_routed: false,
            saved: None,
            saves: 0,
            status: OwnStatus::NotSent,
            bare_file: None,
        };
        self.drafts.insert(id.clone(), draft);
        id
    }

    /// The ticket is the key: a repeat with it changes nothing, and a second signature is refused.
    fn save(&mut self, id: &str, ticket: &str, wall: Timestamp) -> Result<Result<Reply, Failure>, Broken> {
        let refused = |code| Ok(Err(failure(FailureClass::Permanent, FailureKind::Refused, code)));
        let Some(draft) = self.drafts.get_mut(id) else { return refused("http_404") };
        if draft.saved.as_deref() == Some(ticket) {
            return Ok(own(OwnAnswer::SignatureSaved));
        }
        if draft.tickets.get(ticket).is_none_or(|expires_at| *expires_at <= wall) {
            return refused("ticket_expired");
        }
        if draft.saved.is_some() {
            return Err(Broken::new(Law::I1, format!("a second signature is saved for {id}")));
        }
        draft.saved = Some(ticket.to_owned());
        draft.saves += 1;
        draft.status = OwnStatus::InWork;
        self.news.push(News::Sent(id.to_owned()));
        Ok(own(OwnAnswer::SignatureSaved))
    }

    // ---- what the process reads by itself ------------------------------------------------------------------

    /// The originals in the field of an item that stands in the stage of the rule, and ours: a field tells no names.
    pub fn wanted_files(&self, item: u64) -> Vec<u64> {
        let card = self.cards.get(&item).filter(|card| card.stage == SIGNING);
        card.map(|card| card.files.iter().map(|(id, _)| *id).collect()).unwrap_or_default()
    }

    /// What a field's file holds, if it is one of ours.
    pub fn ours_in_field(&self, item: u64, file: u64) -> Option<FileDigest> {
        self.cards.get(&item)?.files.iter().find_map(|(id, kept)| match kept {
            FieldFile::Ours(_, digest) if *id == file => Some(*digest),
            FieldFile::Ours(..) | FieldFile::Original => None,
        })
    }
}

fn original(file: u64) -> Vec<u8> {
    format!("original {file}").into_bytes()
}

fn made(id: &str) -> OwnAnswer {
    OwnAnswer::DraftMade { document_id: id.to_owned(), raw_status: "DRAFT".into() }
}

pub fn is_for_portal(effect: &Effect) -> bool {
    !effect.is_for_signing_service()
}

fn signed_bytes(document_id: &str) -> Vec<u8> {
    format!("signed {document_id}").into_bytes()
}

pub fn word(status: &CallbackStatus) -> &'static str {
    match status {
        CallbackStatus::Signed => "signed",
        CallbackStatus::Refused => "rejected",
        CallbackStatus::Other => "in_progress",
    }
}

pub fn own_word(status: &OwnStatus) -> &'static str {
    match status {
        OwnStatus::NotSent => "DRAFT",
        OwnStatus::InWork => "IN_PROCESS_BY_RECIPIENT",
        OwnStatus::Signed => "FINISHED",
        OwnStatus::Refused(_) => "REJECTED_BY_RECIPIENT",
        OwnStatus::Withdrawn => "RECALLED_BY_SENDER",
        OwnStatus::Unclear => "FINISHED_EDITABLE",
    }
}

/// The answer to an order, once its bytes are in the spool.
pub fn answer_of(reply: Reply, kept: Option<SpoolFile>) -> Answer {
    let bytes = || kept.expect("whoever asked for bytes has put them into the spool");
    match reply {
        Reply::Plain(answer) => answer,
        Reply::Source { facts, delivery, item, .. } => {
            Answer::SourceFetched { facts, bytes: bytes(), delivery, crm_item: item.map(deal) }
        }
        Reply::Signed(_) => Answer::SignedFetched { bytes: bytes() },
        Reply::Content { ticket, expires_at, .. } => Answer::Own(OwnAnswer::ContentReady {
            content: bytes(),
            ticket: Ticket::new(ticket),
            expires_at,
            holds: Holds::Original,
        }),
        Reply::PrintForm(_) => Answer::Own(OwnAnswer::PrintForm(kept)),
        Reply::Archive(_) => Answer::Own(OwnAnswer::Archive(kept)),
    }
}

/// The bytes of a reply that go into the spool.
pub fn bytes_of(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Plain(_) => None,
        Reply::Source { bytes, .. }
        | Reply::Signed(bytes)
        | Reply::Content { bytes, .. }
        | Reply::PrintForm(bytes)
        | Reply::Archive(bytes) => Some(bytes),
    }
}
