//! What a browser, a program and a stranger get.

use crate::exchange::{Answer, exchange};
use crate::pki::{ATTACHED, DETACHED, people};
use crate::site::{Site, TOKEN, Wishes};
use crate::support::wait_for;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use edobridge::domain::signing::{Encapsulation, SigningTask};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;

const CONTENT: &[u8] = b"%PDF-1.4 what is to be signed";

fn body(task: &SigningTask, cms: &[u8]) -> Value {
    json!({ "documents": [{
        "document": task.unit.document.to_string(),
        "unit": task.unit.number,
        "cms": BASE64_STANDARD.encode(cms),
    }] })
}

fn one_site() -> (Site, SigningTask, String) {
    let site = Site::start(&Wishes::default());
    let (task, token) = site.desk.add("Договор <b>№ 7</b>.pdf", CONTENT, Encapsulation::Attached);
    (site, task, token)
}

#[track_caller]
fn row(answer: &Answer, n: usize) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["documents"][n].clone()
}

#[test]
fn the_page_tells_what_is_signed_and_may_do_next_to_nothing() {
    let (site, task, token) = one_site();
    let answer = site.get(&format!("/sign/{token}"), &[("Accept-Language", "ru")]);
    assert_eq!(answer.status, 200);
    for (name, want) in [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Language", "ru"),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' wss://127.0.0.1:13579; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(answer.header(name), Some(want), "{name}");
    }
    let page = answer.text();
    let digest = task.unit.content.digest.to_hex();
    for part in
        ["Договор &lt;b&gt;№ 7&lt;/b&gt;.pdf", "B24-9043", "ТОО «Ромашка»", "Айгуль Серикова", &digest]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("<b>№"), "a name is text");
    assert!(!page.contains("<style") && !page.contains("onclick"), "nothing inline: the policy forbids it");
}

#[test]
fn the_page_speaks_three_languages() {
    let (site, _, token) = one_site();
    for (query, header, code, word) in [
        ("", "kk-KZ,ru;q=0.5", "kk", "Құжатқа қол қою"),
        ("?lang=en", "kk", "en", "Signing a document"),
        ("", "fr", "ru", "Подписание документа"),
    ] {
        let answer = site.get(&format!("/sign/{token}{query}"), &[("Accept-Language", header)]);
        assert!(answer.text().contains(&format!("<html lang=\"{code}\">")), "{code}");
        assert!(answer.text().contains(word), "{word}");
        assert_eq!(answer.header("Content-Language"), Some(code));
    }
}

#[test]
fn the_file_is_a_download_of_no_type_and_the_bytes_are_those_that_are_signed() {
    let (site, task, token) = one_site();
    let answer = site.get(&format!("/sign/{token}/content/{}", task.unit.document), &[]);
    assert_eq!((answer.status, answer.body.as_slice()), (200, CONTENT));
    assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    let disposition = answer.header("Content-Disposition").unwrap();
    assert!(disposition.starts_with("attachment;") && disposition.contains("UTF-8''%D0%94"), "{disposition}");
}

#[test]
fn scripts_and_style_are_ours_and_asked_for_anew_each_time() {
    let site = Site::start(&Wishes::default());
    for (name, kind) in [
        ("page.js", "text/javascript; charset=utf-8"),
        ("agent.js", "text/javascript; charset=utf-8"),
        ("words.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
    ] {
        let answer = site.get(&format!("/sign/assets/{name}"), &[]);
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some(kind)));
        let tag = answer.header("ETag").unwrap().to_owned();
        assert_eq!(answer.header("Cache-Control"), Some("no-cache"));
        assert_eq!(site.get(&format!("/sign/assets/{name}"), &[("If-None-Match", &tag)]).status, 304);
    }
    assert_eq!(site.get("/sign/assets/secret.txt", &[]).status, 404);
}

#[test]
fn a_signature_is_stored_once_and_its_repeat_is_answered_alike() {
    let (site, task, token) = one_site();
    let cms = people().aigul.sign(CONTENT, ATTACHED);
    let path = format!("/sign/{token}");
    let first = row(&site.post(&path, &body(&task, &cms)), 0);
    assert_eq!((first["accepted"].as_bool(), first["repeated"].as_bool()), (Some(true), Some(false)));
    let again = row(&site.post(&path, &body(&task, &cms)), 0);
    assert_eq!((again["accepted"].as_bool(), again["repeated"].as_bool()), (Some(true), Some(true)));
    let stored = site.desk.stored();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].document, stored[0].number, &stored[0].cms), (task.unit.document, 1, &cms));
    assert!(stored[0].evidence.signature_checked && stored[0].evidence.digest_checked);
    // another tab, another signature of the same person: the first one wins
    let other = people().on_p256.sign(CONTENT, ATTACHED);
    let refused = row(&site.post(&path, &body(&task, &other)), 0);
    assert_eq!(
        (refused["accepted"].as_bool(), refused["code"].as_str()),
        (Some(false), Some("already_signed"))
    );
    assert_eq!(site.desk.stored().len(), 1);
    assert!(site.get(&path, &[("Accept-Language", "en")]).text().contains("The document is signed"));
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason_in_three_languages_and_nothing_is_stored() {
    let (site, task, token) = one_site();
    let people = people();
    for (cms, code) in [
        (people.aigul.sign(b"something else", ATTACHED), "foreign_content"),
        (people.aigul.sign(CONTENT, DETACHED), "content_missing"),
        (people.stranger.sign(CONTENT, ATTACHED), "wrong_signer"),
        (b"no signature at all".to_vec(), "not_cms"),
        (vec![0x30; 600 * 1024], "too_large"),
    ] {
        let row = row(&site.post(&format!("/sign/{token}"), &body(&task, &cms)), 0);
        assert_eq!((row["accepted"].as_bool(), row["code"].as_str()), (Some(false), Some(code)), "{row}");
        for language in ["ru", "kk", "en"] {
            assert!(row["message"][language].as_str().is_some_and(|text| text.ends_with('.')), "{row}");
        }
    }
    assert!(site.desk.stored().is_empty());
}

#[test]
fn several_documents_are_answered_one_by_one() {
    let site = Site::start(&Wishes::default());
    let (first, token) = site.desk.add("1.pdf", b"one", Encapsulation::Attached);
    let (second, _) = site.desk.add("2.pdf", b"two", Encapsulation::Detached);
    let signed = people().aigul.sign(b"one", ATTACHED);
    let wrong = people().aigul.sign(b"not two", DETACHED);
    let right = people().aigul.sign(b"two", DETACHED);
    let both = |cms: &[u8]| {
        let mut all = body(&first, &signed);
        all["documents"].as_array_mut().unwrap().push(body(&second, cms)["documents"][0].clone());
        all
    };
    let answer = site.post(&format!("/sign/{token}"), &both(&wrong));
    assert_eq!(row(&answer, 0)["accepted"], true);
    assert_eq!(row(&answer, 1)["code"], "foreign_content");
    let answer = site.post(&format!("/sign/{token}"), &both(&right));
    assert_eq!(
        (row(&answer, 0)["repeated"].as_bool(), row(&answer, 1)["accepted"].as_bool()),
        (Some(true), Some(true))
    );
    assert_eq!(site.desk.stored().len(), 2);
}

#[test]
fn a_link_opens_its_own_signers_documents_and_no_others() {
    let (site, task, token) = one_site();
    let (foreign, _) = site.desk.add("secret.pdf", b"another signer's", Encapsulation::Attached);
    site.desk.change(foreign.unit.document, |task| task.signer_name = "Другой".into());
    assert!(!site.get(&format!("/sign/{token}"), &[]).text().contains("secret.pdf"));
    let path = format!("/sign/{token}/content/{}", foreign.unit.document);
    assert_eq!(site.get(&path, &[]).status, 404);
    let cms = people().aigul.sign(b"another signer's", ATTACHED);
    assert_eq!(row(&site.post(&format!("/sign/{token}"), &body(&foreign, &cms)), 0)["code"], "unknown");
    // another unit of the same document is another thing to sign
    let mut other_unit = task.clone();
    other_unit.unit.number = 2;
    let cms = people().aigul.sign(CONTENT, ATTACHED);
    assert_eq!(row(&site.post(&format!("/sign/{token}"), &body(&other_unit, &cms)), 0)["code"], "unknown");
    assert!(site.desk.stored().is_empty());
}

#[test]
fn every_wrong_link_gets_the_same_page() {
    let (site, task, token) = one_site();
    let forged = format!("{}{}", &token[..token.len() - 4], "AAAA");
    let pages: Vec<String> = ["x", "..%2f", &forged, &"A".repeat(59), &"A".repeat(5_000)]
        .iter()
        .map(|token| {
            let answer = site.get(&format!("/sign/{token}"), &[("Accept-Language", "ru")]);
            assert_eq!(answer.status, 404, "{token}");
            answer.text().to_owned()
        })
        .collect();
    assert!(pages.iter().all(|page| page == &pages[0]), "a wrong link tells nothing");
    assert!(pages[0].contains("Такой ссылки нет") && !pages[0].contains("B24-"));
    for path in ["", "/renew"] {
        let answer = site.post(&format!("/sign/{forged}{path}"), &body(&task, b"x"));
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("unknown")), "{path}");
    }
    // a new unit is made: the old link dies
    site.desk.change(task.unit.document, |task| task.unit.number = 2);
    assert_eq!(site.get(&format!("/sign/{token}"), &[]).status, 404);
    site.desk.forget_all();
    assert_eq!(site.get(&format!("/sign/{token}"), &[]).status, 404);
}

#[test]
fn a_link_that_is_over_says_so_and_a_new_one_can_be_asked_for() {
    let (site, task, token) = one_site();
    site.desk.after_the_link();
    let answer = site.get(&format!("/sign/{token}"), &[("Accept-Language", "kk")]);
    assert_eq!(answer.status, 410);
    let page = answer.text();
    assert!(page.contains("Сілтеменің мерзімі өтті") && page.contains("id=\"renew\""), "{page}");
    assert!(
        !page.contains("B24-9043") && !page.contains("Ромашка"),
        "nothing of the document is told any more"
    );
    let refused = site.post(&format!("/sign/{token}"), &body(&task, &people().aigul.sign(CONTENT, ATTACHED)));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (410, Some("expired")));
    assert_eq!(site.get(&format!("/sign/{token}/content/{}", task.unit.document), &[]).status, 410);
    let sent = site.post(&format!("/sign/{token}/renew"), &json!({}));
    assert_eq!((sent.status, sent.json()["sent"].as_bool()), (202, Some(true)));
    assert_eq!(site.desk.renewed(), [task.unit.document]);
    site.desk.forget_user();
    let noted = site.post(&format!("/sign/{token}/renew"), &json!({}));
    assert_eq!((noted.status, noted.json()["sent"].as_bool()), (202, Some(false)), "nobody is sent it");
    assert!(site.desk.stored().is_empty());
}

#[test]
fn a_desk_that_is_busy_is_said_to_be_and_may_be_asked_again() {
    let (site, task, token) = one_site();
    site.desk.set_busy(true);
    let cms = people().aigul.sign(CONTENT, ATTACHED);
    let answer = site.post(&format!("/sign/{token}"), &body(&task, &cms));
    assert_eq!((answer.status, answer.header("Retry-After").is_some()), (503, true));
    assert_eq!(site.get(&format!("/sign/{token}"), &[]).status, 503);
    site.desk.set_busy(false);
    assert_eq!(row(&site.post(&format!("/sign/{token}"), &body(&task, &cms)), 0)["accepted"], true);
}

#[test]
fn what_is_too_large_of_another_type_or_unreadable_is_refused_and_counted() {
    let site = Site::start(&Wishes { body_bytes_max: 20_000, ..Wishes::default() });
    let (_, token) = site.desk.add("1.pdf", CONTENT, Encapsulation::Attached);
    let path = format!("/sign/{token}");
    let send = |kind: &str, body: &[u8]| {
        exchange(site.address, "POST", &path, &[("Content-Type", kind)], body).status
    };
    assert_eq!(send("application/json", &vec![b' '; 20_001]), 413);
    assert_eq!(send("text/plain", b"{}"), 415, "a form of another site may send this type");
    assert_eq!(send("application/json", b"{}"), 400);
    assert_eq!(send("application/json", br#"{"documents":[]}"#), 400);
    assert_eq!(exchange(site.address, "DELETE", &path, &[], b"").status, 405);
    let text = site.metrics.encode();
    for reason in ["oversized", "media_type"] {
        let line = format!("source=\"signing_page\",reason=\"{reason}\"}} 1");
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.contains(r#"route="/sign/{token}""#) && !text.contains(&token), "no token is a label");
}

/// Slow senders of large bodies take the room; nobody else's memory is at their mercy, and the room comes back.
#[test]
fn large_bodies_have_room_for_a_few_at_one_time() {
    let site = Site::start(&Wishes { body_bytes_max: 100_000, ..Wishes::default() });
    let (task, token) = site.desk.add("1.pdf", CONTENT, Encapsulation::Attached);
    let path = format!("/sign/{token}");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{"
    );
    let slow: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(site.address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let post = || site.post(&path, &body(&task, b"no signature"));
    wait_for("the room is taken", || post().status == 503);
    assert!(post().header("Retry-After").is_some());
    drop(slow);
    wait_for("the room is free again", || post().status == 200);
}

#[test]
fn one_source_may_post_so_often_and_not_more() {
    let site = Site::start(&Wishes { posts_per_minute: 3, ..Wishes::default() });
    let (task, token) = site.desk.add("1.pdf", CONTENT, Encapsulation::Attached);
    let statuses: Vec<u16> =
        (0..5).map(|_| site.post(&format!("/sign/{token}"), &body(&task, b"no signature")).status).collect();
    assert_eq!(&statuses[..3], [200; 3]);
    let refused = site.post(&format!("/sign/{token}"), &body(&task, b"no signature"));
    // on a slow machine the quota may fill up by one meanwhile, never by all
    assert!(statuses[3..].contains(&429) || refused.status == 429, "{statuses:?}");
    assert_eq!(site.get(&format!("/sign/{token}"), &[]).status, 200, "looking has a quota of its own");
}

#[test]
fn a_signature_made_elsewhere_comes_with_the_operators_token_only() {
    let (site, task, _) = one_site();
    let path = format!("/api/v1/documents/{}/signature", task.unit.document);
    let bearer = format!("Bearer {TOKEN}");
    let send = |path: &str, token: &str, body: &[u8]| {
        let headers = [("Authorization", token), ("Content-Type", "application/octet-stream")];
        exchange(site.address, "POST", path, &headers, body)
    };
    let cms = people().aigul.sign(CONTENT, ATTACHED);
    assert_eq!(send(&path, "Bearer wrong", &cms).status, 401);
    assert_eq!(send("/api/v1/documents/nonsense/signature", &bearer, &cms).status, 404);
    let refused = send(&path, &bearer, &people().stranger.sign(CONTENT, ATTACHED));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("invalid_request")));
    assert!(refused.json()["message"]["ru"].as_str().unwrap().contains("чужой ключ"));
    let pem = format!("-----BEGIN CMS-----\n{}\n-----END CMS-----\n", BASE64_STANDARD.encode(&cms));
    for (sent, repeated) in [(cms.as_slice(), false), (pem.as_bytes(), true)] {
        let answer = send(&path, &bearer, sent);
        assert_eq!(
            (answer.status, answer.json()["repeated"].as_bool()),
            (200, Some(repeated)),
            "{}",
            answer.text()
        );
    }
    let other = people().on_p256.sign(CONTENT, ATTACHED);
    assert_eq!(send(&path, &bearer, &other).status, 409);
    assert_eq!(site.desk.stored().len(), 1);
}

#[test]
fn a_signed_document_takes_the_same_signature_even_when_its_content_is_gone() {
    let (site, task, token) = one_site();
    let cms = people().aigul.sign(CONTENT, ATTACHED);
    let first = row(&site.post(&format!("/sign/{token}"), &body(&task, &cms)), 0);
    assert_eq!(first["accepted"], true);
    site.desk.drop_content(&task);
    let again = row(&site.post(&format!("/sign/{token}"), &body(&task, &cms)), 0);
    assert_eq!(again["repeated"], true);
}
