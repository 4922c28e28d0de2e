//! Signatures as they are posted: read, checked against their documents, given to the desk, answered one by one.

use super::super::error::{ApiError, Code};
use super::{Door, words};
use crate::domain::signing::{
    DOCUMENTS_OF_A_PAGE_MAX, SignedDocument, SigningRefusal, SigningTask, TaskState,
};
use crate::domain::subject_pattern::SubjectPatterns;
use crate::domain::{FileDigest, SagaId, SignerText};
use crate::providers::cms::{self, CmsError, Wanted};
use crate::providers::spool_io::FileSource;
use actix_web::web;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;

/// What certificates, attributes and a time stamp add to a signature at most.
const CMS_OVERHEAD_BYTES: u64 = 256 * 1024;

/// The body of `POST /sign/{token}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// One signature for each document.
    pub documents: Vec<SentSignature>,
}

/// One signature.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentSignature {
    /// The document's id.
    pub document: String,
    /// Which unit was signed.
    pub unit: u32,
    /// PEM or Base64, as the signing agent gave it.
    pub cms: String,
}

impl std::fmt::Debug for SentSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentSignature").field("document", &self.document).finish_non_exhaustive()
    }
}

impl Submission {
    /// Reads the body.
    ///
    /// # Errors
    /// [`Code::Unreadable`] for other JSON, for none, for nobody's and for too many signatures.
    pub fn read(body: &[u8]) -> Result<Self, Code> {
        let submission: Self = serde_json::from_slice(body).map_err(|_| Code::Unreadable)?;
        match submission.documents.len() {
            1..=DOCUMENTS_OF_A_PAGE_MAX => Ok(submission),
            _ => Err(Code::Unreadable),
        }
    }
}

/// The answer to a submission: one row for each signature, in the same order.
#[derive(Debug, Serialize)]
pub struct SubmissionAnswer {
    /// The rows.
    pub documents: Vec<DocumentAnswer>,
}

/// What became of one signature.
#[derive(Debug, Serialize)]
pub struct DocumentAnswer {
    /// The document's id, as it was sent.
    pub document: String,
    /// Whether the signature is stored.
    pub accepted: bool,
    /// Whether it had been stored before.
    pub repeated: bool,
    /// Why it is not: a stable name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The same for the signer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<SignerText>,
}

impl DocumentAnswer {
    fn accepted(document: String, repeated: bool) -> Self {
        Self { document, accepted: true, repeated, code: None, message: None }
    }
    fn refused(document: String, why: &Unfit) -> Self {
        let (code, message) = match why {
            Unfit::Cms(error) => (error.code(), error.words()),
            Unfit::Refused(refusal) => (words::refusal_code(*refusal), words::refusal(*refusal)),
        };
        Self { document, accepted: false, repeated: false, code: Some(code), message: Some(message) }
    }
}

/// Why a signature is not given to the desk.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It does not fit.
    Cms(CmsError),
    /// The document does not want it.
    Refused(SigningRefusal),
}

/// What a look at a signature has come to.
#[derive(Debug)]
pub(super) enum Looked {
    /// It fits, and has to be stored.
    Fits(Box<SignedDocument>),
    /// It is the one that is stored already.
    Stored,
}

/// Checks every signature and stores those that fit.
pub(super) async fn take(
    door: &Door,
    token: &str,
    tasks: &[SigningTask],
    sent: Submission,
) -> SubmissionAnswer {
    let mut rows = Vec::with_capacity(sent.documents.len());
    let mut fitting = Vec::new();
    for SentSignature { document, unit, cms } in sent.documents {
        let looked = match task_of(tasks, &document, unit) {
            Some(task) => look(door, task, cms.into_bytes()).await,
            None => Err(Unfit::Refused(SigningRefusal::Unknown)),
        };
        rows.push(match looked {
            Ok(Looked::Fits(signed)) => {
                fitting.push((rows.len(), *signed));
                DocumentAnswer::accepted(document, false)
            }
            Ok(Looked::Stored) => DocumentAnswer::accepted(document, true),
            Err(why) => DocumentAnswer::refused(document, &why),
        });
    }
    store(door, token, fitting, &mut rows).await;
    SubmissionAnswer { documents: rows }
}

fn task_of<'t>(tasks: &'t [SigningTask], document: &str, unit: u32) -> Option<&'t SigningTask> {
    let id: SagaId = document.parse().ok()?;
    tasks.iter().find(|task| task.unit.document == id && task.unit.number == unit)
}

/// Gives what fits to the desk in one piece; its answers come in the same order.
async fn store(door: &Door, token: &str, fitting: Vec<(usize, SignedDocument)>, rows: &mut [DocumentAnswer]) {
    if fitting.is_empty() {
        return;
    }
    let (places, signed): (Vec<usize>, Vec<SignedDocument>) = fitting.into_iter().unzip();
    let mut answers = door.desk.submit(token, signed).await.into_iter();
    for place in places {
        // a desk that answers for fewer has stored we know not what: the page repeats
        let answer = answers.next().map_or(Err(SigningRefusal::Busy), |(_, answer)| answer);
        let row = &mut rows[place];
        match answer {
            Ok(accepted) => row.repeated = accepted.repeated,
            Err(refusal) => {
                let document = std::mem::take(&mut row.document);
                *row = DocumentAnswer::refused(document, &Unfit::Refused(refusal));
            }
        }
    }
}

/// Checks one signature against its document, off the threads that serve.
pub(super) async fn look(door: &Door, task: &SigningTask, sent: Vec<u8>) -> Result<Looked, Unfit> {
    let source = door.desk.content(task).await.map_err(|error| {
        tracing::warn!(saga.id = %task.unit.document, %error, "the content that was signed cannot be read");
        Unfit::Refused(SigningRefusal::Busy)
    })?;
    let task = task.clone();
    let patterns = door.settings.patterns.clone();
    let document = task.unit.document;
    let looked = web::block(move || look_at(&task, &source, &patterns, &sent)).await;
    // the pool is gone only when the service stops
    let looked = looked.unwrap_or(Err(Unfit::Refused(SigningRefusal::Busy)));
    match &looked {
        Ok(Looked::Fits(signed)) => {
            let evidence = &signed.evidence;
            tracing::info!(
                saga.id = %document,
                cms = %signed.digest.to_hex(),
                certificate = evidence.serial_hex,
                digest_checked = evidence.digest_checked,
                signature_checked = evidence.signature_checked,
                "a signature has passed the checks"
            );
        }
        Ok(Looked::Stored) => tracing::debug!(saga.id = %document, "the stored signature came again"),
        Err(Unfit::Cms(error)) => {
            tracing::warn!(saga.id = %document, code = error.code(), %error, "a signature was refused");
        }
        Err(Unfit::Refused(refusal)) => {
            tracing::warn!(saga.id = %document, code = words::refusal_code(*refusal), "a signature was refused");
        }
    }
    looked
}

fn look_at(
    task: &SigningTask,
    source: &FileSource,
    patterns: &SubjectPatterns,
    sent: &[u8],
) -> Result<Looked, Unfit> {
    let bytes_max = task.unit.content.size_bytes.saturating_add(CMS_OVERHEAD_BYTES);
    let bytes = cms::decode(sent, bytes_max).map_err(Unfit::Cms)?;
    match task.state {
        TaskState::Open => {}
        TaskState::Signed { by_cms } if by_cms == FileDigest(Sha256::digest(&bytes).into()) => {
            return Ok(Looked::Stored);
        }
        TaskState::Signed { .. } => return Err(Unfit::Refused(SigningRefusal::AlreadySigned)),
    }
    let wanted = Wanted { encapsulation: task.encapsulate, signer: &task.signer, patterns };
    let mut content = File::open(&source.path).map_err(|error| Unfit::Cms(CmsError::Content(error)))?;
    let checked = cms::check(&bytes, &wanted, &mut content).map_err(Unfit::Cms)?;
    Ok(Looked::Fits(Box::new(SignedDocument::new(&task.unit, bytes, checked.evidence))))
}

/// The same refusals as an operator is told them.
impl From<Unfit> for ApiError {
    fn from(why: Unfit) -> Self {
        let (code, words) = match &why {
            Unfit::Cms(CmsError::Content(_)) => (Code::Unavailable, None),
            Unfit::Cms(CmsError::TooLarge { .. }) => (Code::TooLarge, None),
            Unfit::Cms(error) => (Code::InvalidRequest, Some(error.words())),
            Unfit::Refused(SigningRefusal::Unknown) => (Code::DocumentNotFound, None),
            Unfit::Refused(SigningRefusal::Busy) => (Code::Unavailable, None),
            Unfit::Refused(refusal) => (Code::Rejected, Some(words::refusal(*refusal))),
        };
        words.map_or_else(
            || Self::new(code),
            |words| Self::with(code, crate::domain::Text::new(words.ru, words.en)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_of_a_submission_is_read() {
        let one = r#"{"document":"0198f00d-dead-beef-0123-456789abcdef","unit":1,"cms":"MII="}"#;
        assert_eq!(
            Submission::read(format!(r#"{{"documents":[{one}]}}"#).as_bytes()).unwrap().documents.len(),
            1
        );
        let many = vec![one; DOCUMENTS_OF_A_PAGE_MAX + 1].join(",");
        for bad in [
            String::new(),
            "[]".into(),
            r#"{"documents":[]}"#.into(),
            format!(r#"{{"documents":[{many}]}}"#),
            format!(r#"{{"documents":[{one}],"more":1}}"#),
            format!(r#"{{"documents":[{one}],"documents":[{one}]}}"#),
            format!(r#"{{"documents":[{one}]}} x"#),
            r#"{"documents":[{"document":"x","unit":-1,"cms":""}]}"#.into(),
        ] {
            assert!(Submission::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_signature_is_printed() {
        let sent = SentSignature { document: "d".into(), unit: 1, cms: "MIISECRET".into() };
        assert!(!format!("{sent:?}").contains("SECRET"));
    }
}
