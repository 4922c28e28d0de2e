//! Everything that strangers send, mutated: nothing panics, nothing takes long, nothing means two things.
//!
//! Mutation from a kept corpus (`tests/data/fuzz` and the samples of the references), from one printed seed. An input
//! that behaves in a new way joins the pool, so that the search goes deeper than one step from the samples. A failing
//! input is written to a file and printed; put it into `tests/data/fuzz/<target>`, where it is replayed first for ever.
//!
//! `EDOBRIDGE_FUZZ_RUNS` (inputs per target) and `EDOBRIDGE_FUZZ_SEED` make it a night's work, or a replay.
//!
//! What lies on the disk (records, journal, backups) is mutated in `src/store/fuzz_tests.rs`, where the decoders are.
//! Nothing here reads multipart: edobridge sends it and takes none (the signing page and the API take plain bodies).
//!
//! Not done: search guided by coverage. `cargo fuzz` needs a nightly compiler, and what does without (AFL) brings a
//! driver and a runtime of its own; here an input is kept because its outcome is new, which costs neither.
#![allow(clippy::print_stdout, reason = "the number of runs and the seed are the report")]

mod support;
mod wire;

use edobridge::config::Environment;
use edobridge::domain::Secret;
use edobridge::domain::signing::{Encapsulation, SignerIdentity};
use edobridge::domain::subject_pattern::SubjectPatterns;
use edobridge::providers::bitrix24::events::without_credentials;
use edobridge::providers::bitrix24::lifecycle::{Frame, Lifecycle};
use edobridge::providers::bitrix24::oauth::{ClientKeys, OauthClient};
use edobridge::providers::bitrix24::robots::RobotRequest;
use edobridge::providers::bitrix24::{IncomingEvent, envelope, forms};
use edobridge::providers::cms;
use edobridge::providers::easydocs::{Settings, callback};
use edobridge::providers::http_client::{Answer, HttpClient, HttpSettings};
use edobridge::providers::idocs;
use edobridge::providers::redaction::Redactor;
use edobridge::providers::remote::Nature;
use edobridge::providers::strict_json;
use edobridge::sandbox::{AppSpec, FrameSpec, RobotSpec, WorkflowState};
use edobridge::store::DocumentFilter;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};

const RUNS: u64 = 12_000;
/// Inputs are kept below this: what is longer is cut by the doors before any decoder sees it.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Far above what the slowest input takes in a debug build on a busy machine; a quadratic decoder is minutes beyond.
const ONE_INPUT_MAX: Duration = Duration::from_secs(5);
/// How many inputs the pool may grow by.
const POOL_MAX: usize = 4_000;
/// Planted wherever a credential stands; must not survive where it must be cut.
const PLANTED: &str = "p1antedS3cretValue";

// --- chance ---------------------------------------------------------------------------------------------------

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }
    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Pieces that mean something to one of the decoders.
const TOKENS: [&str; 44] = [
    "[",
    "]",
    "[]",
    "[0]",
    "[1]",
    "[-1]",
    "[18446744073709551616]",
    "%5B",
    "%5D",
    "%5b%5d",
    "%",
    "%0",
    "%00",
    "%ff",
    "%C0%80",
    "+",
    "&",
    "&&",
    "=",
    "==",
    "event=ONCRMDEALUPDATE",
    "data[FIELDS][ID]=7",
    "auth[application_token]=",
    "a=1&a[b]=2",
    "a[]=1&a[x]=2",
    "{",
    "}",
    "{\"",
    "\":",
    "\"a\":1,\"a\":2",
    "null",
    "true",
    "1e999",
    "-0",
    "\\u0000",
    "\\ud800",
    "\"error\":\"\"",
    "\"result\":",
    "\"time\":{\"operating\":",
    "9223372036854775808",
    "\u{feff}",
    "\0",
    "\r\n",
    "ё",
];

fn mutated(chance: &mut Chance, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool[chance.below(pool.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len() + 1);
        match chance.below(8) {
            0 if !input.is_empty() => {
                let at = at.min(input.len() - 1);
                input[at] ^= 1 << chance.below(8);
            }
            1 => input.truncate(at),
            2 => drop(input.splice(at..at, chance.of(&TOKENS).bytes())),
            3 => {
                let end = (at + chance.below(12)).min(input.len());
                drop(input.splice(at..end, std::iter::empty()));
            }
            4 => {
                let other = &pool[chance.below(pool.len())];
                let from = chance.below(other.len() + 1);
                let to = (from + chance.below(200)).min(other.len());
                drop(input.splice(at..at, other[from..to].iter().copied()));
            }
            5 => {
                let end = (at + chance.below(20)).min(input.len());
                let piece = input[at..end].repeat(1 << chance.below(11));
                drop(input.splice(at..at, piece));
            }
            6 => drop(input.splice(at..at, chance.of(&TOKENS).repeat(1 + chance.below(40)).bytes())),
            _ => input.insert(at, u8::try_from(chance.below(256)).expect("a byte")),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

// --- the loop -------------------------------------------------------------------------------------------------

fn number(name: &str, default: u64) -> u64 {
    let text = Environment::of_process().get(name).map(str::to_owned);
    text.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`"))
    })
}

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

fn files(folder: &str, ending: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(data(folder)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a readable folder").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

/// Feeds `target` with the kept inputs and then with mutated ones. `judge` fails by panicking, and tells inputs that
/// behave alike by the same word.
fn fuzz(target: &str, samples: Vec<Vec<u8>>, judge: impl Fn(&[u8]) -> String) {
    let kept = files(&format!("fuzz/{target}"), "");
    let (seed, runs) = (number("EDOBRIDGE_FUZZ_SEED", 0x0ED0_B21D), number("EDOBRIDGE_FUZZ_RUNS", RUNS));
    let mut chance = Chance(seed);
    let mut pool: Vec<Vec<u8>> = kept.into_iter().chain(samples).collect();
    assert!(!pool.is_empty(), "{target} has no samples");
    let mut behaviours = HashSet::new();
    for input in &pool {
        behaviours.insert(judged(target, seed, input, &judge));
    }
    let first = pool.len();
    for _ in 0..runs {
        let input = mutated(&mut chance, &pool);
        if behaviours.insert(judged(target, seed, &input, &judge)) && pool.len() < first + POOL_MAX {
            pool.push(input);
        }
    }
    println!("fuzz {target}: {runs} inputs from seed {seed:#x}, {} kinds of behaviour", behaviours.len());
    assert!(behaviours.len() > 1, "every input looks alike to {target}: the judge sees nothing");
}

fn judged(target: &str, seed: u64, input: &[u8], judge: &impl Fn(&[u8]) -> String) -> u64 {
    let since = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| judge(input)));
    let took = since.elapsed();
    let Ok(word) = outcome.as_ref() else { panic!("{}", kept_for_later(target, seed, input, "failed")) };
    assert!(took < ONE_INPUT_MAX, "{}", kept_for_later(target, seed, input, "took too long"));
    let mut hasher = DefaultHasher::new();
    word.hash(&mut hasher);
    hasher.finish()
}

fn kept_for_later(target: &str, seed: u64, input: &[u8], what: &str) -> String {
    let path = std::env::temp_dir().join(format!("edobridge-fuzz-{target}-{seed:x}.bin"));
    let place = match std::fs::write(&path, input) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("(not written: {error})"),
    };
    let shown = String::from_utf8_lossy(&input[..input.len().min(400)]);
    format!(
        "{target} {what} on an input of {} bytes, kept in {place}, seed {seed:#x}: {shown:?}",
        input.len()
    )
}

/// The shape of a tree: what tells behaviours apart without telling every value apart.
fn shape(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "n".into(),
        Value::Bool(_) => "b".into(),
        Value::Number(number) => if number.is_f64() { "f" } else { "i" }.into(),
        Value::String(text) => format!("s{}", text.len().min(2)),
        Value::Array(items) if depth < 3 => {
            format!(
                "[{}{}]",
                items.len().min(3),
                items.first().map(|i| shape(i, depth + 1)).unwrap_or_default()
            )
        }
        Value::Object(map) if depth < 3 => {
            let members: Vec<String> = map
                .iter()
                .take(4)
                .map(|(k, v)| format!("{}:{}", k.len().min(3), shape(v, depth + 1)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(_) => "[".into(),
        Value::Object(_) => "{".into(),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

// --- bracket forms --------------------------------------------------------------------------------------------

/// Written without a look at the decoder: every byte that is not plain is escaped.
fn encoded(value: &Value, path: &str, out: &mut String) {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect()
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = escape(key);
                let path = if path.is_empty() { key } else { format!("{path}%5B{key}%5D") };
                encoded(value, &path, out);
            }
        }
        Value::String(text) => {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&format!("{path}={}", escape(text)));
        }
        other => panic!("a form has only maps and texts, not {other}"),
    }
}

#[test]
fn bracket_forms_mean_one_thing_or_are_refused() {
    fuzz("form", files("bitrix24-events", ".form"), |input| match forms::decode(input) {
        Ok(tree) => {
            assert!(depth(&tree) <= forms::DEPTH_MAX + 1);
            let mut again = String::new();
            encoded(&tree, "", &mut again);
            if again.len() <= forms::FORM_BYTES_MAX {
                assert_eq!(forms::decode(again.as_bytes()).as_ref(), Ok(&tree), "{again}");
            }
            let starred = forms::starred(input, |name| name == "application_token");
            assert_eq!(starred.len(), input.len());
            let stars = forms::decode(&starred).expect("stars change no structure");
            assert_eq!(depth(&stars), depth(&tree));
            drop(forms::listed(tree.clone()));
            shape(&tree, 0)
        }
        Err(error) => format!("{error:?}"),
    });
}

// --- events ---------------------------------------------------------------------------------------------------

/// Samples with the planted text in place of every credential.
fn planted_events() -> Vec<Vec<u8>> {
    let plant = |body: &[u8]| {
        let text = String::from_utf8_lossy(body).into_owned();
        let mut body = text.clone();
        for name in ["application_token", "access_token", "refresh_token"] {
            for (before, after) in [(format!("{name}%5D="), '&'), (format!("{name}]="), '&')] {
                if let Some(at) = body.find(&before) {
                    let from = at + before.len();
                    let to = body[from..].find(after).map_or(body.len(), |n| from + n);
                    body.replace_range(from..to, PLANTED);
                }
            }
            if let Ok(mut tree) = serde_json::from_str::<Value>(&body)
                && let Some(auth) = tree.get_mut("auth").and_then(Value::as_object_mut)
                && let Some(value) = auth.get_mut(name)
            {
                *value = Value::from(PLANTED);
                body = tree.to_string();
            }
        }
        body.into_bytes()
    };
    let all = files("bitrix24-events", ".form").into_iter().chain(files("bitrix24-events", ".json"));
    all.map(|body| plant(&body)).collect()
}

#[test]
fn no_event_keeps_the_credential_that_proved_it() {
    assert!(planted_events().iter().any(|body| String::from_utf8_lossy(body).contains(PLANTED)));
    for kind in [None, Some("application/x-www-form-urlencoded"), Some("application/json")] {
        fuzz("event", planted_events(), |input| match IncomingEvent::decode(kind, input) {
            Ok(event) => {
                let stored = without_credentials(input);
                if let Ok(kept) = IncomingEvent::decode(kind, &stored) {
                    assert_eq!(kept.name, event.name);
                    assert_eq!(kept.member_id, event.member_id);
                    assert_eq!(kept.trigger(), event.trigger(), "cutting changed what it means");
                    let token = kept.application_token.expose();
                    assert!(token.is_empty() || token.bytes().all(|b| b == b'*'), "the token was kept");
                } else {
                    panic!("what is stored cannot be read any more");
                }
                // What a mutation moved into a name is no credential any more.
                let named = [Some(&event.name), event.member_id.as_ref(), event.domain.as_ref()];
                let is_named = named.into_iter().flatten().any(|text| text.contains(PLANTED));
                assert!(is_named || !format!("{event:?}").contains(PLANTED), "{event:?}");
                format!("{:?} {}", event.trigger().map(|t| std::mem::discriminant(&t)), shape(&event.data, 0))
            }
            Err(error) => format!("{error:?}"),
        });
    }
}

// --- answers of the portal ------------------------------------------------------------------------------------

#[test]
fn no_answer_of_a_portal_breaks_the_envelope_or_shows_a_secret() {
    let samples: [&str; 9] = [
        r#"{"result":{"ID":"5"},"time":{"start":1,"finish":10,"operating":1.5,"operating_reset_at":20}}"#,
        r#"{"error":"QUERY_LIMIT_EXCEEDED","error_description":"Too many requests"}"#,
        r#"{"error":"","error_description":"Access denied"}"#,
        r#"{"error":0,"error_description":"https://x.bitrix24.ru/rest/1/p1antedS3cretValue/ failed"}"#,
        r#"{"result":[],"next":50,"total":120,"time":{}}"#,
        r#"{"result":{"result":{"c0":1},"result_error":{"c1":{"error":"ACCESS_DENIED"}},"result_time":[]}}"#,
        "<html><title>502 p1antedS3cretValue</title></html>",
        r#"{"error":{"code":510,"message":"auth=p1antedS3cretValue"}}"#,
        "",
    ];
    for status in [200, 302, 401, 429, 503] {
        let redactor = Redactor::new([Secret::new(PLANTED)]);
        let samples = samples.iter().map(|text| text.as_bytes().to_vec()).collect();
        fuzz("envelope", samples, |input| {
            let answer = Answer { status, body: input.to_vec(), ..Answer::default() };
            let opened = envelope::open(&answer, &redactor);
            match &opened.outcome {
                Ok(result) => {
                    assert_eq!(status, 200, "only a success has a result");
                    shape(result, 0)
                }
                Err(failure) => {
                    assert!(!format!("{failure:?}").contains(PLANTED), "{failure:?}");
                    format!("{:?} {:?} {}", failure.class, failure.kind, failure.code.len().min(24))
                }
            }
        });
    }
}

// --- JSON and callbacks ---------------------------------------------------------------------------------------

#[test]
fn strict_json_agrees_with_json_and_is_only_stricter() {
    let samples = files("easydocs", ".json").into_iter().chain(files("bitrix24-events", ".json")).collect();
    fuzz("json", samples, |input| match strict_json::parse(input) {
        Ok(tree) => {
            let loose: Value = serde_json::from_slice(input).expect("what is strict JSON is JSON");
            assert_eq!(tree, loose);
            shape(&tree, 0)
        }
        Err(error) => format!("{error:?}"),
    });
}

#[test]
fn a_callback_that_was_changed_is_forged_and_no_text_breaks_the_parser() {
    let mut settings = Settings::default();
    settings.signature.secrets = vec![Secret::new("callback-secret")];
    let genuine = files("easydocs", "callback-signed.json").remove(0);
    let signature = hex_hmac(b"callback-secret", &genuine);
    let name = settings.signature.header.clone();
    fuzz("callback", files("easydocs", ".json"), |input| {
        let header = [(name.as_str(), signature.as_bytes())];
        let verified = callback::verify(&settings, &header, input).is_ok();
        assert_eq!(verified, input == genuine, "another body passed with the signature of the sample");
        match callback::parse(&settings, input) {
            Ok(read) => format!("{:?} {}", std::mem::discriminant(&read.status), read.external_id.is_some()),
            Err(error) => format!("{:?}", std::mem::discriminant(&error)),
        }
    });
}

// --- signatures -----------------------------------------------------------------------------------------------

/// What was signed in the kept samples: openssl made them with a key that was thrown away, RSA, ECDSA, attached,
/// detached and streamed as BER.
const SIGNED: &[u8] = b"what was agreed upon";

#[test]
fn no_mutated_signature_breaks_the_decoder_or_passes_for_another_content() {
    let patterns = SubjectPatterns::default();
    let signer = SignerIdentity { iin: Some("111111111111".into()), bin: None };
    let mut accepted = 0_u32;
    for encapsulation in [Encapsulation::Attached, Encapsulation::Detached] {
        let count = std::cell::Cell::new(0_u32);
        fuzz("cms", Vec::new(), |input| {
            let Ok(bytes) = cms::decode(input, 64 * 1024) else { return "not decoded".to_owned() };
            let wanted = cms::Wanted { encapsulation, signer: &signer, patterns: &patterns };
            match cms::check(&bytes, &wanted, &mut &SIGNED[..]) {
                Ok(checked) => {
                    count.set(count.get() + 1);
                    assert!(checked.evidence.signature_checked && checked.evidence.digest_checked);
                    let other = cms::check(&bytes, &wanted, &mut &b"something else"[..]);
                    assert!(other.is_err(), "one signature for two contents");
                    "accepted".to_owned()
                }
                Err(error) => format!("{} {}", error.code(), error.to_string().len().min(60)),
            }
        });
        accepted += count.get();
    }
    assert!(accepted > 0, "not even the samples are accepted: the judge sees nothing");
}

// --- robots, frames, the life of an application -------------------------------------------------------------------

#[test]
fn no_robots_request_breaks_the_decoder_or_shows_its_token() {
    let mut samples = files("bitrix24-events", "20-robot-deal-use-subscription.form");
    for described in files("bitrix24-events", "20-robot-deal-use-subscription.json") {
        let described: Value = serde_json::from_slice(&described).expect("JSON");
        samples.push(described["body"].to_string().into_bytes());
    }
    assert!(samples.iter().all(|body| RobotRequest::decode(body).is_ok()), "the samples are requests");
    fuzz("robot", samples, |input| match RobotRequest::decode(input) {
        Ok(request) => {
            assert!(!request.code.is_empty() && !request.workflow_id.is_empty());
            assert!(request.code.len() <= 128 && request.event_token.expose().len() <= 1_024);
            // What a mutation moved into an id, or made shorter than a word, is no secret any more.
            let token = request.event_token.expose();
            let named = [&request.code, &request.workflow_id].into_iter().any(|text| text.contains(token));
            assert!(
                token.len() < 16 || named || !format!("{request:?}").contains(token),
                "the token is shown"
            );
            assert!(request.people("notify").len() <= 50);
            format!("{:?} {} {:?}", request.item, request.waits, request.wanted_source().is_some())
        }
        Err(error) => error.to_string(),
    });
}

#[test]
fn no_frame_and_no_word_of_an_applications_life_breaks_the_decoder_or_shows_a_token() {
    let frame = format!(
        "AUTH_ID={PLANTED}&AUTH_EXPIRES=3600&REFRESH_ID={PLANTED}&member_id=da45a03b265edd8787f8a258d793cc5d\
         &status=L&PLACEMENT=DEFAULT&PLACEMENT_OPTIONS=%7B%22any%22%3A%221%22%7D\n\
         DOMAIN=portal.bitrix24.ru&PROTOCOL=1&LANG=ru&APP_SID=1"
    );
    // The line tells body and query apart, so that one mutation reaches both.
    let split = |input: &[u8]| {
        let at = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
        (input[..at].to_vec(), String::from_utf8_lossy(input.get(at + 1..).unwrap_or_default()).into_owned())
    };
    let (body, query) = split(frame.as_bytes());
    assert!(Frame::decode(&query, &body).is_ok(), "the sample is a frame");
    fuzz("frame", vec![frame.clone().into_bytes()], |input| {
        let (body, query) = split(input);
        match Frame::decode(&query, &body) {
            Ok(frame) => {
                assert!(!frame.claim.tokens.access.expose().is_empty());
                let Frame { placement, language, domain, .. } = &frame;
                let named = [Some(placement), Some(language), domain.as_ref()];
                let named = named
                    .into_iter()
                    .flatten()
                    .any(|text| text.to_lowercase().contains(&PLANTED.to_lowercase()));
                assert!(
                    named
                        || frame.claim.member_id.to_string().contains(PLANTED)
                        || !format!("{frame:?}").contains(PLANTED)
                );
                format!("{} {} {}", domain.is_some(), placement.len().min(8), language.len().min(3))
            }
            Err(error) => error.to_string(),
        }
    });
    for kind in ["application/x-www-form-urlencoded", "application/json"] {
        let samples = files("bitrix24-events", ".form").into_iter().chain(files("bitrix24-events", ".json"));
        fuzz("lifecycle", samples.collect(), |input| match Lifecycle::decode(kind, input) {
            Ok(Some(life)) => format!("{:?}", std::mem::discriminant(&life)),
            Ok(None) => "another event".to_owned(),
            Err(error) => error.to_string(),
        });
    }
}

#[test]
fn no_answer_of_the_authorisation_server_gives_half_a_pair_or_shows_one() {
    let keys = ClientKeys { client_id: "app.1".into(), client_secret: Secret::new("client-secret-0001") };
    let http = HttpClient::new(&HttpSettings::default()).expect("a client");
    let oauth = OauthClient::new(http, keys, Vec::new());
    let samples = [
        format!(
            r#"{{"access_token":"{PLANTED}","expires_in":3600,"refresh_token":"{PLANTED}r","member_id":"da45a03b265edd8787f8a258d793cc5d","scope":"crm,disk","status":"L","domain":"oauth.bitrix.info"}}"#
        ),
        r#"{"error":"invalid_grant","error_description":"Invalid grant"}"#.to_owned(),
        r#"{"error":"PAYMENT_REQUIRED"}"#.to_owned(),
        r#"{"error":"","error_description":"p1antedS3cretValue"}"#.to_owned(),
        "<html>502</html>".to_owned(),
    ];
    let genuine = Answer { status: 200, body: samples[0].clone().into_bytes(), ..Answer::default() };
    assert!(oauth.grant_in(&genuine).is_ok(), "the sample is a grant");
    for status in [200, 400] {
        let samples = samples.iter().map(|text| text.clone().into_bytes()).collect();
        fuzz("oauth", samples, |input| {
            let answer = Answer { status, body: input.to_vec(), ..Answer::default() };
            match oauth.grant_in(&answer) {
                Ok(grant) => {
                    assert_eq!(status, 200, "only a success gives tokens");
                    assert!(!grant.access.expose().is_empty() && !grant.refresh.expose().is_empty());
                    let token = grant.access.expose();
                    assert!(token.len() < 16 || !format!("{grant:?}").contains(token), "a token is shown");
                    format!("granted for {}", grant.expires_in_s.min(3_601))
                }
                Err(failure) => format!("{:?} {}", failure.refusal, failure.failure.code.len().min(24)),
            }
        });
    }
}

// --- iDocs --------------------------------------------------------------------------------------------------------

#[test]
fn no_notice_of_idocs_breaks_the_parser() {
    let settings = idocs::Settings::default();
    let samples = files("idocs", "status-changed-event.assumed.json")
        .into_iter()
        .chain(files("idocs", "status-changed-event-rejected.assumed.json"));
    let samples: Vec<Vec<u8>> = samples.collect();
    assert!(samples.iter().all(|body| idocs::events::parse_event(&settings, body).is_ok()));
    fuzz("idocs-event", samples, |input| match idocs::events::parse_event(&settings, input) {
        Ok(hint) => {
            assert!(idocs::ids::uuid_of(&hint.document_id).is_some(), "{hint:?}");
            let shown = [hint.raw_status.as_deref(), hint.occurred_on.as_deref()];
            assert!(shown.into_iter().flatten().all(|text| !text.chars().any(char::is_control)), "{hint:?}");
            format!("{} {}", hint.raw_status.is_some(), hint.occurred_on.is_some())
        }
        Err(error) => format!("{:?}", std::mem::discriminant(&error)),
    });
}

#[test]
fn every_style_of_answer_of_idocs_is_one_thing_or_a_failure() {
    let responses = files("idocs", ".json").into_iter().chain(files("idocs", ".txt"));
    let planted = [
        format!(r#"{{"response":null,"errors":[{{"code":"x","message":"{PLANTED}"}}]}}"#),
        format!("<html>{PLANTED}"),
    ];
    let samples: Vec<Vec<u8>> = responses.chain(planted.into_iter().map(String::into_bytes)).collect();
    let redactor = Redactor::new([Secret::new(PLANTED)]);
    for (status, content_type) in [(200, "text/plain"), (400, "application/json")] {
        fuzz("idocs-answer", samples.clone(), |input| {
            let answer = Answer {
                status,
                content_type: content_type.into(),
                body: input.to_vec(),
                ..Answer::default()
            };
            match idocs::answer::read(&answer, Nature::Read, &redactor) {
                Ok(body) => {
                    assert_eq!(status, 200, "only a success holds anything");
                    format!("{:?} {}", std::mem::discriminant(&body), shape(&body.into_value(), 0))
                }
                Err(failure) => {
                    assert!(!format!("{failure:?}").contains(PLANTED), "{failure:?}");
                    format!("{:?} {}", failure.class, failure.code.len().min(24))
                }
            }
        });
    }
}

// --- through the doors --------------------------------------------------------------------------------------------

/// Bodies by the thousand are for the decoders above; these go the whole way, over a socket and into the store.
const POSTS: u64 = 250;

/// What a door may answer to whoever has the right to speak: it took it, or says why not. Never a fault of its own.
fn is_word_of_a_door(status: u16) -> bool {
    matches!(status, 200 | 400 | 401 | 403 | 404 | 413 | 415 | 422 | 429)
}

#[test]
fn mutated_callbacks_and_events_with_a_right_proof_never_break_the_service() {
    let stage = Stage::new(&Setting::default());
    let service = InProcess::start(&stage);
    let seed = number("EDOBRIDGE_FUZZ_SEED", 0x0ED0_B21D);
    let posts = (number("EDOBRIDGE_FUZZ_RUNS", RUNS) * POSTS / RUNS).max(POSTS);
    let mut chance = Chance(seed);
    let callbacks = files("easydocs", ".json");
    let secrets = stage.secrets();
    let forms: Vec<Vec<u8>> = files("bitrix24-events", ".form");
    // The portal's own proof, wherever the mutation has not cut it out.
    let proof = format!("&auth[application_token]={}", secrets.application_token);
    let (mut taken, mut refused) = (0, 0);
    for n in 0..posts {
        let heard = if n % 2 == 0 {
            let body = mutated(&mut chance, &callbacks);
            let signature = hex_hmac(secrets.callback.as_bytes(), &body);
            wire::callback(stage.public, &signature, &body)
        } else {
            let mut body = mutated(&mut chance, &forms);
            body.extend_from_slice(proof.as_bytes());
            let request = wire::post("/bitrix/webhook", &[("Content-Type", wire::FORM)], &body);
            wire::send(stage.public, &request)
        };
        let Some(heard) = heard else { panic!("post {n} of seed {seed:#x} got no answer") };
        assert!(is_word_of_a_door(heard.status), "post {n} of seed {seed:#x}: {heard:?}");
        *if heard.status == 200 { &mut taken } else { &mut refused } += 1;
    }
    println!("fuzz doors: {posts} posts from seed {seed:#x}, {taken} taken, {refused} refused");
    assert!(taken > 0 && refused > 0, "the doors do not look");
    // It still does its work, and none of that has started anything.
    stage.drop_file("contract.pdf", pdf(1, 2_000));
    wait_for("the document is done", || stage.world.all_notices().len() == 1);
    assert_eq!(stage.world.documents().len(), 1);
    let report = service.ask(|engine| async move { engine.store().check_invariants().await });
    let report = report.expect("the store can be checked");
    assert!(report.is_clean(), "{report:?}");
}

// --- through the doors of an application and of iDocs ------------------------------------------------------------------

/// The secret in the path that iDocs was given.
const HINT_SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The name of an application's token in a form, as the portal writes it.
const PROOF: &str = "auth%5Bapplication_token%5D=";

/// A portal with an application, a rule for its robots, and an account at iDocs.
struct AppDoors {
    stage: Stage,
    client_id: String,
}

impl AppDoors {
    fn new() -> Self {
        let stage = Stage::new(&Setting::default());
        let base = format!("http://{}/", stage.public).parse().expect("an address");
        let spec = AppSpec::local(&base);
        stage.world.register_app(spec.clone());
        let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
        let way_in = |line: &&str| line.starts_with("webhook_url") || line.starts_with("application_tokens");
        let kept: Vec<&str> = text.lines().filter(|line| !way_in(line)).collect();
        let member = stage.world.member_id();
        let named = format!("id = \"main\"\napp = \"sign\"\nmember_id = \"{member}\"");
        let text = kept.join("\n").replacen("id = \"main\"", &named, 1);
        let world = &stage.world;
        let more = format!(
            r#"
[[apps]]
id = "sign"
kind = "local"
client_id = "{client_id}"
client_secret = "{client_secret}"
oauth_hosts = ["{oauth}"]
dangerous_allow_http = true
[[rules]]
id = "papers"
portal = "main"
route_id = "route-1"
trigger = {{ kind = "robot" }}
deliver_to = "none"
comment_file = true
notify = []
notify_on = []
[idocs]
base_url = "{idocs}"
webhooks_base_url = "{webhooks}"
token = "sandbox-idocs-token"
dangerous_allow_http = true
[idocs.webhook]
path_secret = "{HINT_SECRET}"
[idocs.limits]
callback_per_minute = 100000
"#,
            client_id = spec.client_id,
            client_secret = spec.client_secret.expose(),
            oauth = world.oauth_url(),
            idocs = world.idocs_url(),
            webhooks = world.idocs_webhooks_url(),
        );
        std::fs::write(&stage.config_path, text + &more).expect("the configuration is written");
        Self { stage, client_id: spec.client_id }
    }

    fn install(&self) {
        let world = &self.stage.world;
        world.install_app(&self.client_id).expect("it is registered");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let page = runtime.block_on(world.open_frame(&self.client_id, &FrameSpec::main_page()));
        assert_eq!(page.expect("it is installed").status, 200);
        wait_for("the robots", || world.apps().iter().any(|app| app.robots.len() == 2));
    }

    /// A robot's order for the file, without the proof in it, and the proof.
    fn order(&self, file: u64) -> (Vec<u8>, String) {
        let (_, body) = self.stage.world.robot_body(&self.client_id, &robot_spec(file)).expect("a robot");
        let at = body.find(PROOF).expect("an order has its proof");
        let end = body[at..].find('&').map_or(body.len(), |n| at + n);
        let proof = format!("&{}", &body[at..end]);
        let rest = format!("{}{}", body[..at].trim_end_matches('&'), &body[end..]);
        (rest.into_bytes(), proof)
    }
}

fn robot_spec(file: u64) -> RobotSpec {
    let properties = json!({"source": "drive", "file": file.to_string()});
    RobotSpec { code: "edobridge_send".to_owned(), item: DEAL, properties, timeout_s: 0 }
}

/// A frame may also be told that it did not work just now: whoever it names is asked over the network.
fn is_word_of_a_frame(status: u16) -> bool {
    is_word_of_a_door(status) || status == 503
}

#[test]
fn mutated_robots_frames_and_hints_with_a_right_proof_never_break_the_service() {
    let doors = AppDoors::new();
    let stage = &doors.stage;
    let service = InProcess::start(stage);
    doors.install();
    let seed = number("EDOBRIDGE_FUZZ_SEED", 0x0ED0_B21D);
    let posts = (number("EDOBRIDGE_FUZZ_RUNS", RUNS) * POSTS / RUNS).max(POSTS);
    let mut chance = Chance(seed);
    // A file that is not there: what a mutated order starts comes to nothing.
    let (order, proof) = doors.order(77_000_000);
    let frame = stage.world.frame(&doors.client_id, &FrameSpec::main_page()).expect("it is installed");
    let frame = format!("{}\n{}", frame.body, frame.url.query().unwrap_or_default()).into_bytes();
    let mut hints = files("idocs", "status-changed-event.assumed.json");
    hints.extend(files("idocs", "status-changed-event-rejected.assumed.json"));
    let (orders, frames) = (vec![order], vec![frame]);
    let mut heard_of = [[0_u32; 2]; 3];
    for n in 0..posts {
        let kind = usize::try_from(n % 3).expect("small");
        let heard = match kind {
            0 => {
                let mut body = mutated(&mut chance, &orders);
                body.extend_from_slice(proof.as_bytes());
                post_to(stage, "/bitrix/robot/edobridge_send", wire::FORM, &body)
            }
            1 => {
                let input = mutated(&mut chance, &frames);
                let at = input.iter().rposition(|b| *b == b'\n').unwrap_or(input.len());
                let query = escaped(input.get(at + 1..).unwrap_or_default());
                let door = ["/bitrix/app", "/bitrix/install"][chance.below(2)];
                post_to(stage, &format!("{door}?{query}"), wire::FORM, &input[..at])
            }
            _ => {
                let body = mutated(&mut chance, &hints);
                post_to(stage, &format!("/idocs/callback/{HINT_SECRET}"), wire::JSON, &body)
            }
        };
        let Some(heard) = heard else { panic!("post {n} of seed {seed:#x} got no answer") };
        let is_word = if kind == 1 { is_word_of_a_frame } else { is_word_of_a_door };
        assert!(is_word(heard.status), "post {n} of seed {seed:#x}: {heard:?}");
        heard_of[kind][usize::from(heard.status == 200)] += 1;
    }
    println!(
        "fuzz doors: {posts} posts from seed {seed:#x}; refused and taken: robots {:?}, frames {:?}, hints {:?}",
        heard_of[0], heard_of[1], heard_of[2]
    );
    assert!(heard_of.iter().flatten().all(|count| *count > 0), "a door does not look: {heard_of:?}");
    // It still does its work, and nothing that came was a fault of its own.
    let file = stage.world.add_file(stage.folder, "contract.pdf", pdf(1, 2_000)).expect("a new file");
    let run = stage.world.run_robot(&doors.client_id, &robot_spec(file)).expect("the robot is there");
    wait_for("the workflow is released", || {
        let flow = stage.world.workflow(&run.workflow_id);
        flow.is_some_and(|flow| matches!(flow.state, WorkflowState::Released(_)))
    });
    assert_eq!(stage.world.documents().len(), 1);
    let (report, sagas) = service.ask(|engine| async move {
        let sagas = engine.store().list(DocumentFilter::default(), None, 1_000).await;
        (engine.store().check_invariants().await, sagas)
    });
    let report = report.expect("the store can be checked");
    assert!(report.is_clean(), "{report:?}");
    let sagas = sagas.expect("the store lists").items;
    let panicked: Vec<_> = sagas.iter().filter_map(|saga| saga.dead_letter.as_ref()).collect();
    assert!(panicked.iter().all(|letter| letter.code != "panic"), "{panicked:#?}");
}

fn post_to(stage: &Stage, path: &str, content_type: &str, body: &[u8]) -> Option<wire::Heard> {
    wire::send(stage.public, &wire::post(path, &[("Content-Type", content_type)], body))
}

/// What no request line can hold is escaped.
fn escaped(query: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && *b != b'#';
    let one = |b: &u8| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02X}") };
    query.iter().take(4_000).map(one).collect()
}

fn hex_hmac(key: &[u8], body: &[u8]) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
