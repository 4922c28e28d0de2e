//! The adapter to EasyDocs: create a document, fetch the signed file, read callbacks.
//!
//! The vendor's guide leaves paths, member names and the signature's form to its Swagger, so all of them are
//! [`settings`]. What the guide does not document (status, search) is a capability that may be absent. The adapter
//! does not know which document belongs to what, nor when to repeat.

pub mod callback;
pub mod client;
pub mod error;
pub mod settings;

pub use callback::{Callback, CallbackStatus, Forged, Unreadable};
pub use client::{Client, CreateRequest, Created, FoundDocument, RemoteStatus};
pub use settings::Settings;
