//! The verbs as people and scripts meet them: the real binary, its output and its exit codes.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{Binary, InProcess, PATIENCE, Setting, Stage, pdf, wait_for};

/// Runs the binary with a configuration and waits for its end.
fn edobridge(config: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(args)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

/// Everything that it said, for messages and for searching.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// Verdicts of one check in the report of `doctor --json`.
fn verdicts(report: &Value, check: &str) -> Vec<String> {
    let sections = report["sections"].as_array().expect("a report has sections");
    let findings = sections.iter().flat_map(|section| section["findings"].as_array().expect("findings"));
    let of_check = findings.filter(|finding| finding["check"] == check);
    of_check.map(|finding| finding["verdict"].as_str().expect("a verdict").to_owned()).collect()
}

#[track_caller]
fn assert_no_secret(stage: &Stage, output: &Output) {
    let (said, secrets) = (said(output), stage.secrets());
    for secret in
        [&secrets.webhook, &secrets.application_token, &secrets.api_key, &secrets.callback, &secrets.operator]
    {
        assert!(!said.contains(secret.as_str()), "a secret was printed: {said}");
    }
}

#[test]
fn doctor_is_content_with_a_running_service_and_prints_no_secret() {
    let stage = Stage::new(&Setting::default());
    let _service = Binary::start(&stage);
    let output = edobridge(&stage.config_path, &["doctor", "--json", "--write-test"]);
    let report = json(&output);
    assert_eq!(code(&output), 0, "{report:#}");
    for check in ["service", "store_rules", "webhook", "scopes", "folder", "write", "user", "key", "callback"]
    {
        assert!(verdicts(&report, check).contains(&"ok".to_owned()), "{check}: {report:#}");
    }
    assert_no_secret(&stage, &output);
    assert_no_secret(&stage, &edobridge(&stage.config_path, &["doctor"]));
    assert!(stage.world.documents().is_empty(), "the test file was not sent to be signed");
}

#[test]
fn doctor_checks_the_store_of_a_stopped_service_and_the_service_starts_again() {
    let stage = Stage::new(&Setting::default());
    InProcess::start(&stage).stop();
    let output = edobridge(&stage.config_path, &["doctor", "--json", "--offline"]);
    let report = json(&output);
    assert_eq!(code(&output), 0, "{report:#}");
    assert_eq!(verdicts(&report, "service"), ["skipped"]);
    assert_eq!(verdicts(&report, "store"), ["ok"], "{report:#}");
    assert_eq!(verdicts(&report, "store_rules"), ["ok"], "{report:#}");
    InProcess::start(&stage).stop();
}

#[test]
fn doctor_ends_with_one_when_something_does_not_work() {
    let stage = Stage::new(&Setting::default());
    stage.world.set_scopes(&["crm"]);
    let output = edobridge(&stage.config_path, &["doctor", "--json"]);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(verdicts(&json(&output), "scopes").contains(&"problem".to_owned()));
}

#[test]
fn doctor_makes_no_store_where_there_is_none() {
    let stage = Stage::new(&Setting::default());
    let output = edobridge(&stage.config_path, &["doctor", "--json", "--offline"]);
    assert_eq!(verdicts(&json(&output), "data_dir"), ["warning"]);
    assert!(!stage.data_dir().exists());
}

#[test]
fn a_backup_of_the_running_service_is_verified_restored_and_goes_on_without_doubles() {
    let stage = Stage::new(&Setting::default());
    // The echo of our own upload may overtake the upload's answer; it then stays on record as ignored, and would be counted.
    stage.world.set_echo(edobridge::sandbox::Echo::Off);
    let service = Binary::start(&stage);
    stage.drop_file("contract.pdf", pdf(1, 2_000));
    wait_for("the signed copy", || stage.signed_copies().len() == 1);
    wait_for("the notice", || stage.world.notices(stage.user).len() == 1);

    let file = stage.dir.path().join("a.backup");
    let path = file.display().to_string();
    let made = edobridge(&stage.config_path, &["backup", "create", "--json", "--to", &path]);
    assert_eq!(code(&made), 0, "{}", said(&made));
    assert_eq!(json(&made)["documents"], 1);
    let again = edobridge(&stage.config_path, &["backup", "create", "--to", &path]);
    assert_eq!(code(&again), 1, "a backup is never replaced: {}", said(&again));
    service.kill();

    let verified = edobridge(&stage.config_path, &["backup", "verify", "--json", &path]);
    assert_eq!(code(&verified), 0, "{}", said(&verified));
    assert_eq!(json(&verified)["store_check"]["violation_count"], 0);

    let data = stage.dir.path().join("restored");
    let to = data.display().to_string();
    let restored = edobridge(&stage.config_path, &["backup", "restore", "--json", &path, "--to", &to]);
    assert_eq!(code(&restored), 0, "{}", said(&restored));
    assert!(json(&restored)["next"].as_array().is_some_and(|steps| !steps.is_empty()));
    let refused = edobridge(&stage.config_path, &["backup", "restore", &path, "--to", &to]);
    assert_eq!(code(&refused), 1, "nothing is restored over a store: {}", said(&refused));

    let text = std::fs::read_to_string(&stage.config_path).expect("the configuration is there");
    let old = stage.data_dir().display().to_string();
    std::fs::write(&stage.config_path, text.replace(&old, &to)).expect("the configuration is written");
    let _service = Binary::start(&stage);
    let listed = edobridge(&stage.config_path, &["documents", "list", "--json"]);
    assert_eq!(code(&listed), 0, "{}", said(&listed));
    assert_eq!(json(&listed)["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(stage.world.documents().len(), 1, "nothing was sent a second time");
}

#[test]
fn a_backup_is_made_from_the_store_of_a_stopped_service_too() {
    let stage = Stage::new(&Setting::default());
    let none = edobridge(&stage.config_path, &["backup", "create"]);
    assert_eq!(code(&none), 1, "there is no store yet: {}", said(&none));
    assert!(!stage.data_dir().exists());
    InProcess::start(&stage).stop();
    let made = edobridge(&stage.config_path, &["backup", "create", "--json"]);
    assert_eq!(code(&made), 0, "{}", said(&made));
    let path = json(&made)["path"].as_str().expect("a path").to_owned();
    assert!(path.starts_with(&stage.data_dir().join("backups").display().to_string()), "{path}");
    InProcess::start(&stage).stop();
}

#[test]
fn a_damaged_backup_is_refused() {
    let stage = Stage::new(&Setting::default());
    InProcess::start(&stage).stop();
    let file = stage.dir.path().join("a.backup");
    let path = file.display().to_string();
    let made = edobridge(&stage.config_path, &["backup", "create", "--to", &path]);
    assert_eq!(code(&made), 0, "{}", said(&made));
    let mut bytes = std::fs::read(&file).expect("the backup is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("the backup is damaged");
    let verified = edobridge(&stage.config_path, &["backup", "verify", &path]);
    assert_eq!(code(&verified), 1, "{}", said(&verified));
    let to = stage.dir.path().join("restored").display().to_string();
    let restored = edobridge(&stage.config_path, &["backup", "restore", &path, "--to", &to]);
    assert_eq!(code(&restored), 1, "{}", said(&restored));
}

#[test]
fn a_wrong_key_is_named_with_its_line_for_people_and_for_programs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("edobridge.toml");
    std::fs::write(&path, "language = \"en\"\n\nnonsense = 1\n").expect("the file is written");
    let people = edobridge(&path, &["config", "check"]);
    assert_eq!(code(&people), 1);
    assert!(said(&people).contains("edobridge.toml:3"), "{}", said(&people));
    let programs = edobridge(&path, &["config", "check", "--json"]);
    assert_eq!(code(&programs), 1);
    let problems = json(&programs);
    assert!(
        problems["problems"][0]["origin"].as_str().is_some_and(|origin| origin.ends_with(":3")),
        "{problems}"
    );
    assert_eq!(code(&edobridge(&path, &["doctor", "--json"])), 1);
    assert_eq!(code(&edobridge(&path, &["config", "show"])), 2);
}

#[test]
fn what_config_prints_can_be_read_again() {
    let stage = Stage::new(&Setting::default());
    let shown = edobridge(&stage.config_path, &["config", "show"]);
    assert_eq!(code(&shown), 0, "{}", said(&shown));
    assert_no_secret(&stage, &shown);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.parse::<toml::Table>().is_ok(), "{text}");
    assert_eq!(
        json(&edobridge(&stage.config_path, &["config", "show", "--json"]))["values"]["language"],
        "ru"
    );
    assert!(json(&edobridge(&stage.config_path, &["config", "schema"]))["properties"].is_object());
    for verb in ["default", "example"] {
        let printed = edobridge(&stage.config_path, &["config", verb]);
        let path = stage.dir.path().join(format!("{verb}.toml"));
        std::fs::write(&path, &printed.stdout).expect("the file is written");
        let checked = edobridge(&path, &["config", "check"]);
        assert_eq!(code(&checked), 0, "{verb}: {}", said(&checked));
    }
}

#[test]
fn the_sandbox_writes_a_configuration_that_doctor_is_content_with_and_stops_when_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("sandbox.toml");
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(["sandbox", "--bitrix", "127.0.0.1:0", "--easydocs", "127.0.0.1:0", "--json", "--write-config"])
        .arg(&config)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_for("the configuration", || {
        std::fs::read_to_string(&config).is_ok_and(|text| text.contains("\"deals\""))
    });
    let output = edobridge(&config, &["doctor", "--json"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(verdicts(&json(&output), "field"), ["ok"]);

    let pid = rustix::process::Pid::from_child(&sandbox);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it still runs");
    let until = std::time::Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = sandbox.try_wait().expect("it can be waited for") {
            break status;
        }
        assert!(std::time::Instant::now() < until, "the sandbox does not stop");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn every_shell_can_complete_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["completions", shell])
            .output()
            .expect("the binary starts");
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(code(&output), 0, "{shell}");
        for verb in ["doctor", "backup", "sandbox"] {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn a_verb_that_nobody_knows_is_misuse() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_edobridge")).arg("nonsense").output().expect("the binary starts");
    assert_eq!(code(&output), 2);
}
