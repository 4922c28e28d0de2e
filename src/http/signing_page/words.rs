//! What the page says before any script runs, in its three languages.

use crate::domain::SignerText;
use crate::domain::signing::SigningRefusal;

macro_rules! words {
    ($($name:ident: $ru:literal, $kk:literal, $en:literal;)+) => {
        $(pub(super) static $name: SignerText = SignerText::fixed($ru, $kk, $en);)+
    };
}

words! {
    TITLE: "Подписание документа", "Құжатқа қол қою", "Signing a document";
    TITLE_MANY: "Подписание документов", "Құжаттарға қол қою", "Signing documents";
    TITLE_REFUSED: "Ссылка не открывается", "Сілтеме ашылмайды", "The link does not open";
    LANGUAGES: "Язык", "Тіл", "Language";
    SIGNER: "Подписывает: ", "Қол қоюшы: ", "Signer: ";
    NUMBER: "Номер", "Нөмірі", "Number";
    COUNTERPARTY: "Контрагент", "Контрагент", "Counterparty";
    SIZE: "Размер", "Көлемі", "Size";
    DIGEST: "SHA-256", "SHA-256", "SHA-256";
    UNTIL: "Подписать до", "Қол қою мерзімі", "Sign before";
    VIEW: "Скачать и посмотреть файл", "Файлды жүктеп алып қарау", "Download and view the file";
    SIGN: "Подписать", "Қол қою", "Sign";
    SIGNED: "Подписан", "Қол қойылды", "Signed";
    ALL_SIGNED:
        "Документ подписан. Страницу можно закрыть.",
        "Құжатқа қол қойылған. Бетті жабуға болады.",
        "The document is signed. You may close this page.";
    HELP: "Как подписать", "Қалай қол қою керек", "How to sign";
    HELP_START:
        "Запустите на этом компьютере NCALayer (pki.gov.kz) или KAZTOKEN и подготовьте ключ для подписи.",
        "Осы компьютерде NCALayer (pki.gov.kz) немесе KAZTOKEN іске қосып, қол қою кілтін дайындаңыз.",
        "Start NCALayer (pki.gov.kz) or KAZTOKEN on this computer and have your signing key at hand.";
    HELP_PRESS:
        "Нажмите «Подписать». Если браузер спросит, можно ли странице обращаться к приложениям на этом устройстве, разрешите.",
        "«Қол қою» түймесін басыңыз. Браузер осы құрылғыдағы қолданбаларға қол жеткізуге рұқсат сұраса, рұқсат беріңіз.",
        "Press \"Sign\". If the browser asks whether this page may reach apps on this device, allow it.";
    HELP_CHOOSE:
        "Выберите ключ и введите пароль в окне NCALayer. Ключ и пароль не покидают ваш компьютер.",
        "NCALayer терезесінде кілтті таңдап, құпиясөзді енгізіңіз. Кілт пен құпиясөз компьютеріңізден шықпайды.",
        "Choose the key and type its password in the window of NCALayer. Key and password do not leave your computer.";
    NO_SCRIPT:
        "Чтобы подписать, включите в браузере JavaScript и обновите страницу.",
        "Қол қою үшін браузерде JavaScript қосып, бетті жаңартыңыз.",
        "To sign, turn JavaScript on in the browser and reload the page.";
    RENEW_OFFER:
        "Ссылка действует недолго. Можно запросить новую: она придёт подписанту в Битрикс24 тем же путём. Если ссылку вам передал сотрудник, попросите новую у него.",
        "Сілтеме аз уақыт жарамды. Жаңасын сұрауға болады: ол қол қоюшыға Битрикс24-ке сол жолмен келеді. Сілтемені сізге қызметкер берген болса, жаңасын содан сұраңыз.",
        "A link does not live long. A new one can be asked for: it comes to the signer in Bitrix24 by the same way. If a colleague handed you the link, ask them for a new one.";
    RENEW: "Прислать новую ссылку", "Жаңа сілтеме жіберу", "Send a new link";
    BYTES: "байт", "байт", "bytes";
    FOOTER:
        "Юридическую силу подписи (сертификат, срок, отзыв) проверяет сервис подписания при сохранении.",
        "Қолтаңбаның заңды күшін (сертификат, мерзім, қайтарып алу) қол қою сервисі сақтау кезінде тексереді.",
        "The legal force of a signature (certificate, term, revocation) is checked by the signing service when it is saved.";
}

/// The stable name of a refusal.
pub(super) const fn refusal_code(refusal: SigningRefusal) -> &'static str {
    match refusal {
        SigningRefusal::Unknown => "unknown",
        SigningRefusal::Expired => "expired",
        SigningRefusal::AlreadySigned => "already_signed",
        SigningRefusal::Busy => "busy",
        SigningRefusal::NotNow => "not_now",
    }
}

/// The sentence for the signer, with the remedy.
pub(super) const fn refusal(refusal: SigningRefusal) -> SignerText {
    match refusal {
        SigningRefusal::Unknown => SignerText::fixed(
            "Такой ссылки нет, или она больше не действует. Откройте последнее уведомление в Битрикс24 и перейдите по ссылке из него.",
            "Мұндай сілтеме жоқ немесе ол енді жарамсыз. Битрикс24-тегі соңғы хабарландыруды ашып, сол жердегі сілтемеге өтіңіз.",
            "There is no such link, or it is no longer valid. Open the latest notice in Bitrix24 and follow the link in it.",
        ),
        SigningRefusal::Expired => SignerText::fixed(
            "Срок ссылки истёк, документ ещё не подписан.",
            "Сілтеменің мерзімі өтті, құжатқа әлі қол қойылмаған.",
            "The link has expired; the document is not signed yet.",
        ),
        SigningRefusal::AlreadySigned => SignerText::fixed(
            "Документ уже подписан другой подписью.",
            "Құжатқа басқа қолтаңба қойылған.",
            "The document is signed already, with another signature.",
        ),
        SigningRefusal::Busy => SignerText::fixed(
            "Сейчас подпись не принимается: повторите через минуту.",
            "Қазір қолтаңба қабылданбайды: бір минуттан кейін қайталаңыз.",
            "Signatures are not taken at the moment: try again in a minute.",
        ),
        SigningRefusal::NotNow => SignerText::fixed(
            "Документ сейчас не ждёт подписи: он отозван, уже отправлен дальше или ещё готовится. Новую ссылку пришлёт уведомление в Битрикс24.",
            "Құжат қазір қол қоюды күтіп тұрған жоқ: ол қайтарып алынған, әрі қарай жіберілген немесе әлі дайындалуда. Жаңа сілтеме Битрикс24 хабарландыруымен келеді.",
            "The document does not wait for a signature now: it was recalled, has moved on or is being prepared. A notice in Bitrix24 will bring a new link.",
        ),
    }
}
