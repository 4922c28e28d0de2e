//! The functional core: what happens next, decided from (state, event, time) and nothing else.
//!
//! No clock, no IO, no randomness, no actors, no store: time and chance come in as arguments, orders go out as
//! values. The same function therefore runs in production, in the table tests and in the simulation.
//!
//! # Invariants
//! * **SG-1** A live saga has exactly one timer; a finished one and a dead letter have none.
//! * **SG-2** An effect is started only by a committed state that names it (`Work::InFlight`).
//! * **SG-3** An answer is accepted only with the token of the present attempt. Of a straggler only the id of a
//!   thing that exists is used, and only while the flow looks for that very thing.
//! * **SG-4** The first terminal state of the signing service wins.
//! * **SG-5** A probe step whose outcome is unknown is never repeated before its look step has answered, unless a
//!   person orders it (`send-again`, another folder) or has accepted doubles where no look is possible
//!   (`Policy::repeat_create_on_server_error`).
//! * **SG-6** A dead letter carries a reason and a next action in words.
//! * **SG-7** No workflow of the portal waits for a finished document: its answer comes before the end.

pub mod document;
pub mod retry;
pub mod step;
