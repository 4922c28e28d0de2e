//! `documents sign-link`: a link for a signer without a user in the portal, handed on by the operator.

use super::play::Play;
use super::support::{Binary, pdf, wait_for};
use edobridge::actors::OperateError;
use edobridge::saga::document::Step;
use edobridge::sandbox::IDocsOptions;
use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn edobridge(play: &Play, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(args)
        .arg("--config")
        .arg(&play.stage.config_path)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// The document in this step, by the verb that lists them.
fn listed(play: &Play, step: &str) -> Option<String> {
    let output = edobridge(play, &["documents", "list", "--json", "--step", step]);
    json(&output)["items"][0]["id"].as_str().map(str::to_owned)
}

#[test]
fn an_operator_hands_a_link_to_a_signer_without_a_user_and_the_history_says_who_asked() {
    let play = Play::stopped(IDocsOptions::default(), "", &[("bitrix_user = ", "# no user: ")]);
    let binary = Binary::start(&play.stage);
    play.put("contract.pdf", pdf(60, 2_000));
    let mut id = None;
    wait_for("it waits for the signer", || {
        id = listed(&play, "await_signer");
        id.is_some()
    });
    let id = id.expect("found");
    assert!(play.link().is_none(), "nobody was sent a link");
    let output = edobridge(&play, &["documents", "sign-link", &id, "--json", "--asked-by", "Анна [b]"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let answer = json(&output);
    let url = answer["url"].as_str().expect("a link").to_owned();
    let path = url[url.find("/sign/").expect("of the page")..].to_owned();
    let token = path.trim_start_matches("/sign/").to_owned();
    assert_eq!(
        (answer["name"].as_str(), answer["signer"].as_str()),
        (Some("contract.pdf"), Some("Директор"))
    );
    let plain = edobridge(&play, &["documents", "sign-link", &id]);
    assert!(String::from_utf8_lossy(&plain.stdout).trim().contains("/sign/"), "{}", said(&plain));

    // The link works, the history says who asked, and nothing holds the link itself.
    let page = play.get(&path);
    assert_eq!(page.status, 200, "{}", page.body);
    let card = edobridge(&play, &["documents", "show", &id, "--json"]);
    let history = json(&card)["history"].to_string();
    assert!(history.contains("link_given") && history.contains("Анна ［b］"), "{history}");
    assert!(!said(&card).contains(&token), "the history holds the link");
    let log = std::fs::read_to_string(&binary.log).expect("the log is there");
    assert!(log.contains("Анна") && !log.contains(&token), "the log holds the link");

    assert!(play.director_tries_at(&path), "the signature is taken");
    wait_for("it is sent", || play.documents().iter().any(|document| document.is_sent()));
    let late = edobridge(&play, &["documents", "sign-link", &id]);
    assert_eq!(late.status.code(), Some(1), "{}", said(&late));
    assert!(said(&late).contains("не ждёт нашей подписи"), "{}", said(&late));
    let unknown = "0198f00d-dead-beef-0123-456789abcdef";
    let nobody = edobridge(&play, &["documents", "sign-link", unknown]);
    assert_eq!(nobody.status.code(), Some(1), "{}", said(&nobody));
    let nameless = edobridge(&play, &["documents", "sign-link", &id, "--asked-by", " "]);
    assert_ne!(nameless.status.code(), Some(0), "{}", said(&nameless));
}

#[test]
fn a_content_that_has_expired_gives_no_link() {
    let play = Play::new(IDocsOptions { unit_life_ms: 2_000, ..IDocsOptions::default() }, "");
    play.put("contract.pdf", pdf(61, 2_000));
    let id = play.waiting().id;
    let service = play.service.as_ref().expect("it runs");
    let mut words = String::new();
    wait_for("the content has expired", || {
        let asked = service.ask(|engine| async move { engine.sign_link(id, "test").await });
        if let Err(OperateError::Rejected(text)) = asked {
            words = text.ru;
        }
        !words.is_empty()
    });
    assert!(words.contains("истёк"), "{words}");
    assert!(play.sagas().iter().all(|saga| saga.step == Step::AwaitSigner), "nothing else has changed");
}
