//! iDocs end to end over real sockets: our director signs by the link in a notice, the counterparty after.
//!
//! The director is a script with a throw-away key; the page is spoken to as a browser would. What the world holds in
//! the end is the judge, not what edobridge says of itself.

mod counts;
mod support;
mod wire;

#[path = "idocs/bulk.rs"]
mod bulk;
#[path = "idocs/crash.rs"]
mod crash;
#[path = "idocs/history.rs"]
mod history;
#[path = "idocs/play.rs"]
mod play;
#[path = "idocs/sign_link.rs"]
mod sign_link;
#[path = "idocs/sweep.rs"]
mod sweep;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::saga::document::Step;
use edobridge::sandbox::signer::ScriptedSigner;
use edobridge::sandbox::{IDocsDocument, IDocsOptions};
use play::Play;
use serde_json::json;
use support::kazakhstan::{OUR_BIN, PATH_SECRET};
use support::{DEAL, pdf, wait_for};

#[test]
fn our_director_signs_by_the_link_the_counterparty_after_and_both_files_come_back() {
    let mut play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(1, 5_000));
    let saga = play.waiting();
    let link = play.link().expect("a link");
    let page = play.get(&link);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("contract.pdf") && page.body.contains("987654321098"), "{}", page.body);
    assert!(page.header("content-security-policy").is_some_and(|csp| csp.contains("default-src 'none'")));
    let content = play.get(&format!("{link}/content/{}", saga.id));
    assert_eq!(content.status, 200);
    // A stranger's key is refused, and so is a signature over something else.
    let mut wrong = play.submission(&saga);
    wrong["documents"][0]["cms"] =
        json!(STANDARD.encode(ScriptedSigner::new("999999999999", OUR_BIN).sign_attached(b"x")));
    let heard = play.post(&link, &wrong);
    assert!(!heard.body.contains("\"accepted\":true"), "{}", heard.body);
    assert!(play.documents().iter().all(|d| !d.is_sent()));
    play.director_signs();
    play.run_to_the_end();
    play.one_of_each("without faults");
    let comments = play.stage.world.comments(DEAL);
    let texts: Vec<&str> = comments.iter().map(|c| c.text.as_str()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("ждёт нашей подписи") && texts[1].contains("ждёт контрагента"), "{texts:?}");
    // The link is used up: it shows that the document is signed, and takes nothing else.
    let late = play.post(&link, &wrong);
    assert!(!late.body.contains("\"accepted\":true"), "{}", late.body);
    let calls = play.stage.world.calls();
    assert_eq!(calls.get("idocs.save"), Some(&1), "{calls:?}");
    assert_eq!(calls.get("idocs.create"), Some(&1), "{calls:?}");
    // The control of every sweep: the judge sees a second copy.
    play.put("contract_signed (1).pdf", pdf(9, 2_000));
    assert!(play.judge().is_err_and(|problem| problem.contains("(1).pdf")));
}

#[test]
fn a_repeated_post_is_answered_as_before_and_another_signature_is_refused() {
    let play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(2, 3_000));
    let saga = play.waiting();
    let link = play.link().expect("a link");
    let submission = play.submission(&saga);
    for _ in 0..3 {
        assert_eq!(play.post(&link, &submission).status, 200);
    }
    let other = play.post(&link, &play.submission(&saga));
    assert!(other.body.contains("already_signed"), "{}", other.body);
    wait_for("it is sent", || play.documents().iter().any(IDocsDocument::is_sent));
    assert_eq!(play.stage.world.calls().get("idocs.save"), Some(&1));
}

#[test]
fn a_refusal_of_the_counterparty_comes_back_with_its_reason() {
    let play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(3, 3_000));
    let saga = play.director_signs();
    let id = saga.provider_document.expect("bound");
    wait_for("it is sent", || play.documents().iter().any(IDocsDocument::is_sent));
    play.stage.world.idocs_refuse(&id, "не та цена").expect("the counterparty refuses");
    wait_for("the refusal is told", || play.sagas().iter().any(|saga| saga.step == Step::Refused));
    let comments = play.stage.world.comments(DEAL);
    assert!(comments.iter().any(|c| c.text.contains("не та цена")), "{comments:?}");
    assert_eq!(play.files(), ["contract.pdf"]);
}

#[test]
fn a_link_dies_with_its_content_and_a_new_one_is_sent_on_request() {
    let options = IDocsOptions { unit_life_ms: 3_000, ..IDocsOptions::default() };
    let mut play = Play::new(options, "");
    play.put("contract.pdf", pdf(4, 3_000));
    let saga = play.waiting();
    let first = play.link().expect("a link");
    let stale = play.submission(&saga);
    wait_for("the link has expired", || play.get(&first).status == 410);
    play.stage.world.set_idocs(IDocsOptions::default());
    assert_ne!(play.post(&first, &stale).status, 200, "an expired link takes nothing");
    // A new link is made at most once a minute: ask until it is granted.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while play.links() < 2 {
        assert!(std::time::Instant::now() < until, "no new link");
        let _ = play.post(&format!("{first}/renew"), &json!({}));
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert_eq!(play.get(&first).status, 404, "the old link is dead");
    play.run_to_the_end();
    play.one_of_each("after a renewal");
}

#[test]
fn hints_of_the_service_spare_the_wait_for_the_next_poll() {
    let mut play = Play::new(IDocsOptions::default(), "");
    play.stage.world.set_idocs_subscription(
        url::Url::parse(&format!("http://{}/idocs/callback/{PATH_SECRET}", play.stage.public)).ok(),
    );
    play.put("contract.pdf", pdf(5, 3_000));
    play.director_signs();
    play.run_to_the_end();
    play.one_of_each("with hints");
    let wrong = play.post("/idocs/callback/0000", &json!({}));
    assert_eq!(wrong.status, 404);
}

#[test]
fn what_is_given_to_sign_must_hold_what_was_sent() {
    let play = Play::new(IDocsOptions::default(), "");
    play.put("contract.pdf", pdf(6, 3_000));
    let saga = play.waiting();
    let history = |play: &Play| {
        let id = saga.id;
        let service = play.service.as_ref().expect("it runs");
        let lines = service.ask(|engine| async move { engine.store().history(id, 100).await });
        lines.expect("the history").into_iter().map(|line| line.what).collect::<Vec<_>>()
    };
    assert!(history(&play).contains(&"content_ready".to_owned()), "{:?}", history(&play));
}
