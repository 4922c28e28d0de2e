//! The document that our own side signs first: it goes through iDocs, and a scripted signer stands for the person with
//! a key on their own computer.
//!
//! The signature is brought the way 1C brings one; the page with the key is shown by nothing but its link in the notice.
//! Knows what is done and what must come of it, not when. Invariant: the judgement looks at the emulated world alone.

use super::scenario::{Planned, SUFFIX, split};
use super::verdict::Check;
use super::watch::{Line, line_of};
use crate::domain::{FileDigest, Text};
use crate::saga::document::Step;
use crate::sandbox::idocs::{Company, Employee, IDocsDocument};
use crate::sandbox::views::FileView;
use crate::sandbox::{ScriptedSigner, World, WorldError};
use sha2::{Digest as _, Sha256};

/// What a link to the signing page has in it.
const LINK: &str = "/sign/";

/// The document and who signs it.
pub struct OwnSignature {
    planned: Planned,
    folder: u64,
    file: u64,
    signer: ScriptedSigner,
}

impl OwnSignature {
    /// A person puts the file into the folder.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn enter(world: &World, folder: u64, planned: Planned) -> Result<Self, WorldError> {
        let file = world.add_file(folder, &planned.name, planned.bytes.clone())?;
        let signer = ScriptedSigner::new(&Employee::director().iin, &Company::default().bin);
        Ok(Self { planned, folder, file, signer })
    }

    /// Name of the file.
    pub fn name(&self) -> &str {
        &self.planned.name
    }

    /// What edobridge says of it.
    pub fn line<'a>(&self, lines: &'a [Line]) -> Option<&'a Line> {
        line_of(lines, &self.planned, self.file)
    }

    /// The signature, once it is asked for: edobridge's id of the document, and the CMS.
    pub fn asked(&self, lines: &[Line], world: &World) -> Option<(String, Vec<u8>)> {
        let line = self.line(lines).filter(|line| line.step() == Some(Step::AwaitSigner))?;
        let told = world.all_notices().iter().any(|n| self.is_named_in(&n.text) && n.text.contains(LINK));
        let document = world.idocs().documents.into_iter().find(|_| told)?;
        let content = world.idocs_content(&document.id)?;
        Some((line.id.clone(), self.signer.sign_attached(&content)))
    }

    /// Whether a notice speaks of it.
    pub fn is_named_in(&self, text: &str) -> bool {
        text.contains(&self.planned.name)
    }

    /// Everything that must have come of it.
    pub fn judge(&self, world: &World) -> Vec<Check> {
        let idocs = world.idocs();
        let document = match &idocs.documents[..] {
            [only] => Some(only),
            _ => None,
        };
        let print_form = document.and_then(|d| d.print_form_sha256);
        let archive = document.and_then(|d| d.archive_sha256);
        let files = world.files(self.folder);
        vec![
            check(
                "idocs_one_document",
                document.is_some_and(|d| d.routes == 1 && d.is_sent()),
                ("iDocs: документ один, контрагенту ушёл один раз", "iDocs: one document, sent once"),
                (
                    "iDocs: документов не один, или он ушёл не один раз",
                    "iDocs: not one document, or not sent once",
                ),
            ),
            check(
                "idocs_same_bytes",
                document.is_some_and(|d| d.files.iter().all(|file| file.sha256 == self.planned.sha256)),
                ("iDocs получил те же байты", "iDocs got the same bytes"),
                ("iDocs получил не те байты", "iDocs did not get the same bytes"),
            ),
            check(
                "idocs_both_signed",
                document.is_some_and(|d| d.status == "FINISHED" && signed_what_was_given(d, world)),
                ("iDocs: подписали мы и контрагент", "iDocs: we signed, and the counterparty"),
                ("iDocs: подписан не всеми или не то", "iDocs: not signed by all, or something else was"),
            ),
            check(
                "idocs_delivered",
                files.len() == 3
                    && self.holds(&files, "pdf", print_form)
                    && self.holds(&files, "zip", archive),
                ("печатная форма и архив iDocs в папке", "print form and archive of iDocs are in the folder"),
                ("печатная форма или архив iDocs не те", "print form or archive of iDocs are not right"),
            ),
            check(
                "idocs_told",
                // A link that died with the process is followed by another one.
                matches!(self.notices(world), (1.., 1)),
                ("нас попросили подписать и один раз известили", "we were asked to sign and told once"),
                (
                    "нас не попросили подписать или известили не один раз",
                    "we were not asked to sign, or not told once",
                ),
            ),
        ]
    }

    fn holds(&self, files: &[FileView], extension: &str, digest: Option<FileDigest>) -> bool {
        let name = format!("{}{SUFFIX}.{extension}", split(&self.planned.name).0);
        files.iter().any(|file| file.name == name && Some(file.sha256) == digest)
    }

    /// Requests to sign, and other notices.
    fn notices(&self, world: &World) -> (usize, usize) {
        let notices = world.all_notices().into_iter().filter(|n| self.is_named_in(&n.text));
        let (requests, others): (Vec<_>, Vec<_>) = notices.partition(|n| n.text.contains(LINK));
        (requests.len(), others.len())
    }
}

/// The signature that iDocs holds is over the content that it gave.
fn signed_what_was_given(document: &IDocsDocument, world: &World) -> bool {
    let given = world.idocs_content(&document.id).map(|bytes| FileDigest(Sha256::digest(&bytes).into()));
    given.is_some() && document.signature.as_ref().map(|signature| signature.content_sha256) == given
}

fn check(code: &'static str, right: bool, yes: (&str, &str), no: (&str, &str)) -> Check {
    let (ru, en) = if right { yes } else { no };
    Check { code, right, seen: Text::new(ru, en) }
}

/// One line for the result.
pub fn summary(name: &str, checks: &[Check]) -> Text {
    if checks.iter().all(|check| check.right) {
        return Text::new(
            format!(
                "iDocs: «{name}» подписали сначала мы, потом контрагент; печатная форма и архив с подписями в папке."
            ),
            format!(
                "iDocs: \"{name}\" was signed by us first and then by the counterparty; print form and archive are in the folder."
            ),
        );
    }
    Text::new(
        format!("iDocs: «{name}» закончил неверно, см. выше."),
        format!("iDocs: \"{name}\" did not end right, see above."),
    )
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Kill, Scenario};
    use super::*;
    use crate::domain::Language;
    use crate::sandbox::{Sandbox, SandboxOptions};
    use std::time::Duration;

    #[tokio::test]
    async fn a_document_that_nobody_signed_is_judged_wrong_in_every_respect() {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let world = sandbox.world();
        let scenario = Scenario::default_set(Kill::Never, Duration::ZERO, Language::Ru);
        let planned = scenario.own_signature.unwrap();
        let act = OwnSignature::enter(&world, world.root_folder(), planned).unwrap();
        let checks = act.judge(&world);
        assert!(checks.iter().all(|check| !check.right), "{checks:?}");
        assert!(act.asked(&[], &world).is_none());
        sandbox.stop().await;
    }
}
