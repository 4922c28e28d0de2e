//! The result, for people and for programs.
//!
//! Knows how things are said, not what they mean: the verdict is given.

use super::performance::{DemoError, Killing, Outcome, Performance};
use super::scenario::{Ending, Planned, Scenario};
use super::verdict::{Check, DocumentVerdict};
use crate::domain::{FileDigest, Language, Text};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, LineStyle, Table};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Hex digits of a digest that are shown: enough to compare by eye.
const DIGITS: usize = 6;
/// Columns of the table: what the default set needs; long names of own files are broken to fit.
const WIDTH: u16 = 120;

/// The table, what is wrong, and the summary.
pub fn for_people(scenario: &Scenario, outcome: &Outcome, language: Language) -> String {
    let mut text = format!("\n{}\n", table(scenario, outcome, language));
    push(&mut text, legend().get(language));
    for (planned, verdict) in scenario.documents.iter().zip(&outcome.verdict.documents) {
        for check in verdict.checks.iter().filter(|check| !check.right) {
            push(&mut text, &format!("  ! {}: {}", planned.name, check.seen.get(language)));
        }
    }
    for check in outcome.verdict.world.iter().filter(|check| !check.right) {
        push(&mut text, &format!("  ! {}", check.seen.get(language)));
    }
    if let Some(killing) = &outcome.killing {
        push(&mut text, killed(killing).get(language));
    }
    if let Some(own) = &outcome.own_signature {
        push(&mut text, own.get(language));
    }
    push(&mut text, summary(outcome).get(language));
    text
}

fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing into a String does not fail");
}

fn table(scenario: &Scenario, outcome: &Outcome, language: Language) -> Table {
    let head = |ru, en| Text::new(ru, en).get(language).to_owned();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header([
        head("Документ", "Document"),
        head("Что с ним делали", "What was done to it"),
        head("Исход", "Outcome"),
        head("Обращений", "Calls"),
        head("Время", "Time"),
        head("EasyDocs = портал", "EasyDocs = portal"),
    ]);
    for (index, (planned, verdict)) in scenario.documents.iter().zip(&outcome.verdict.documents).enumerate() {
        let age = outcome.timings.get(index).map_or(0.0, |timing| timing.age().as_secs_f64());
        table.add_row(row(planned, verdict, age, language));
    }
    table
}

fn row(planned: &Planned, verdict: &DocumentVerdict, age_s: f64, language: Language) -> Vec<String> {
    let unfinished = Text::new("не закончен", "not finished");
    let outcome = verdict.ended.map_or(unfinished, Ending::word);
    let mark = if verdict.is_right() { "✓" } else { "✗" };
    vec![
        planned.name.clone(),
        planned.trouble.words().get(language).to_owned(),
        format!("{mark} {}", outcome.get(language)),
        calls(verdict, language),
        format!("{age_s:.1} s"),
        bytes(verdict),
    ]
}

fn calls(verdict: &DocumentVerdict, language: Language) -> String {
    let (calls, lost) = (verdict.calls, verdict.answers_lost);
    match lost {
        0 => calls.to_string(),
        lost => Text::new(format!("{calls}, {lost} без ответа"), format!("{calls}, {lost} unanswered"))
            .get(language)
            .to_owned(),
    }
}

/// Both digests beside each other, shortened: a person compares them too.
fn bytes(verdict: &DocumentVerdict) -> String {
    let part = |digest: Option<FileDigest>| digest.map_or_else(|| "-".to_owned(), short);
    match (verdict.service_sha256, verdict.portal_sha256) {
        (None, None) => part(None),
        (service, portal) => {
            let sign = if service == portal { "=" } else { "≠" };
            format!("{} {sign} {}", part(service), part(portal))
        }
    }
}

fn short(digest: FileDigest) -> String {
    digest.to_hex()[..DIGITS].to_owned()
}

fn legend() -> Text {
    Text::new(
        "✓ значит, по свидетельству песочницы: в EasyDocs ровно один документ, в портале ровно один подписанный файл \
         с теми же\nбайтами (SHA-256; после отказа ни одного), ровно одно уведомление, в сделке ровно один комментарий.",
        "✓ means, by the sandbox's witness: exactly one document in EasyDocs, exactly one signed file in the portal \
         with the same\nbytes (SHA-256; none after a refusal), exactly one notice, exactly one comment in the deal.",
    )
}

fn killed(killing: &Killing) -> Text {
    let (names, waiting) = (killing.in_flight.join(", "), killing.waiting.len());
    let dead_s = killing.dead_for.as_secs_f64();
    Text::new(
        format!(
            "SIGKILL посреди работы: вызов шёл для «{names}», подписи ждали документы: {waiting}; через {dead_s:.1} с edobridge снова работал."
        ),
        format!(
            "SIGKILL in the middle: a call was under way for \"{names}\", {waiting} document(s) waited for signatures; edobridge ran again after {dead_s:.1} s."
        ),
    )
}

fn summary(outcome: &Outcome) -> Text {
    let (count, took) = (outcome.verdict.documents.len(), outcome.took.as_secs_f64());
    let wrong = outcome.verdict.documents.iter().filter(|d| !d.is_right()).count();
    if outcome.verdict.is_right() {
        return Text::new(
            format!(
                "Все документы ({count}) закончили верно за {took:.1} с: ничего не потеряно, ничего не сделано дважды."
            ),
            format!(
                "All documents ({count}) ended right in {took:.1} s: nothing was lost, nothing was done twice."
            ),
        );
    }
    Text::new(
        format!("Неверно закончили документов: {wrong} из {count}; что не так, сказано выше."),
        format!("{wrong} of {count} documents did not end right; see above for what is wrong."),
    )
}

/// The same as JSON.
pub fn for_programs(scenario: &Scenario, outcome: &Outcome) -> Value {
    let documents = scenario.documents.iter().zip(&outcome.verdict.documents).enumerate();
    let documents: Vec<Value> = documents
        .map(|(index, (planned, verdict))| {
            let seconds = outcome.timings.get(index).map_or(0.0, |timing| timing.age().as_secs_f64());
            json!({
                "name": planned.name,
                "trouble": planned.trouble.code(),
                "expected": planned.trouble.ending().code(),
                "outcome": verdict.ended.map(Ending::code),
                "right": verdict.is_right(),
                "seconds": rounded(seconds),
                "calls": verdict.calls,
                "answers_lost": verdict.answers_lost,
                "setbacks": outcome.setbacks.get(index),
                "original_sha256": planned.sha256.to_hex(),
                "service_sha256": verdict.service_sha256.map(FileDigest::to_hex),
                "portal_sha256": verdict.portal_sha256.map(FileDigest::to_hex),
                "checks": checks(&verdict.checks),
            })
        })
        .collect();
    json!({
        "right": outcome.verdict.is_right(),
        "seconds": rounded(outcome.took.as_secs_f64()),
        "documents": documents,
        "checks": checks(&outcome.verdict.world),
        "own_signature": outcome.own_signature,
        "kill": outcome.killing.as_ref().map(|killing| json!({
            "in_flight": killing.in_flight,
            "waiting": killing.waiting,
            "dead_seconds": rounded(killing.dead_for.as_secs_f64()),
        })),
    })
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

fn checks(checks: &[Check]) -> Vec<Value> {
    checks.iter().map(|c| json!({"code": c.code, "right": c.right, "seen": c.seen})).collect()
}

/// What a program reads when the demo did not come to its end.
pub fn error_for_programs(error: &DemoError, log: Option<&Path>) -> Value {
    json!({"right": false, "error": error.text(), "log": log})
}

/// Where everything is, when it is left running.
pub fn addresses(performance: &Performance, language: Language) -> String {
    let stage = &performance.stage;
    let [public, operator] = performance.addresses;
    let control = format!("{}_sandbox", stage.bitrix_url());
    let lines = [
        (Text::new("Портал (песочница)", "Portal (sandbox)"), stage.bitrix_url().to_string()),
        (Text::new("Его входящий вебхук", "Its incoming webhook"), stage.webhook_url().to_string()),
        (Text::new("Управление песочницей", "Control of the sandbox"), format!("{control}/state")),
        (Text::new("EasyDocs (песочница)", "EasyDocs (sandbox)"), stage.easydocs_url().to_string()),
        (Text::new("iDocs (песочница)", "iDocs (sandbox)"), stage.world().idocs_url().to_string()),
        (Text::new("edobridge, для мира", "edobridge, for the world"), format!("http://{public}/")),
        (Text::new("edobridge, для оператора", "edobridge, for the operator"), format!("http://{operator}/")),
        (Text::new("Данные", "Data"), performance.workspace.data_dir().display().to_string()),
        (
            Text::new("Настройки (с токеном оператора)", "Configuration (with the operator's token)"),
            performance.workspace.config().display().to_string(),
        ),
        (Text::new("Журнал", "Log"), performance.service.log().display().to_string()),
    ];
    let mut text = String::from("\n");
    for (what, value) in lines {
        push(&mut text, &format!("{:<42} {value}", what.get(language)));
    }
    let put = format!(
        "curl --data-binary @file.pdf '{control}/files?name=file.pdf&folder={}'",
        stage.inbox_folder()
    );
    push(
        &mut text,
        Text::new(
            format!("\nПоложить ещё файл:  {put}\nОстановить: Ctrl-C"),
            format!("\nTo put another file: {put}\nTo stop: Ctrl-C"),
        )
        .get(language),
    );
    text
}

/// The same for programs.
pub fn addresses_for_programs(performance: &Performance) -> Value {
    let [public, operator] = performance.addresses;
    json!({
        "portal": performance.stage.bitrix_url(),
        "webhook": performance.stage.webhook_url(),
        "control": format!("{}_sandbox/", performance.stage.bitrix_url()),
        "easydocs": performance.stage.easydocs_url(),
        "idocs": performance.stage.world().idocs_url(),
        "public": format!("http://{public}/"),
        "operator": format!("http://{operator}/"),
        "data_dir": performance.workspace.data_dir(),
        "config": performance.workspace.config(),
        "log": performance.service.log(),
    })
}
