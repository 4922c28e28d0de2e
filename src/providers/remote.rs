//! Which remote a call went to, and the sentences that every remote's failures share.

use crate::domain::{Failure, FailureClass, FailureKind, Text};

/// A remote system, for the words in its failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remote {
    /// A Bitrix24 portal.
    Portal,
    /// The authorisation server of Bitrix24.
    BitrixOauth,
    /// EasyDocs.
    EasyDocs,
    /// iDocs.
    Idocs,
}

/// Whether a repeat of the call could do something twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nature {
    /// It only asks: an unknown outcome is no different from none.
    Read,
    /// It changes something: an unknown outcome must be looked into.
    Write,
}

impl Nature {
    /// The class of an outcome that may or may not have happened.
    pub const fn unknown_outcome(self) -> FailureClass {
        match self {
            Nature::Read => FailureClass::Transient,
            Nature::Write => FailureClass::Ambiguous,
        }
    }

    /// The failure as it counts for this call: an unknown outcome of a read is a plain transient one.
    #[must_use]
    pub fn judge(self, mut failure: Failure) -> Failure {
        if self == Nature::Read && failure.class == FailureClass::Ambiguous {
            failure.class = FailureClass::Transient;
        }
        failure
    }
}

impl Remote {
    /// Its name as the subject of a sentence.
    pub fn name(self) -> Text {
        match self {
            Remote::Portal => Text::new("Портал Bitrix24", "The Bitrix24 portal"),
            Remote::BitrixOauth => {
                Text::new("Сервер авторизации Bitrix24", "The Bitrix24 authorisation server")
            }
            Remote::EasyDocs => Text::new("Сервис EasyDocs", "EasyDocs"),
            Remote::Idocs => Text::new("Сервис iDocs", "iDocs"),
        }
    }

    /// An answer that cannot be what was asked for. The class is [`FailureClass::Ambiguous`]: the request arrived.
    pub fn garbled(self, code: &str) -> Failure {
        let name = self.name();
        let reason = Text::new(
            format!(
                "{} прислал ответ, который нельзя разобрать. Если это повторяется, посмотрите начало ответа: \
                 там может быть страница ошибки прокси или технических работ.",
                name.ru
            ),
            format!(
                "{} sent an answer that cannot be read. If it happens again, look at the beginning of the answer: \
                 it may be an error page of a proxy or a maintenance notice.",
                name.en
            ),
        );
        Failure::new(FailureClass::Ambiguous, FailureKind::Garbled, code, reason)
    }

    /// The remote answered 5xx; what it did before is unknown.
    pub fn server_error(self, status: u16) -> Failure {
        let name = self.name();
        let reason = Text::new(
            format!("{} ответил внутренней ошибкой (HTTP {status}). Обычно это проходит само.", name.ru),
            format!(
                "{} answered with an internal error (HTTP {status}). It usually passes by itself.",
                name.en
            ),
        );
        Failure::new(FailureClass::Ambiguous, FailureKind::ServerError, format!("http_{status}"), reason)
    }

    /// The remote asks for a pause (429).
    pub fn throttled(self, status: u16) -> Failure {
        let name = self.name();
        let reason = Text::new(
            format!("{} просит подождать (HTTP {status}). Запрос повторится после паузы.", name.ru),
            format!("{} asks to wait (HTTP {status}). The request is repeated after a pause.", name.en),
        );
        Failure::new(FailureClass::Throttled, FailureKind::Limit, format!("http_{status}"), reason)
    }

    /// The remote did not get the request whole (408), or is not there as a service (404 page of a web server).
    pub fn not_executed(self, status: u16) -> Failure {
        let name = self.name();
        let reason = Text::new(
            format!("{} не выполнил запрос (HTTP {status}). Он будет повторён.", name.ru),
            format!("{} did not execute the request (HTTP {status}). It will be repeated.", name.en),
        );
        Failure::new(FailureClass::Transient, FailureKind::Garbled, format!("http_{status}"), reason)
    }

    /// An address from this remote that we do not call.
    pub fn refused_url(self, refused: &super::url_rules::UrlRefused) -> Failure {
        let name = self.name();
        let reason = Text::new(
            format!(
                "{} дал адрес файла, которым мы не пользуемся: {refused}. Если место верное, добавьте его в \
                 список разрешённых источников в настройках.",
                name.ru
            ),
            format!(
                "{} gave a file address that we do not use: {refused}. If the place is right, add it to the \
                 allowed origins in the configuration.",
                name.en
            ),
        );
        Failure::new(FailureClass::Permanent, FailureKind::Refused, "address_not_allowed", reason)
    }

    /// A file that is larger than what is accepted, in bytes.
    pub fn too_large(self, max: u64) -> Failure {
        let name = self.name();
        let reason = Text::new(
            format!(
                "{}: файл больше разрешённых {max} байт. Увеличьте предел в настройках или уменьшите файл.",
                name.ru
            ),
            format!(
                "{}: the file is larger than the allowed {max} bytes. Raise the limit in the configuration or make the file smaller.",
                name.en
            ),
        );
        Failure::new(FailureClass::Permanent, FailureKind::Refused, "file_too_large", reason)
    }
}

/// Something on our side failed before or while sending; the remote has nothing whole from us.
pub fn local(class: FailureClass, code: &str, detail: &str) -> Failure {
    let reason = Text::new(
        format!("Ошибка на нашей стороне: {detail}. Проверьте диск и права на каталог данных."),
        format!("An error on our side: {detail}. Check the disk and the rights on the data directory."),
    );
    Failure::new(class, FailureKind::Local, code, reason)
}
