//! What a backup holds, as people are shown it.

use super::console::{Console, bytes};
use crate::domain::Text;
use crate::http::maintenance::BackupView;

/// Prints it as a table.
pub(super) fn print_contents(view: &BackupView, console: &Console) {
    let rows = [
        (Text::new("документов", "documents"), view.documents.to_string()),
        (Text::new("записей", "entries"), view.entries.to_string()),
        (Text::new("файлов", "files"), view.files.to_string()),
        (Text::new("размер", "size"), bytes(view.bytes)),
        (Text::new("запись журнала", "journal entry"), view.sequence.to_string()),
        (Text::new("SHA-256", "SHA-256"), view.sha256.clone()),
    ];
    console.line(console.table(&[], rows.map(|(name, value)| [console.word(&name).to_owned(), value])));
}
