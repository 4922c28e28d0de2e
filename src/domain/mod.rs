//! Values of the field: ids, times, files, failures, secrets, words for people.
//!
//! Knows nothing of the rest of the crate and does no IO: a value here can be made, compared, printed and
//! stored, and that is all.

pub mod document;
pub mod failure;
pub mod file_name;
pub mod ids;
pub mod installation;
pub mod portal;
pub mod portal_capabilities;
pub mod portal_owner;
pub mod portal_usage;
pub mod portal_workflows;
pub mod secret;
pub mod signer_text;
pub mod signing;
pub mod signing_service;
pub mod subject_pattern;
pub mod text;
pub mod time;

pub use document::{CrmItem, FileDigest, SpoolFile};
pub use failure::{Failure, FailureClass, FailureKind};
pub use ids::{AttemptToken, NoticeId, PortalId, SagaId};
pub use installation::{AppId, Installation, InstallationKey, InstallationStatus, MemberId, TokenPair};
pub use secret::Secret;
pub use signer_text::{SignerLanguage, SignerText};
pub use signing_service::{Capabilities, FileTransport, SigningService, Support};
pub use text::{Language, Text};
pub use time::{Clock, Timestamp};
