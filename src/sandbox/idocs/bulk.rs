//! Operations that are pushed and asked about later (c.8).
//!
//! Invariants: an operation runs by the same steps as the single call; answers come in another order than what was
//! pushed, because none is documented; at most [`OPERATIONS_MAX`] are remembered, the oldest are forgotten.

use super::account::fresh_id;
use super::life::{Step, perform};
use super::options::BulkNames;
use super::wire::{Content, Done, Outcome, PageQuery, Refused, page};
use crate::sandbox::faults::FaultKind;
use crate::sandbox::front::pause;
use crate::sandbox::ledger::{Note, Side};
use crate::sandbox::world::{World, now_ms};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How many operations are remembered: far more than a test pushes.
const OPERATIONS_MAX: usize = 10_000;
/// How many one push may have: a slip must not become a flood.
const PUSH_MAX: usize = 1_000;

/// `AsyncOperationStatusType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
enum State {
    NotFound,
    Created,
    InProcessing,
    CompletedWithProcessingError,
    CompletedWithProcessingException,
    CompletedWithOk,
}

/// One pushed operation.
#[derive(Debug, Clone)]
struct Operation {
    id: String,
    step: Step,
    created_ms: i64,
    completed_ms: Option<i64>,
    state: State,
    data: Value,
    errors: Value,
}

impl Operation {
    fn card(&self) -> Value {
        json!({
            "operationId": self.id, "createdOn": self.created_ms.div_euclid(1_000),
            "completedOn": self.completed_ms.map(|ms| ms.div_euclid(1_000)), "operationStatus": self.state,
            "data": self.data, "operationErrors": self.errors,
        })
    }
}

/// All operations, oldest first.
#[derive(Debug, Default)]
pub(super) struct Operations {
    all: Vec<Operation>,
}

impl Operations {
    pub(super) fn forget(&mut self) {
        self.all.clear();
    }
    fn add(&mut self, step: Step, now_ms: i64) -> Operation {
        if self.all.len() == OPERATIONS_MAX {
            self.all.remove(0);
        }
        let operation = Operation {
            id: fresh_id(),
            step,
            created_ms: now_ms,
            completed_ms: None,
            state: State::Created,
            data: Value::Null,
            errors: Value::Null,
        };
        self.all.push(operation.clone());
        operation
    }
    fn get_mut(&mut self, id: &str) -> Option<&mut Operation> {
        self.all.iter_mut().find(|operation| operation.id == id)
    }
    fn card(&self, id: &str, step: Step) -> Value {
        let known = self.all.iter().find(|operation| operation.id == id && operation.step == step);
        known.map(Operation::card).unwrap_or_else(|| {
            json!({
                "operationId": id, "createdOn": null, "completedOn": null, "operationStatus": State::NotFound,
                "data": null, "operationErrors": null,
            })
        })
    }
}

/// A push: the bodies of single calls.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Push {
    operations: Vec<Pushed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pushed {
    data: Value,
}

/// A question: ids of operations.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    operations: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    operation_id: String,
}

/// Takes operations and lets them run.
pub(super) fn push(world: &Arc<World>, step: Step, asked: Push) -> Outcome {
    if asked.operations.is_empty() || asked.operations.len() > PUSH_MAX {
        return Err(Refused::invalid(format!("a push has 1 to {PUSH_MAX} operations")));
    }
    let mut cards = Vec::new();
    for Pushed { data } in asked.operations {
        let (operation, delay_ms) = world
            .with_idocs(|account| (account.operations.add(step, now_ms()), account.options.bulk_delay_ms));
        cards.push(operation.card());
        drop(world.spawn(run(Arc::clone(world), operation.id, step, data, delay_ms)));
    }
    cards.reverse();
    let note = Note::effect().fact("operations", cards.len());
    Ok(Done::new(Content::Bare(json!({"operations": cards})), note))
}

/// Says what became of operations.
pub(super) fn ask(world: &World, step: Step, asked: Ask) -> Outcome {
    let mut cards: Vec<Value> = world.with_idocs(|account| {
        let mut cards: Vec<Value> =
            asked.operations.iter().map(|one| account.operations.card(&one.operation_id, step)).collect();
        rename(&mut cards, account.options.bulk_names);
        cards
    });
    cards.reverse();
    let note = Note::read().fact("operations", cards.len());
    Ok(Done::new(Content::Bare(json!({"operations": cards})), note))
}

/// What the cards say of whose they are.
fn rename(cards: &mut [Value], names: BulkNames) {
    let mut data: Vec<&mut Value> =
        cards.iter_mut().filter_map(|card| card.pointer_mut("/data/documentId")).collect();
    match names {
        BulkNames::True => {}
        BulkNames::Missing => data.iter_mut().for_each(|name| **name = Value::Null),
        BulkNames::Swapped => {
            for at in 1..data.len() {
                let (before, after) = data.split_at_mut(at);
                std::mem::swap(before[at - 1], after[0]);
            }
        }
    }
}

/// All operations, without their data.
pub(super) fn list(world: &World, asked: &PageQuery) -> Outcome {
    let (cards, page_max) = world.with_idocs(|account| {
        let bare = |operation: &Operation| Operation { data: Value::Null, ..operation.clone() }.card();
        (account.operations.all.iter().rev().map(bare).collect(), account.options.page_max)
    });
    Ok(Done::new(page(cards, asked.skip, asked.top, page_max), Note::read()))
}

/// One operation from its first to its last moment, with what a fault on it makes of it.
async fn run(world: Arc<World>, id: String, step: Step, data: Value, delay_ms: u64) {
    pause(delay_ms / 2).await;
    world.with_idocs(|account| {
        if let Some(operation) = account.operations.get_mut(&id) {
            operation.state = State::InProcessing;
        }
    });
    pause(delay_ms.div_ceil(2)).await;
    let call = format!("{}.bulk", step.call());
    let fault = world.strike(&call);
    let (state, data, errors, note) = ended(&world, step, data, fault.as_ref()).await;
    world.record(Side::IDocs, &call, note, fault.as_ref(), None);
    world.with_idocs(|account| {
        if let Some(operation) = account.operations.get_mut(&id) {
            (operation.state, operation.data, operation.errors) = (state, data, errors);
            operation.completed_ms = Some(now_ms());
        }
    });
}

async fn ended(
    world: &Arc<World>,
    step: Step,
    data: Value,
    fault: Option<&FaultKind>,
) -> (State, Value, Value, Note) {
    let exception = |note| (State::CompletedWithProcessingException, Value::Null, Value::Null, note);
    match fault {
        Some(FaultKind::Refuse | FaultKind::CutBefore | FaultKind::Html(_)) => return exception(Note::read()),
        Some(FaultKind::Status(answer)) => {
            let error = json!([{
                "errorCode": answer.error, "errorDescription": answer.description,
                "errorDocumentationLink": null,
            }]);
            return (State::CompletedWithProcessingError, Value::Null, error, Note::read());
        }
        Some(FaultKind::Slow(ms) | FaultKind::SlowBefore(ms)) => pause(*ms).await,
        _ => {}
    }
    let after = matches!(
        fault,
        Some(
            FaultKind::CutAfter | FaultKind::StatusAfter(_) | FaultKind::HtmlAfter(_) | FaultKind::Truncated
        )
    );
    match perform(world, step, data, 1).await {
        Ok(done) if after => exception(done.note),
        Ok(done) => {
            let data = match done.content {
                Content::Wrapped(value) | Content::Bare(value) => value,
                Content::Nothing | Content::File(..) | Content::Absent => Value::Null,
            };
            (State::CompletedWithOk, data, Value::Null, done.note)
        }
        Err(refused) => {
            let errors = refused.errors();
            (State::CompletedWithProcessingError, Value::Null, errors, refused.note)
        }
    }
}
