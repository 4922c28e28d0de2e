//! Rules about rules.

use super::{Report, idocs, is_plain_name};
use crate::config::{Config, CrmItemSource, Delivery, Folders, Period, RuleConfig, Trigger};
use crate::domain::{PortalId, SigningService};

/// More rules than a person can keep in mind.
const RULES_MAX: usize = 1_000;

/// The longest suffix: names of files end at 255 characters.
const SUFFIX_CHARS_MAX: usize = 40;

/// A wider overlap would read more pages of the folder at each look than it is worth.
const OVERLAP_MAX: u64 = 10_000;

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.rules.len() > RULES_MAX {
        report.error(
            "rules",
            format!("правил больше {RULES_MAX}: объедините похожие"),
            format!("there are more than {RULES_MAX} rules: join similar ones"),
        );
    }
    for (index, rule) in config.rules.iter().enumerate() {
        let key = format!("rules[{index}]");
        check_names(&key, rule, &config.rules[..index], config, report);
        check_files(&key, rule, config, report);
        check_trigger(&key, rule, config, report);
        check_delivery(&key, rule, report);
        check_people(&key, rule, report);
        if rule.service == SigningService::Idocs {
            idocs::check_rule(&key, rule, is_from_item(&rule.trigger), config, report);
        }
        check_overlap(&key, rule, &config.rules[..index], report);
    }
}

/// `*` is every portal; a portal without an entry is called by its `member_id` once it has installed an application.
fn may_come_by_installing(portal: &PortalId, config: &Config) -> bool {
    let name = portal.as_str();
    let member = name.len() == MEMBER_ID_CHARS && name.bytes().all(|b| b.is_ascii_hexdigit());
    name == "*" || (member && !config.apps.is_empty())
}

/// As the vendor makes them.
const MEMBER_ID_CHARS: usize = 32;

fn check_names(key: &str, rule: &RuleConfig, earlier: &[RuleConfig], config: &Config, report: &mut Report) {
    if !is_plain_name(&rule.id) {
        report.error(
            format!("{key}.id"),
            "имя правила: от 1 до 64 латинских букв, цифр, дефисов и подчёркиваний",
            "the name of a rule is 1 to 64 letters, digits, hyphens and underscores",
        );
    }
    if earlier.iter().any(|other| other.id == rule.id) {
        report.error(
            format!("{key}.id"),
            format!("имя `{}` уже у другого правила: дайте другое", rule.id),
            format!("the name `{}` belongs to another rule already: give another one", rule.id),
        );
    }
    if config.portal(&rule.portal).is_none() && !may_come_by_installing(&rule.portal, config) {
        let known: Vec<&str> = config.portals.iter().map(|portal| portal.id.as_str()).collect();
        let known = if known.is_empty() { "-".to_owned() } else { known.join(", ") };
        report.error(
            format!("{key}.portal"),
            format!("портала `{}` нет; есть: {known}", rule.portal),
            format!("there is no portal `{}`; there are: {known}", rule.portal),
        );
    }
    if rule.service == SigningService::EasyDocs && rule.route_id.trim().is_empty() {
        report.error(
            format!("{key}.route_id"),
            "укажите номер маршрута согласования и подписания из EasyDocs: без него документ никто не увидит",
            "give the id of the route of approval and signing from EasyDocs: nobody sees a document without one",
        );
    }
}

fn check_files(key: &str, rule: &RuleConfig, config: &Config, report: &mut Report) {
    if rule.include.is_empty() {
        report.error(
            format!("{key}.include"),
            "список образцов пуст: перечислите имена файлов, \"*\" значит любые",
            "the list of patterns is empty: say which names are meant, \"*\" means all",
        );
    }
    if rule.min_size > rule.max_size {
        report.error(
            format!("{key}.min_size"),
            "наименьший размер больше наибольшего, поэтому правило не возьмёт ни одного файла",
            "the least size is above the greatest, so the rule takes no file at all",
        );
    }
    if rule.service == SigningService::EasyDocs && rule.max_size > config.easydocs.limits.upload_bytes {
        let limit = config.easydocs.limits.upload_bytes;
        report.error(
            format!("{key}.max_size"),
            format!("больше, чем отправляется в EasyDocs ({limit}): уменьшите его или поднимите easydocs.limits.upload_bytes"),
            format!("more than is sent to EasyDocs ({limit}): lower it or raise easydocs.limits.upload_bytes"),
        );
    }
}

fn check_trigger(key: &str, rule: &RuleConfig, config: &Config, report: &mut Report) {
    let key = format!("{key}.trigger");
    // more often, looking would eat a real portal's budget; a sandbox has none to eat
    let of_app = config.apps.iter().any(|app| app.dangerous_allow_http);
    let sandbox = config
        .portal(&rule.portal)
        .map_or(of_app, |portal| portal.dangerous_allow_http || portal.app.is_some() && of_app);
    let interval_min = if sandbox { Period::from_ms(50) } else { Period::from_secs(5) };
    match &rule.trigger {
        Trigger::Folder { folder_id, interval, overlap, existing: _ } => {
            report.number(format!("{key}.folder_id"), *folder_id, 1..=u64::MAX);
            report.period(format!("{key}.interval"), *interval, interval_min..=Period::from_secs(86_400));
            report.number(format!("{key}.overlap"), u64::from(*overlap), 0..=OVERLAP_MAX);
        }
        Trigger::FileEvent { folders } => {
            if *folders == Folders::Only(Vec::new()) {
                report.error(
                    format!("{key}.folders"),
                    "список папок пуст: укажите номера папок или \"any\"",
                    "the list of folders is empty: give ids of folders or \"any\"",
                );
            }
        }
        Trigger::DealStage { entity_type_id, stages, file_field } => {
            report.number(
                format!("{key}.entity_type_id"),
                u64::from(*entity_type_id),
                1..=u64::from(u32::MAX),
            );
            if stages.is_empty() || stages.iter().any(String::is_empty) {
                report.error(
                    format!("{key}.stages"),
                    "укажите хотя бы одну стадию, например C1:EXECUTING (crm.status.list покажет все)",
                    "give at least one stage, such as C1:EXECUTING (crm.status.list shows all)",
                );
            }
            if file_field.is_empty() {
                report.error(
                    format!("{key}.file_field"),
                    "укажите поле с файлом, например UF_CRM_1700000000",
                    "give the field with the file, such as UF_CRM_1700000000",
                );
            }
        }
        Trigger::Robot => {}
        Trigger::GeneratedDocument { templates, entity_types } => {
            if templates.contains(&0) {
                report.error(
                    format!("{key}.templates"),
                    "шаблонов с номером 0 не бывает: номера покажет crm.documentgenerator.template.list",
                    "no template has the number 0: crm.documentgenerator.template.list shows the numbers",
                );
            }
            if entity_types.contains(&0) {
                report.error(
                    format!("{key}.entity_types"),
                    "типов с номером 0 не бывает: 1 лид, 2 сделка, 31 счёт, от 128 смарт-процессы",
                    "no type has the number 0: 1 lead, 2 deal, 31 invoice, from 128 smart processes",
                );
            }
        }
    }
}

fn check_delivery(key: &str, rule: &RuleConfig, report: &mut Report) {
    let from_item = is_from_item(&rule.trigger);
    if from_item && rule.deliver_to == Delivery::Same {
        report.error(
            format!("{key}.deliver_to"),
            "файл из CRM не лежит ни в какой папке Диска: укажите номер папки для подписанного файла или \"none\"",
            "a file of the CRM lies in no Drive folder: give the id of the folder for the signed file, or \"none\"",
        );
    }
    check_item_delivery(key, rule, report);
    if rule.suffix.contains(['/', '\\']) || rule.suffix.chars().count() > SUFFIX_CHARS_MAX {
        report.error(
            format!("{key}.suffix"),
            format!("добавка к имени: не длиннее {SUFFIX_CHARS_MAX} знаков и без косых черт"),
            format!("the suffix has at most {SUFFIX_CHARS_MAX} characters and no slashes"),
        );
    }
    if rule.suffix.is_empty() && rule.deliver_to == Delivery::Same {
        report.error(
            format!("{key}.suffix"),
            "без добавки подписанный файл получит имя исходного в той же папке: укажите, например, _signed",
            "without a suffix the signed file gets the name of the original in the same folder: give one, such as _signed",
        );
    }
    if !from_item && rule.takes_name(&format!("x{}.pdf", rule.suffix)) {
        report.warning(
            format!("{key}.exclude"),
            format!(
                "имена подписанных копий (*{}.pdf) подходят под правило; от повторной отправки спасает только память о них: добавьте \"*{0}*\" в exclude",
                rule.suffix
            ),
            format!(
                "names of signed copies (*{}.pdf) fit the rule, and only the memory of them prevents a second sending: add \"*{0}*\" to exclude",
                rule.suffix
            ),
        );
    }
}

fn is_from_item(trigger: &Trigger) -> bool {
    match trigger {
        Trigger::DealStage { .. } | Trigger::GeneratedDocument { .. } | Trigger::Robot => true,
        Trigger::Folder { .. } | Trigger::FileEvent { .. } => false,
    }
}

/// What is wished for the CRM item.
fn check_item_delivery(key: &str, rule: &RuleConfig, report: &mut Report) {
    let attached = rule.comment && rule.comment_file;
    if rule.deliver_to == Delivery::Nowhere && rule.into_field.is_empty() && !attached {
        report.error(
            format!("{key}.deliver_to"),
            "подписанный файл никуда не попадёт: задайте into_field, comment_file = true или папку",
            "the signed file goes nowhere: set into_field, comment_file = true or a folder",
        );
    }
    if rule.comment_file && !rule.comment {
        report.error(
            format!("{key}.comment_file"),
            "файл прикладывается к комментарию, а комментарий выключен: включите comment",
            "the file goes with the comment, and the comment is switched off: switch comment on",
        );
    }
    let is_field = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !rule.into_field.bytes().all(is_field) {
        report.error(
            format!("{key}.into_field"),
            "код поля: латинские буквы, цифры и подчёркивания, например UF_CRM_1700000001",
            "the code of a field has letters, digits and underscores, such as UF_CRM_1700000001",
        );
    }
    let wished = !rule.into_field.is_empty()
        || !rule.stage_on_signed.is_empty()
        || !rule.stage_on_refused.is_empty()
        || rule.comment_file;
    if wished && rule.crm_item == CrmItemSource::None && !is_from_item(&rule.trigger) {
        report.error(
            format!("{key}.crm_item"),
            "правило меняет карточку CRM, но не говорит какую: задайте crm_item",
            "the rule changes a CRM item and does not say which: set crm_item",
        );
    }
    let moves = !rule.stage_on_signed.is_empty() || !rule.stage_on_refused.is_empty();
    if rule.stages_from.iter().any(String::is_empty) || (!moves && !rule.stages_from.is_empty()) {
        report.error(
            format!("{key}.stages_from"),
            "stages_from перечисляет стадии, из которых можно перевести карточку; нужен stage_on_signed или stage_on_refused",
            "stages_from lists the stages that the item may be moved out of; it needs stage_on_signed or stage_on_refused",
        );
    }
}

fn check_people(key: &str, rule: &RuleConfig, report: &mut Report) {
    if rule.notify.is_empty() || rule.notify_on.is_empty() {
        report.warning(
            format!("{key}.notify"),
            "никто не узнает о подписи, отказе и остановке документа: добавьте \"responsible\" или номер сотрудника",
            "nobody learns of a signature, a refusal or a halt: add \"responsible\" or the id of a user",
        );
    }
    let from_item = is_from_item(&rule.trigger);
    if rule.crm_item != CrmItemSource::None && from_item {
        report.error(
            format!("{key}.crm_item"),
            "документ сделки принадлежит ей самой: уберите crm_item",
            "a document of a deal belongs to that deal: remove crm_item",
        );
    }
}

/// Of rules about files the first one takes a file; rules about stages act each for itself.
fn check_overlap(key: &str, rule: &RuleConfig, earlier: &[RuleConfig], report: &mut Report) {
    let same = earlier.iter().find(|other| {
        other.portal == rule.portal
            && same_place(&other.trigger, &rule.trigger)
            && other.include == rule.include
    });
    let Some(other) = same.map(|other| &other.id) else { return };
    let key = format!("{key}.trigger");
    match rule.trigger {
        Trigger::Folder { .. } | Trigger::FileEvent { .. } => report.warning(
            key,
            format!("те же файлы раньше берёт правило `{other}`, до этого правила очередь не дойдёт: разделите их по include"),
            format!("the rule `{other}` takes the same files first, so that this one gets none: divide them by include"),
        ),
        Trigger::GeneratedDocument { .. } => report.warning(
            key,
            format!("те же документы раньше берёт правило `{other}`: разделите их по templates или entity_types"),
            format!("the rule `{other}` takes the same documents first: divide them by templates or entity_types"),
        ),
        // The robot names its rule: two of them are two choices.
        Trigger::Robot => {}
        Trigger::DealStage { .. } => report.warning(
            key,
            format!("правило `{other}` ждёт той же стадии: один файл уйдёт на подпись дважды, по двум маршрутам"),
            format!("the rule `{other}` waits for the same stage: one file will be sent twice, along two routes"),
        ),
    }
}

fn same_place(a: &Trigger, b: &Trigger) -> bool {
    match (a, b) {
        (Trigger::Folder { folder_id: a, .. }, Trigger::Folder { folder_id: b, .. }) => a == b,
        (Trigger::Folder { folder_id, .. }, Trigger::FileEvent { folders })
        | (Trigger::FileEvent { folders }, Trigger::Folder { folder_id, .. }) => folders.contain(*folder_id),
        (Trigger::FileEvent { folders: a }, Trigger::FileEvent { folders: b }) => match (a, b) {
            (Folders::Only(a), Folders::Only(b)) => a.iter().any(|id| b.contains(id)),
            (Folders::Any, Folders::Any | Folders::Only(_)) | (Folders::Only(_), Folders::Any) => true,
        },
        (
            Trigger::DealStage { entity_type_id: ta, stages: sa, file_field: fa },
            Trigger::DealStage { entity_type_id: tb, stages: sb, file_field: fb },
        ) => ta == tb && fa == fb && sa.iter().any(|stage| sb.contains(stage)),
        (
            Trigger::GeneratedDocument { templates: ta, entity_types: ea },
            Trigger::GeneratedDocument { templates: tb, entity_types: eb },
        ) => may_share(ta, tb) && may_share(ea, eb),
        (Trigger::Robot, _)
        | (_, Trigger::Robot)
        | (Trigger::DealStage { .. }, _)
        | (_, Trigger::DealStage { .. })
        | (Trigger::GeneratedDocument { .. }, _)
        | (_, Trigger::GeneratedDocument { .. }) => false,
    }
}

/// Whether two lists of which an empty one means any have something in common.
fn may_share<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|one| b.contains(one))
}
