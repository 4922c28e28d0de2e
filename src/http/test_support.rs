//! What the tests of the doors need: an intake that remembers, settings, a document.

use super::intake::{Intake, Reception};
use super::settings::{BitrixSettings, PortalGate, PublicSettings};
use crate::actors::AcceptError;
use crate::actors::sender_list::Senders;
use crate::config::SenderRule;
use crate::domain::{PortalId, SagaId, Secret, Text, Timestamp};
use crate::saga::document::state::LastFailure;
use crate::saga::document::{
    DeadLetter, Delivery, DocumentSaga, Outcome, Source, Step, Timer, TimerKind, Work,
};
use crate::store::{Accepted, NewNotice};
use crate::telemetry::metrics::Metrics;
use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An intake that keeps what it is given, or refuses everything.
#[derive(Default)]
pub struct FakeIntake {
    notices: Mutex<Vec<NewNotice>>,
    refuse_with: Mutex<Option<AcceptError>>,
}

impl FakeIntake {
    /// What was taken.
    pub fn taken(&self) -> Vec<NewNotice> {
        self.notices.lock().unwrap().clone()
    }
    /// From now on nothing is taken.
    pub fn refuse_with(&self, error: AcceptError) {
        *self.refuse_with.lock().unwrap() = Some(error);
    }
}

impl Intake for FakeIntake {
    fn accept(&self, notice: NewNotice) -> LocalBoxFuture<'_, Result<Accepted, AcceptError>> {
        if let Some(error) = self.refuse_with.lock().unwrap().clone() {
            return ready(Err(error)).boxed_local();
        }
        let mut notices = self.notices.lock().unwrap();
        notices.push(notice);
        let id = crate::domain::NoticeId(notices.len() as u64);
        ready(Ok(Accepted { id, fresh: true })).boxed_local()
    }
    fn now(&self) -> Timestamp {
        Timestamp(1_000)
    }
}

/// A reception in front of `intake`, and its metrics.
pub fn reception(intake: &Arc<FakeIntake>) -> (Reception, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    (Reception::new(Arc::clone(intake) as Arc<dyn Intake>, Arc::clone(&metrics)), metrics)
}

/// Settings with one portal whose tokens are `first-token-0001` and `other-token-0002`.
pub fn public_settings() -> PublicSettings {
    PublicSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        workers: 1,
        max_connections: 64,
        head_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(5),
        keep_alive: Duration::from_secs(5),
        drain: Duration::from_secs(1),
        trusted_proxies: Vec::new(),
        bitrix: BitrixSettings {
            body_bytes_max: 4_096,
            per_minute: None,
            events: Vec::new(),
            portals: vec![PortalGate {
                id: PortalId("main".into()),
                application_tokens: vec![Secret::new("first-token-0001"), Secret::new("other-token-0002")],
                senders: Senders { networks: Vec::new(), rule: SenderRule::Any },
                member_id: None,
            }],
        },
        easydocs: None,
        idocs: None,
    }
}

/// A document that is stopped, with the given words of strangers in it.
pub fn stopped_saga(name: &str, reason: &str) -> DocumentSaga {
    let text = Text::new(reason, reason);
    DocumentSaga {
        id: SagaId::from_u128(0x0198_f00d_dead_beef_0123_4567_89ab_cdef),
        revision: 3,
        created_at: Timestamp(0),
        updated_at: Timestamp(60_000),
        step_since: Timestamp(60_000),
        step: Step::Parked,
        work: Work::Idle,
        timer: None,
        last_token: 2,
        tries: 1,
        rounds: 0,
        looks: 0,
        portal: PortalId("main".into()),
        source: Source::DriveFile { file_id: 9043 },
        read_again: 0,
        delivery: Delivery { rule: "contracts".into(), ..Delivery::default() },
        crm_item: None,
        file: Some(crate::saga::document::SourceFile {
            name: name.into(),
            folder_id: Some(5),
            version: None,
            bytes: crate::domain::SpoolFile { digest: crate::domain::FileDigest([7; 32]), size_bytes: 10 },
        }),
        external_id: "b24-main-9043".into(),
        provider_document: None,
        outcome: Outcome::Open,
        provider_status: None,
        waiting: None,
        signed: None,
        folder_baseline: None,
        upload_name: None,
        delivered: None,
        comment_id: None,
        notified: 0,
        dead_letter: Some(DeadLetter {
            at: Timestamp(60_000),
            from: Step::Create,
            code: "http_422".into(),
            reason: text.clone(),
            next_action: text.clone(),
            answer: None,
        }),
        last_failure: Some(LastFailure { at: Timestamp(60_000), code: "http_422".into(), reason: text }),
        field_baseline: None,
        field_file: None,
        robots: Vec::new(),
        ending: None,
        own: None,
    }
}

/// A document that is waiting for its next attempt.
pub fn live_saga(step: Step) -> DocumentSaga {
    DocumentSaga {
        step,
        timer: Some(Timer { due: Timestamp(90_000), kind: TimerKind::Start }),
        dead_letter: None,
        ..stopped_saga("Договор.pdf", "HTTP 502")
    }
}
