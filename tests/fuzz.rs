//! Everything that strangers send, mutated: nothing panics, nothing takes long, nothing means two things.
//!
//! Mutation from a kept corpus (`tests/data/fuzz` and the samples of the references), from one printed seed. An input
//! that behaves in a new way joins the pool, so that the search goes deeper than one step from the samples. A failing
//! input is written to a file and printed; put it into `tests/data/fuzz/<target>`, where it is replayed first for ever.
//!
//! `EDOBRIDGE_FUZZ_RUNS` (inputs per target) and `EDOBRIDGE_FUZZ_SEED` make it a night's work, or a replay.
#![allow(clippy::print_stdout, reason = "the number of runs and the seed are the report")]

use edobridge::config::Environment;
use edobridge::domain::Secret;
use edobridge::domain::signing::{Encapsulation, SignerIdentity};
use edobridge::domain::subject_pattern::SubjectPatterns;
use edobridge::providers::bitrix24::events::without_credentials;
use edobridge::providers::bitrix24::{IncomingEvent, envelope, forms};
use edobridge::providers::cms;
use edobridge::providers::easydocs::{Settings, callback};
use edobridge::providers::http_client::Answer;
use edobridge::providers::redaction::Redactor;
use edobridge::providers::strict_json;
use serde_json::Value;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

fn hex_hmac(key: &[u8], body: &[u8]) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
