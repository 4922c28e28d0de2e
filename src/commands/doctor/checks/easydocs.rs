//! The signing service: the key, the routes, the signature of callbacks, and what it means that it can do so little.

use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::commands::wiring;
use crate::config::{Config, EasydocsConfig};
use crate::domain::{Failure, FailureClass, FailureKind, SigningService, Text};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the service is waited for: somebody looks on.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the section is called.
pub fn title() -> Text {
    Text::new("EasyDocs", "EasyDocs")
}

/// Asks the service, and looks at what is configured for it.
pub async fn check(examination: &Examination, notes: Notebook) {
    let config = examination.config();
    let used = config.rules.iter().any(|rule| rule.service == SigningService::EasyDocs);
    if !used && config.easydocs.api_key.is_none() {
        return notes.add(Finding::skipped(
            "key",
            "EasyDocs не настроен: правил для него нет.",
            "EasyDocs is not set up: there are no rules for it.",
        ));
    }
    notes.add(key(config).await);
    notes.extend(routes(config));
    notes.add(signature(&config.easydocs));
    notes.extend(capabilities(&config.easydocs));
}

async fn key(config: &Config) -> Finding {
    match &config.easydocs.api_key {
        None => {
            return Finding::problem("key", "Ключ API не задан.", "No API key is set.").fix(
                "Запросите ключ у EasyDocs и укажите easydocs.api_key.",
                "Ask EasyDocs for a key and set easydocs.api_key.",
            );
        }
        Some(key) if !key.is_resolved() => return Finding::unread_secret("key"),
        Some(_) => {}
    }
    let path = &config.easydocs.health.path;
    if path.is_empty() {
        return Finding::skipped(
            "key",
            "Ключ API не проверить: easydocs.health.path пуст.",
            "The API key cannot be tried: easydocs.health.path is empty.",
        )
        .fix(
            "Узнайте у EasyDocs адрес проверки ключа (в руководстве — «/api/v1/me или подобный»).",
            "Ask EasyDocs for the path that tries a key (the guide says \"/api/v1/me or similar\").",
        );
    }
    let client = match wiring::easydocs_client(config) {
        Ok(client) => client,
        Err(error) => return Finding::of(Verdict::Problem, "key", error.text()),
    };
    match tokio::time::timeout(PATIENCE, client.health()).await {
        Ok(Ok(())) => Finding::ok(
            "key",
            format!("Ключ API принят ({path})."),
            format!("The API key is accepted ({path})."),
        ),
        Ok(Err(failure)) => refused_key(path, &failure),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Finding::problem(
                "key",
                format!("EasyDocs не ответил за {seconds} с."),
                format!("EasyDocs did not answer within {seconds} s."),
            )
            .fix("Проверьте easydocs.base_url и сеть.", "Check easydocs.base_url and the network.")
        }
    }
}

/// The path is a guess of the guide, so that a 404 says nothing about the key.
fn refused_key(path: &str, failure: &Failure) -> Finding {
    match (failure.class, failure.kind) {
        (FailureClass::Auth, _) => {
            Finding::problem("key", "EasyDocs не принял ключ API.", "EasyDocs refused the API key.")
                .because(failure)
                .fix(
                    "Проверьте easydocs.api_key и [easydocs.auth]; запросите новый ключ.",
                    "Check easydocs.api_key and [easydocs.auth]; ask for a new key.",
                )
        }
        (_, FailureKind::Refused) => Finding::warning(
            "key",
            format!("EasyDocs отвечает, но пути {path} не знает: ключ не проверен."),
            format!("EasyDocs answers, but does not know the path {path}: the key was not tried."),
        )
        .because(failure)
        .fix(
            "Этот путь — предположение руководства: узнайте верный и укажите easydocs.health.path.",
            "This path is a guess of the guide: ask for the right one and set easydocs.health.path.",
        ),
        (FailureClass::Throttled, _) => Finding::warning(
            "key",
            "EasyDocs просит подождать, ключ не проверен.",
            "EasyDocs asks to wait, the key was not tried.",
        )
        .because(failure),
        (FailureClass::Transient | FailureClass::Permanent | FailureClass::Ambiguous, _) => {
            Finding::problem("key", "Ключ API не проверен.", "The API key was not tried.").because(failure)
        }
    }
}

/// Parts of a route id that stand in samples.
const PLACEHOLDERS: [&str; 3] = ["REPLACE", "CHANGE", "XXX"];

fn routes(config: &Config) -> Vec<Finding> {
    let mut by_route: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in config.rules.iter().filter(|rule| rule.service == SigningService::EasyDocs) {
        by_route.entry(rule.route_id.trim()).or_default().push(&rule.id);
    }
    by_route.into_iter().map(|(route, rules)| judge_route(route, &rules.join(", "))).collect()
}

fn judge_route(route: &str, rules: &str) -> Finding {
    let placeholder = PLACEHOLDERS.iter().any(|word| route.to_ascii_uppercase().contains(word));
    if route.is_empty() || placeholder {
        return Finding::problem(
            "route",
            format!("У правил {rules} не задан маршрут подписания."),
            format!("The rules {rules} have no signing route."),
        )
        .fix(
            "Создайте маршрут в кабинете EasyDocs и запишите его номер в route_id.",
            "Make a route in the EasyDocs account and put its id into route_id.",
        );
    }
    Finding::skipped(
        "route",
        format!("Маршрут {route} (правила: {rules}): EasyDocs не даёт узнать, есть ли он."),
        format!("Route {route} (rules: {rules}): EasyDocs offers no way to ask whether it is there."),
    )
    .fix("Сверьте номер с кабинетом EasyDocs.", "Compare the id with the EasyDocs account.")
}

fn signature(easydocs: &EasydocsConfig) -> Finding {
    let secrets = &easydocs.signature.secrets;
    if secrets.is_empty() {
        return Finding::problem(
            "signature",
            "Секрет подписи callback не задан: все ответы EasyDocs будут отвергнуты.",
            "No secret of callback signatures is set: all callbacks of EasyDocs would be refused.",
        )
        .fix(
            "Получите секрет у EasyDocs и укажите easydocs.signature.secrets.",
            "Get the secret from EasyDocs and set easydocs.signature.secrets.",
        );
    }
    if secrets.iter().any(|secret| !secret.is_resolved()) {
        return Finding::unread_secret("signature");
    }
    let (header, count) = (&easydocs.signature.header, secrets.len());
    Finding::ok(
        "signature",
        format!("Секретов подписи callback: {count}, заголовок {header}."),
        format!("Secrets of callback signatures: {count}, header {header}."),
    )
    .fix(
        "Алгоритм и запись подписи в руководстве не описаны: верны ли они, покажет первый настоящий callback. Отвергнутые видны в журнале и в метриках; настройки — [easydocs.signature].",
        "The guide describes neither the hash nor its spelling: the first real callback shows whether they are right. Refused ones are seen in the log and the metrics; the settings are in [easydocs.signature].",
    )
}

fn capabilities(easydocs: &EasydocsConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !easydocs.can_search() && !easydocs.create.idempotent_by_external_id {
        findings.push(
            Finding::warning(
                "search",
                "Поиска по external_id нет: если ответ на создание документа потеряется, служба подождёт callback, а потом спросит человека, чтобы не отправить дважды.",
                "There is no search by external_id: if the answer to a create is lost, the service waits for a callback and then asks a person, so that nothing is sent twice.",
            )
            .fix(
                "Узнайте у EasyDocs, есть ли поиск, и укажите easydocs.search.path.",
                "Ask EasyDocs whether there is a search, and set easydocs.search.path.",
            ),
        );
    }
    if !easydocs.can_ask_status() {
        let deadline = easydocs.deadline;
        findings.push(
            Finding::warning(
                "status",
                format!("Состояние документа не спросить: потерянный callback заметят только напоминания и срок (easydocs.deadline = {deadline})."),
                format!("The status of a document cannot be asked: a lost callback is noticed only by the reminders and the deadline (easydocs.deadline = {deadline})."),
            )
            .fix(
                "Узнайте у EasyDocs, читается ли состояние, и укажите easydocs.status.path.",
                "Ask EasyDocs whether a status can be read, and set easydocs.status.path.",
            ),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::needs::tests::config;
    use super::*;

    const RULE: &str = "[[rules]]\nid = \"a\"\nportal = \"p\"\nroute_id = \"17\"\ntrigger = { kind = \"folder\", folder_id = 7 }\n";

    #[test]
    fn a_route_of_the_sample_is_a_problem_and_a_real_one_cannot_be_asked_for() {
        assert_eq!(judge_route("REPLACE-WITH-THE-ID-OF-THE-ROUTE", "a").verdict, Verdict::Problem);
        assert_eq!(judge_route("", "a").verdict, Verdict::Problem);
        assert_eq!(judge_route("17", "a").verdict, Verdict::Skipped);
        let two =
            routes(&config(&format!("{RULE}{}", RULE.replace("\"a\"", "\"b\"").replace("= 7 ", "= 8 "))));
        assert_eq!(two.len(), 1, "one line for one route");
        assert!(two[0].text.en.contains("a, b"));
    }

    #[test]
    fn what_the_service_cannot_do_is_explained() {
        let mut easydocs = config(RULE).easydocs;
        let checks: Vec<_> =
            capabilities(&easydocs).iter().map(|finding| (finding.check, finding.verdict)).collect();
        assert_eq!(checks, [("search", Verdict::Warning), ("status", Verdict::Warning)]);
        easydocs.search.path = "/s?x={external_id}".into();
        easydocs.status.path = "/d/{id}".into();
        assert!(capabilities(&easydocs).is_empty());
    }

    #[test]
    fn without_a_secret_callbacks_would_be_refused() {
        let mut easydocs = config(RULE).easydocs;
        assert_eq!(signature(&easydocs).verdict, Verdict::Ok);
        easydocs.signature.secrets.clear();
        assert_eq!(signature(&easydocs).verdict, Verdict::Problem);
    }

    #[test]
    fn an_unknown_health_path_says_nothing_about_the_key() {
        let failure = |class, kind| Failure::new(class, kind, "http_404", Text::default());
        let verdict = |class, kind| refused_key("/api/v1/me", &failure(class, kind)).verdict;
        assert_eq!(verdict(FailureClass::Permanent, FailureKind::Refused), Verdict::Warning);
        assert_eq!(verdict(FailureClass::Auth, FailureKind::Credentials), Verdict::Problem);
        assert_eq!(verdict(FailureClass::Transient, FailureKind::Unreachable), Verdict::Problem);
    }
}
