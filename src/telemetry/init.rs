//! The log of the process and what happens on a panic.

use super::metrics::Metrics;
use super::redactor::Redactor;
use std::io::IsTerminal;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people if standard error is a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What the log needs to know.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Levels in the notation of `tracing`: `info,edobridge::store=debug`.
    pub filter: String,
    /// Whose secrets are masked.
    pub redactor: Redactor,
}

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogSetupError {
    /// The filter is not in the notation of `tracing`.
    #[error("the log filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("the log was set up before")]
    Twice(#[from] tracing::dispatcher::SetGlobalDefaultError),
}

impl LogSettings {
    /// Sends the process's log to standard error from now on.
    ///
    /// # Errors
    /// A filter that cannot be read, or a second call in one process.
    pub fn install(&self) -> Result<(), LogSetupError> {
        let terminal = std::io::stderr().is_terminal();
        let format = match (self.format, terminal) {
            (LogFormat::Auto, true) => LogFormat::Human,
            (LogFormat::Auto, false) => LogFormat::Json,
            (LogFormat::Human | LogFormat::Json, _) => self.format,
        };
        let colour = if terminal { Colour::Yes } else { Colour::No };
        let dispatch = self.dispatch(format, colour, std::io::stderr)?;
        tracing::dispatcher::set_global_default(dispatch)?;
        Ok(())
    }

    fn dispatch<W>(
        &self,
        format: LogFormat,
        colour: Colour,
        writer: W,
    ) -> Result<tracing::Dispatch, LogSetupError>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(&self.filter)?)
            .with_writer(self.redactor.wrap(writer))
            .with_ansi(matches!(colour, Colour::Yes));
        Ok(match format {
            LogFormat::Human => builder.with_target(false).into(),
            LogFormat::Auto | LogFormat::Json => {
                builder.json().flatten_event(true).with_span_list(false).into()
            }
        })
    }
}

#[derive(Clone, Copy)]
enum Colour {
    Yes,
    No,
}

/// Makes every panic one `error` line and one count, in whichever thread it happens.
///
/// Without a log yet, the standard hook prints as usual.
pub fn install_panic_hook(metrics: Arc<Metrics>) {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        metrics.panicked();
        if !tracing::dispatcher::has_been_set() {
            return standard(info);
        }
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            panic.location = %location,
            panic.thread = thread.name().unwrap_or("unnamed"),
            panic.message = panic_message(info.payload()),
            "a panic was caught"
        );
    }));
}

/// What a panic said, if it said it in text.
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use std::io;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(format: LogFormat, work: impl FnOnce()) -> String {
        let memory = Memory::default();
        let redactor = Redactor::new();
        redactor.register(&Secret::new("planted-secret-42"));
        redactor.register(&Secret::new("https://portal.example/rest/1/planted7hook/"));
        let settings = LogSettings { format, filter: "info".into(), redactor };
        let writer = memory.clone();
        let dispatch = settings.dispatch(format, Colour::No, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, work);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn planted_secrets_do_not_appear_in_either_format() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let text = log(format, || {
                let span = tracing::info_span!("call", token = "planted-secret-42");
                let _entered = span.enter();
                tracing::info!(url = "https://portal.example/rest/1/planted7hook/scope", "asking");
                tracing::error!("refused: planted-secret-42");
            });
            assert!(text.contains("asking") && text.contains("refused: ***"), "{text}");
            assert!(!text.contains("planted"), "{text}");
        }
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let text = log(LogFormat::Json, || {
            let span = tracing::info_span!("saga", saga.id = "s-1");
            let _entered = span.enter();
            tracing::info!(saga.event = "signed", "state changed");
            tracing::debug!("not at this level");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(line["saga.event"], "signed");
        assert_eq!(line["span"]["saga.id"], "s-1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        let settings =
            LogSettings { format: LogFormat::Json, filter: "info,=".into(), redactor: Redactor::new() };
        assert!(matches!(
            settings.dispatch(LogFormat::Json, Colour::No, io::sink),
            Err(LogSetupError::Filter(_))
        ));
    }

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let caught = std::panic::catch_unwind(|| panic!("boom {}", 1)).unwrap_err();
        assert_eq!(panic_message(caught.as_ref()), "boom 1");
        assert_eq!(panic_message(&5_u8), "a panic without a message");
    }
}
