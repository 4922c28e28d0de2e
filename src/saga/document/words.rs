//! What people read: notices, comments, reasons. Russian and English, escaped for where they are shown.

use super::own_signature::{CounterpartyKind, LINK, OwnSignature, OwnSigner, Telling};
use super::state::{DocumentSaga, Outcome, Step, TimerKind, Work};
use crate::domain::{Language, Text, Timestamp};

/// Text from outside made harmless for BB code: square brackets become their full-width likeness.
///
/// Bitrix24 messages and comments interpret `[...]`; a file name must not become a link. Nor may it turn the rest of
/// the sentence around: characters that change the direction of the text are dropped.
pub fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .map(|c| match c {
            '[' => '［',
            ']' => '］',
            other => other,
        })
        .take(200)
        .collect()
}

fn file_name(saga: &DocumentSaga) -> String {
    saga.file.as_ref().map_or_else(|| saga.external_id.clone(), |f| plain(&f.name))
}

/// How a counterparty is called in words.
pub fn counterparty(signer: &OwnSigner) -> Text {
    let bin = &signer.counterparty.bin;
    match signer.counterparty.kind {
        CounterpartyKind::Company => Text::new(format!("БИН {bin}"), format!("BIN {bin}")),
        CounterpartyKind::Individual => Text::new(format!("ИИН {bin}"), format!("IIN {bin}")),
    }
}

/// How the signing service of a document is called.
pub fn service(saga: &DocumentSaga) -> &'static str {
    if saga.delivery.signer.is_some() { "iDocs" } else { "EasyDocs" }
}

/// The notice at the end.
pub fn notice(saga: &DocumentSaga, language: Language) -> String {
    let name = file_name(saga);
    let status = plain(saga.provider_status.as_deref().unwrap_or("rejected"));
    let delivered = saga.delivered.as_ref().map(|d| plain(&d.name)).unwrap_or_default();
    let text = match saga.outcome {
        Outcome::Refused if saga.own.is_some() => refused_notice(saga, &name, &status),
        Outcome::Signed | Outcome::Open if saga.own.is_some() => signed_notice(saga, &name, &delivered),
        Outcome::Refused => Text::new(
            format!(
                "Документ «{name}» не подписан: отказ участника маршрута (статус «{status}»). Причину EasyDocs не передаёт; она видна в кабинете EasyDocs."
            ),
            format!(
                "Document \"{name}\" was not signed: a participant refused (status \"{status}\"). EasyDocs does not pass the reason on; it is shown in its cabinet."
            ),
        ),
        Outcome::Signed | Outcome::Open => Text::new(
            format!("Документ «{name}» подписан. Подписанный файл: «{delivered}»."),
            format!("Document \"{name}\" is signed. The signed file: \"{delivered}\"."),
        ),
    };
    text.get(language).to_owned()
}

/// A refusal that a service tells the reason of, where it has one.
fn refused_notice(saga: &DocumentSaga, name: &str, status: &str) -> Text {
    let own = saga.own.as_deref();
    let reason = match own.and_then(|own| own.refusal.as_deref()).map(plain) {
        Some(reason) => Text::new(format!("Причина: {reason}."), format!("Reason: {reason}.")),
        None if own.is_some_and(OwnSignature::is_sent_whole) => Text::new(
            "Причину этот интерфейс iDocs (V1) не передаёт; она видна в кабинете iDocs.",
            "This interface of iDocs (V1) does not pass the reason on; it is shown in the iDocs cabinet.",
        ),
        None => Text::new("Причина не указана.", "No reason is given."),
    };
    Text::new(
        format!("Документ «{name}» не подписан: отказ (статус «{status}»). {}", reason.ru),
        format!("Document \"{name}\" was not signed: refused (status \"{status}\"). {}", reason.en),
    )
}

fn signed_notice(saga: &DocumentSaga, name: &str, delivered: &str) -> Text {
    let archive = saga.own.as_deref().and_then(|own| own.archive_delivered.as_ref());
    match archive.map(|file| plain(&file.name)).filter(|archive| archive != delivered) {
        // What comes of a document that was sent whole is not documented.
        Some(file) if saga.own.as_deref().is_some_and(OwnSignature::is_sent_whole) => Text::new(
            format!("Документ «{name}» подписан. Печатная форма: «{delivered}», файл из iDocs: «{file}»."),
            format!(
                "Document \"{name}\" is signed. Print form: \"{delivered}\", the file of iDocs: \"{file}\"."
            ),
        ),
        Some(archive) => Text::new(
            format!(
                "Документ «{name}» подписан. Печатная форма: «{delivered}», архив с подписями: «{archive}»."
            ),
            format!(
                "Document \"{name}\" is signed. Print form: \"{delivered}\", archive with the signatures: \"{archive}\"."
            ),
        ),
        None => Text::new(
            format!("Документ «{name}» подписан. Подписанный файл: «{delivered}»."),
            format!("Document \"{name}\" is signed. The signed file: \"{delivered}\"."),
        ),
    }
}

/// The comment for the timeline, with the mark that lets us find it again.
pub fn comment(saga: &DocumentSaga, mark: &str, language: Language) -> String {
    let name = file_name(saga);
    let text = match saga.own.as_deref().map_or(Telling::TheEnd, |own| own.telling) {
        Telling::TheEnd => return format!("{}\n{mark}", notice(saga, language)),
        Telling::OurTurn => Text::new(
            format!("Документ «{name}» ждёт нашей подписи."),
            format!("Document \"{name}\" waits for our signature."),
        ),
        Telling::TheirTurn => Text::new(
            format!("Документ «{name}» подписан нами и ждёт контрагента{}.", whom(saga).ru),
            format!("Document \"{name}\" is signed by us and waits for the counterparty{}.", whom(saga).en),
        ),
    };
    format!("{}\n{mark}", text.get(language))
}

fn whom(saga: &DocumentSaga) -> Text {
    saga.delivery.signer.as_deref().map_or_else(Text::default, |signer| {
        let who = counterparty(signer);
        Text::new(format!(" ({})", who.ru), format!(" ({})", who.en))
    })
}

/// What our signer reads; [`LINK`] stands for the link.
pub fn invitation(saga: &DocumentSaga, now: Timestamp, language: Language) -> String {
    let (name, whom) = (file_name(saga), whom(saga));
    let days = saga.waiting.as_ref().map_or(0, |w| now.ms_since(w.since) / 86_400_000);
    let waits = match (saga.own.as_deref().map_or(0, |own| own.told), days) {
        (0, _) => Text::new("ждёт вашей подписи", "waits for your signature"),
        (_, 0) => Text::new("всё ещё ждёт вашей подписи", "still waits for your signature"),
        (_, days) => Text::new(
            format!("ждёт вашей подписи {days} дн."),
            format!("has been waiting for your signature for {days} day(s)"),
        ),
    };
    let number = saga.own.as_deref().map(|own| plain(&own.number)).unwrap_or_default();
    Text::new(
        format!("Документ «{name}», номер {number}{}: {}. Подписать: {LINK}\nПрежние ссылки на этот документ больше не действуют.", whom.ru, waits.ru),
        format!("Document \"{name}\", number {number}{}: it {}. Sign it: {LINK}\nEarlier links to this document are dead.", whom.en, waits.en),
    )
    .get(language)
    .to_owned()
}

/// What the others read when our signer does not sign.
pub fn escalation(saga: &DocumentSaga, now: Timestamp, language: Language) -> String {
    let name = file_name(saga);
    let signer = saga.delivery.signer.as_deref().map(|signer| plain(&signer.name)).unwrap_or_default();
    let hours = saga.waiting.as_ref().map_or(0, |w| now.ms_since(w.since) / 3_600_000);
    Text::new(
        format!("Документ «{name}» не подписан нашей стороной уже {hours} ч. Подписант: {signer}."),
        format!("Document \"{name}\" has not been signed by our side for {hours} h. Signer: {signer}."),
    )
    .get(language)
    .to_owned()
}

/// The reminder while people have not signed.
pub fn reminder(saga: &DocumentSaga, now: Timestamp, language: Language) -> String {
    let name = file_name(saga);
    let days = saga.waiting.as_ref().map_or(0, |w| now.ms_since(w.since) / 86_400_000);
    Text::new(
        format!("Документ «{name}» ждёт подписи в {} {days} дн.", service(saga)),
        format!(
            "Document \"{name}\" has been waiting for signatures in {} for {days} day(s).",
            service(saga)
        ),
    )
    .get(language)
    .to_owned()
}

/// What a step does, for people.
pub fn step(step: Step) -> Text {
    let (ru, en) = match step {
        Step::ReadItem => ("читаем карточку CRM", "reading the CRM item"),
        Step::FetchSource => ("забираем файл из Битрикс24", "fetching the file from Bitrix24"),
        Step::Create => ("создаём документ в EasyDocs", "creating the document in EasyDocs"),
        Step::FindDocument => (
            "исход создания неизвестен: ищем документ или ждём уведомления",
            "the create's outcome is unknown: looking for the document or waiting for its callback",
        ),
        Step::AwaitSignature => ("ждём подписей", "waiting for signatures"),
        Step::FetchSigned => ("забираем подписанный файл", "fetching the signed file"),
        Step::ScanFolder => ("смотрим папку перед загрузкой", "looking at the folder before the upload"),
        Step::Upload => ("кладём подписанный файл в папку", "putting the signed file into the folder"),
        Step::FindUpload => (
            "исход загрузки неизвестен: ищем файл в папке",
            "the upload's outcome is unknown: looking into the folder",
        ),
        Step::Comment => ("пишем комментарий в карточку", "writing a comment into the timeline"),
        Step::FindComment => (
            "исход комментария неизвестен: ищем его в карточке",
            "the comment's outcome is unknown: looking into the timeline",
        ),
        Step::Notify => ("сообщаем людям", "telling people"),
        Step::Delivered => ("готово: подписан и доставлен", "done: signed and delivered"),
        Step::Refused => ("готово: отказано в подписи", "done: refused"),
        Step::Ignored => ("не требуется", "not wanted"),
        Step::Cancelled => ("отменён", "cancelled"),
        Step::Parked => ("остановлен, нужен человек", "stopped, needs a person"),
        Step::AwaitPdf => ("ждём, пока Битрикс24 сделает PDF", "waiting for Bitrix24 to make the PDF"),
        Step::ScanField => {
            ("смотрим поле карточки перед записью", "looking at the item's field before the write")
        }
        Step::AttachField => {
            ("кладём подписанный файл в поле карточки", "putting the signed file into the item's field")
        }
        Step::FindFieldFile => (
            "исход записи в поле неизвестен: ищем файл в поле",
            "the outcome of the write is unknown: looking into the field",
        ),
        Step::MoveStage => ("переводим карточку в другую стадию", "moving the item to another stage"),
        Step::AnswerRobot => ("отвечаем бизнес-процессу", "answering the workflow"),
        Step::UploadBlob => ("загружаем файл в iDocs", "uploading the file to iDocs"),
        Step::CreateDraft => ("создаём черновик в iDocs", "creating the draft in iDocs"),
        Step::FindDraft => (
            "исход создания черновика неизвестен: ищем его по номеру",
            "the outcome of creating the draft is unknown: looking for its number",
        ),
        Step::SetRoute => ("назначаем подписантов в iDocs", "setting the signers in iDocs"),
        Step::FindRoute => (
            "исход назначения подписантов неизвестен: смотрим, назначены ли они",
            "the outcome of setting the signers is unknown: looking whether they are set",
        ),
        Step::PrepareContent => ("берём содержимое для подписи", "fetching the content to sign"),
        Step::TellSigner => ("отправляем подписанту ссылку", "sending the link to our signer"),
        Step::AwaitSigner => ("ждём нашей подписи", "waiting for our signature"),
        Step::SendSignature => ("передаём подпись в iDocs", "handing the signature to iDocs"),
        Step::SaveSignature => ("сохраняем подпись в iDocs", "saving the signature in iDocs"),
        Step::FindSave => (
            "исход сохранения подписи неизвестен: смотрим статус",
            "the outcome of the save is unknown: reading the status",
        ),
        Step::FetchArchive => ("забираем архив с подписями", "fetching the archive with the signatures"),
        Step::SendSigned => {
            ("отправляем файл вместе с подписью в iDocs", "sending the file with its signature to iDocs")
        }
        Step::FindSent => (
            "исход отправки неизвестен, найти её в iDocs нечем: ждём запоздалого ответа, затем спросим человека",
            "the outcome of the sending is unknown and nothing at iDocs finds it: waiting for a late answer, then a person is asked",
        ),
        Step::AwaitProcess => (
            "iDocs создаёт документ: спрашиваем, что получилось",
            "iDocs is making the document: asking what has become of it",
        ),
    };
    Text::new(ru, en)
}

/// That the content to sign is made for several documents at once.
pub fn together(others: u32) -> Text {
    Text::new(
        format!(
            "iDocs готовит содержимое для подписи вместе с другими документами (ещё {others}), это бывает долго"
        ),
        format!(
            "iDocs is making the content to sign together with that of others ({others} more), which may take long"
        ),
    )
}

/// One sentence that answers "why is it standing still?".
pub fn why(saga: &DocumentSaga, now: Timestamp) -> Text {
    if let Some(dead) = &saga.dead_letter {
        return Text::new(
            format!("Остановлен: {} {}", dead.reason.ru, dead.next_action.ru),
            format!("Stopped: {} {}", dead.reason.en, dead.next_action.en),
        );
    }
    let doing = step(saga.step);
    if saga.step.is_finished() {
        let detail = saga.last_failure.as_ref().map_or_else(Text::default, |f| f.reason.clone());
        return Text::new(
            format!("{}. {}", doing.ru, detail.ru).trim().to_owned(),
            format!("{}. {}", doing.en, detail.en).trim().to_owned(),
        );
    }
    let failed = saga.last_failure.as_ref().map_or_else(Text::default, |f| {
        Text::new(format!(" Прошлая попытка: {}", f.reason.ru), format!(" The last attempt: {}", f.reason.en))
    });
    let next = next_move(saga, now);
    Text::new(
        format!("Сейчас: {}. {}{}", doing.ru, next.ru, failed.ru),
        format!("Now: {}. {}{}", doing.en, next.en, failed.en),
    )
}

fn next_move(saga: &DocumentSaga, now: Timestamp) -> Text {
    if let Work::InFlight { since, .. } = saga.work {
        let s = now.ms_since(since) / 1_000;
        return Text::new(
            format!("Запрос выполняется {s} с."),
            format!("The request has been running for {s} s."),
        );
    }
    let Some(timer) = saga.timer else {
        return Text::new(
            "Таймера нет: это ошибка, сообщите нам.",
            "It has no timer: that is a fault, please report it.",
        );
    };
    let s = timer.due.ms_since(now) / 1_000;
    match timer.kind {
        TimerKind::Start => Text::new(
            format!("Следующая попытка через {s} с (неудач: {}).", saga.tries),
            format!("The next attempt is in {s} s (failures: {}).", saga.tries),
        ),
        TimerKind::Wait => Text::new(
            format!("Следующая проверка или напоминание через {s} с."),
            format!("The next check or reminder is in {s} s."),
        ),
        TimerKind::Grace if saga.step == Step::FindSent => Text::new(
            format!("Ждём запоздалого ответа ещё {s} с, затем спросим человека."),
            format!("We wait {s} s more for a late answer, then ask a person."),
        ),
        TimerKind::Grace => Text::new(
            format!("Ждём уведомления ещё {s} с, затем спросим человека."),
            format!("We wait {s} s more for a callback, then ask a person."),
        ),
        TimerKind::Lease => {
            Text::new(format!("Ответ ждём ещё {s} с."), format!("We wait {s} s more for the answer."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_smuggle_bb_code_into_a_notice() {
        assert_eq!(plain("[URL=http://evil]x[/URL]\n"), "［URL=http://evil］x［/URL］");
        assert_eq!(plain("invoice\u{202e}fdp.exe\u{2066}"), "invoicefdp.exe");
    }
}
