//! A backup is read whole, which takes its time: beside the event loop, and with a line that moves meanwhile.

use super::console::Console;
use crate::domain::Text;
use crate::http::maintenance::backup_text;
use crate::store::BackupError;

/// Runs `work` beside the event loop, with a moving line.
pub(super) async fn blocking<T: Send + 'static>(
    console: &Console,
    what: &Text,
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, Text> {
    let bar = console.spinner(console.word(what).to_owned());
    let outcome = tokio::task::spawn_blocking(work).await;
    bar.finish_and_clear();
    match outcome {
        Ok(outcome) => outcome.map_err(|error| backup_text(&error)),
        Err(panic) => {
            let words = panic.to_string();
            Err(Text::new(words.clone(), words))
        }
    }
}
