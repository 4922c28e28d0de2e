//! What the rules name on a portal: folders, fields, stages, items, people. Each subject is asked about once.

use super::needs::{Needs, Wanted, stage_directory};
use super::visitor::Visitor;
use crate::commands::doctor::examination::WriteTest;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::config::RuleConfig;
use crate::domain::{CrmItem, Failure, FailureClass, Text};
use crate::providers::bitrix24::account::{self, UserLookup};
use crate::providers::bitrix24::drive::{self, ChildFilter};
use crate::providers::bitrix24::{Call, Caller, crm, wire};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Names that are listed when something is not among them.
const LISTED_MAX: usize = 12;
/// What the test file holds.
const TEST_TEXT: &str = "edobridge doctor: a test of writing. This file can be removed.";

/// Looks at all of it.
pub async fn check(
    visitor: &Visitor,
    rules: &[&RuleConfig],
    needs: &Needs,
    scopes: &BTreeSet<String>,
    write_test: WriteTest,
    notes: &Notebook,
) {
    for (folder, wanting) in &needs.sources {
        notes.add(source(visitor, *folder, wanting).await);
    }
    for (folder, wanting) in &needs.targets {
        target(visitor, *folder, wanting, needs, notes).await;
        notes.add(writing(visitor, *folder, rules, write_test).await);
    }
    fields(visitor, &needs.fields, notes).await;
    for ((entity_type_id, stage), wanting) in &needs.stages {
        notes.add(stage_exists(visitor, *entity_type_id, stage, wanting).await);
    }
    for (item, wanting) in &needs.items {
        notes.add(item_exists(visitor, *item, wanting).await);
    }
    people(visitor, &needs.users, scopes, notes).await;
}

fn of_rules(wanting: &[String]) -> Text {
    let list = wanting.join(", ");
    Text::new(format!("(правила: {list})"), format!("(rules: {list})"))
}

/// A failed question about something that a rule names.
fn failed(check: &'static str, ru: String, en: String, failure: &Failure) -> Finding {
    Finding::of(Verdict::of_failure(failure), check, Text::new(ru, en)).because(failure)
}

/// A subject that the portal does not show us, with the rules that need it.
fn out_of_reach(check: &'static str, what: &Text, rules: &Text, failure: &Failure) -> Finding {
    failed(check, format!("{} {}.", what.ru, rules.ru), format!("{} {}.", what.en, rules.en), failure)
}

/// `disk.folder.get`, in words.
async fn described(caller: &dyn Caller, folder: u64, wanting: &[String]) -> Result<String, Finding> {
    let rules = of_rules(wanting);
    match drive::folder_get(caller, folder).await {
        Ok(info) if !info.in_trash => Ok(info.name),
        Ok(info) => Err(Finding::problem(
            "folder",
            format!("Папка {folder} «{}» лежит в корзине {}.", info.name, rules.ru),
            format!("The folder {folder} \"{}\" is in the recycle bin {}.", info.name, rules.en),
        )
        .fix("Восстановите её или укажите другую.", "Restore it or name another one.")),
        Err(failure) => Err(out_of_reach(
            "folder",
            &Text::new(format!("Папка {folder} недоступна"), format!("The folder {folder} is out of reach")),
            &rules,
            &failure,
        )
        .fix(
            "Номер папки — её ID из disk.storage.getchildren; дайте владельцу вебхука доступ к ней.",
            "Take the number from disk.storage.getchildren (ID), and give the owner of the webhook access to the folder.",
        )),
    }
}

async fn source(caller: &dyn Caller, folder: u64, wanting: &[String]) -> Finding {
    let name = match described(caller, folder, wanting).await {
        Ok(name) => name,
        Err(finding) => return finding,
    };
    let rules = of_rules(wanting);
    match drive::children(caller, folder, &ChildFilter::default()).await {
        Ok(page) if page.entries.is_empty() => Finding::ok(
            "folder",
            format!("Папка {folder} «{name}» открывается и пуста {}.", rules.ru),
            format!("The folder {folder} \"{name}\" can be opened and is empty {}.", rules.en),
        )
        .fix(
            "Пустой список бывает и без права на чтение: если файлы там есть, дайте владельцу вебхука доступ.",
            "An empty list also comes without the right to read: if there are files, give the owner of the webhook access.",
        ),
        Ok(_) => Finding::ok(
            "folder",
            format!("Папка {folder} «{name}» читается {}.", rules.ru),
            format!("The folder {folder} \"{name}\" can be read {}.", rules.en),
        ),
        Err(failure) => failed(
            "folder",
            format!("Содержимое папки {folder} «{name}» не читается."),
            format!("The contents of the folder {folder} \"{name}\" cannot be read."),
            &failure,
        ),
    }
}

/// A folder that is also read was described there already.
async fn target(caller: &dyn Caller, folder: u64, wanting: &[String], needs: &Needs, notes: &Notebook) {
    if needs.sources.contains_key(&folder) {
        return;
    }
    let rules = of_rules(wanting);
    notes.add(match described(caller, folder, wanting).await {
        Ok(name) => Finding::ok(
            "folder",
            format!("Папка для подписанных {folder} «{name}» на месте {}.", rules.ru),
            format!("The folder for signed files {folder} \"{name}\" is there {}.", rules.en),
        ),
        Err(finding) => finding,
    });
}

async fn writing(caller: &dyn Caller, folder: u64, rules: &[&RuleConfig], write_test: WriteTest) -> Finding {
    let name = format!("edobridge-doctor-{:08x}.tmp", uuid::Uuid::new_v4().as_fields().0);
    if write_test == WriteTest::Leave {
        return Finding::skipped(
            "write",
            format!("Можно ли писать в папку {folder}, без записи не узнать."),
            format!("Whether the folder {folder} can be written to shows only by writing."),
        )
        .fix(
            "edobridge doctor --write-test положит туда крошечный файл и уберёт его в корзину.",
            "edobridge doctor --write-test puts a tiny file there and moves it to the recycle bin.",
        );
    }
    if let Some(rule) = rules.iter().find(|rule| rule.takes_name(&name)) {
        let rule = &rule.id;
        return Finding::skipped(
            "write",
            format!("Пробный файл не записан в папку {folder}: правило {rule} отправило бы его на подпись."),
            format!(
                "No test file was put into the folder {folder}: the rule {rule} would send it to be signed."
            ),
        )
        .fix(
            "Сузьте include этого правила, например до *.pdf.",
            "Narrow `include` of that rule, to *.pdf for instance.",
        );
    }
    match written(caller, folder, &name).await {
        Ok(Ok(())) => Finding::ok(
            "write",
            format!("В папку {folder} можно писать: пробный файл {name} записан и убран в корзину."),
            format!("The folder {folder} can be written to: the test file {name} was put there and moved to the recycle bin."),
        ),
        Ok(Err(failure)) => Finding::warning(
            "write",
            format!("В папку {folder} можно писать, но пробный файл {name} остался там."),
            format!("The folder {folder} can be written to, but the test file {name} stayed there."),
        )
        .because(&failure)
        .fix("Удалите его вручную.", "Remove it by hand."),
        Err(failure) => failed(
            "write",
            format!("В папку {folder} не записать: подписанные файлы туда не лягут."),
            format!("The folder {folder} cannot be written to: signed files cannot be put there."),
            &failure,
        )
        .fix(
            format!("Дайте владельцу вебхука право изменять папку. Если исход неизвестен, поищите там {name}."),
            format!("Give the owner of the webhook the right to change the folder. If the outcome is unknown, look for {name} there."),
        ),
    }
}

/// Puts the file and takes it away. The outer failure is of the putting, the inner one of the taking away.
async fn written(caller: &dyn Caller, folder: u64, name: &str) -> Result<Result<(), Failure>, Failure> {
    let content = BASE64_STANDARD.encode(TEST_TEXT);
    let params = json!({
        "id": folder, "data": { "NAME": name }, "fileContent": [name, content], "generateUniqueName": true
    });
    let answer = caller.call(Call::new("disk.folder.uploadfile", params)).await?;
    let Some(id) = wire::member(&answer, "ID").and_then(wire::id) else {
        let reason = Text::new("Портал не назвал id файла.", "The portal did not name the id of the file.");
        let kind = crate::domain::FailureKind::Garbled;
        return Ok(Err(Failure::new(FailureClass::Ambiguous, kind, "misshapen_answer", reason)));
    };
    Ok(drive::file_to_trash(caller, id).await)
}

/// One question per type, however many fields.
async fn fields(caller: &dyn Caller, wanted: &Wanted<(u32, String)>, notes: &Notebook) {
    let types: BTreeSet<u32> = wanted.keys().map(|(entity_type_id, _)| *entity_type_id).collect();
    for entity_type_id in types {
        let params = json!({ "entityTypeId": entity_type_id, "useOriginalUfNames": "Y" });
        let outcome = caller.call(Call::new("crm.item.fields", params)).await;
        for ((_, field), wanting) in wanted.iter().filter(|((id, _), _)| *id == entity_type_id) {
            notes.add(match &outcome {
                Ok(answer) => judge_field(entity_type_id, field, wanting, answer),
                Err(failure) => failed(
                    "field",
                    format!("Поля CRM типа {entity_type_id} не читаются, поле {field} не проверено."),
                    format!("The fields of CRM type {entity_type_id} cannot be read, so the field {field} was not checked."),
                    failure,
                ),
            });
        }
    }
}

/// `UF_CRM_1700000000` and `ufCrm1700000000` are one field: what is compared has letters and digits only.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn judge_field(entity_type_id: u32, field: &str, wanting: &[String], answer: &Value) -> Finding {
    let rules = of_rules(wanting);
    let fields = answer.get("fields").and_then(Value::as_object);
    let all = fields.into_iter().flatten();
    let is_wanted = |name: &str| plain(name) == plain(field);
    let is_file = |about: &Value| wire::member(about, "type").and_then(wire::text).as_deref() == Some("file");
    let found = all.clone().find(|(key, about)| {
        is_wanted(key) || about.get("upperName").and_then(Value::as_str).is_some_and(is_wanted)
    });
    let there: Vec<&str> = all.filter(|(_, about)| is_file(about)).map(|(key, _)| key.as_str()).collect();
    let there =
        if there.is_empty() { "—".to_owned() } else { there[..there.len().min(LISTED_MAX)].join(", ") };
    let fix = |finding: Finding| {
        finding.fix(
            format!("Поля типа «Файл» у этого типа: {there}. Поле «Файл (Диск)» не подходит."),
            format!("Fields of the type \"File\" there: {there}. \"File (Drive)\" will not do."),
        )
    };
    match found {
        Some((_, about)) if is_file(about) => Finding::ok(
            "field",
            format!("Поле {field} есть и хранит файлы {}.", rules.ru),
            format!("The field {field} is there and holds files {}.", rules.en),
        ),
        Some(_) => fix(Finding::problem(
            "field",
            format!("Поле {field} типа CRM {entity_type_id} хранит не файлы {}.", rules.ru),
            format!("The field {field} of CRM type {entity_type_id} does not hold files {}.", rules.en),
        )),
        None => fix(Finding::problem(
            "field",
            format!("Поля {field} у типа CRM {entity_type_id} нет {}.", rules.ru),
            format!("CRM type {entity_type_id} has no field {field} {}.", rules.en),
        )),
    }
}

async fn stage_exists(caller: &dyn Caller, entity_type_id: u32, stage: &str, wanting: &[String]) -> Finding {
    let rules = of_rules(wanting);
    let Some(directory) = stage_directory(entity_type_id, stage) else {
        return Finding::warning(
            "stage",
            format!("Стадия {stage} не похожа на стадию типа CRM {entity_type_id} {}.", rules.ru),
            format!("{stage} does not look like a stage of CRM type {entity_type_id} {}.", rules.en),
        )
        .fix(
            "Стадии сделок — NEW или C5:NEW, смарт-процессов — DT135_20:NEW; точные имена даёт crm.status.list.",
            "Stages of deals are NEW or C5:NEW, of smart processes DT135_20:NEW; crm.status.list tells the exact names.",
        );
    };
    let params = json!({ "filter": { "ENTITY_ID": directory }, "order": { "SORT": "ASC" } });
    match caller.call(Call::new("crm.status.list", params)).await {
        Ok(answer) => judge_stage(stage, &directory, &rules, &answer),
        Err(failure) if failure.code.contains("method_not_found") => Finding::skipped(
            "stage",
            format!("Портал не умеет показать стадии: {stage} не проверена."),
            format!("The portal cannot list stages: {stage} was not checked."),
        ),
        Err(failure) => failed(
            "stage",
            format!("Стадии не читаются, {stage} не проверена."),
            format!("Stages cannot be read, {stage} was not checked."),
            &failure,
        ),
    }
}

fn judge_stage(stage: &str, directory: &str, rules: &Text, answer: &Value) -> Finding {
    let rows = wire::rows(answer).unwrap_or_default();
    // the filter is not trusted: rows of other directories are left out
    let ours = rows.iter().filter(|row| {
        wire::member(row, "ENTITY_ID").and_then(wire::text).is_none_or(|found| found == directory)
    });
    let stages: Vec<(String, String)> = ours
        .filter_map(|row| {
            let name = wire::member(row, "NAME").and_then(wire::text).unwrap_or_default();
            Some((wire::member(row, "STATUS_ID").and_then(wire::text)?, name))
        })
        .collect();
    if let Some((_, name)) = stages.iter().find(|(id, _)| id == stage) {
        return Finding::ok(
            "stage",
            format!("Стадия {stage} «{name}» есть {}.", rules.ru),
            format!("The stage {stage} \"{name}\" is there {}.", rules.en),
        );
    }
    let list: Vec<_> = stages.iter().take(LISTED_MAX).map(|(id, name)| format!("{id} ({name})")).collect();
    let list = if list.is_empty() { "—".to_owned() } else { list.join(", ") };
    Finding::problem(
        "stage",
        format!("Стадии {stage} нет {}: правило никогда не сработает.", rules.ru),
        format!("There is no stage {stage} {}: the rule would never apply.", rules.en),
    )
    .fix(format!("Есть: {list}."), format!("There are: {list}."))
}

async fn item_exists(caller: &dyn Caller, item: CrmItem, wanting: &[String]) -> Finding {
    let rules = of_rules(wanting);
    match crm::item_get(caller, item).await {
        Ok(_) => Finding::ok(
            "crm_item",
            format!("Объект CRM {item} читается {}.", rules.ru),
            format!("The CRM item {item} can be read {}.", rules.en),
        ),
        Err(failure) => out_of_reach(
            "crm_item",
            &Text::new(
                format!("Объект CRM {item} недоступен"),
                format!("The CRM item {item} is out of reach"),
            ),
            &rules,
            &failure,
        )
        .fix(
            "Исправьте crm_item.id или дайте владельцу вебхука доступ.",
            "Correct crm_item.id, or give the owner of the webhook access.",
        ),
    }
}

async fn people(caller: &dyn Caller, users: &Wanted<u64>, scopes: &BTreeSet<String>, notes: &Notebook) {
    if users.is_empty() {
        return;
    }
    if !scopes.is_empty() && !["user_brief", "user_basic", "user"].iter().any(|scope| scopes.contains(*scope))
    {
        let list = users.keys().map(u64::to_string).collect::<Vec<_>>().join(", ");
        return notes.add(
            Finding::skipped(
                "user",
                format!("Есть ли сотрудники {list}, не проверено: у вебхука нет права user_brief."),
                format!(
                    "Whether the users {list} exist was not checked: the webhook lacks the scope user_brief."
                ),
            )
            .fix("Добавьте вебхуку право user_brief.", "Add the scope user_brief to the webhook."),
        );
    }
    for (user, wanting) in users {
        notes.add(person(caller, *user, wanting).await);
    }
}

async fn person(caller: &dyn Caller, user: u64, wanting: &[String]) -> Finding {
    let rules = of_rules(wanting);
    let fix = |finding: Finding| {
        finding.fix("Исправьте notify в этих правилах.", "Correct `notify` in these rules.")
    };
    match account::user(caller, user).await {
        Ok(UserLookup::Found { name, is_active: true }) => Finding::ok(
            "user",
            format!("Сотрудник {user} ({name}) получит уведомления {}.", rules.ru),
            format!("User {user} ({name}) will get notices {}.", rules.en),
        ),
        Ok(UserLookup::Found { name, is_active: false }) => fix(Finding::problem(
            "user",
            format!("Сотрудник {user} ({name}) уволен {}: уведомления никто не увидит.", rules.ru),
            format!("User {user} ({name}) is dismissed {}: nobody will see the notices.", rules.en),
        )),
        Ok(UserLookup::Absent) => fix(Finding::problem(
            "user",
            format!(
                "Сотрудника {user} не видно {}: его нет, или это бот или технический пользователь.",
                rules.ru
            ),
            format!("User {user} is not to be seen {}: absent, a bot or a technical user.", rules.en),
        )),
        Err(failure) => failed(
            "user",
            format!("Сотрудник {user} не проверен."),
            format!("User {user} was not checked."),
            &failure,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Verdict;

    fn rules() -> Vec<String> {
        vec!["a".to_owned()]
    }

    #[test]
    fn a_field_is_found_under_any_of_its_names_and_must_hold_files() {
        let answer = json!({ "fields": {
            "ufCrm_3_DIGIT10": { "type": "file", "upperName": "UF_CRM_3_DIGIT10" },
            "title": { "type": "string", "upperName": "TITLE" },
            "UF_CRM_1700000000": { "type": "file" }
        } });
        for name in ["UF_CRM_3_DIGIT10", "ufCrm_3_DIGIT10", "ufCrm1700000000", "UF_CRM_1700000000"] {
            assert_eq!(judge_field(2, name, &rules(), &answer).verdict, Verdict::Ok, "{name}");
        }
        assert_eq!(judge_field(2, "title", &rules(), &answer).verdict, Verdict::Problem);
        let absent = judge_field(2, "UF_CRM_X", &rules(), &answer);
        assert!(absent.verdict == Verdict::Problem && absent.fix.unwrap().en.contains("UF_CRM_1700000000"));
        assert_eq!(judge_field(2, "x", &rules(), &json!({ "fields": [] })).verdict, Verdict::Problem);
    }

    #[test]
    fn a_missing_stage_is_told_with_those_that_are_there() {
        let answer = json!([
            { "ENTITY_ID": "DEAL_STAGE_1", "STATUS_ID": "C1:NEW", "NAME": "Новая" },
            { "ENTITY_ID": "DEAL_STAGE_2", "STATUS_ID": "C2:NEW", "NAME": "Чужая" }
        ]);
        let text = of_rules(&rules());
        assert_eq!(judge_stage("C1:NEW", "DEAL_STAGE_1", &text, &answer).verdict, Verdict::Ok);
        let absent = judge_stage("C2:NEW", "DEAL_STAGE_1", &text, &answer);
        assert_eq!(absent.verdict, Verdict::Problem);
        let fix = absent.fix.unwrap().en;
        assert!(fix.contains("C1:NEW (Новая)") && !fix.contains("Чужая"), "{fix}");
    }
}
