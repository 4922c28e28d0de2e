//! What operators see of the running process: metrics, log lines, the names of their fields; and the system clock.
//!
//! It knows nothing of the business: labels are closed sets that it defines itself or static names that callers
//! bring. There are no globals here except the subscriber of `tracing` and the panic hook, each set once by `main`.
//!
//! Invariants:
//! - TM-1: labels come from closed sets, or from the configuration (portals): never from what the network sends.
//! - TM-2: a registered secret does not reach the log, whoever logs it.

pub mod clock;
pub mod fields;
pub mod init;
pub mod metrics;
pub mod redactor;

pub use clock::SystemClock;
pub use init::{LogFormat, LogSettings, LogSetupError, install_panic_hook};
pub use metrics::Metrics;
pub use redactor::Redactor;
