//! The demo as a newcomer starts it: the real program, two real HTTP servers, a real kill.
//!
//! Everything that it judges is asserted here as well, so that a verdict that looks at nothing cannot pass.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const EDOBRIDGE: &str = env!("CARGO_BIN_EXE_edobridge");

fn demo(args: &[&str], files: &[&Path]) -> (Output, Value) {
    let output = Command::new(EDOBRIDGE)
        .arg("demo")
        .args(["--json", "--timeout", "300"])
        .args(args)
        .args(files)
        .output()
        .expect("the program under test starts");
    let result = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, result)
}

fn told(output: &Output) -> String {
    format!(
        "{}\n--- standard output\n{}\n--- standard error\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn assert_every_check_is_right(result: &Value, told: &str) {
    let documents = result["documents"].as_array().expect("there is a list of documents");
    let groups = documents.iter().map(|d| &d["checks"]).chain([&result["checks"]]);
    for checks in groups {
        let checks = checks.as_array().expect("there is a list of checks");
        assert!(checks.len() >= 4, "{told}");
        for check in checks {
            assert_eq!(check["right"], true, "{check}\n{told}");
        }
    }
    assert_eq!(result["right"], true, "{told}");
}

#[test]
fn every_document_of_the_default_set_ends_right_through_all_troubles() {
    let (output, result) = demo(&["--seconds-to-sign", "1"], &[]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_every_check_is_right(&result, &told);
    let documents = result["documents"].as_array().expect("there is a list of documents");
    let mut troubles: Vec<&str> = documents.iter().filter_map(|d| d["trouble"].as_str()).collect();
    troubles.sort_unstable();
    assert_eq!(
        troubles,
        [
            "callback_before_answer",
            "callback_three_times",
            "create_answer_lost",
            "killed_during_create",
            "large_file",
            "nothing",
            "nothing",
            "refused",
            "signed_while_dead"
        ]
    );
    for document in documents {
        assert_eq!(document["outcome"], document["expected"], "{told}");
        let signed = document["outcome"] == "signed";
        assert_eq!(document["service_sha256"].is_string(), signed, "{told}");
        assert_eq!(document["service_sha256"], document["portal_sha256"], "{told}");
    }
    let codes: Vec<&str> =
        result["checks"].as_array().into_iter().flatten().filter_map(|c| c["code"].as_str()).collect();
    assert!(codes.contains(&"idocs_both_signed") && codes.contains(&"idocs_delivered"), "{told}");
    assert!(result["own_signature"]["ru"].is_string(), "{told}");
    assert_eq!(result["kill"]["in_flight"].as_array().map(Vec::len), Some(1), "{told}");
    assert!(result["kill"]["waiting"].as_array().is_some_and(|w| !w.is_empty()), "{told}");
}

#[test]
fn own_files_go_the_whole_way_whatever_their_names_are() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let names = ["Договор [черновик].docx", "plan_signed.pdf", "plan.pdf"];
    let files: Vec<_> = names.iter().map(|name| dir.path().join(name)).collect();
    for (n, file) in files.iter().enumerate() {
        std::fs::write(file, vec![n as u8 + 1; 1_000 * (n + 1)]).expect("the folder can be written to");
    }
    let files: Vec<&Path> = files.iter().map(|file| file.as_path()).collect();
    let (output, result) = demo(&["--no-kill", "--seconds-to-sign", "0"], &files);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_every_check_is_right(&result, &told);
    assert_eq!(result["documents"].as_array().map(Vec::len), Some(3), "{told}");
    assert_eq!(result["kill"], Value::Null, "{told}");
}

#[test]
fn a_missing_file_is_named_and_nothing_is_started() {
    let (output, _) = demo(&[], &[Path::new("no-such-file.pdf")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.pdf"));
}
