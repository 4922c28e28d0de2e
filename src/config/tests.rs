//! The configuration as a whole: what is read, inherited, refused with which sentence at which line, and shown.

use super::*;
use std::fs;

/// A portal, a rule and the secrets they need: the least that works.
const LEAST: &str = r#"
[public]
base_url = "https://edo.example.ru/"

[easydocs]
api_key = "key-0123456789abcdef"
signature.secrets = ["callback-secret-0123456789"]

[[portals]]
id = "main"
webhook_url = "https://portal.example.ru/rest/1/hooksecret123/"

[[rules]]
id = "contracts"
portal = "main"
route_id = "17"
trigger = { kind = "folder", folder_id = 4711 }
"#;

struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = Self { dir };
        fs::write(file.path(), text).unwrap();
        restrict(&file.path(), 0o600);
        file
    }
    fn path(&self) -> PathBuf {
        self.dir.path().join("edobridge.toml")
    }
    fn load(&self, env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
        Config::load(Some(&self.path()), &Environment::of(env.iter().copied()))
    }
}

fn restrict(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn load(text: &str) -> Result<Loaded, ConfigErrors> {
    File::new(text).load(&[])
}

/// The problems of `text` as `line: key: sentence`, errors first.
fn problems(text: &str) -> Vec<String> {
    let found = match load(text) {
        Ok(loaded) => loaded.notes,
        Err(errors) => errors.problems,
    };
    found
        .iter()
        .map(|problem| problem.to_string().split_once("edobridge.toml:").unwrap().1.to_owned())
        .collect()
}

/// `LEAST` with a piece replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(LEAST.contains(from), "{from}");
    LEAST.replace(from, to)
}

/// `LEAST` with lines added to its end, that is to its rule.
fn with(lines: &str) -> String {
    format!("{LEAST}{lines}\n")
}

#[track_caller]
fn expect_one(text: &str, beginning: &str, words: &str) {
    let found = problems(text);
    let fits = |line: &String| line.starts_with(beginning) && line.contains(words);
    assert!(
        found.iter().filter(|line| fits(line)).count() == 1,
        "wanted `{beginning} … {words}` in {found:#?}"
    );
}

#[test]
fn the_defaults_decode_and_pass_every_rule() {
    let defaults = Config::defaults();
    assert!(defaults.portals.is_empty());
    let loaded = Config::load(None, &Environment::default()).unwrap();
    assert_eq!(loaded.config, defaults);
    assert_eq!(loaded.notes.len(), 1, "only the warning that there is nothing to do: {:?}", loaded.notes);
}

#[test]
fn the_least_configuration_works_without_a_warning_and_inherits_the_defaults() {
    let loaded = load(LEAST).unwrap();
    assert_eq!(loaded.notes, []);
    let rule = loaded.config.rule("contracts").unwrap();
    assert_eq!(
        rule.trigger,
        Trigger::Folder {
            folder_id: 4711,
            interval: Period::from_secs(60),
            overlap: 200,
            existing: Existing::Skip
        }
    );
    assert!(
        rule.takes_name("Договор.PDF") && !rule.takes_name("Договор_signed.pdf") && !rule.takes_name("a.exe")
    );
    let portal = loaded.config.portal(&rule.portal).unwrap();
    assert_eq!(portal.rate.limit(), Some(RateLimit { milli_per_second: 2_000, burst: 50 }));
    let webhook = portal.webhook_url.as_ref().unwrap();
    assert_eq!(webhook.secret().expose(), "https://portal.example.ru/rest/1/hooksecret123/");
    assert_eq!(loaded.config.secrets().len(), 3);
}

#[test]
fn own_defaults_of_portals_and_rules_reach_every_entry() {
    let text = format!(
        "{LEAST}\n[portal_defaults]\nrate = \"box\"\ntimeouts.read = \"7s\"\n[rule_defaults.folder]\ninterval = \"10s\"\n"
    );
    let loaded = load(&text).unwrap();
    let portal = &loaded.config.portals[0];
    assert_eq!((portal.rate.limit(), portal.timeouts.read), (None, Period::from_secs(7)));
    assert_eq!(portal.timeouts.connect, Period::from_secs(10), "its neighbours keep the built-in default");
    assert!(
        matches!(loaded.config.rules[0].trigger, Trigger::Folder { interval, .. } if interval == Period::from_secs(10))
    );
    assert!(
        loaded.show().contains("rate = \"box\"  # ") && loaded.show().contains("edobridge.toml:20"),
        "the origin is the line in portal_defaults"
    );
}

#[test]
fn every_shape_of_a_value_is_read() {
    let text = changed("webhook_url", "rate = { per_second = 0.5, burst = 7 }\nwebhook_url")
        + r#"
deliver_to = 99
notify = ["responsible", "creator", 17]
notify_on = ["refused"]
crm_item = { entity = "dynamic_1046", from_name = "act-{id}" }

[[rules]]
id = "deals"
portal = "main"
route_id = "18"
trigger = { kind = "file_event", folders = [1, 2] }
crm_item = { entity = "deal", id = 501 }
"#;
    let text = text.replace("[[portals]]", "[[portals]]\napplication_tokens = [\"token\"]");
    let config = load(&text).unwrap().config;
    let expected = Rate::Explicit(ExplicitRate { per_second: 0.5, burst: 7 });
    assert_eq!(config.portals[0].rate, expected);
    assert_eq!(config.portals[0].rate.limit().unwrap().milli_per_second, 500);
    let rule = &config.rules[0];
    assert_eq!(rule.deliver_to, Delivery::Folder(99));
    assert_eq!(rule.notify, [Recipient::Responsible, Recipient::Creator, Recipient::User(17)]);
    assert_eq!(rule.notify_on, [Occasion::Refused]);
    assert!(
        matches!(&rule.crm_item, CrmItemSource::FromName { entity_type_id: 1046, template } if template.before() == "act-")
    );
    assert_eq!(config.rules[1].crm_item, CrmItemSource::Fixed { entity_type_id: 2, id: 501 });
    assert_eq!(config.rules[1].trigger, Trigger::FileEvent { folders: Folders::Only(vec![1, 2]) });
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_likely_one() {
    expect_one(
        &changed("folder_id = 4711", "folder_id = 4711, interwal = \"1m\""),
        "17: rules[0].trigger.interwal:",
        "`interval`",
    );
    expect_one(&changed("base_url", "base_ulr"), "3: public.base_ulr:", "perhaps `base_url`");
    expect_one(&with("colour = 1"), "18: rules[0].colour:", "there are: id, portal, trigger");
    expect_one(&with("[extra]\na = 1"), "18: extra:", "there is no key `extra`");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    for (text, beginning, words) in [
        (with("min_size = 10"), "18: rules[0].min_size:", "a size with its unit"),
        (with("min_size = \"10\""), "18: rules[0].min_size:", "64KiB"),
        (with("comment = \"yes\""), "18: rules[0].comment:", "this is needed: a boolean"),
        (with("notify = [\"boss\"]"), "18: rules[0].notify[0]:", "\"creator\" or a user id"),
        (with("deliver_to = 0"), "18: rules[0].deliver_to:", "\"none\" or a folder id"),
        (with("include = [\"a/b\"]"), "18: rules[0].include[0]:", "only the file's name"),
        (with("crm_item = { entity = \"deal\" }"), "18: rules[0].crm_item:", "id = 501 or from_name"),
        (with("crm_item = { entity = \"dael\", id = 1 }"), "18: rules[0].crm_item:", "dynamic_"),
        (changed("webhook_url", "rate = \"clod\"\nwebhook_url"), "11: portals[0].rate:", "enterprise"),
        (
            changed("webhook_url", "query_limit_pause = \"10\"\nwebhook_url"),
            "11: portals[0].query_limit_pause:",
            "500ms, 30s",
        ),
        (
            changed("webhook_url", "events_from = [\"10.0.0.0/99\"]\nwebhook_url"),
            "11: portals[0].events_from[0]:",
            "10.0.0.0/8",
        ),
        (changed("[public]", "[public]\nlisten = \"everywhere\""), "3: public.listen:", "does not fit"),
        (changed("[public]", "language = \"kk\"\n[public]"), "2: language:", "`ru`"),
        (changed("kind = \"folder\"", "kind = \"telepathy\""), "17: rules[0].trigger.kind:", "item_stage"),
        (
            changed("folder_id = 4711", "stages = []"),
            "17: rules[0].trigger:",
            "does not belong to a folder trigger",
        ),
        (changed(", folder_id = 4711", ""), "17: rules[0].trigger:", "lacks the key `folder_id`"),
    ] {
        expect_one(&text, beginning, words);
    }
}

#[test]
fn a_secret_in_the_wrong_shape_or_place_is_not_quoted() {
    for (from, to) in [
        ("webhook_url", "application_tokens = \"planted-77\"\nwebhook_url"),
        ("signature.secrets = [\"callback-secret-0123456789\"]", "signature = \"planted-77\""),
        ("signature.secrets = [\"callback-secret-0123456789\"]", "signature.secrets = [77177]"),
        ("api_key = \"key-0123456789abcdef\"", "api_key = { env = \"A\", planted-77 = \"planted-77\" }"),
        ("https://portal", "https://planted-77:planted-77@portal"),
        ("https://edo", "planted-77//edo"),
    ] {
        let errors = load(&changed(from, to)).unwrap_err();
        let said = format!("{errors} {errors:?}");
        assert!(!said.contains("planted-77") && !said.contains("77177"), "{to}: {said}");
    }
    expect_one(&changed("https://edo.example", "edo.example"), "3: public.base_url:", "https://host/");
}

#[test]
fn an_absent_key_is_named_with_the_line_of_its_section() {
    expect_one(&changed("id = \"main\"\n", ""), "9: portals[0].id:", "`id` is missing");
    expect_one(&changed("route_id = \"17\"\n", ""), "13: rules[0].route_id:", "route of approval");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line_and_without_quoting_it() {
    let errors = load("a = 1\nkey = hunter2-unquoted\n").unwrap_err();
    assert!(errors.problems[0].to_string().contains("edobridge.toml:2: this is not TOML"), "{errors}");
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    let absent =
        Config::load(Some(Path::new("/nonexistent/edobridge.toml")), &Environment::default()).unwrap_err();
    assert!(absent.to_string().contains("cannot be read"), "{absent}");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = changed("kind = \"folder\"", "kind = \"telepathy\"")
        .replace("base_url = \"https://edo", "basse_url = \"https://edo")
        .replace(
            "signature.secrets",
            "reminders = [\"40d\"]\nlimits.upload_bytes = \"much\"\nsignature.secrets",
        );
    let found = problems(&text);
    for words in ["kind:", "basse_url", "upload_bytes"] {
        assert!(found.iter().any(|line| line.contains(words)), "{words} in {found:#?}");
    }
    let text = changed("route_id = \"17\"", "route_id = \" \"")
        .replace("portal = \"main\"", "portal = \"mian\"")
        + "max_size = \"1GiB\"\n";
    assert_eq!(problems(&text).len(), 3, "{:#?}", problems(&text));
}

#[test]
fn every_broken_rule_is_a_sentence_with_its_line() {
    let portal = |line: &str| changed("webhook_url", &format!("{line}\nwebhook_url"));
    let easydocs = |line: &str| changed("signature.secrets", &format!("{line}\nsignature.secrets"));
    let public = |line: &str| changed("[public]", &format!("[public]\n{line}"));
    let deal = "trigger = { kind = \"deal_stage\", stages = [\"C1:NEW\"], file_field = \"UF_CRM_1\" }";
    let deal = changed("trigger = { kind = \"folder\", folder_id = 4711 }", deal);
    let twice = format!("{LEAST}\n{}", &LEAST[LEAST.find("[[portals]]").unwrap()..]);
    for (text, beginning, words) in [
        // files and names
        (with("suffix = \"\"\nexclude = [\"x\"]"), "18: rules[0].suffix:", "the name of the original"),
        (with("suffix = \"a/b\""), "18: rules[0].suffix:", "no slashes"),
        (with("suffix = \"_подписан\""), "13: rules[0].exclude:", "*_подписан*"),
        (with("include = []"), "18: rules[0].include:", "\"*\" means all"),
        (with("min_size = \"2MiB\"\nmax_size = \"1MiB\""), "18: rules[0].min_size:", "above the greatest"),
        (with("max_size = \"1GiB\""), "18: rules[0].max_size:", "easydocs.limits.upload_bytes"),
        (changed("id = \"contracts\"", "id = \"договоры\""), "14: rules[0].id:", "letters, digits"),
        (twice.clone(), "20: portals[1].id:", "belongs to another portal"),
        (twice.clone(), "24: rules[1].id:", "belongs to another rule"),
        (twice, "27: rules[1].trigger:", "this one gets none"),
        // triggers
        (deal.clone(), "13: rules[0].deliver_to:", "lies in no Drive folder"),
        (deal.clone(), "9: portals[0].application_tokens:", "waits for events"),
        (
            deal.clone() + "crm_item = { entity = \"deal\", id = 1 }",
            "18: rules[0].crm_item:",
            "remove crm_item",
        ),
        (deal.replace("[\"C1:NEW\"]", "[]"), "17: rules[0].trigger.stages:", "at least one stage"),
        (deal.replace("UF_CRM_1", ""), "17: rules[0].trigger.file_field:", "UF_CRM_"),
        (changed("4711", "0"), "17: rules[0].trigger.folder_id:", "out of bounds"),
        (changed("4711", "4711, interval = \"1s\""), "17: rules[0].trigger.interval:", "from 5s to 1d"),
        (changed("4711", "4711, overlap = 100000"), "17: rules[0].trigger.overlap:", "10000"),
        // people
        (with("notify = []"), "18: rules[0].notify:", "nobody learns"),
        (changed("route_id = \"17\"", "route_id = \"\""), "16: rules[0].route_id:", "route of approval"),
        (changed("portal = \"main\"", "portal = \"mian\""), "15: rules[0].portal:", "there are: main"),
        // portals
        (changed("https://portal", "http://portal"), "11: portals[0].webhook_url:", "https://"),
        (
            changed("/rest/1/hooksecret123/", "/rest/1/hooksecret123/scope.json"),
            "11: portals[0].webhook_url:",
            "without the name of a method",
        ),
        (
            changed("https://portal.example.ru/rest", "portal.example.ru/rest"),
            "11: portals[0].webhook_url:",
            "has the form",
        ),
        (
            portal("dangerous_allow_http = true").replace("https://portal", "http://portal"),
            "12: portals[0].webhook_url:",
            "this very machine",
        ),
        (portal("rate = { per_second = 0, burst = 5 }"), "11: portals[0].rate:", "out of bounds"),
        (
            portal("allowed_download_origins = [\"https://cdn.example.ru/path\"]"),
            "11: portals[0].allowed_download_origins[0]:",
            "only an origin",
        ),
        (portal("query_limit_pause = \"10m\""), "11: portals[0].query_limit_pause:", "out of bounds"),
        (portal("events_from = [\"0.0.0.0/0\"]"), "11: portals[0].events_from[0]:", "every address"),
        // EasyDocs
        (easydocs("base_url = \"http://easydocs.example/\""), "7: easydocs.base_url:", "https://"),
        (easydocs("base_url = \"https://u:p@easydocs.example/\""), "7: easydocs.base_url:", "user name"),
        (changed("api_key = \"key-0123456789abcdef\"\n", ""), "5: easydocs.api_key:", "no API key"),
        (
            changed("[\"callback-secret-0123456789\"]", "[]"),
            "7: easydocs.signature.secrets:",
            "would go unnoticed",
        ),
        (
            changed("[\"callback-secret-0123456789\"]", "[]\nstatus.path = \"/d/{id}\""),
            "7: easydocs.signature.secrets:",
            "by polling only",
        ),
        (
            changed("callback-secret-0123456789", "short"),
            "7: easydocs.signature.secrets[0]:",
            "can be guessed",
        ),
        (easydocs("reminders = [\"40d\"]"), "7: easydocs.reminders[0]:", "not before the deadline"),
        (easydocs("reminders = [\"4d\", \"3d\"]"), "7: easydocs.reminders[1]:", "ascending"),
        (
            easydocs("download.path = \"/documents/download\""),
            "7: easydocs.download.path:",
            "exactly one {id}",
        ),
        (easydocs("create.path = \"api\""), "7: easydocs.create.path:", "begin with one slash"),
        (easydocs("create.response.id = \"id\""), "7: easydocs.create.response.id:", "/id"),
        (easydocs("create.success_codes = [404]"), "7: easydocs.create.success_codes:", "200 to 299"),
        (
            easydocs("create.fields.external_id = \"\""),
            "7: easydocs.create.fields.external_id:",
            "lost answer",
        ),
        (
            easydocs("create.fields.file_content = \"\""),
            "7: easydocs.create.fields.file_content:",
            "json_base64",
        ),
        (easydocs("create.extra.route_id = \"5\""), "7: easydocs.create.extra.route_id:", "remove it"),
        (easydocs("callback.answer_code = 500"), "7: easydocs.callback.answer_code:", "from 200 to 299"),
        (easydocs("callback.fields.status = \"\""), "7: easydocs.callback.fields.status:", "cannot be empty"),
        (
            easydocs("callback.status.refused = [\"signed\"]"),
            "7: easydocs.callback.status.refused:",
            "both success and refusal",
        ),
        (easydocs("signature.header = \"X Sig\""), "7: easydocs.signature.header:", "HTTP header"),
        (
            easydocs("signature.signed_content = \"{header:X-Time}\""),
            "7: easydocs.signature.signed_content:",
            "proves nothing",
        ),
        (
            easydocs("dangerous_repeat_create_on_5xx = true"),
            "7: easydocs.dangerous_repeat_create_on_5xx:",
            "twice",
        ),
        // the process
        (changed("base_url = \"https://edo.example.ru/\"\n", ""), "2: public.base_url:", "callback address"),
        (changed("https://edo.example.ru/", "http://edo.example.ru/"), "3: public.base_url:", "https://"),
        (public("trusted_proxies = [\"0.0.0.0/0\"]"), "3: public.trusted_proxies[0]:", "forge"),
        (public("workers = 0"), "3: public.workers:", "from 1 to 256"),
        (with("[operator]\nlisten = \"0.0.0.0:9090\""), "19: operator.listen:", "other machines"),
        (with("[operator]\nlisten = \"0.0.0.0:8080\""), "19: operator.listen:", "is the public one"),
        (with("[operator]\ntoken = \"short\""), "19: operator.token:", "openssl rand"),
        (with("[log]\nfilter = \"info,=\""), "19: log.filter:", "edobridge::store=debug"),
        (with("[time]\nzone = \"Mars/Olympus\""), "19: time.zone:", "Europe/Moscow"),
        (with("[store]\nsegment_bytes = \"1KiB\""), "19: store.segment_bytes:", "from 1MiB to 1GiB"),
        (
            with("[store]\ncheckpoint_every_bytes = \"1GiB\""),
            "19: store.checkpoint_every_bytes:",
            "rarer than a snapshot",
        ),
        (with("[retry]\noutage = []"), "19: retry.outage:", "1 to 50"),
        (with("[retry]\njitter_percent = 101"), "19: retry.jitter_percent:", "from 0 to 100"),
        (
            with("[retry.circuit]\nprobe_interval = \"1h\""),
            "18: retry.circuit.probe_interval_max:",
            "shorter than the first",
        ),
    ] {
        expect_one(&text, beginning, words);
    }
}

#[test]
fn a_problem_is_told_in_russian_too() {
    let errors = load(&changed("portal = \"main\"", "portal = \"mian\"")).unwrap_err();
    let line = errors.problems[0].line(crate::domain::Language::Ru);
    assert!(line.ends_with("edobridge.toml:15: rules[0].portal: портала `mian` нет; есть: main"), "{line}");
}

#[test]
fn a_portal_of_the_sandbox_may_be_looked_at_often() {
    let text = changed("https://portal.example.ru", "http://127.0.0.1:4000")
        .replace("webhook_url", "dangerous_allow_http = true\nwebhook_url")
        .replace("4711", "4711, interval = \"100ms\"");
    assert_eq!(load(&text).unwrap().notes, []);
}

#[test]
fn a_secret_that_only_the_service_can_read_stops_the_start_but_not_the_check() {
    let file = File::new(&changed(
        "\"https://portal.example.ru/rest/1/hooksecret123/\"",
        "{ credential = \"portal-webhook\" }",
    ));
    let errors = file.load(&[]).unwrap_err();
    assert!(errors.to_string().contains("edobridge.toml:11: portals[0].webhook_url"), "{errors}");
    let checked = Config::check(Some(&file.path()), &Environment::default()).unwrap();
    assert!(!checked.notes.is_empty());
    assert!(checked.notes.iter().all(|note| note.severity == Severity::Skipped), "{:?}", checked.notes);
}

#[test]
fn secrets_that_everybody_can_read_are_a_warning() {
    let file = File::new(&changed("\"key-0123456789abcdef\"", "{ file = \"key\" }"));
    let key = file.dir.path().join("key");
    fs::write(&key, "key-0123456789abcdef\n").unwrap();
    restrict(&key, 0o600);
    assert_eq!(file.load(&[]).unwrap().notes, []);
    restrict(&key, 0o644);
    restrict(&file.path(), 0o644);
    let notes = file.load(&[]).unwrap().notes;
    let keys: Vec<&str> = notes.iter().map(|note| note.key.as_str()).collect();
    assert_eq!(keys, ["portals[0].webhook_url", "easydocs.api_key", "easydocs.signature.secrets[0]"]);
    assert!(
        notes.iter().all(|note| note.severity == Severity::Warning && note.text.en.contains("chmod 600"))
    );
}

#[test]
fn variables_win_over_the_file_and_are_named_as_the_origin() {
    let file = File::new(LEAST);
    let loaded = file
        .load(&[
            ("EDOBRIDGE__PUBLIC__WORKERS", "7"),
            ("EDOBRIDGE__EASYDOCS__API_KEY", "{ env = 'REAL_KEY' }"),
            ("REAL_KEY", "from-another-variable"),
            ("EDOBRIDGE__PORTALS__0__RATE", "box"),
            ("EDOBRIDGE__PORTALS__0__MEMBER_ID", "42"),
            ("EDOBRIDGE__RULES__0__TRIGGER__FOLDER_ID", "5"),
            ("EDOBRIDGE__RULES__0__NOTIFY", "[\"creator\", 3]"),
            ("EDOBRIDGE_CONFIG", "not one of ours"),
        ])
        .unwrap();
    let config = &loaded.config;
    assert_eq!(config.public.workers, 7);
    assert_eq!(config.easydocs.api_key.as_ref().unwrap().secret().expose(), "from-another-variable");
    assert_eq!(config.portals[0].rate, Rate::Preset(RatePreset::Box));
    assert_eq!(
        config.portals[0].member_id.as_deref(),
        Some("42"),
        "digits can be a text where a text is wanted"
    );
    assert!(matches!(config.rules[0].trigger, Trigger::Folder { folder_id: 5, .. }));
    assert_eq!(config.rules[0].notify, [Recipient::Creator, Recipient::User(3)]);
    assert_eq!(
        loaded.origins.of("public.workers"),
        Origin::Env { name: "EDOBRIDGE__PUBLIC__WORKERS".into() }
    );
}

#[test]
fn a_whole_portal_can_come_from_variables() {
    let loaded = Config::load(
        None,
        &Environment::of([
            ("EDOBRIDGE__PORTALS__0__ID", "main"),
            ("EDOBRIDGE__PORTALS__0__WEBHOOK_URL", "https://portal.example.ru/rest/1/hooksecret123/"),
        ]),
    )
    .unwrap();
    assert_eq!(loaded.config.portals[0].id.as_str(), "main");
}

#[test]
fn a_secret_of_digits_in_a_variable_is_a_text() {
    let file = File::new(&changed("\"key-0123456789abcdef\"", "{ file = \"absent\" }"));
    let loaded = file.load(&[("EDOBRIDGE__EASYDOCS__API_KEY", "0123456789")]).unwrap();
    assert_eq!(loaded.config.easydocs.api_key.unwrap().secret().expose(), "0123456789");
}

#[test]
fn a_wrong_variable_is_named() {
    let file = File::new(LEAST);
    for (name, value, words) in [
        ("EDOBRIDGE__PUBLIC__WROKERS", "7", "perhaps `workers`"),
        ("EDOBRIDGE__PUBLIC__WORKERS", "many", "does not fit"),
        ("EDOBRIDGE__PUBLIC__WORKERS", "0", "from 1 to 256"),
        ("EDOBRIDGE__PORTALS__5__ID", "x", "the next number is 1"),
        ("EDOBRIDGE__PORTALS__MAIN__ID", "x", "a number must follow"),
        ("EDOBRIDGE__LANGUAGE__X", "x", "into a value"),
        ("EDOBRIDGE____X", "x", "EDOBRIDGE__SECTION__KEY"),
    ] {
        let errors = file.load(&[(name, value)]).unwrap_err();
        let line = errors.problems[0].to_string();
        assert!(line.starts_with(&format!("env {name}:")) && line.contains(words), "{line}");
    }
}

#[test]
fn showing_a_configuration_reveals_no_secret_and_reads_back() {
    let file = File::new(&with("crm_item = { entity = \"deal\", from_name = \"deal-{id}\" }"));
    let loaded = file.load(&[("EDOBRIDGE__PUBLIC__WORKERS", "3")]).unwrap();
    let shown = loaded.show();
    for secret in loaded.config.secrets() {
        assert!(!shown.contains(secret.expose()), "{shown}");
    }
    assert!(!format!("{loaded:?}").contains("hooksecret123"));
    assert!(shown.contains("webhook_url = \"***\""), "{shown}");
    assert!(shown.contains("workers = 3  # env EDOBRIDGE__PUBLIC__WORKERS"), "{shown}");
    assert!(shown.contains("drain = \"20s\"  # default"), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("folder_id") || line.contains("edobridge.toml:17")),
        "{shown}"
    );
    // the same values, but for the secrets, which have become stars
    let tree: toml::Table = toml::from_str(&shown).unwrap();
    let again = Config::deserialize(tree).unwrap();
    assert_eq!(toml::Table::try_from(&again).unwrap(), toml::Table::try_from(&loaded.config).unwrap());
}

#[test]
fn the_schema_asks_only_for_what_has_no_default_and_knows_every_key() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let required =
        |pointer: &str| schema.pointer(pointer).and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    assert_eq!(required("/required"), 0);
    assert_eq!(
        required("/definitions/PortalConfig/required"),
        1,
        "id; then webhook_url, or app and member_id"
    );
    assert_eq!(required("/definitions/RuleConfig/required"), 3, "id, portal, trigger");
    for key in source::defaults().keys() {
        assert!(schema["properties"].get(key).is_some(), "{key} is in default.toml but not in the schema");
    }
    assert!(schema["properties"]["store"].is_object());
}

#[test]
fn the_sample_configuration_passes_the_check() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/edobridge.toml");
    let checked = Config::check(Some(&sample), &Environment::default()).unwrap();
    // only the credentials of the service cannot be read here
    assert!(checked.notes.iter().all(|note| note.severity == Severity::Skipped), "{:#?}", checked.notes);
    assert_eq!((checked.config.portals.len(), checked.config.rules.len()), (1, 2));
}

#[test]
fn every_key_of_the_defaults_is_commented_above_or_belongs_to_a_commented_group() {
    let mut commented = false;
    for (number, line) in source::DEFAULT_TOML.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() {
            commented = false;
        } else if !line.starts_with('[') {
            assert!(commented || number == 0, "default.toml:{}: `{line}` has no comment", number + 1);
        }
    }
}

#[test]
fn the_configuration_in_the_readme_works() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let sample = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let file = File::new(sample);
    for (name, secret) in [
        ("webhook", "https://portal.example.ru/rest/1/hooksecret123/\n"),
        ("easydocs-key", "key-0123456789abcdef\n"),
        ("easydocs-callback", "callback-secret-0123456789\n"),
    ] {
        let path = file.dir.path().join(name);
        fs::write(&path, secret).unwrap();
        restrict(&path, 0o600);
    }
    assert_eq!(file.load(&[]).unwrap().notes, []);
}

/// An application beside the portal of `LEAST`.
const APP: &str = "\n[[apps]]\nid = \"sign\"\nkind = \"local\"\nclient_id = \"local.5c8bb1b0891cf2.87252039\"\nclient_secret = \"planted-client-secret\"\n";

#[test]
fn an_application_brings_its_own_defaults_and_those_of_the_portals_that_install_it() {
    let text =
        format!("{LEAST}{APP}[apps.portal]\nrate = \"enterprise\"\n[portal_defaults]\ntransfers_max = 7\n");
    let loaded = load(&text).unwrap();
    let app = &loaded.config.apps[0];
    assert_eq!((app.members.clone(), app.keep_alive), (Members::None, Period::from_secs(20 * 86_400)));
    assert_eq!(app.oauth_hosts.len(), 2);
    assert_eq!(app.portal.rate.limit(), Some(RateLimit { milli_per_second: 5_000, burst: 250 }));
    assert_eq!(app.portal.transfers_max, 7);
    assert!(!loaded.show().contains("planted-client-secret"));
}

#[test]
fn a_portal_has_exactly_one_way_in() {
    let webhook = "webhook_url = \"https://portal.example.ru/rest/1/hooksecret123/\"";
    let by_app = format!(
        "{}{APP}",
        changed(webhook, "app = \"sign\"\nmember_id = \"a223c6b3710f85df22e9377d6c4f7553\"")
    );
    assert!(load(&by_app).is_ok(), "{:?}", problems(&by_app));
    for (way_in, words) in [
        ("", "there is no way to the portal"),
        (&format!("{webhook}\napp = \"sign\"\nmember_id = \"m1\""), "one way to the portal"),
        ("app = \"other\"\nmember_id = \"m1\"", "there is no application"),
        ("app = \"sign\"", "known by its member_id"),
        ("app = \"sign\"\nmember_id = \"a/b\"", "letters and digits"),
    ] {
        let text = format!("{}{APP}", changed(webhook, way_in));
        let found = problems(&text).join("\n");
        assert!(found.contains(words), "{words} is not in {found}");
    }
}

#[test]
fn a_rule_may_work_for_every_portal() {
    let text = format!("{}{APP}", changed("portal = \"main\"", "portal = \"*\""));
    assert!(load(&text).is_ok(), "{:?}", problems(&text));
}

/// A rule for iDocs with all that it needs.
const IDOCS: &str = r#"
[public]
base_url = "https://edo.example.ru/"

[idocs]
token = "idocs-token-0123456789"
webhook.path_secret = "0123456789abcdef0123456789abcdef"

[[idocs.signers]]
name = "director"
employee_id = "11111111-2222-4333-8444-555555555555"
iin = "000000000000"
bitrix_user = 17

[[portals]]
id = "main"
webhook_url = "https://portal.example.ru/rest/1/hooksecret123/"

[[rules]]
id = "acts"
portal = "main"
service = "idocs"
signer = "director"
counterparty_bin = "123456789012"
trigger = { kind = "folder", folder_id = 4711 }
"#;

fn idocs_with(from: &str, to: &str) -> String {
    assert!(IDOCS.contains(from), "{from}");
    IDOCS.replace(from, to)
}

#[test]
fn idocs_is_off_until_a_file_or_a_variable_names_it() {
    assert_eq!(load(LEAST).unwrap().config.idocs, None);
    // by its headers: the place of the file, which is shown too, may have the name in it
    let has_section = load(LEAST).unwrap().show().lines().any(|line| line.starts_with("[idocs"));
    assert!(!has_section);
    let by_variable = File::new(LEAST).load(&[("EDOBRIDGE__IDOCS__API_VERSION", "v1")]).unwrap();
    assert_eq!(by_variable.config.idocs.unwrap().api_version, IdocsVersion::V1);
}

#[test]
fn the_least_idocs_configuration_needs_no_easydocs_and_has_every_default() {
    let loaded = load(IDOCS).unwrap();
    assert_eq!(loaded.notes, []);
    let idocs = loaded.config.idocs.as_ref().unwrap();
    assert_eq!(idocs.base_url.as_str(), "https://ext-edo-integration.idocs.kz/");
    assert_eq!((idocs.upload.max_bytes.bytes(), idocs.query.page_size), (15_000_000, 50));
    assert!(idocs.cms.encapsulate && idocs.signer("director").is_some());
    let rule = loaded.config.rule("acts").unwrap();
    assert_eq!(rule.service, crate::domain::SigningService::Idocs);
    assert!(rule.takes_name("a.txt") && !rule.takes_name("a.odt"));
    assert_eq!(rule.max_size.bytes(), 15_000_000);
    assert_eq!(loaded.config.secrets().len(), 3);
    let shown = loaded.show();
    assert!(!shown.contains("idocs-token-0123") && !shown.contains("0123456789abcdef"), "{shown}");
    let again = Config::deserialize(toml::from_str::<toml::Table>(&shown).unwrap()).unwrap();
    assert_eq!(again.idocs.unwrap().signers, idocs.signers, "what is shown reads back");
}

#[test]
fn every_broken_rule_about_idocs_is_a_sentence_with_its_line() {
    let section = |line: &str| idocs_with("token = \"idocs", &format!("{line}\ntoken = \"idocs"));
    let rule = |line: &str| format!("{IDOCS}{line}\n");
    let no_section = {
        let (start, end) = (IDOCS.find("[idocs]").unwrap(), IDOCS.find("[[portals]]").unwrap());
        format!("{}{}", &IDOCS[..start], &IDOCS[end..])
    };
    for (text, beginning, words) in [
        (no_section, "12: rules[0].service:", "no section [idocs]"),
        (idocs_with("token = \"idocs-token-0123456789\"\n", ""), "5: idocs.token:", "ask the iDocs manager"),
        (
            idocs_with("signer = \"director\"", "signer = \"boss\""),
            "23: rules[0].signer:",
            "there are: director",
        ),
        (idocs_with("111111-", "111x11-"), "11: idocs.signers[0].employee_id:", "UUID"),
        (idocs_with("\"000000000000\"", "\"123\""), "12: idocs.signers[0].iin:", "12 digits"),
        (idocs_with("bitrix_user = 17\n", ""), "9: idocs.signers[0].bitrix_user:", "nobody gets the link"),
        (idocs_with("base_url = \"https://edo.example.ru/\"\n", ""), "2: public.base_url:", "signing page"),
        (idocs_with("0123456789abcdef0123456789abcdef", "short"), "7: idocs.webhook.path_secret:", "openssl"),
        (idocs_with("\"123456789012\"", "\"12\""), "24: rules[0].counterparty_bin:", "12 digits"),
        (
            idocs_with("counterparty_bin = \"123456789012\"\n", ""),
            "19: rules[0].counterparty_bin:",
            "one of the two",
        ),
        (
            idocs_with("counterparty_bin = \"123456789012\"", "counterparty_bin_field = \"UF_CRM_BIN\""),
            "19: rules[0].crm_item:",
            "set crm_item",
        ),
        (rule("counterparty_email = \"nobody\""), "26: rules[0].counterparty_email:", "name@host"),
        (rule("document_group = \"Secret\""), "26: rules[0].document_group:", "Warehouse"),
        (rule("max_size = \"16MB\""), "26: rules[0].max_size:", "more than iDocs takes"),
        (rule("route_id = \"17\""), "26: rules[0].route_id:", "remove route_id"),
        (
            section("document_number_template = \"B24\""),
            "6: idocs.document_number_template:",
            "exactly one {short}",
        ),
        (
            section("document_number_template = \"{short}-{deal}\""),
            "6: idocs.document_number_template:",
            "{name} and {portal} only",
        ),
        (section("base_url = \"http://127.0.0.1:1/\""), "6: idocs.base_url:", "https://"),
        (section("base_url = \"https://x.example/api/v3\""), "6: idocs.base_url:", "remove /api/"),
        (section("content_type = \"json\""), "6: idocs.content_type:", "application/json"),
        (section("cms.file_name = \"a.p7s\""), "6: idocs.cms.file_name:", ".cms"),
        (section("route.preset = \"template\""), "6: idocs.route.template:", "{bin}"),
        (section("status.success = [\"DRAFT\"]"), "6: idocs.status.success:", "in the list not_sent"),
        (section("status.refused = []"), "6: idocs.status.refused:", "at least one name"),
        (section("reminders = [\"40d\"]"), "6: idocs.reminders[0]:", "not before the deadline"),
        (section("limits.content_bytes = \"1MiB\""), "6: idocs.limits.content_bytes:", "holds the file"),
        (section("upload.extensions = [\".PDF\"]"), "6: idocs.upload.extensions:", "without the dot"),
        (section("history.document_path = \"/h\""), "6: idocs.history.document_path:", "{id}"),
        (section("bulk.from = 1"), "6: idocs.bulk.from:", "from 2 to 50"),
        (section("bulk.gather = \"2m\""), "6: idocs.bulk.gather:", "out of bounds"),
        (section("apiversion = \"v3\""), "6: idocs.apiversion:", "perhaps `api_version`"),
    ] {
        expect_one(&text, beginning, words);
    }
}
