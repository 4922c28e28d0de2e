//! The store: through the service if it runs, else by opening it; and the rules that must hold over all of it.

use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::commands::offline_store::{self, Closed};
use crate::commands::running_service::{Presence, Readiness};
use crate::domain::Text;
use crate::http::maintenance::InvariantsView;
use crate::saga::document::Step;
use crate::store::{OpenReport, Store, ViewFate};
use std::time::Duration;

/// What the section is called.
pub fn title() -> Text {
    Text::new("Служба и хранилище", "Service and store")
}

/// Looks at the running service, or at the store itself.
pub async fn check(examination: &Examination, notes: Notebook) {
    match &examination.presence {
        Presence::Running(readiness) => {
            let address = examination.service.address();
            notes.extend(readiness_findings(readiness, &address.to_string()));
            notes.extend(slow_syncs(readiness, examination.config().store.max_sync_latency.as_duration()));
            notes.add(rules_of_running(examination).await);
        }
        Presence::Unclear(text) => notes.add(Finding::of(Verdict::Problem, "service", text.clone())),
        Presence::Absent => {
            notes.add(not_running());
            closed_store(examination, &notes).await;
        }
    }
}

fn not_running() -> Finding {
    Finding::skipped("service", "Служба сейчас не запущена.", "The service is not running now.").fix(
        "Запустите: systemctl start edobridge (или edobridge serve) и повторите проверку.",
        "Start it: systemctl start edobridge (or edobridge serve), and run this again.",
    )
}

fn readiness_findings(readiness: &Readiness, address: &str) -> Vec<Finding> {
    if readiness.ready {
        return vec![Finding::ok(
            "service",
            format!("Служба работает и принимает документы ({address})."),
            format!("The service runs and takes documents ({address})."),
        )];
    }
    let (ru, en) = if readiness.draining {
        ("Служба останавливается.", "The service is stopping.")
    } else {
        ("Служба работает, но нового не принимает.", "The service runs but takes nothing new.")
    };
    let mut findings = vec![Finding::problem("service", ru, en)];
    findings.extend(
        readiness.reasons.iter().map(|reason| Finding::of(Verdict::Problem, "readiness", reason.clone())),
    );
    findings
}

/// What the journal itself has seen, which counts more than a measurement of a few seconds.
fn slow_syncs(readiness: &Readiness, limit: Duration) -> Option<Finding> {
    let p99 = Duration::from_micros(readiness.details.pointer("/store/sync_p99_us")?.as_u64()?);
    if p99 <= limit {
        return None;
    }
    let (p99, limit) = (p99.as_millis(), limit.as_millis());
    Some(
        Finding::warning(
            "journal_sync",
            format!("Записи журнала ждут диск до {p99} мс при пороге {limit} мс (store.max_sync_latency)."),
            format!("Writes of the journal wait up to {p99} ms for the disk, the threshold is {limit} ms (store.max_sync_latency)."),
        )
        .fix(
            "Проверьте, кто ещё нагружает этот диск.",
            "See what else is working on this disk.",
        ),
    )
}

async fn rules_of_running(examination: &Examination) -> Finding {
    let answer = examination.service.order::<_, InvariantsView>("store-check", &()).await;
    match answer {
        Ok(view) => rules_finding(&view),
        Err(error) => Finding::of(Verdict::Skipped, "store_rules", error.text()).fix(
            "Хранилище проверит и остановленная служба: edobridge doctor откроет его сам.",
            "The store can also be checked while the service is stopped: edobridge doctor then opens it.",
        ),
    }
}

fn rules_finding(view: &InvariantsView) -> Finding {
    let (documents, entries, broken) = (view.documents, view.entries, view.violation_count);
    if broken == 0 {
        return Finding::ok(
            "store_rules",
            format!(
                "Правила хранилища соблюдены: документов {documents}, записей {entries}. Ни один документ не забыт."
            ),
            format!(
                "The rules of the store hold: documents {documents}, entries {entries}. No document is forgotten."
            ),
        );
    }
    let first = view.violations.first().map_or("", String::as_str);
    Finding::problem(
        "store_rules",
        format!("Нарушено правил хранилища: {broken}. Первое: {first}."),
        format!("Broken rules of the store: {broken}. The first: {first}."),
    )
    .fix(
        "Сделайте копию (edobridge backup create) и пришлите вывод `edobridge doctor --json` разработчикам.",
        "Make a backup (edobridge backup create) and send the output of `edobridge doctor --json` to the developers.",
    )
}

async fn closed_store(examination: &Examination, notes: &Notebook) {
    let config = examination.config();
    match offline_store::open(config, &examination.console).await {
        Ok((store, report)) => opened_store(store, &report, notes).await,
        Err(Closed::Broken(text)) => notes.add(Finding::of(Verdict::Problem, "store", text)),
        Err(closed @ (Closed::Absent | Closed::Foreign(_))) => {
            notes.add(Finding::of(Verdict::Skipped, "store", closed.text(config)));
        }
    }
}

async fn opened_store(store: Store, report: &OpenReport, notes: &Notebook) {
    notes.add(opening(report));
    match store.check_invariants().await {
        Ok(report) => notes.add(rules_finding(&InvariantsView::from(&report))),
        Err(error) => notes.add(Finding::of(Verdict::Problem, "store_rules", error.text())),
    }
    notes.extend(waiting_for_people(store.counts().await.of(Step::Parked)));
    if let Err(error) = store.close().await {
        notes.add(Finding::of(Verdict::Problem, "store_close", error.text()));
    }
}

fn opening(report: &OpenReport) -> Finding {
    let ms = report.took.as_millis();
    match &report.view {
        ViewFate::Created | ViewFate::Trusted => Finding::ok(
            "store",
            format!("Хранилище открывается за {ms} мс."),
            format!("The store opens within {ms} ms."),
        ),
        ViewFate::Rebuilt { reason } => Finding::warning(
            "store",
            format!("Хранилище открылось за {ms} мс, представление построено заново: {}", reason.ru),
            format!("The store opened within {ms} ms, its view was made anew: {}", reason.en),
        )
        .fix(
            "Ничего не потеряно. Если это повторяется без перезагрузок, проверьте диск.",
            "Nothing is lost. If it happens again without reboots, check the disk.",
        ),
    }
}

fn waiting_for_people(parked: u64) -> Option<Finding> {
    (parked > 0).then(|| {
        Finding::warning(
            "dead_letters",
            format!("Документов, ждущих решения человека: {parked}."),
            format!("Documents that wait for a person: {parked}."),
        )
        .fix("После запуска: edobridge dead-letters list", "After the start: edobridge dead-letters list")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn readiness(ready: bool, p99_us: u64) -> Readiness {
        Readiness {
            ready,
            draining: false,
            reasons: if ready {
                Vec::new()
            } else {
                vec![Text::new("диск полон", "the disk is full")]
            },
            details: json!({ "store": { "sync_p99_us": p99_us } }),
        }
    }

    #[test]
    fn a_service_that_takes_nothing_is_a_problem_with_its_own_reason() {
        let findings = readiness_findings(&readiness(false, 0), "x");
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Problem));
        assert_eq!(findings[1].text.en, "the disk is full");
        assert_eq!(readiness_findings(&readiness(true, 0), "x")[0].verdict, Verdict::Ok);
    }

    #[test]
    fn slow_syncs_of_the_running_journal_are_told() {
        let limit = Duration::from_millis(50);
        assert_eq!(slow_syncs(&readiness(true, 50_000), limit), None);
        let slow = slow_syncs(&readiness(true, 70_000), limit).unwrap();
        assert!(slow.verdict == Verdict::Warning && slow.text.en.contains("70 ms"));
        assert_eq!(slow_syncs(&Readiness { details: json!(null), ..readiness(true, 0) }, limit), None);
    }

    #[test]
    fn a_broken_rule_is_a_problem_that_names_the_first() {
        let mut view =
            InvariantsView { documents: 1, entries: 2, violation_count: 0, violations: Vec::new() };
        assert_eq!(rules_finding(&view).verdict, Verdict::Ok);
        view.violation_count = 1;
        view.violations.push("ST-1 one timer: none".into());
        let finding = rules_finding(&view);
        assert!(finding.verdict == Verdict::Problem && finding.text.en.contains("ST-1"));
    }
}
