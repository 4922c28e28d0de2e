//! edobridge: one binary between Bitrix24, 1C and e-signature services.
//!
//! It hears that a document is ready, fetches it, sends it along a signing route, waits hours or weeks for people to
//! sign, brings the signed file back to where it came from, and tells whoever must know.
//!
//! # The map
//! ```text
//!  Bitrix24 event / folder poll          EasyDocs callback            a person
//!            \                                  |                        /
//!             `-> http: limit, verify, parse -> actors::WebhookIngress: store, the inbox (durable) -> 200
//!                                               |
//!        actors::RetryScheduler (durable timers) -> actors::DocumentSaga: load -> saga::transition (pure) -> store::commit -> act
//!                                               |                                              |
//!                               actors::PortalSession (budget, batch)             providers::easydocs
//!                                               |                                              |
//!                                           Bitrix24                                       EasyDocs
//! ```
//! | room | what lives there | what it must not know |
//! |---|---|---|
//! | [`domain`] | values: ids, moments, files, failures, secrets, words | everything else |
//! | [`limits`] | every bound, with its reason | everything else |
//! | [`saga`] | the functional core: what happens next | clock, IO, randomness, actors, store, providers |
//! | [`store`] | journal, view, spool, backup: the only room that names sled and bincode | providers, actors, http |
//! | [`providers`] | adapters to Bitrix24 and EasyDocs | saga, store, actors |
//! | [`actors`] | orchestration: receive, load, decide, commit, start, report | wire formats, doors, verbs |
//! | [`http`] | the doors: one listener for strangers, one for the operator | remote calls, sled |
//! | [`commands`] | the verbs of the command line | business rules |
//! | [`config`] | the file, the variables, the defaults, the checks | actors, store |
//! | [`telemetry`] | metrics, log, redaction, the clock | business rules |
//! | [`sandbox`] | the emulated outside world | every other room but [`domain`]: it shares no wire code with the adapters |
//!
//! Arrows go one way: `main -> commands -> http -> actors -> {store, providers} -> saga -> domain`, where providers
//! skip saga. `tests/architecture.rs` holds this table and reads every `use`.
//!
//! # Invariants
//! | id | what always holds | where it is kept and checked |
//! |---|---|---|
//! | SG-1 | a live saga has exactly one timer; a finished one and a dead letter have none | `saga::document::invariant`, [`store`] |
//! | SG-2 | an effect is started only by a committed state that names it | `actors::document_saga` |
//! | SG-3 | an answer counts only with the token of the present attempt | `saga::document::transition` |
//! | SG-4 | the first terminal state of the signing service wins | `saga::document::transition` |
//! | SG-5 | a write of unknown outcome is looked for before it is repeated | `saga::document::transition` |
//! | SG-6 | a dead letter has a reason and a next action in words | `saga::document::invariant` |
//! | ST-* | what is acknowledged is on disk; the view is the journal's | [`store`] |
//! | HT-1 | 200 is answered only after the notice is durable | [`http`] |
//! | CF-1 | an unknown key stops the start, and is named with file and line | [`config`] |
//! | CF-2 | no secret is printed | [`config`], `telemetry::redactor` |
//!
//! # Glossary
//! | word | meaning |
//! |---|---|
//! | portal | one Bitrix24 installation |
//! | origin | where a document came from and where the signed one returns |
//! | document | one version of one file on its way through signing |
//! | route | who approves and signs, at the signing service |
//! | rule | which trigger at which origin sends which file along which route, and how it is delivered and announced |
//! | saga | the durable life of one piece of work |
//! | event, effect | a fact that happened (past tense); an order outward (imperative) |
//! | step class | what may be done after an unknown outcome: read, keyed, probe, blind |
//! | inbox, outbox | accepted but not yet applied; ordered but not yet confirmed |
//! | claim | a name that belongs to one saga: the source file, our id, the service's id |
//! | dead letter | a saga parked for a person, with the reason in words and the next action |
//! | leaky bucket | the portal's limit on requests: each fills, time drains |
//! | view | the key-value tree that can be thrown away and made anew from snapshot and journal |
//! | spool | files that we keep until they are delivered |

/// Of many small blocks that are freed on another thread than they were made on, as every notice's are, glibc gives
/// little back, and takes longer: see `benches/memory.rs` and `benches/ack.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod actors;
pub mod commands;
pub mod config;
pub mod domain;
pub mod http;
pub mod limits;
pub mod providers;
pub mod saga;
pub mod sandbox;
pub mod store;
pub mod telemetry;
