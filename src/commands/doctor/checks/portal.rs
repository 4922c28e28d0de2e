//! One portal: its incoming webhook, what that may do, its outgoing webhooks; then what its rules name.

use super::application;
use super::capabilities;
use super::needs::Needs;
use super::owner;
use super::rules;
use super::visitor::Visitor;
use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::commands::wiring;
use crate::config::{PortalConfig, RuleConfig};
use crate::domain::Text;
use crate::providers::bitrix24::Caller;
use crate::providers::bitrix24::account;
use crate::providers::url_rules::Origin;
use crate::saga::document::rule::EVERY_PORTAL;
use std::collections::BTreeSet;

/// What the section is called.
pub fn title(entry: &PortalConfig) -> Text {
    Text::new(format!("Портал {}", entry.id), format!("Portal {}", entry.id))
}

/// Asks the portal.
pub async fn check(examination: &Examination, entry: &PortalConfig, notes: Notebook) {
    let rules: Vec<&RuleConfig> = examination
        .config()
        .rules
        .iter()
        .filter(|rule| rule.portal == entry.id || rule.portal.as_str() == EVERY_PORTAL)
        .collect();
    let needs = Needs::of(&rules);
    if entry.app.is_none() {
        notes.add(events(
            entry,
            &needs,
            examination.config().public.base_url.as_ref().map(|url| url.as_str()),
        ));
    }
    let Some(way_in) = &entry.webhook_url else {
        return application::check_portal(examination, entry, &notes).await;
    };
    application::check_channel(examination, entry, &notes).await;
    if !way_in.is_resolved() {
        return notes.add(Finding::unread_secret("webhook"));
    }
    let visitor = match Visitor::new(entry) {
        Ok(visitor) => visitor,
        Err(error) => return notes.add(Finding::of(Verdict::Problem, "webhook", error.text())),
    };
    if !webhook(&visitor, &notes).await {
        return notes.add(Finding::skipped(
            "rest",
            "Остальное на портале не проверено.",
            "The rest of the portal was not checked.",
        ));
    }
    notes.extend(moved(entry, &visitor));
    let watched = wiring::owner(entry, examination.config());
    notes.extend(owner::check(&visitor, &watched, examination.clock.now()).await);
    let scopes = scopes(&visitor, &needs, &notes).await;
    let (all, way_in) = (wiring::rules(examination.config()), wiring::way_in(entry));
    let now = examination.clock.now();
    notes.extend(capabilities::check(&visitor, (&entry.id, &all), way_in, &needs, now).await);
    rules::check(&visitor, &rules, &needs, &scopes, examination.write_test, &notes).await;
}

async fn webhook(caller: &dyn Caller, notes: &Notebook) -> bool {
    let failure = match account::profile(caller).await {
        Ok(profile) => {
            let (id, name) = (profile.id, profile.name);
            notes.add(
                Finding::ok(
                    "webhook",
                    format!("Входящий вебхук отвечает; он действует от имени: {name} (id {id})."),
                    format!("The incoming webhook answers; it acts as {name} (id {id})."),
                )
                .fix(
                    "REST не показывает срок действия вебхука (впишите его в webhook_expires), а увольнение владельца или правка другим администратором меняют секрет: посмотрите срок в «Разработчикам → Интеграции» и выберите владельцем учётную запись, которую не уволят.",
                    "REST does not show when a webhook expires (put the date into webhook_expires), and the dismissal of its owner or an edit by another administrator changes the secret: look at the date in Developer resources → Integrations, and let an account own it that stays.",
                ),
            );
            return true;
        }
        Err(failure) => failure,
    };
    let finding =
        Finding::problem("webhook", "Входящий вебхук не отвечает.", "The incoming webhook does not answer.")
            .because(&failure);
    notes.add(finding.fix(
        "Битрикс24 → Разработчикам → Другое → Входящий вебхук: создайте его с правами disk, crm, im, user_brief и запишите адрес целиком в webhook_url. В облаке REST требует платного тарифа с подпиской Маркет.",
        "Bitrix24 → Developer resources → Other → Inbound webhook: make one with disk, crm, im, user_brief and put the whole address into webhook_url. In the cloud REST needs a paid plan with a Market subscription.",
    ));
    false
}

fn moved(entry: &PortalConfig, visitor: &Visitor) -> Option<Finding> {
    let configured = Origin::parse(entry.webhook_url.as_ref()?.secret().expose()).ok()?;
    let present = visitor.client().origin();
    (configured != present).then(|| {
        Finding::warning(
            "address",
            format!("Портал переехал: {configured} → {present}. Служба следует за ним, но старое имя однажды исчезнет."),
            format!("The portal has moved: {configured} → {present}. The service follows it, but the old name will vanish one day."),
        )
        .fix("Исправьте хост в webhook_url.", "Correct the host in webhook_url.")
    })
}

/// What a scope is for, in the words of the checklist.
fn purpose(scope: &str) -> Text {
    match scope {
        "disk" => Text::new("брать файлы и класть подписанные", "fetch files and put signed ones back"),
        "crm" => Text::new("читать сделки и писать в таймлайн", "read deals and write into the timeline"),
        "im" => Text::new("уведомлять сотрудников", "notify people"),
        _ => Text::new("работать", "work"),
    }
}

async fn scopes(caller: &dyn Caller, needs: &Needs, notes: &Notebook) -> BTreeSet<String> {
    let scopes: BTreeSet<String> = match account::scope(caller).await {
        Ok(scopes) => scopes.into_iter().collect(),
        Err(failure) => {
            let unknown = Finding::of(
                Verdict::of_failure(&failure),
                "scopes",
                Text::new("Права вебхука не узнать.", "The scopes of the webhook cannot be told."),
            );
            notes.add(unknown.because(&failure));
            return BTreeSet::new();
        }
    };
    notes.extend(judge_scopes(&scopes, needs));
    scopes
}

fn judge_scopes(scopes: &BTreeSet<String>, needs: &Needs) -> Vec<Finding> {
    let missing = needs.scopes.iter().filter(|scope| !scopes.contains(**scope));
    let mut findings: Vec<_> = missing
        .map(|scope| {
            let purpose = purpose(scope);
            Finding::problem(
                "scopes",
                format!("У вебхука нет права {scope}: нельзя {}.", purpose.ru),
                format!("The webhook lacks the scope {scope}: it cannot {}.", purpose.en),
            )
            .fix(
                format!("Откройте вебхук от имени его владельца, добавьте право {scope} и сохраните. Если правит другой администратор, секрет сменится."),
                format!("Open the webhook as its owner, add the scope {scope} and save. If another administrator edits it, its secret changes."),
            )
        })
        .collect();
    if findings.is_empty() {
        let list = needs.scopes.iter().copied().collect::<Vec<_>>().join(", ");
        findings.push(Finding::ok(
            "scopes",
            format!("Права достаточны: {list}."),
            format!("The scopes suffice: {list}."),
        ));
    }
    let extra: Vec<&str> =
        scopes.iter().map(String::as_str).filter(|scope| !USEFUL.contains(scope)).collect();
    if !extra.is_empty() {
        let extra = extra.join(", ");
        findings.push(Finding::warning(
            "scopes",
            format!("У вебхука есть лишние права ({extra}): кто узнает адрес, получит и их."),
            format!("The webhook has scopes that are not needed ({extra}): whoever learns the address gets them too."),
        ).fix("Снимите лишнее в настройках вебхука.", "Take them off in the settings of the webhook."));
    }
    findings
}

/// Scopes that edobridge or this check can use.
const USEFUL: [&str; 6] = ["disk", "crm", "im", "user_brief", "user_basic", "user"];

fn events(entry: &PortalConfig, needs: &Needs, base_url: Option<&str>) -> Finding {
    if needs.events.is_empty() {
        return Finding::ok(
            "events",
            "События не нужны: правила сами смотрят в папки.",
            "No events are needed: the rules look into folders themselves.",
        );
    }
    let list = needs.events.iter().copied().collect::<Vec<_>>().join(", ");
    let handler = format!("{}/bitrix/webhook", base_url.unwrap_or("https://…").trim_end_matches('/'));
    let unread = entry.application_tokens.iter().filter(|token| !token.is_resolved()).count();
    let count = entry.application_tokens.len();
    if count == 0 {
        return Finding::problem(
            "events",
            format!("Правилам нужны события ({list}), а application_tokens пуст: они будут отвергнуты."),
            format!("The rules need events ({list}), and application_tokens is empty: they would be refused."),
        )
        .fix(
            format!("Битрикс24 → Разработчикам → Другое → Исходящий вебхук: обработчик {handler}, события {list}; его токен запишите в application_tokens."),
            format!("Bitrix24 → Developer resources → Other → Outbound webhook: handler {handler}, events {list}; put its token into application_tokens."),
        );
    }
    if unread > 0 {
        return Finding::unread_secret("events");
    }
    Finding::ok(
        "events",
        format!("Токенов исходящих вебхуков: {count}; нужны события {list}."),
        format!("Tokens of outgoing webhooks: {count}; the events that are needed: {list}."),
    )
    .fix(
        format!("Вебхук с обработчиком {handler} и верный ли у него токен, покажет только настоящее событие: измените файл или сделку и посмотрите edobridge documents list. ONDISKFILEADD назван в руководстве EasyDocs, но не в документации Битрикс24: надёжнее правило kind = \"folder\"."),
        format!("Whether there is a webhook with the handler {handler} and this token shows only with a real event: change a file or a deal and look at edobridge documents list. ONDISKFILEADD is named by the EasyDocs guide but not by the Bitrix24 documentation: a rule of kind = \"folder\" is more dependable."),
    )
}

#[cfg(test)]
mod tests {
    use super::super::needs::tests::config;
    use super::*;
    use crate::config::SecretRef;

    const STAGE: &str = "[[rules]]\nid = \"d\"\nportal = \"p\"\nroute_id = \"1\"\ndeliver_to = 9\nnotify = [\"responsible\"]\ntrigger = { kind = \"deal_stage\", stages = [\"C1:X\"], file_field = \"UF_CRM_F\" }\n";

    fn of(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_missing_scope_is_a_problem_that_says_what_for() {
        let config = config(STAGE);
        let needs = Needs::of(&config.rules.iter().collect::<Vec<_>>());
        let findings = judge_scopes(&of(&["disk", "im", "user_brief"]), &needs);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].verdict == Verdict::Problem && findings[0].text.en.contains("scope crm"));
        let enough = judge_scopes(&of(&["disk", "im", "crm", "task"]), &needs);
        let verdicts: Vec<_> = enough.iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Warning]);
        assert!(enough[1].text.en.contains("task"));
    }

    #[test]
    fn rules_that_live_on_events_need_a_token() {
        let mut config = config(STAGE);
        let needs = Needs::of(&config.rules.iter().collect::<Vec<_>>());
        let with = events(&config.portals[0], &needs, Some("https://edo.example/"));
        assert_eq!(with.verdict, Verdict::Ok);
        assert!(with.fix.unwrap().en.contains("https://edo.example/bitrix/webhook"));
        config.portals[0].application_tokens = Vec::<SecretRef>::new();
        assert_eq!(events(&config.portals[0], &needs, None).verdict, Verdict::Problem);
        assert_eq!(events(&config.portals[0], &Needs::default(), None).verdict, Verdict::Ok);
    }
}
