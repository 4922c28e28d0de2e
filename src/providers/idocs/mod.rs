//! iDocs (Kazakhstan): integration API V3, and the older V1 as far as it is known.
//!
//! Our own signer signs first: a draft is made, it gets a route to the counterparty, the service gives bytes to be
//! signed together with a ticket, and the signature over these very bytes is saved with this ticket. The adapter makes
//! each of these one call; which comes next, and what is looked for after an unknown outcome, is decided above.
//!
//! Facts rest on the vendor's guide, a public snapshot of the OpenAPI document, and one integrator's client; where they
//! are silent or disagree the value is a setting. Answers come in three styles, see [`answer`].

pub mod answer;
pub mod blobs;
pub mod bulk;
pub mod bulk_contents;
pub mod client;
pub mod content_check;
pub mod error;
pub mod events;
pub mod ids;
pub mod outbox;
pub mod references;
pub mod results;
pub mod route;
pub mod route_template;
pub mod settings;
pub mod signing;
pub mod status;
pub mod v1;

pub use client::{Call, Client, NotSupported};
pub use outbox::{FoundDraft, NewDraft, OutboxDocument};
pub use results::Fetched;
pub use route_template::{Counterparty, CounterpartyKind};
pub use settings::Settings;
pub use signing::Content;
pub use status::{Status, StatusClass};

#[cfg(test)]
mod tests;
