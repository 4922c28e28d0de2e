//! A call past the breaker of its remote.

use super::circuit::{self, Circuit};
use super::{Parts, chance};
use crate::domain::{Failure, FailureKind};
use std::sync::{Mutex, PoisonError};

/// A call through the circuit of its remote, which learns from the outcome how the remote is.
pub(super) async fn through<T>(
    circuit: &Mutex<Circuit>,
    remote: &str,
    parts: &Parts,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let open = || circuit.lock().unwrap_or_else(PoisonError::into_inner);
    let entered = open().enter(parts.clock.now(), chance());
    entered.map_err(|pause_ms| circuit::refused(remote, pause_ms))?;
    let outcome = call.await;
    let mut circuit = open();
    match &outcome {
        Err(f) if matches!(f.kind, FailureKind::Unreachable | FailureKind::NoAnswer) => {
            circuit.failed(parts.clock.now());
        }
        Err(f) if f.kind == FailureKind::Local => {}
        Ok(_) | Err(_) => circuit.answered(),
    }
    outcome
}
