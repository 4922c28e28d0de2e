//! Why the sandbox does not start, and what it warns of: in words, with the remedy.

use super::args::SandboxArgs;
use crate::domain::Text;
use std::io;
use std::path::Path;

/// A port is taken, or may not be opened.
pub(super) fn not_started(args: &SandboxArgs, error: &io::Error) -> Text {
    let (bitrix, easydocs) = (args.bitrix, args.easydocs);
    Text::new(
        format!(
            "Эмулятор не запустился на {bitrix} и {easydocs}: {error}. Задайте другие адреса: --bitrix 127.0.0.1:0 --easydocs 127.0.0.1:0."
        ),
        format!(
            "The sandbox did not start on {bitrix} and {easydocs}: {error}. Give other addresses: --bitrix 127.0.0.1:0 --easydocs 127.0.0.1:0."
        ),
    )
}

/// The configuration is not where it was wanted.
pub(super) fn not_written(path: &Path, error: &io::Error) -> Text {
    let path = path.display();
    Text::new(
        format!("Файл {path} не записан: {error}. Назовите другой файл: готовый не перезаписывается."),
        format!(
            "The file {path} was not written: {error}. Name another one: a file that is there is not replaced."
        ),
    )
}

/// A statement that is known when compiling.
pub(super) struct Fixed {
    ru: &'static str,
    en: &'static str,
}

impl Fixed {
    /// In both languages.
    pub(super) fn text(&self) -> Text {
        Text::new(self.ru, self.en)
    }
}

/// Said where strangers can reach the emulator.
pub(super) const OPEN_TO_ALL: Fixed = Fixed {
    ru: "Внимание: адрес виден из сети, а ключи вебхука, EasyDocs и iDocs у эмулятора известны всем. Не кладите в него настоящие документы.",
    en: "Warning: the address is open to the network, and everybody knows the sandbox's keys of webhook, EasyDocs and iDocs. Put no real documents into it.",
};

/// Said where strangers could press the buttons.
pub(super) const NEEDS_KEY: Fixed = Fixed {
    ru: "Адрес виден из сети: кнопки эмулятора (/_sandbox/) нельзя оставить без ключа. Добавьте --key, например --key \"$(openssl rand -hex 16)\".",
    en: "The address is open to the network: the buttons of the sandbox (/_sandbox/) must not be without a key. Add --key, for example --key \"$(openssl rand -hex 16)\".",
};
