//! Where a notice goes: asked of the store and of the notice, nothing is done yet. [`super::notice_router`] carries it
//! out; the simulation in `tests/` asks the very same questions under its own clock.

use crate::domain::{PortalId, SagaId, Text};
use crate::providers::easydocs::callback::{self, Callback};
use crate::providers::idocs::events;
use crate::providers::{easydocs, idocs};
use crate::saga::document::transition::{own_document_claim, reading_claim_of, source_claim};
use crate::saga::document::{CallbackStatus, Claim, Event, OwnEvent, Source};
use crate::store::{Store, StoreError};

/// What is to be made of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Nothing; with the reason's stable code.
    Done(&'static str),
    /// It waits for a person, or until a saga claims what it names.
    Park {
        /// Why, in words.
        reason: Text,
        /// An id at the signing service that brings it back.
        lookup: Option<String>,
    },
    /// The saga is told.
    Tell(SagaId, Box<Event>),
    /// The source gets a saga.
    Begin,
}

/// A trigger that names its source.
///
/// # Errors
/// What the store says.
pub async fn of_source(store: &Store, portal: &PortalId, source: &Source) -> Result<Way, StoreError> {
    let claim = reading_claim_of(portal, source).unwrap_or_else(|| source_claim(portal, source));
    let owner = if let Source::DriveFile { file_id } = source {
        let echo = Claim::EchoFile { portal: portal.clone(), file_id: *file_id };
        let [copied_by, owner] = store.claimed_each([echo, claim]).await?;
        if copied_by.is_some() {
            return Ok(Way::Done("own_copy"));
        }
        owner
    } else {
        store.claimed(&claim).await?
    };
    Ok(match (owner, source) {
        (None, _) => Way::Begin,
        // An item that is being read must be read once more.
        (Some(owner), Source::CrmItem { .. }) => Way::Tell(owner, Box::new(Event::TriggeredAgain)),
        // A file is simply known.
        (Some(_), _) => Way::Done("duplicate"),
    })
}

/// A callback of EasyDocs, after verification.
///
/// # Errors
/// What the store says.
pub async fn of_easydocs(
    store: &Store,
    settings: &easydocs::Settings,
    body: &[u8],
) -> Result<Way, StoreError> {
    let callback = match callback::parse(settings, body) {
        Ok(callback) => callback,
        Err(error) => return Ok(parked(unreadable(&error.to_string(), &error.to_string()))),
    };
    if !settings.callback.events.contains(&callback.event) {
        return Ok(parked(unknown_event(&callback)));
    }
    let Some(saga) = document_of(store, &callback).await? else {
        let lookup = Some(callback.document_id.clone());
        return Ok(Way::Park { reason: unknown_document(&callback), lookup });
    };
    let event = Event::CallbackArrived {
        document_id: callback.document_id,
        external_id: callback.external_id,
        status: status_of(&callback.status),
        raw_status: callback.raw_status,
    };
    Ok(Way::Tell(saga, Box::new(event)))
}

/// A hint of iDocs: the document it names is asked for its status.
///
/// # Errors
/// What the store says.
pub async fn of_idocs(store: &Store, settings: &idocs::Settings, body: &[u8]) -> Result<Way, StoreError> {
    let hint = match events::parse_event(settings, body) {
        Ok(hint) => hint,
        Err(error) => return Ok(parked(unreadable(&error.to_string(), &error.to_string()))),
    };
    // Documents that people send in the cabinet are not ours, and their hints come here too.
    Ok(match store.claimed(&own_document_claim(&hint.document_id)).await? {
        Some(saga) => Way::Tell(saga, Box::new(Event::Own(OwnEvent::StatusHint))),
        None => Way::Done("filtered"),
    })
}

async fn document_of(store: &Store, callback: &Callback) -> Result<Option<SagaId>, StoreError> {
    let by_id = Claim::ProviderDocument(callback.document_id.clone());
    if let Some(saga) = store.claimed(&by_id).await? {
        return Ok(Some(saga));
    }
    match callback.external_id.clone() {
        Some(external_id) => store.claimed(&Claim::External(external_id)).await,
        None => Ok(None),
    }
}

/// What the adapter's word means to a saga.
pub fn status_of(status: &easydocs::CallbackStatus) -> CallbackStatus {
    match status {
        easydocs::CallbackStatus::Signed => CallbackStatus::Signed,
        easydocs::CallbackStatus::Refused => CallbackStatus::Refused,
        easydocs::CallbackStatus::Other(_) => CallbackStatus::Other,
    }
}

fn parked(reason: Text) -> Way {
    Way::Park { reason, lookup: None }
}

/// Why an authentic notice cannot be used.
pub(super) fn unreadable(ru: &str, en: &str) -> Text {
    Text::new(
        format!("Подлинное, но непригодное уведомление: {ru}."),
        format!("Authentic but unusable: {en}."),
    )
}

fn unknown_event(callback: &Callback) -> Text {
    let name = crate::saga::document::words::plain(&callback.event);
    Text::new(
        format!("Событие EasyDocs «{name}» не перечислено в easydocs.callback.events."),
        format!("The EasyDocs event \"{name}\" is not listed in easydocs.callback.events."),
    )
}

fn unknown_document(callback: &Callback) -> Text {
    let id = crate::saga::document::words::plain(&callback.document_id);
    Text::new(
        format!(
            "Документ EasyDocs {id} нам не известен: создан не нами, либо ответ на создание ещё не пришёл."
        ),
        format!(
            "EasyDocs document {id} is unknown to us: not ours, or the answer to its create has not come yet."
        ),
    )
}
