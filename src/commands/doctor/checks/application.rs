//! One application: its keys at the authorisation server, where its tokens are sealed, and the portals that have
//! installed it. What only the running service knows is asked of the service.

use super::{capabilities, channel};
use crate::commands::client::AdminClient;
use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::commands::wiring;
use crate::config::{AppConfig, Config, Members, PortalConfig, SecretSource};
use crate::domain::{Secret, Text, Timestamp};
use crate::http::operator_view::{InstallationLine, PortalLine};
use crate::providers::bitrix24::oauth::Refusal;
use crate::store::portal_seal_key;

/// A refresh token that cannot exist: the answer to it tells whether our keys are known.
const IMPOSSIBLE_TOKEN: &str = "edobridge-doctor-asks-whether-you-know-me";

/// What the section is called.
pub fn title(app: &AppConfig) -> Text {
    Text::new(format!("Приложение {}", app.id), format!("Application {}", app.id))
}

/// Looks at one application.
pub async fn check(examination: &Examination, app: &AppConfig, notes: Notebook) {
    keys(app, &notes).await;
    notes.add(seal(examination.config()));
    let Some(portals) = installed(examination, &notes).await else { return };
    let named =
        |portal: &PortalLine| examination.config().portals.iter().any(|one| one.id.as_str() == portal.id);
    let of_app =
        |portal: &&PortalLine| portal.installation.as_ref().is_some_and(|it| it.app == app.id.as_str());
    let ours: Vec<&PortalLine> = portals.iter().filter(of_app).collect();
    notes.add(Finding::ok(
        "installed",
        format!("Установлено на порталах: {}.", ours.len()),
        format!("Installed at portals: {}.", ours.len()),
    ));
    // portals with an entry of their own have a section of their own
    let now = examination.clock.now();
    for portal in ours.into_iter().filter(|portal| !named(portal)) {
        notes.extend(judged(portal, now));
        notes.extend(workflows(portal));
    }
    if app.members == Members::Any {
        notes.add(
            Finding::warning(
                "members",
                "Установить приложение может любой портал, и его документы пойдут через вашу учётную запись EasyDocs.",
                "Any portal may install the application, and its documents go through your EasyDocs account.",
            )
            .fix("Перечислите member_id в members.", "List the member_ids in members."),
        );
    }
}

/// Looks at a portal that is reached by an application.
pub async fn check_portal(examination: &Examination, entry: &PortalConfig, notes: &Notebook) {
    let Some(portals) = installed(examination, notes).await else { return };
    let found = portals.into_iter().find(|portal| portal.id == entry.id.as_str());
    notes.extend(found.iter().flat_map(workflows));
    match found.as_ref().filter(|portal| portal.installation.is_some()) {
        Some(portal) => notes.extend(judged(portal, examination.clock.now())),
        None => notes.add(
            Finding::problem("installation", "Приложение на портале не установлено.", "The application is not installed at the portal.")
                .fix(
                    "Битрикс24 → Разработчикам → Другое → Локальное приложение: откройте его установку (что нажимать — в deploy/bitrix24/local-app.md).",
                    "Bitrix24 → Developer resources → Other → Local application: open its installation (deploy/bitrix24/local-app.md says what to click).",
                ),
        ),
    }
}

/// What the running service has found out about workflows that its robots made wait; nothing where it does not look.
fn workflows(portal: &PortalLine) -> Vec<Finding> {
    let Some(line) = &portal.workflows else { return Vec::new() };
    let mut findings: Vec<Finding> =
        line.hanging.iter().map(|one| Finding::of(Verdict::Problem, "workflows", one.text.clone())).collect();
    if let Some(why) = &line.unseen {
        findings.push(
            Finding::warning(
                "workflows",
                format!("Бизнес-процессы портала не видны: {}", why.ru),
                format!("The portal's workflows cannot be seen: {}", why.en),
            )
            .fix(
                "Нужны право bizproc и администратор портала: откройте приложение администратором.",
                "The scope bizproc and an administrator are needed: let an administrator open the application.",
            ),
        );
    } else if findings.is_empty() {
        findings.push(Finding::ok(
            "workflows",
            "Ни один бизнес-процесс не ждёт наших роботов напрасно.",
            "No workflow waits for our robots in vain.",
        ));
    }
    findings
}

async fn installed(examination: &Examination, notes: &Notebook) -> Option<Vec<PortalLine>> {
    if !examination.is_running() {
        notes.add(
            Finding::skipped(
                "installation",
                "Служба не запущена, а токены портала знает только она.",
                "The service does not run, and only it knows the tokens of the portal.",
            )
            .fix("Запустите edobridge serve и повторите.", "Start edobridge serve and try again."),
        );
        return None;
    }
    match AdminClient::of(examination.config()).portals().await {
        Ok(list) => Some(list.items),
        Err(error) => {
            notes.add(Finding::of(Verdict::Problem, "installation", error.text()));
            None
        }
    }
}

/// Looks at the second channel of a portal with a webhook, where the service runs.
pub async fn check_channel(examination: &Examination, entry: &PortalConfig, notes: &Notebook) {
    if !examination.is_running() {
        return;
    }
    let Some(portals) = installed(examination, notes).await else { return };
    let line = portals.into_iter().find(|portal| portal.id == entry.id.as_str()).and_then(|one| one.channel);
    let now = examination.clock.now();
    notes.extend(line.iter().flat_map(|line| channel::of_line(entry.id.as_str(), line, now)));
}

fn judged(portal: &PortalLine, now: Timestamp) -> Vec<Finding> {
    let installation = portal.installation.iter().flat_map(|it| judge(&portal.id, it));
    let capability = portal.capability.iter().flat_map(|it| capabilities::of_line(&portal.id, it));
    let channel = portal.channel.iter().flat_map(|it| channel::of_line(&portal.id, it, now));
    installation.chain(capability).chain(channel).collect()
}

fn judge(portal: &str, it: &InstallationLine) -> Vec<Finding> {
    let mut findings = Vec::new();
    let advice = it.advice.clone().unwrap_or_default();
    findings.push(if it.status == "active" {
        Finding::ok(
            "installation",
            format!(
                "{portal}: доступ работает, токены сотрудника {} обновлены {}.",
                it.user_id, it.refreshed_at
            ),
            format!(
                "{portal}: the access works, the tokens of user {} were renewed {}.",
                it.user_id, it.refreshed_at
            ),
        )
    } else {
        Finding::of(
            Verdict::Problem,
            "installation",
            Text::new(format!("{portal}: {}", advice.ru), format!("{portal}: {}", advice.en)),
        )
    });
    let broken = it.bindings.iter().filter_map(|one| Some((one, one.problem.as_ref()?)));
    for (one, problem) in broken {
        findings.push(
            Finding::problem(
                "bindings",
                format!("{portal}: нет регистрации «{}»: {}", one.what, problem.ru),
                format!("{portal}: `{}` is not registered: {}", one.what, problem.en),
            )
            .fix(
                "Дайте приложению недостающее право на портале и откройте его администратором ещё раз.",
                "Give the application the scope that it lacks, and let an administrator open it again.",
            ),
        );
    }
    if it.status == "active" && it.bindings.is_empty() {
        findings.push(Finding::warning(
            "bindings",
            format!("{portal}: события и роботы ещё не зарегистрированы."),
            format!("{portal}: events and robots are not registered yet."),
        ));
    }
    findings
}

/// Whether the authorisation server knows our keys: an impossible token is refused as such only to one it knows.
async fn keys(app: &AppConfig, notes: &Notebook) {
    if !app.client_secret.is_resolved() {
        return notes.add(Finding::unread_secret("keys"));
    }
    let oauth = match wiring::apps::oauth_client(app) {
        Ok(oauth) => oauth,
        Err(error) => return notes.add(Finding::of(Verdict::Problem, "keys", error.text())),
    };
    for host in oauth.hosts() {
        match oauth
            .refresh(host, &Secret::new(IMPOSSIBLE_TOKEN))
            .await
            .map_err(|refused| (refused.refusal, refused.failure))
        {
            Err((Refusal::Client, failure)) => notes.add(
                Finding::problem(
                    "keys",
                    format!("{host} не принял ключи приложения."),
                    format!("{host} did not accept the keys of the application."),
                )
                .because(&failure),
            ),
            Err((Refusal::Unavailable, failure)) => {
                let text = Text::new(format!("{host} не отвечает."), format!("{host} does not answer."));
                notes.add(Finding::of(Verdict::of_failure(&failure), "keys", text).because(&failure));
            }
            Ok(_) | Err((Refusal::Grant | Refusal::Removed | Refusal::Payment | Refusal::Request, _)) => {
                notes.add(Finding::ok(
                    "keys",
                    format!("{host} знает приложение."),
                    format!("{host} knows the application."),
                ));
            }
        }
    }
}

fn seal(config: &Config) -> Finding {
    match config.store.seal_key.as_ref().map(|key| key.source()) {
        Some(SecretSource::Credential(_) | SecretSource::Env(_) | SecretSource::File(_)) => Finding::ok(
            "seal",
            "Токены запечатаны ключом из store.seal_key.",
            "Tokens are sealed with the key of store.seal_key.",
        ),
        Some(SecretSource::Literal) => Finding::warning(
            "seal",
            "Ключ, которым запечатаны токены, записан прямо в настройках.",
            "The key that seals the tokens stands in the configuration itself.",
        )
        .fix(
            "Вынесите его в файл или учётные данные systemd.",
            "Move it into a file or a systemd credential.",
        ),
        None => {
            let file = config.data_dir.join(portal_seal_key::FILE_NAME);
            Finding::warning(
                "seal",
                format!("Ключ, которым запечатаны токены, лежит рядом с данными: {}.", file.display()),
                format!("The key that seals the tokens lies beside the data: {}.", file.display()),
            )
            .fix(
                "Надёжнее учётные данные systemd: [store] seal_key = { credential = \"seal-key\" }, затем edobridge portals rekey. Копию ключа храните отдельно от резервных копий.",
                "A systemd credential is safer: [store] seal_key = { credential = \"seal-key\" }, then edobridge portals rekey. Keep a copy of the key apart from the backups.",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::operator_view::BindingLine;

    fn line(status: &str, problem: Option<Text>) -> InstallationLine {
        InstallationLine {
            app: "sign".into(),
            member_id: "m1".into(),
            status: status.into(),
            advice: Some(Text::new("откройте", "open it")),
            user_id: 1,
            scopes: vec![],
            plan: "L".into(),
            installed_at: String::new(),
            refreshed_at: String::new(),
            uninstalled_at: None,
            bindings: vec![BindingLine { what: "event ONX".into(), problem }],
        }
    }

    #[test]
    fn a_dead_access_and_a_missing_binding_are_problems_with_a_remedy() {
        let verdicts =
            |it: &InstallationLine| judge("main", it).iter().map(|f| f.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(&line("active", None)), [Verdict::Ok]);
        assert_eq!(verdicts(&line("needs_authorisation", None)), [Verdict::Problem]);
        let missing = line("active", Some(Text::new("нет права", "no scope")));
        assert_eq!(verdicts(&missing), [Verdict::Ok, Verdict::Problem]);
        assert!(judge("main", &missing)[1].text.en.contains("ONX"));
    }
}
