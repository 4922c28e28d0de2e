//! Everything that is told at the start: where everything is, a configuration, the buttons.

use super::args::SandboxArgs;
use super::buttons::{Button, all_buttons};
use super::refusals::OPEN_TO_ALL;
use super::sample_config::sample_config;
use super::whereabouts::Whereabouts;
use crate::commands::console::{Console, Style};
use crate::commands::format::Format;
use crate::domain::{Language, Text};
use serde::Serialize;
use url::Url;

/// Everything that is told at the start.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Brochure {
    /// Where everything is.
    #[serde(flatten)]
    pub(super) at: Whereabouts,
    /// A configuration with which edobridge works against this emulator.
    pub(super) config: String,
    /// What can be done from outside.
    pub(super) buttons: Vec<Button>,
}

impl Brochure {
    /// Of the emulator that is there.
    pub(super) fn new(at: Whereabouts, args: &SandboxArgs) -> Self {
        Self { config: sample_config(&at, args), buttons: all_buttons(&at), at }
    }

    /// Prints it.
    pub(super) fn print(&self, console: &Console, args: &SandboxArgs) {
        match console.format() {
            Format::Json => console.json(self),
            Format::People => self.print_for_people(console, args),
        }
    }

    fn print_for_people(&self, console: &Console, args: &SandboxArgs) {
        let heading = |ru, en| {
            let text = Text::new(ru, en);
            console.line(format!("\n{}", console.paint(Style::Heading, console.word(&text))));
        };
        heading("Эмулятор работает", "The sandbox is running");
        console.line(console.table(&[], self.addresses(console.language())));
        let idocs = args.idocs.unwrap_or(args.bitrix);
        if ![args.bitrix, args.easydocs, idocs].iter().all(|address| address.ip().is_loopback()) {
            let warning = console.word(&OPEN_TO_ALL.text()).to_owned();
            console.line(console.paint(Style::Warning, &warning));
        }
        match &args.write_config {
            Some(path) => {
                heading(
                    "Конфигурация edobridge записана; запустите",
                    "The configuration of edobridge is written; run",
                );
                console.line(format!("edobridge serve --config {}", path.display()));
            }
            None => {
                heading("Конфигурация edobridge (sandbox.toml)", "Configuration of edobridge (sandbox.toml)");
                console.line(&self.config);
            }
        }
        heading("Кнопки", "Buttons");
        for button in &self.buttons {
            let what = format!("# {}", console.word(&button.what));
            console.line(console.paint(Style::Faint, &what));
            console.line(&button.command);
        }
        let stop = Text::new("\nОстановить: Ctrl-C.", "\nStop it with Ctrl-C.");
        console.say(&stop);
    }

    fn addresses(&self, language: Language) -> Vec<Vec<String>> {
        let at = &self.at;
        let events = at.event_target.as_ref().map_or("-".to_owned(), Url::to_string);
        let rows = [
            (Text::new("портал", "portal"), at.bitrix_url.to_string()),
            (Text::new("входящий вебхук", "incoming webhook"), at.webhook_url.to_string()),
            (Text::new("события идут на", "events go to"), events),
            (
                Text::new("application_token событий", "application_token of events"),
                at.keys.application_token.clone(),
            ),
            (Text::new("сервер авторизации", "authorisation server"), at.oauth_url.to_string()),
            (Text::new("member_id портала", "member_id of the portal"), at.member_id.clone()),
            (Text::new("client_id приложения", "client_id of the application"), at.client_id.clone()),
            (
                Text::new("client_secret приложения", "client_secret of the application"),
                at.client_secret.clone(),
            ),
            (Text::new("EasyDocs", "EasyDocs"), at.easydocs_url.to_string()),
            (Text::new("ключ API EasyDocs", "API key of EasyDocs"), at.keys.easydocs_api_key.clone()),
            (Text::new("iDocs", "iDocs"), at.idocs_url.to_string()),
            (Text::new("вебхуки iDocs", "webhooks of iDocs"), at.idocs_webhooks_url.to_string()),
            (Text::new("токен iDocs", "token of iDocs"), at.keys.idocs_token.clone()),
            (
                Text::new("секрет подписи callback", "secret of callback signatures"),
                at.keys.callback_secret.clone(),
            ),
        ];
        rows.into_iter().map(|(name, value)| vec![name.get(language).to_owned(), value]).collect()
    }
}
