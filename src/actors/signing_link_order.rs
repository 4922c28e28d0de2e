//! A link to the signing page by order of the operator: for a signer who has no user in the portal, and so no notice.
//!
//! Invariants:
//! - a link is given out only after the history says who asked for it; the link itself stands nowhere;
//! - it lives no longer than the links of notices, and never longer than the content that it is for.

use super::signing_links::SigningLinks;
use super::{Engine, OperateError};
use crate::domain::{SagaId, Secret, Text, Timestamp};
use crate::saga::document::{DocumentSaga as Record, OwnEvent, Step};

/// A link that was given out.
#[derive(Debug, Clone)]
pub struct GivenLink {
    /// The address; whoever has it may see the document and sign it with the signer's key.
    pub url: Secret,
    /// When it dies.
    pub expires_at: Timestamp,
    /// Name of the signer in the configuration, to whom it is bound.
    pub signer: String,
    /// The document as it stands.
    pub record: Record,
}

impl Engine {
    /// A link for the signer of this document. `asked_by` goes into the history.
    ///
    /// Content that has expired is made anew, and the order is rejected with the words to come again.
    ///
    /// # Errors
    /// [`OperateError::Rejected`] where the document does not wait for our signature or our address is not configured.
    pub async fn sign_link(&self, id: SagaId, asked_by: &str) -> Result<GivenLink, OperateError> {
        let links = self.parts.idocs.as_ref().and_then(|idocs| idocs.links.as_ref()).ok_or_else(no_page)?;
        let before = self.store().load(id).await.map_err(|_| unreadable())?;
        let before = before.ok_or(OperateError::NotFound)?.saga;
        if is_stale(&before, self.clock().now()) {
            self.tell_own(id, OwnEvent::LinkAsked).await?;
            return Err(OperateError::Rejected(Text::new(
                "Срок содержимого на подпись истёк, готовится новое. Повторите через минуту.",
                "The content to sign has expired, a new one is being made. Ask again in a minute.",
            )));
        }
        let record = self.tell_own(id, OwnEvent::LinkGiven { asked_by: asked_by.to_owned() }).await?;
        given(links, record, self.clock().now()).ok_or_else(gone)
    }
}

/// Whether it waits for our signer over a content that the service has forgotten.
fn is_stale(record: &Record, now: Timestamp) -> bool {
    let unit = record.own.as_deref().and_then(|own| own.unit.as_ref());
    record.step == Step::AwaitSigner && unit.is_some_and(|unit| unit.expires_at <= now)
}

fn given(links: &SigningLinks, record: Record, now: Timestamp) -> Option<GivenLink> {
    let unit = record.own.as_deref()?.unit.clone()?;
    let signer = record.delivery.signer.as_deref()?.name.clone();
    let url = Secret::new(links.url(record.id, &unit, &signer, now));
    Some(GivenLink { url, expires_at: links.ends(&unit, now), signer, record })
}

fn no_page() -> OperateError {
    OperateError::Rejected(Text::new(
        "Ссылок на подпись нет: не настроены [idocs] или public.base_url.",
        "There are no links to sign: [idocs] or public.base_url is not configured.",
    ))
}

/// It was answered a moment ago, so only a fault of ours can have come in between.
fn gone() -> OperateError {
    OperateError::Unavailable {
        reason: Text::new(
            "Документ изменился, пока готовилась ссылка. Повторите.",
            "The document changed while the link was made. Ask again.",
        ),
    }
}

fn unreadable() -> OperateError {
    OperateError::Unavailable {
        reason: Text::new("Хранилище сейчас не читается.", "The store cannot be read now."),
    }
}
