//! Where the path of iDocs' events is known: one question for all documents instead of one for each.

use super::play::Play;
use super::support::pdf;
use super::sweep::history_edits;
use edobridge::saga::document::{DocumentSaga, Step};
use edobridge::sandbox::IDocsOptions;

const DOCUMENTS: usize = 3;

#[test]
fn the_events_of_the_account_are_asked_for_once_instead_of_each_documents_status() {
    let mut edits = history_edits();
    for (_, to) in &mut edits {
        // nobody would wait for it, and no webhook comes either
        *to = to.replace("document_poll = \"2s\"", "document_poll = \"6h\"");
    }
    edits.push(("[idocs.webhook]\n", "[idocs.webhook]\nsubscribe = false\n".to_owned()));
    let edits: Vec<(&str, &str)> = edits.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let play = Play::with(IDocsOptions::default(), "", &edits, &[]);
    for n in 0..DOCUMENTS {
        play.put(&format!("contract-{n}.pdf"), pdf(40 + n as u64, 2_000));
    }
    // One link opens all that wait for the same signer.
    let all_at = |step: Step| {
        move |sagas: &[DocumentSaga]| sagas.iter().filter(|s| s.step == step).count() == DOCUMENTS
    };
    play.until("all wait for the director", all_at(Step::AwaitSigner));
    let link = play.link().expect("a link");
    for saga in play.sagas() {
        let heard = play.post(&link, &play.submission(&saga));
        assert!(heard.body.contains("\"accepted\":true"), "{}", heard.body);
    }
    // Nothing else can tell: no webhook comes, and no document is asked by itself for hours.
    play.until("all are delivered", all_at(Step::Delivered));
    // Each change of a status is read about once; polls of each document would read it with every question.
    let calls = play.stage.world.calls();
    let count = |name: &str| calls.get(name).copied().unwrap_or(0) as usize;
    assert!(count("idocs.events") > 0, "{calls:?}");
    let told =
        |outcome: &str| play.metric(&format!("edobridge_idocs_history_total{{outcome=\"{outcome}\"}}"));
    assert!(told("asked") > 0 && told("used") >= 1 && told("used") <= told("asked") * DOCUMENTS as u64);
    assert!((DOCUMENTS..=3 * DOCUMENTS).contains(&count("idocs.status")), "{calls:?}");
}
