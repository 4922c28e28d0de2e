//! `batch`: up to 50 commands in one request, with the quirks of PHP.
//! Source: `settings/how-to-call-rest-api/batch.md`, recordings of fast_bitrix24.
//!
//! Invariants: commands run in the order of the body; the answer is 200 even when all failed; empty maps and maps
//! with the keys 0..n-1 are written as lists; a command that was not run is in neither map.

use super::limits::Operating;
use super::rows::text;
use super::wire::{self, Answer, MethodError, Span, php_map};
use super::{CommandLine, Ctx, Inside, drive::truthy, methods};
use crate::sandbox::Counters;
use crate::sandbox::faults::FaultKind;
use crate::sandbox::front::Request;
use crate::sandbox::ledger::Note;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use std::fmt;

/// Commands of one batch, fixed by the platform.
const COMMANDS_MAX: usize = 50;
/// Commands read from a body before the rest is dropped: enough to answer the excess by name.
const COMMANDS_READ_MAX: usize = 1_000;

/// Method names of the commands, in order; nothing if the body cannot be read.
pub(crate) fn command_names(request: &Request) -> Vec<String> {
    read(request).map(|batch| batch.commands.0.iter().map(|(_, c)| split(c).0).collect()).unwrap_or_default()
}

fn split(command: &str) -> (String, &str) {
    let (name, query) = command.split_once('?').unwrap_or((command, ""));
    (name.trim_start_matches('/').to_ascii_lowercase(), query)
}

/// Runs all commands.
pub(crate) fn run(ctx: &mut Ctx<'_>, request: &Request) -> Result<(Answer, Operating), MethodError> {
    let batch = read(request).map_err(|why| MethodError::new(400, "INVALID_REQUEST", why))?;
    let mut sheet = Sheet::default();
    for (n, (key, command)) in batch.commands.0.iter().enumerate() {
        let fault = request.command_faults.get(n).cloned().flatten();
        let failed = sheet.run(ctx, n, key, command, fault);
        if failed && batch.halt == Halt::AtFirstError {
            break;
        }
    }
    let note = Note { effect: sheet.effect, ..Note::read().fact("commands", batch.commands.0.len()) };
    let operating = match ctx.portal.limits.counters {
        Counters::Absent => Operating::ABSENT,
        // By the docs the outer batch is not charged.
        Counters::ByMethod | Counters::ByBatch => {
            Operating { seconds: 0.0, reset_at: ctx.now_ms / 1_000 + 600 }
        }
    };
    Ok((Answer::of(sheet.into_json()).noted(note), operating))
}

/// The five maps of the answer.
#[derive(Default)]
struct Sheet {
    result: Vec<(String, Value)>,
    error: Vec<(String, Value)>,
    total: Vec<(String, Value)>,
    next: Vec<(String, Value)>,
    time: Vec<(String, Value)>,
    effect: bool,
}

impl Sheet {
    /// Runs one command; true if it failed.
    fn run(
        &mut self,
        ctx: &mut Ctx<'_>,
        n: usize,
        key: &str,
        command: &str,
        fault: Option<FaultKind>,
    ) -> bool {
        let (name, query) = split(command);
        let outcome = match &fault {
            Some(FaultKind::Status(answer)) => Err((MethodError::from_fault(answer), Note::read())),
            Some(FaultKind::StatusAfter(answer)) => {
                let note = self.call(ctx, n, &name, query).map(|(done, _)| done.note).unwrap_or_default();
                Err((MethodError::from_fault(answer), note))
            }
            _ => self.call(ctx, n, &name, query).map_err(|error| (error, Note::read())),
        };
        let fault = fault.map(|kind| kind.name());
        match outcome {
            Ok((answer, operating)) => {
                self.effect |= answer.note.effect;
                let note = answer.note.clone();
                ctx.lines.push(CommandLine { call: name, note, fault, status: 200 });
                self.keep(ctx, key, answer, operating);
                false
            }
            Err((error, note)) => {
                self.effect |= note.effect;
                ctx.lines.push(CommandLine { call: name, note, fault, status: error.status });
                self.error.push((key.to_owned(), error.to_json()));
                true
            }
        }
    }

    fn call(
        &self,
        ctx: &mut Ctx<'_>,
        n: usize,
        name: &str,
        query: &str,
    ) -> Result<(Answer, Operating), MethodError> {
        if n >= COMMANDS_MAX {
            return Err(MethodError::new(400, "ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded"));
        }
        if name == "batch" || name == "disk.folder.uploadfile" {
            let why = "Method is not allowed for batch usage";
            return Err(MethodError::new(405, "ERROR_BATCH_METHOD_NOT_ALLOWED", why));
        }
        let mut params = wire::decode_form(query.as_bytes()).map_err(|e| MethodError::new(400, "", e))?;
        self.resolve(&mut params);
        ctx.inside = Inside::Batch;
        methods::dispatch(ctx, name, &params)
    }

    fn keep(&mut self, ctx: &Ctx<'_>, key: &str, answer: Answer, operating: Operating) {
        let span = Span { start_ms: ctx.now_ms, finish_ms: ctx.now_ms, operating };
        self.result.push((key.to_owned(), answer.result));
        self.time.push((key.to_owned(), span.to_json()));
        self.total.extend(answer.total.map(|total| (key.to_owned(), total.into())));
        self.next.extend(answer.next.map(|next| (key.to_owned(), next.into())));
    }

    fn into_json(self) -> Value {
        json!({
            "result": php_map(self.result),
            "result_error": php_map(self.error),
            "result_total": php_map(self.total),
            "result_next": php_map(self.next),
            "result_time": php_map(self.time),
        })
    }

    /// Puts earlier results in place of `$result[name][FIELD]`.
    fn resolve(&self, value: &mut Value) {
        match value {
            Value::String(words) if words.contains("$result[") => *words = self.replaced(words),
            Value::Array(list) => list.iter_mut().for_each(|inner| self.resolve(inner)),
            Value::Object(map) => map.values_mut().for_each(|inner| self.resolve(inner)),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replaced(&self, words: &str) -> String {
        let mut parts = words.split("$result");
        let mut out = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let (path, rest) = reference(part);
            let mut path = path.into_iter();
            let first = path.next().and_then(|name| self.result.iter().find(|(key, _)| key == name));
            let found = path.fold(first.map(|(_, value)| value), |at, name| match at? {
                Value::Array(list) => list.get(name.parse::<usize>().ok()?),
                other => other.get(name),
            });
            out.push_str(&found.map(text).unwrap_or_default());
            out.push_str(rest);
        }
        out
    }
}

/// Splits `[a][b]rest` into its parts and the rest.
fn reference(mut part: &str) -> (Vec<&str>, &str) {
    let mut path = Vec::new();
    while let Some((name, rest)) = part.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        path.push(name);
        part = rest;
    }
    (path, part)
}

/// What to do after a command that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halt {
    Never,
    AtFirstError,
}

struct Batch {
    commands: Commands,
    halt: Halt,
}

#[derive(serde::Deserialize)]
struct BatchBody {
    cmd: Commands,
    #[serde(default)]
    halt: Value,
}

/// Commands by name, in the order of the body, which a sorted map would lose.
struct Commands(Vec<(String, String)>);

fn read(request: &Request) -> Result<Batch, String> {
    if wire::is_json(request) {
        let body: BatchBody = serde_json::from_slice(&request.body).map_err(|e| e.to_string())?;
        return Ok(Batch { commands: body.cmd, halt: halt(&body.halt) });
    }
    let (mut commands, mut last) = (Vec::new(), Value::Null);
    for source in [request.head.query.as_bytes(), &request.body] {
        for (key, value) in form_urlencoded::parse(source).take(COMMANDS_READ_MAX) {
            match key.strip_prefix("cmd[").and_then(|name| name.strip_suffix(']')) {
                Some("") => commands.push((commands.len().to_string(), value.into_owned())),
                Some(name) => commands.push((name.to_owned(), value.into_owned())),
                None if key == "halt" => last = value.into_owned().into(),
                None => {}
            }
        }
    }
    Ok(Batch { commands: Commands(commands), halt: halt(&last) })
}

fn halt(value: &Value) -> Halt {
    if truthy(value) { Halt::AtFirstError } else { Halt::Never }
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Commands;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map or a list of commands")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Commands, A::Error> {
                let mut commands = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if commands.len() < COMMANDS_READ_MAX {
                        commands.push(entry);
                    }
                }
                Ok(Commands(commands))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Commands, A::Error> {
                let mut commands = Vec::new();
                while let Some(command) = list.next_element()? {
                    if commands.len() < COMMANDS_READ_MAX {
                        commands.push((commands.len().to_string(), command));
                    }
                }
                Ok(Commands(commands))
            }
        }

        deserializer.deserialize_any(InOrder)
    }
}
