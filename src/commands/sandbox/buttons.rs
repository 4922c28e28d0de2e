//! The buttons of the emulator, as commands that can be pasted into a shell.

use super::stage::{STAGE, Stage};
use super::whereabouts::Whereabouts;
use crate::domain::Text;
use crate::sandbox::KEY_HEADER;
use serde::Serialize;

/// One thing that can be done from outside.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Button {
    /// What it does.
    pub(super) what: Text,
    /// How it is pressed.
    pub(super) command: String,
}

/// The buttons, in the order in which somebody new would press them.
pub(super) fn all_buttons(at: &Whereabouts) -> Vec<Button> {
    let control = format!("{}_sandbox", at.bitrix_url);
    let curl = match &at.keys.control_key {
        Some(key) => format!("curl -sS -H '{KEY_HEADER}: {key}'"),
        None => "curl -sS".to_owned(),
    };
    let Stage { inbox_folder, idocs_folder, deal, .. } = at.stage;
    let button = |ru: &str, en: &str, command: String| Button { what: Text::new(ru, en), command };
    vec![
        button(
            "положить файл на подпись",
            "put a file to be signed",
            format!(
                "{curl} --data-binary @contract.pdf '{control}/files?name=contract.pdf&folder={inbox_folder}'"
            ),
        ),
        button(
            "перевести сделку на стадию",
            "move the deal to the stage",
            format!("{curl} -d '{{\"stage\":\"{STAGE}\"}}' '{control}/deals/{deal}/stage'"),
        ),
        button(
            "подписать или отклонить документ",
            "sign or refuse a document",
            format!("{curl} -X POST '{control}/documents/ID/sign'    # or /refuse"),
        ),
        button(
            "потерять ответ на следующее создание документа",
            "lose the answer to the next create",
            format!(
                "{curl} -d '{{\"target\":\"easydocs.create\",\"on_calls\":{{\"first\":1}},\"kind\":\"cut_after\"}}' '{control}/faults'"
            ),
        ),
        button(
            "установить приложение и открыть его страницу",
            "install the application and open its page",
            format!(
                "{curl} -X POST '{control}/apps/{0}/install'; {curl} -d '{{}}' '{control}/apps/{0}/open'",
                at.client_id
            ),
        ),
        button(
            "сделать все токены приложения просроченными",
            "let all tokens of the application expire",
            format!("{curl} -d '{{\"what\":\"expire\"}}' '{control}/tokens'"),
        ),
        button(
            "потерять следующие два события",
            "lose the next two events",
            format!("{curl} -d '{{\"lose_events\":2}}' '{control}/portal'"),
        ),
        button(
            "iDocs: положить файл, который подпишем сначала мы",
            "iDocs: put a file that our side signs first",
            format!(
                "{curl} --data-binary @contract.pdf '{control}/files?name=contract.pdf&folder={idocs_folder}'"
            ),
        ),
        button(
            "iDocs: контрагент подписывает или отказывает",
            "iDocs: the counterparty signs or refuses",
            format!(
                "{curl} -X POST '{control}/idocs/documents/ID/sign'    # or: {curl} -d '{{\"reason\":\"нет\"}}' '{control}/idocs/documents/ID/refuse'"
            ),
        ),
        button(
            "iDocs: подписать за нашего человека без NCALayer (CMS в base64)",
            "iDocs: sign for our person without NCALayer (CMS in base64)",
            format!("{curl} -d '{{\"form\":\"attached\"}}' '{control}/idocs/documents/ID/cms'"),
        ),
        button(
            "iDocs: ссылка на подписание устарела",
            "iDocs: the content to sign has expired",
            format!("{curl} -X POST '{control}/idocs/documents/ID/expire'"),
        ),
        button("что где лежит", "what is where", format!("{curl} '{control}/state'")),
        button("что произошло", "what has happened", format!("{curl} '{control}/ledger'")),
    ]
}
