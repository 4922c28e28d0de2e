//! iDocs: the token and its company, the people who sign and their rights, the notices.

use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::commands::wiring;
use crate::config::{Config, IdocsConfig, IdocsSigner};
use crate::domain::{Failure, FailureClass, SigningService, Text, Timestamp};
use crate::providers::idocs::events::PastList;
use crate::providers::idocs::references::{Company, Employee};
use crate::providers::idocs::{Call, Client};
use std::future::Future;
use std::time::Duration;

/// How long the service is waited for: somebody looks on.
const PATIENCE: Duration = Duration::from_secs(30);
/// Employees that are listed when a signer is not among them.
const LISTED_MAX: usize = 12;
/// So far back the list of events is read: a day has some, wherever documents are signed.
const HISTORY_MS: u64 = 24 * 3_600_000;
/// Rights that are shown of one person.
const RIGHTS_SHOWN_MAX: usize = 8;

/// What the section is called.
pub fn title() -> Text {
    Text::new("iDocs", "iDocs")
}

/// Asks the service, and looks at what is configured for it.
pub async fn check(examination: &Examination, notes: Notebook) {
    let config = examination.config();
    let Some(idocs) = &config.idocs else {
        return notes.add(Finding::skipped(
            "token",
            "iDocs выключен: раздела [idocs] нет.",
            "iDocs is off: there is no section [idocs].",
        ));
    };
    notes.extend(signers_of_rules(config, idocs));
    notes.extend(notices(config, idocs));
    match &idocs.token {
        None => notes.add(
            Finding::problem("token", "Токен компании не задан.", "No token of the company is set.").fix(
                "Запросите его у менеджера iDocs и укажите idocs.token.",
                "Ask the iDocs manager for it and set idocs.token.",
            ),
        ),
        Some(token) if !token.is_resolved() => notes.add(Finding::unread_secret("token")),
        Some(_) => match wiring::idocs::idocs_client(idocs) {
            Ok(client) => {
                ask(&client, idocs, &notes).await;
                notes.extend(history(&client, idocs, examination.clock.now()).await);
            }
            Err(error) => notes.add(Finding::of(Verdict::Problem, "token", error.text())),
        },
    }
}

async fn ask(client: &Client, idocs: &IdocsConfig, notes: &Notebook) {
    if client.require(Call::CheckToken).is_err() {
        notes.add(lost_answers());
        return notes.add(Finding::skipped(
            "token",
            "Интерфейс V1 не даёт проверить токен и сотрудников без отправки документа.",
            "The interface V1 offers no way to try the token and the employees without sending a document.",
        ));
    }
    match patiently(client.check_token()).await {
        Err(finding) => return notes.add(finding),
        Ok(Err(failure)) => return notes.add(refused_token(&failure)),
        Ok(Ok(company)) => notes.add(accepted(&company, idocs)),
    }
    match patiently(client.employees()).await {
        Err(finding) => notes.add(finding),
        Ok(Err(failure)) => notes.add(
            Finding::problem(
                "employees",
                "Список сотрудников iDocs не прочитан.",
                "The list of iDocs employees could not be read.",
            )
            .because(&failure)
            .fix(
                "Если iDocs не принимает размер страницы, уменьшите idocs.query.page_size до 10.",
                "If iDocs does not take the size of a page, lower idocs.query.page_size to 10.",
            ),
        ),
        Ok(Ok(employees)) => people(client, idocs, &employees, notes).await,
    }
}

/// What everybody who uses V1 must know before the first lost answer.
fn lost_answers() -> Finding {
    Finding::warning(
        "interface",
        "Интерфейс V1 известен только по коду одного клиента, у поставщика он не описан. Если ответ на отправку потеряется, \
         найти документ в iDocs этим интерфейсом нечем: edobridge остановит его и спросит человека.",
        "The interface V1 is known from the code of one client only, the vendor does not describe it. If the answer to a \
         sending is lost, nothing at iDocs finds the document by this interface: edobridge stops it and asks a person.",
    )
    .fix(
        "Проверьте значения раздела [idocs.v1] на одном документе; по возможности попросите у iDocs доступ к V3.",
        "Try the values of the section [idocs.v1] with one document; ask iDocs for V3 if you can.",
    )
}

async fn patiently<T>(call: impl Future<Output = T>) -> Result<T, Finding> {
    let seconds = PATIENCE.as_secs();
    tokio::time::timeout(PATIENCE, call).await.map_err(|_| {
        Finding::problem(
            "token",
            format!("iDocs не ответил за {seconds} с."),
            format!("iDocs did not answer within {seconds} s."),
        )
        .fix("Проверьте idocs.base_url и сеть.", "Check idocs.base_url and the network.")
    })
}

fn refused_token(failure: &Failure) -> Finding {
    match failure.class {
        FailureClass::Auth => {
            Finding::problem("token", "iDocs не принял токен.", "iDocs refused the token.").because(failure)
        }
        FailureClass::Throttled => Finding::warning(
            "token",
            "iDocs просит подождать, токен не проверен.",
            "iDocs asks to wait, the token was not tried.",
        )
        .because(failure),
        FailureClass::Transient | FailureClass::Permanent | FailureClass::Ambiguous => {
            Finding::problem("token", "Токен не проверен.", "The token was not tried.").because(failure).fix(
                "Проверьте idocs.base_url и idocs.api_version: токен для V3 не подходит к V1.",
                "Check idocs.base_url and idocs.api_version: a token for V3 does not fit V1.",
            )
        }
    }
}

/// Whose token it is, and whether the signers' certificates are to be of the same company.
fn accepted(company: &Company, idocs: &IdocsConfig) -> Finding {
    let name = company.name.as_deref().unwrap_or("-");
    let bin = company.bin.as_deref().unwrap_or("-");
    let other = idocs.signers.iter().find(|signer| {
        let wanted = signer.bin.as_deref().filter(|wanted| !wanted.is_empty());
        wanted.is_some_and(|wanted| company.bin.as_deref().is_some_and(|bin| bin != wanted))
    });
    match other {
        None => Finding::ok(
            "token",
            format!("Токен принят: {name}, БИН {bin}."),
            format!("The token is accepted: {name}, BIN {bin}."),
        ),
        Some(signer) => Finding::warning(
            "token",
            format!(
                "Токен принадлежит компании {name} с БИН {bin}, а у подписанта «{}» указан другой.",
                signer.name
            ),
            format!(
                "The token belongs to {name} with BIN {bin}, but the signer \"{}\" has another one.",
                signer.name
            ),
        )
        .fix(
            "Сверьте bin подписанта с сертификатом и с компанией.",
            "Compare the signer's bin with the certificate and the company.",
        ),
    }
}

async fn people(client: &Client, idocs: &IdocsConfig, employees: &[Employee], notes: &Notebook) {
    let author = &idocs.author_employee_id;
    if !author.is_empty() && find(employees, author).is_none() {
        notes.add(unknown_employee("author", "author_employee_id", author, employees));
    }
    for signer in &idocs.signers {
        let finding = match find(employees, &signer.employee_id) {
            None => unknown_employee("signer", &signer.name, &signer.employee_id, employees),
            Some(employee) => match judge_signer(signer, employee) {
                Some(finding) => finding,
                None => rights(client, signer, employee).await,
            },
        };
        notes.add(finding);
    }
    if idocs.signers.is_empty() {
        notes.add(
            Finding::warning(
                "signer",
                format!("Подписантов нет. Сотрудники: {}.", listed(employees)),
                format!("There are no signers. Employees: {}.", listed(employees)),
            )
            .fix("Добавьте [[idocs.signers]].", "Add [[idocs.signers]]."),
        );
    }
}

fn find<'e>(employees: &'e [Employee], id: &str) -> Option<&'e Employee> {
    employees.iter().find(|employee| employee.id.eq_ignore_ascii_case(id))
}

fn listed(employees: &[Employee]) -> String {
    let named = employees.iter().take(LISTED_MAX).map(|employee| {
        let name = employee.full_name.as_deref().unwrap_or("-");
        format!("{name} ({})", employee.id)
    });
    let rest = employees.len().saturating_sub(LISTED_MAX);
    let more = if rest > 0 { format!(", +{rest}") } else { String::new() };
    named.collect::<Vec<_>>().join(", ") + &more
}

fn unknown_employee(check: &'static str, whose: &str, id: &str, employees: &[Employee]) -> Finding {
    let known = listed(employees);
    Finding::problem(
        check,
        format!("Сотрудника {id} ({whose}) в iDocs нет. Есть: {known}."),
        format!("iDocs has no employee {id} ({whose}). There are: {known}."),
    )
    .fix("Исправьте номер сотрудника.", "Correct the employee's id.")
}

/// What is wrong with the person, before their rights are asked for.
fn judge_signer(signer: &IdocsSigner, employee: &Employee) -> Option<Finding> {
    let wanted = signer.iin.as_deref().filter(|iin| !iin.is_empty())?;
    let told = employee.iin.as_deref()?;
    (told != wanted).then(|| {
        let (name, who) = (&signer.name, employee.full_name.as_deref().unwrap_or("-"));
        Finding::problem(
            "signer",
            format!("У подписанта «{name}» указан ИИН, а в iDocs у этого сотрудника ({who}) другой."),
            format!("The signer \"{name}\" has an IIN, but that employee ({who}) has another one at iDocs."),
        )
        .fix("Сверьте employee_id и iin.", "Compare employee_id and iin.")
    })
}

/// The words of the rights are not documented, so that they are shown and not judged.
async fn rights(client: &Client, signer: &IdocsSigner, employee: &Employee) -> Finding {
    let (name, who) = (&signer.name, employee.full_name.as_deref().unwrap_or("-"));
    match patiently(client.permissions(&signer.employee_id)).await {
        Err(finding) => finding,
        Ok(Err(failure)) => Finding::warning(
            "signer",
            format!("Подписант «{name}» ({who}) есть, но его права не прочитаны."),
            format!("The signer \"{name}\" ({who}) is there, but their rights could not be read."),
        )
        .because(&failure),
        Ok(Ok(rights)) if rights.is_empty() => Finding::warning(
            "signer",
            format!("У подписанта «{name}» ({who}) в iDocs нет никаких прав."),
            format!("The signer \"{name}\" ({who}) has no rights at iDocs."),
        )
        .fix(
            "Дайте сотруднику право подписи в личном кабинете iDocs.",
            "Give the employee the right to sign in the iDocs account.",
        ),
        Ok(Ok(rights)) => {
            let shown =
                rights.iter().take(RIGHTS_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            Finding::ok(
                "signer",
                format!("Подписант «{name}»: {who}, права: {shown}."),
                format!("Signer \"{name}\": {who}, rights: {shown}."),
            )
        }
    }
}

/// Whether the list of events can be read, where somebody has found out its path; nothing where nobody has.
async fn history(client: &Client, idocs: &IdocsConfig, now: Timestamp) -> Option<Finding> {
    if idocs.history.period_path.is_empty() {
        return None;
    }
    let from = Timestamp(now.0.saturating_sub_unsigned(HISTORY_MS));
    let read = match patiently(client.list_between(from, now)).await {
        Ok(read) => read,
        Err(finding) => return Some(finding),
    };
    Some(judge_history(read, &idocs.history.document_poll.to_string()))
}

fn judge_history(read: Result<PastList, Failure>, poll: &str) -> Finding {
    match read {
        Err(failure) => Finding::problem(
            "history",
            format!(
                "Список событий iDocs не прочитан: о статусах скажут уведомления и редкий опрос (раз в {poll})."
            ),
            format!(
                "The list of iDocs' events could not be read: notices tell of statuses, and rare polling (every {poll})."
            ),
        )
        .because(&failure)
        .fix(
            "Исправьте idocs.history.period_path и idocs.history.items или очистите period_path: тогда статусы спрашиваются по idocs.poll.",
            "Correct idocs.history.period_path and idocs.history.items, or empty period_path: then statuses are asked for by idocs.poll.",
        ),
        Ok(PastList { entries: 0, .. }) => Finding::ok(
            "history",
            "Список событий iDocs читается; за сутки событий нет, поэтому idocs.history.fields не проверены.",
            "The list of iDocs' events can be read; there are none of the last day, so idocs.history.fields were not tried.",
        ),
        Ok(PastList { entries, readable }) if readable.is_empty() => Finding::problem(
            "history",
            format!("В списке событий iDocs записей: {entries}, и ни в одной не нашлось документа и статуса."),
            format!("The list of iDocs' events has {entries} entries, and no document and status in any of them."),
        )
        .fix("Исправьте idocs.history.fields.", "Correct idocs.history.fields."),
        Ok(PastList { entries, readable }) => {
            let read = readable.len();
            Finding::ok(
                "history",
                format!("Список событий iDocs читается: за сутки {entries}, понятны {read}."),
                format!("The list of iDocs' events can be read: {entries} of the last day, {read} are understood."),
            )
        }
    }
}

fn signers_of_rules(config: &Config, idocs: &IdocsConfig) -> Option<Finding> {
    let used = |signer: &&IdocsSigner| {
        config.rules.iter().any(|rule| rule.service == SigningService::Idocs && rule.signer == signer.name)
    };
    let idle: Vec<&str> = idocs.signers.iter().filter(|s| !used(s)).map(|s| s.name.as_str()).collect();
    (!idle.is_empty()).then(|| {
        let names = idle.join(", ");
        Finding::warning(
            "signer",
            format!("Ни одно правило не называет подписантов: {names}."),
            format!("No rule names these signers: {names}."),
        )
    })
}

/// The subscription itself cannot be read: no such call is documented.
fn notices(config: &Config, idocs: &IdocsConfig) -> Option<Finding> {
    if !idocs.webhook.subscribe {
        let poll = idocs.poll.first().map(ToString::to_string).unwrap_or_default();
        return Some(Finding::skipped(
            "notices",
            format!(
                "Подписка на уведомления iDocs выключена: об изменениях скажет только опрос, первый через {poll}."
            ),
            format!(
                "The subscription to notices of iDocs is off: only polling tells of changes, first after {poll}."
            ),
        ));
    }
    match &idocs.webhook.path_secret {
        Some(secret) if !secret.is_resolved() => Some(Finding::unread_secret("notices")),
        Some(_) if wiring::idocs::notice_url(config).is_some() => Some(
            Finding::skipped(
                "notices",
                "iDocs получает наш адрес для уведомлений при каждом запуске; прочитать подписку нельзя.",
                "iDocs is told our address for notices at every start; the subscription cannot be read.",
            )
            .fix(
                "Не удалась ли она, видно в журнале службы; опрос идёт в любом случае.",
                "Whether it failed is in the service's log; polling goes on in any case.",
            ),
        ),
        Some(_) | None => Some(
            Finding::warning(
                "notices",
                "Уведомления iDocs не принимаются: об изменениях скажет только опрос.",
                "Notices of iDocs are not taken: only polling tells of changes.",
            )
            .fix(
                "Задайте idocs.webhook.path_secret (openssl rand -hex 24) и public.base_url.",
                "Set idocs.webhook.path_secret (openssl rand -hex 24) and public.base_url.",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::needs::tests::config;
    use super::*;
    use crate::domain::FailureKind;
    use crate::providers::idocs::events::PastStatus;
    use crate::providers::idocs::{Status, StatusClass};

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn with(more: &str) -> Config {
        config(&format!(
            "[idocs]\ntoken = \"token-0123456789\"\n{more}\n[[idocs.signers]]\nname = \"director\"\nemployee_id = \"{ID}\"\niin = \"000000000000\"\nbin = \"210987654321\"\nbitrix_user = 1\n"
        ))
    }

    fn employee(iin: &str) -> Employee {
        Employee {
            id: ID.into(),
            iin: Some(iin.into()),
            full_name: Some("Тестов Тест".into()),
            position: None,
        }
    }

    #[test]
    fn a_signer_must_be_an_employee_with_the_same_iin() {
        let config = with("");
        let signer = &config.idocs.as_ref().unwrap().signers[0];
        assert!(judge_signer(signer, &employee("000000000000")).is_none());
        assert_eq!(judge_signer(signer, &employee("111111111111")).unwrap().verdict, Verdict::Problem);
        let missing = unknown_employee("signer", "director", ID, &[employee("0")]);
        assert!(missing.text.en.contains("Тестов Тест"), "who there is instead is listed");
        assert!(find(&[employee("0")], &ID.to_uppercase()).is_some());
    }

    #[test]
    fn a_token_of_another_company_is_a_warning() {
        let company = |bin: &str| Company {
            company_id: None,
            bin: Some(bin.into()),
            name: Some("Synthetic LLP".into()),
        };
        let config = with("");
        let idocs = config.idocs.as_ref().unwrap();
        assert_eq!(accepted(&company("210987654321"), idocs).verdict, Verdict::Ok);
        assert_eq!(accepted(&company("999999999999"), idocs).verdict, Verdict::Warning);
    }

    #[test]
    fn a_refused_token_and_a_silent_service_are_told_apart() {
        let failure = |class| Failure::new(class, FailureKind::Credentials, "http_401", Text::default());
        assert_eq!(refused_token(&failure(FailureClass::Auth)).verdict, Verdict::Problem);
        assert_eq!(refused_token(&failure(FailureClass::Throttled)).verdict, Verdict::Warning);
    }

    #[test]
    fn the_older_interface_is_a_warning_that_says_what_a_lost_answer_costs() {
        let finding = lost_answers();
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.text.en.contains("one client") && finding.text.en.contains("asks a person"));
    }

    #[test]
    fn a_list_of_events_that_cannot_be_read_or_understood_is_a_problem() {
        let entry = PastStatus {
            document_id: ID.into(),
            status: Status { class: StatusClass::Success, raw: "FINISHED".into() },
            occurred_on: None,
        };
        let list = |entries, readable| judge_history(Ok(PastList { entries, readable }), "6h");
        assert_eq!(list(2, vec![entry]).verdict, Verdict::Ok);
        assert!(list(0, Vec::new()).text.en.contains("were not tried"));
        assert!(list(2, Vec::new()).fix.is_some_and(|fix| fix.en.contains("history.fields")));
        let failure =
            Failure::new(FailureClass::Permanent, FailureKind::Refused, "http_404", Text::default());
        let refused = judge_history(Err(failure), "6h");
        assert!(refused.verdict == Verdict::Problem && refused.text.en.contains("every 6h"), "{refused:?}");
    }

    #[test]
    fn notices_without_a_secret_address_are_a_warning_and_a_signer_without_a_rule_too() {
        let config = with("");
        let idocs = config.idocs.as_ref().unwrap();
        assert_eq!(notices(&config, idocs).unwrap().verdict, Verdict::Warning);
        assert!(signers_of_rules(&config, idocs).unwrap().text.en.contains("director"));
        let off = with("webhook.subscribe = false");
        assert_eq!(notices(&off, off.idocs.as_ref().unwrap()).unwrap().verdict, Verdict::Skipped);
    }
}
