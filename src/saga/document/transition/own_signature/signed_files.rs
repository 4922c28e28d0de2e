//! The two signed files: the print form for people, the archive of original and signatures for evidence.

use super::super::super::own_signature::{OwnSignature, SignedPart};
use super::super::super::state::{DocumentSaga, Step};
use super::super::{Context, Draft, IllegalEvent};
use crate::domain::{SpoolFile, Text};

impl Draft<'_> {
    pub(super) fn print_form(&mut self, file: Option<SpoolFile>) -> Result<(), IllegalEvent> {
        self.settled();
        self.saga().signed = file;
        match file {
            Some(bytes) => {
                let (size, digest) = (bytes.size_bytes, bytes.digest.to_hex());
                self.note(
                    "signed_fetched",
                    format!("Печатная форма получена, {size} байт, SHA-256 {digest}"),
                    format!("The print form was fetched, {size} bytes, SHA-256 {digest}"),
                );
            }
            None => self.note(
                "no_print_form",
                "Печатной формы у iDocs нет: берём архив",
                "iDocs has no print form: the archive is taken",
            ),
        }
        self.go(Step::FetchArchive)
    }

    pub(super) fn archive(&mut self, file: Option<SpoolFile>) -> Result<(), IllegalEvent> {
        self.settled();
        let file = file.filter(|file| !self.is_our_own_file(*file));
        let has_print_form = self.next.saga.signed.is_some();
        match file {
            Some(bytes) => {
                let (size, digest) = (bytes.size_bytes, bytes.digest.to_hex());
                self.note(
                    "archive_fetched",
                    format!("Архив с оригиналом и подписями получен, {size} байт, SHA-256 {digest}"),
                    format!(
                        "The archive of original and signatures was fetched, {size} bytes, SHA-256 {digest}"
                    ),
                );
            }
            None if has_print_form => self.note(
                "no_archive",
                "Архива у iDocs нет: доставляем только печатную форму",
                "iDocs has no archive: only the print form is delivered",
            ),
            None => {
                self.nothing_to_deliver();
                return Ok(());
            }
        }
        let own = self.own()?;
        own.archive = file;
        own.part = if has_print_form { SignedPart::PrintForm } else { SignedPart::Archive };
        if !has_print_form {
            self.saga().signed = file;
        }
        self.deliver_signed()
    }

    /// What comes back of a document that was sent whole may be no archive but what we sent (not documented): it is
    /// unsigned, and must not lie in the portal as the signed file.
    fn is_our_own_file(&mut self, file: SpoolFile) -> bool {
        let saga = &self.next.saga;
        let same = saga.file.as_ref().is_some_and(|ours| ours.bytes.digest == file.digest);
        if same {
            self.note(
                "file_is_ours",
                "iDocs отдаёт наш же файл без подписей: он не доставляется",
                "iDocs gives our own file without signatures: it is not delivered",
            );
        }
        same
    }

    fn nothing_to_deliver(&mut self) {
        self.enter(Step::FetchSigned);
        self.park(
            "no_signed_file",
            Text::new(
                "Документ подписан, но iDocs не отдаёт ни печатной формы, ни архива.",
                "The document is signed, but iDocs gives neither a print form nor an archive.",
            ),
            Text::new("Повторите позже (retry).", "Retry later."),
            None,
        );
    }

    /// One of the two files lies in its place: is there another one?
    pub(in super::super) fn next_part(&mut self) -> bool {
        let Some(own) = self.next.saga.own.as_deref() else { return false };
        let more =
            own.part == SignedPart::PrintForm && own.archive.is_some() && own.archive_delivered.is_none();
        if more && let Some(own) = self.saga().own.as_deref_mut() {
            own.part = SignedPart::Archive;
        }
        more
    }
}

/// The file that is being delivered.
pub(in super::super) fn file_in_delivery(saga: &DocumentSaga) -> Option<SpoolFile> {
    match saga.own.as_deref() {
        Some(own) if own.part == SignedPart::Archive => own.archive,
        _ => saga.signed,
    }
}

/// The name that the file in delivery should have.
pub(in super::super) fn name_in_delivery(saga: &DocumentSaga, print_form: String, cx: Context<'_>) -> String {
    match saga.own.as_deref() {
        Some(own) if own.part == SignedPart::Archive => {
            let stem = print_form.strip_suffix(".pdf").unwrap_or(&print_form);
            format!("{stem}.{}", archive_end(own, cx))
        }
        _ => print_form,
    }
}

/// The end of the archive's name. Of a document that was sent whole nobody has published what comes back.
pub(in super::super) fn archive_end<'a>(own: &OwnSignature, cx: Context<'a>) -> &'a str {
    if own.is_sent_whole() { &cx.policy.own.whole_file_end } else { "zip" }
}
