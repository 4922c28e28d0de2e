//! Values of every stored type, made from a seed: for the tests of this module only.
//!
//! Seed 0 gives the values whose bytes are frozen in `tests/data`: it fills every option and every list, so that
//! each field has its place in the golden bytes. Never change what seed 0 gives.

use super::document_v1::{DeliveryV1, DocumentSagaV1};
use super::document_v2::{DeliveryV2, DocumentSagaV2};
use super::notice::{Cursor, NewNotice, NoticeKind, NoticeV1, ParkedNoticeV1};
use super::portal_installations::InstallationV1;
use super::records::{Blob, ClaimState, ClaimV1, MetaV1, OutboxV1, SagaClaimsV1};
use crate::domain::portal::PortalState;
use crate::domain::portal_capabilities::{CapabilityMap, FeatureCapability, MethodCapability, Presence};
use crate::domain::portal_owner::OwnerRecord;
use crate::domain::portal_usage::{HourUsage, MethodUsage};
use crate::domain::portal_workflows::WorkflowRecord;
use crate::domain::{
    AttemptToken, CrmItem, FileDigest, InstallationStatus, PortalId, SagaId, SpoolFile, Text, Timestamp,
};
use crate::saga::document::own_signature::{
    ContentUnit, Counterparty, CounterpartyKind, OwnSignature, OwnSigner, SignedPart, Telling, Ticket,
};
use crate::saga::document::state::{
    DeadLetter, DeliveredFile, LastFailure, Occasion, SourceFile, TimerKind, WaitWork, Waiting,
};
use crate::saga::document::{
    Claim, CommentFile, Delivery, DocumentSaga, DriveCopy, Ending, EventToken, HistoryEntry, ItemPick,
    Outcome, RobotOrder, RobotWait, Source, Step, Timer, Work,
};

/// Makes values; the same seed makes the same.
pub(super) struct Samples {
    state: u64,
    full: bool,
    /// How many steps, from the first, are known.
    steps: usize,
}

impl Samples {
    pub fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
        // Seed 0 is frozen: it knows only what version 1 knew.
        let (full, steps) = if seed == 0 { (true, 17) } else { (false, Step::ALL.len()) };
        Self { state, full, steps }
    }

    /// The values of the stores that are kept: frozen, they know the steps that were known when the first were kept.
    pub fn of_kept_store(seed: u64) -> Self {
        Self { steps: 34, ..Self::new(seed) }
    }

    pub fn number(&mut self) -> u64 {
        // SplitMix64: any spread of bits will do.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("below a usize")
    }
    fn small(&mut self) -> u32 {
        u32::try_from(self.number() % 1_000_000).expect("below a million")
    }
    pub fn time(&mut self) -> Timestamp {
        Timestamp(i64::try_from(self.number() % 4_000_000_000_000).expect("below the year 2100"))
    }
    fn word(&mut self) -> String {
        const WORDS: [&str; 8] =
            ["договор", "№ 7", "contract", "", "signed", "акт сверки", "a/b", "\u{1F4C4}"];
        WORDS[self.below(WORDS.len())].to_owned()
    }
    fn text(&mut self) -> Text {
        Text::new(self.word(), self.word())
    }
    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.full || self.below(2) == 0).then(|| make(self))
    }
    fn several<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = if self.full { 2 } else { self.below(4) };
        (0..count).map(|_| make(self)).collect()
    }
    pub fn portal(&mut self) -> PortalId {
        PortalId(self.word())
    }
    pub fn id(&mut self) -> SagaId {
        SagaId::from_u128(u128::from(self.number()) << 64 | u128::from(self.number()))
    }
    fn step(&mut self) -> Step {
        Step::ALL[self.below(self.steps)]
    }
    fn digest(&mut self) -> FileDigest {
        let mut digest = [0; 32];
        digest.fill_with(|| u8::try_from(self.number() & 0xFF).expect("a byte"));
        FileDigest(digest)
    }
    fn spooled(&mut self) -> SpoolFile {
        SpoolFile { digest: self.digest(), size_bytes: self.number() }
    }
    fn item(&mut self) -> CrmItem {
        CrmItem { entity_type_id: self.small(), id: self.number() }
    }
    fn source(&mut self) -> Source {
        match self.below(3) {
            0 => Source::DriveFile { file_id: self.number() },
            1 => Source::CrmItem { item: self.item() },
            _ => Source::CrmFile { item: self.item(), field: self.word(), file_id: self.number() },
        }
    }
    fn work(&mut self) -> Work {
        match self.maybe(|s| (AttemptToken(s.number()), s.time())) {
            None => Work::Idle,
            Some((token, since)) => Work::InFlight { token, since },
        }
    }
    fn timer(&mut self) -> Timer {
        const KINDS: [TimerKind; 4] = [TimerKind::Lease, TimerKind::Start, TimerKind::Wait, TimerKind::Grace];
        Timer { due: self.time(), kind: KINDS[self.below(KINDS.len())] }
    }
    fn delivery_v1(&mut self) -> DeliveryV1 {
        DeliveryV1 {
            rule: self.word(),
            route_id: self.word(),
            folder_id: self.maybe(Self::number),
            suffix: self.word(),
            comment: self.below(2) == 0,
            notify: self.several(Self::number),
            notify_on: self.several(Self::occasion),
        }
    }
    fn occasion(&mut self) -> Occasion {
        const OCCASIONS: [Occasion; 3] = [Occasion::Signed, Occasion::Refused, Occasion::Reminder];
        OCCASIONS[self.below(OCCASIONS.len())]
    }
    fn source_file(&mut self) -> SourceFile {
        SourceFile {
            name: self.word(),
            folder_id: self.maybe(Self::number),
            version: self.maybe(Self::number),
            bytes: self.spooled(),
        }
    }
    fn waiting(&mut self) -> Waiting {
        const WORKS: [WaitWork; 3] = [WaitWork::Nothing, WaitWork::Poll, WaitWork::Reminder];
        Waiting {
            since: self.time(),
            next_poll_at: self.maybe(Self::time),
            polls: self.small(),
            next_reminder_at: self.maybe(Self::time),
            reminders: self.small(),
            deadline_at: self.maybe(Self::time),
            doing: WORKS[self.below(WORKS.len())],
        }
    }
    fn dead_letter(&mut self) -> DeadLetter {
        DeadLetter {
            at: self.time(),
            from: self.step(),
            code: self.word(),
            reason: self.text(),
            next_action: self.text(),
            answer: self.maybe(Self::word),
        }
    }

    /// Version 2: what version 1 has, and then the rest.
    pub fn saga_v2(&mut self) -> DocumentSagaV2 {
        let mut saga = DocumentSaga::from(self.saga_v1());
        if !self.full {
            saga.source = self.any_source(saga.source);
        }
        saga.delivery = self.wishes(saga.delivery);
        saga.field_baseline = self.maybe(|s| s.several(Self::number));
        saga.field_file = self.maybe(Self::number);
        saga.robots = self.several(Self::robot);
        saga.ending = self.maybe(|s| Ending { step: s.step(), code: s.word(), reason: s.text() });
        let delivery = saga.delivery;
        DocumentSagaV2 {
            id: saga.id,
            revision: saga.revision,
            created_at: saga.created_at,
            updated_at: saga.updated_at,
            step_since: saga.step_since,
            step: saga.step,
            work: saga.work,
            timer: saga.timer,
            last_token: saga.last_token,
            tries: saga.tries,
            rounds: saga.rounds,
            looks: saga.looks,
            portal: saga.portal,
            source: saga.source,
            read_again: saga.read_again,
            delivery: DeliveryV2 {
                rule: delivery.rule,
                route_id: delivery.route_id,
                folder_id: delivery.folder_id,
                suffix: delivery.suffix,
                comment: delivery.comment,
                notify: delivery.notify,
                notify_on: delivery.notify_on,
                drive: delivery.drive,
                field: delivery.field,
                comment_file: delivery.comment_file,
                stage_on_signed: delivery.stage_on_signed,
                stage_on_refused: delivery.stage_on_refused,
                stages_from: delivery.stages_from,
                item_stage: delivery.item_stage,
            },
            crm_item: saga.crm_item,
            file: saga.file,
            external_id: saga.external_id,
            provider_document: saga.provider_document,
            outcome: saga.outcome,
            provider_status: saga.provider_status,
            waiting: saga.waiting,
            signed: saga.signed,
            folder_baseline: saga.folder_baseline,
            upload_name: saga.upload_name,
            delivered: saga.delivered,
            comment_id: saga.comment_id,
            notified: saga.notified,
            dead_letter: saga.dead_letter,
            last_failure: saga.last_failure,
            field_baseline: saga.field_baseline,
            field_file: saga.field_file,
            robots: saga.robots,
            ending: saga.ending,
        }
    }

    /// Version 3: what version 2 has, and our own signature.
    pub fn saga(&mut self) -> DocumentSaga {
        let mut saga = DocumentSaga::from(self.saga_v2());
        saga.delivery.signer = self.maybe(Self::signer).map(Box::new);
        saga.own = self.maybe(Self::own_signature).map(Box::new);
        saga
    }

    fn signer(&mut self) -> OwnSigner {
        const KINDS: [CounterpartyKind; 2] = [CounterpartyKind::Company, CounterpartyKind::Individual];
        let counterparty =
            Counterparty { bin: self.word(), email: self.word(), kind: KINDS[self.below(KINDS.len())] };
        OwnSigner {
            name: self.word(),
            employee_id: self.word(),
            user: self.maybe(Self::number),
            escalate_to: self.several(Self::number),
            group: self.word(),
            counterparty,
        }
    }

    fn own_signature(&mut self) -> OwnSignature {
        const TELLINGS: [Telling; 3] = [Telling::TheEnd, Telling::OurTurn, Telling::TheirTurn];
        const PARTS: [SignedPart; 2] = [SignedPart::PrintForm, SignedPart::Archive];
        OwnSignature {
            number: self.word(),
            dated: self.time(),
            blob_id: self.maybe(Self::word),
            units: self.small(),
            unit: self.maybe(|s| ContentUnit {
                number: s.small(),
                content: s.spooled(),
                ticket: Ticket::new(s.word()),
                made_at: s.time(),
                expires_at: s.time(),
            }),
            told: self.small(),
            escalated: self.small(),
            cms: self.maybe(Self::spooled),
            signed_by: self.maybe(Self::word),
            cms_blob_id: self.maybe(Self::word),
            refused_saves: self.small(),
            hinted: self.below(2) == 0,
            refusal: self.maybe(Self::word),
            telling: TELLINGS[self.below(TELLINGS.len())],
            our_turn_told: self.below(2) == 0,
            their_turn_told: self.below(2) == 0,
            archive: self.maybe(Self::spooled),
            part: PARTS[self.below(PARTS.len())],
            archive_delivered: self.maybe(|s| DeliveredFile {
                file_id: s.number(),
                name: s.word(),
                folder_id: s.number(),
            }),
        }
    }

    fn any_source(&mut self, old: Source) -> Source {
        match self.below(4) {
            0 => Source::Generated { document_id: self.number() },
            1 => Source::OfItem { item: self.item(), pick: ItemPick::Field(self.word()) },
            2 => Source::OfItem { item: self.item(), pick: ItemPick::LatestGenerated },
            _ => old,
        }
    }

    fn wishes(&mut self, old: Delivery) -> Delivery {
        const COPIES: [DriveCopy; 2] = [DriveCopy::Wanted, DriveCopy::NotWanted];
        const FILES: [CommentFile; 2] = [CommentFile::None, CommentFile::Attached];
        Delivery {
            drive: COPIES[self.below(COPIES.len())],
            field: self.maybe(Self::word),
            comment_file: FILES[self.below(FILES.len())],
            stage_on_signed: self.maybe(Self::word),
            stage_on_refused: self.maybe(Self::word),
            stages_from: self.several(Self::word),
            item_stage: self.maybe(Self::word),
            ..old
        }
    }

    fn robot(&mut self) -> RobotOrder {
        const WAITS: [RobotWait; 2] = [RobotWait::UntilTheEnd, RobotWait::No];
        RobotOrder {
            workflow_id: self.word(),
            event_token: EventToken::new(self.word()),
            waits: WAITS[self.below(WAITS.len())],
            answered_at: self.maybe(Self::time),
        }
    }

    pub fn saga_v1(&mut self) -> DocumentSagaV1 {
        const OUTCOMES: [Outcome; 3] = [Outcome::Open, Outcome::Signed, Outcome::Refused];
        DocumentSagaV1 {
            id: self.id(),
            revision: self.number(),
            created_at: self.time(),
            updated_at: self.time(),
            step_since: self.time(),
            step: self.step(),
            work: self.work(),
            timer: self.maybe(Self::timer),
            last_token: self.number(),
            tries: self.small(),
            rounds: self.small(),
            looks: self.small(),
            portal: self.portal(),
            source: self.source(),
            read_again: self.small(),
            delivery: self.delivery_v1(),
            crm_item: self.maybe(Self::item),
            file: self.maybe(Self::source_file),
            external_id: self.word(),
            provider_document: self.maybe(Self::word),
            outcome: OUTCOMES[self.below(OUTCOMES.len())],
            provider_status: self.maybe(Self::word),
            waiting: self.maybe(Self::waiting),
            signed: self.maybe(Self::spooled),
            folder_baseline: self.maybe(Self::number),
            upload_name: self.maybe(Self::word),
            delivered: self.maybe(|s| DeliveredFile {
                file_id: s.number(),
                name: s.word(),
                folder_id: s.number(),
            }),
            comment_id: self.maybe(Self::number),
            notified: self.small(),
            dead_letter: self.maybe(Self::dead_letter),
            last_failure: self.maybe(|s| LastFailure { at: s.time(), code: s.word(), reason: s.text() }),
        }
    }

    /// Every kind of claim once.
    pub fn claims(&mut self) -> SagaClaimsV1 {
        let claims = vec![
            Claim::Source(self.word()),
            Claim::Reading(self.word()),
            Claim::External(self.word()),
            Claim::ProviderDocument(self.word()),
            Claim::EchoName { portal: self.portal(), folder_id: self.number(), name: self.word() },
            Claim::EchoFile { portal: self.portal(), file_id: self.number() },
        ];
        SagaClaimsV1 { claims }
    }
    pub fn history(&mut self) -> HistoryEntry {
        HistoryEntry { at: self.time(), step: self.step(), what: self.word(), text: self.text() }
    }
    pub fn new_notice(&mut self) -> NewNotice {
        NewNotice {
            kind: NoticeKind::ALL[self.below(if self.full { 5 } else { NoticeKind::ALL.len() })],
            portal: self.maybe(Self::portal),
            received_at: self.time(),
            content_type: self.word(),
            body: self.word().into(),
        }
    }
    pub fn notice(&mut self) -> NoticeV1 {
        NoticeV1::from(&self.new_notice())
    }
    pub fn parked(&mut self) -> ParkedNoticeV1 {
        ParkedNoticeV1 { notice: self.notice(), reason: self.text(), lookup: self.maybe(Self::word) }
    }
    pub fn portal_state(&mut self) -> PortalState {
        PortalState {
            moved_to: self.maybe(Self::word),
            bucket_milli: self.number(),
            bucket_at: self.time(),
            blocked_until: self.several(|s| (s.word(), s.time())),
            overload_until: self.maybe(Self::time),
        }
    }
    pub fn installation(&mut self) -> InstallationV1 {
        const STATES: [InstallationStatus; 3] = [
            InstallationStatus::Active,
            InstallationStatus::NeedsAuthorisation,
            InstallationStatus::Uninstalled,
        ];
        InstallationV1 {
            app: self.word(),
            member_id: self.word(),
            portal: self.portal(),
            origin: self.word(),
            oauth_origin: self.word(),
            scopes: self.several(Self::word),
            user_id: self.number(),
            status: STATES[self.below(STATES.len())],
            plan: self.word(),
            version: self.small(),
            installed_at: self.time(),
            updated_at: self.time(),
            uninstalled_at: self.maybe(Self::time),
            refreshed_at: self.time(),
            refresh_began_at: self.maybe(Self::time),
            access_expires_at: self.time(),
            key_id: self.number().to_le_bytes(),
            nonce: self.digest().0[..24].try_into().expect("a digest has more than 24 bytes"),
            sealed: Blob(self.word().into()),
        }
    }
    pub fn portal_owner(&mut self) -> OwnerRecord {
        OwnerRecord {
            checked_at: self.maybe(Self::time),
            user_id: self.maybe(Self::number),
            was_admin: self.number().is_multiple_of(2),
            told: self.several(Self::word),
        }
    }
    pub fn portal_workflows(&mut self) -> WorkflowRecord {
        WorkflowRecord {
            templates: self.several(Self::number),
            heard: self.several(Self::word),
            settled: self.several(Self::word),
            told: self.several(Self::word),
        }
    }
    pub fn portal_capabilities(&mut self) -> CapabilityMap {
        const PRESENCES: [Presence; 3] = [Presence::Available, Presence::OutOfScope, Presence::Missing];
        CapabilityMap {
            checked_at: self.time(),
            asked_as: self.word(),
            scopes: self.maybe(|s| s.several(Self::word)),
            methods: self.several(|s| MethodCapability {
                name: s.word(),
                presence: PRESENCES[s.below(PRESENCES.len())],
            }),
            events: self.maybe(|s| s.several(Self::word)),
            features: self
                .several(|s| FeatureCapability { code: s.word(), is_on: s.number().is_multiple_of(2) }),
        }
    }
    pub fn portal_usage(&mut self) -> HourUsage {
        let methods = self.several(|s| MethodUsage {
            method: s.word(),
            requests: s.number(),
            commands: s.number(),
            waited_ms: s.number(),
            operating_ms: s.number(),
            limited: s.number(),
        });
        HourUsage { hour: self.number(), methods }
    }
    pub fn cursor(&mut self) -> Cursor {
        Cursor { last_id: self.number(), baseline: self.number(), at: self.time() }
    }
    pub fn claim(&mut self) -> ClaimV1 {
        const STATES: [ClaimState; 2] = [ClaimState::Held, ClaimState::Tombstone];
        ClaimV1 { saga: self.id(), state: STATES[self.below(STATES.len())] }
    }
    pub fn outbox(&mut self) -> OutboxV1 {
        OutboxV1 { token: AttemptToken(self.number()), since: self.time() }
    }
    pub fn meta(&mut self) -> MetaV1 {
        MetaV1 { next_notice: self.number() }
    }
}
