//! Where the signing page asks: what waits for the holder of this link, and where a signature goes.
//!
//! A trait, so that the page does not know how documents wait. What is given to [`SigningDesk::submit`] has passed
//! the checks of the door (`providers::cms`); the desk decides only whether the document still waits for it.
//!
//! Invariants:
//! - a link opens its own document and those that wait for the same signer, and nothing else;
//! - `Ok` of a submission means that the signature is durable;
//! - the first stored signature of a unit wins; the same one again is answered as before.

use crate::domain::SagaId;
use crate::domain::signing::{LinkRenewal, SignatureAccepted, SignedDocument, SigningRefusal, SigningTask};
use crate::providers::spool_io::FileSource;
use futures_util::future::LocalBoxFuture;
use std::io;

/// What the signing page needs of what is behind it.
pub trait SigningDesk: Send + Sync + 'static {
    /// What the link opens: first its own document, then others that wait for the same signer; at most
    /// [`crate::domain::signing::DOCUMENTS_OF_A_PAGE_MAX`] in all.
    ///
    /// A signed document stays open to its link until the link expires ([`crate::domain::signing::TaskState::Signed`]):
    /// the page tells so, and a repeated submission finds it.
    ///
    /// # Errors
    /// `Unknown`, `Expired`, `Busy`; `NotNow` for a document that was cancelled or has moved on without a signature.
    fn open<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Vec<SigningTask>, SigningRefusal>>;

    /// Where the bytes of a task lie. The file may be gone once the document has moved on.
    ///
    /// # Errors
    /// The disk does not give it.
    fn content(&self, task: &SigningTask) -> LocalBoxFuture<'_, io::Result<FileSource>>;

    /// Stores signatures that have passed the checks. One answer for each, in the same order. A document that the
    /// link does not open, or another unit of it, is `Unknown`.
    ///
    /// A unit that is signed with the same CMS (by `digest`) is answered with `repeated`, with another CMS with
    /// `AlreadySigned`.
    fn submit<'a>(
        &'a self,
        token: &'a str,
        signed: Vec<SignedDocument>,
    ) -> LocalBoxFuture<'a, Vec<(SagaId, Result<SignatureAccepted, SigningRefusal>)>>;

    /// The holder of a link that is over asks for a new one: it is sent to the signer by the usual way, never shown.
    /// Where the signer has no such way, the document's history asks an operator to hand one on.
    ///
    /// # Errors
    /// `Unknown` for a link that was never ours; `NotNow` if a link was sent just now or nothing waits any more;
    /// `AlreadySigned`, `Busy`.
    fn renew<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<LinkRenewal, SigningRefusal>>;

    /// What a document waits for, for a signature that was made elsewhere (1C) and comes with the operator's token.
    ///
    /// # Errors
    /// `Unknown`, `Expired`, `Busy`, `NotNow`.
    fn task_of(&self, document: SagaId) -> LocalBoxFuture<'_, Result<SigningTask, SigningRefusal>>;

    /// Stores a signature made elsewhere; the rules are those of [`SigningDesk::submit`].
    ///
    /// # Errors
    /// `Unknown`, `Expired`, `AlreadySigned`, `Busy`, `NotNow`.
    fn submit_by_operator(
        &self,
        signed: SignedDocument,
    ) -> LocalBoxFuture<'_, Result<SignatureAccepted, SigningRefusal>>;
}
