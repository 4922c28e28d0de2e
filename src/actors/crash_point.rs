//! Named places where a test may kill the process, so that "after every commit" can be tried one by one.
//!
//! Only in builds with debug assertions; a release build has none of it.

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// A notice is on disk; its sender has no answer yet.
    Accepted,
    /// A decision is on disk; its effect has not begun.
    Committed,
    /// An effect is done; its answer is not yet known to the saga.
    EffectDone,
    /// A new pair of tokens came and is not on disk; the old one is useless.
    TokensReceived,
    /// A new pair of tokens is on disk and was not used yet.
    TokensStored,
}

#[cfg(debug_assertions)]
mod armed {
    use super::CrashPoint;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Countdown([AtomicI64; 5]);

    static COUNTDOWN: LazyLock<Countdown> = LazyLock::new(|| {
        let of = |name: &str| {
            let number =
                crate::config::Environment::of_process().get(name).and_then(|text| text.parse().ok());
            AtomicI64::new(number.unwrap_or(0))
        };
        Countdown([
            of("EDOBRIDGE_TEST_CRASH_AFTER_ACCEPTED"),
            of("EDOBRIDGE_TEST_CRASH_AFTER_COMMITTED"),
            of("EDOBRIDGE_TEST_CRASH_AFTER_EFFECTS"),
            of("EDOBRIDGE_TEST_CRASH_AFTER_TOKENS_RECEIVED"),
            of("EDOBRIDGE_TEST_CRASH_AFTER_TOKENS_STORED"),
        ])
    });

    pub fn reach(point: CrashPoint) {
        if COUNTDOWN.0[point as usize].fetch_sub(1, Ordering::SeqCst) == 1 {
            // Not a panic: nothing may be tidied up, as nothing is at a power cut.
            std::process::abort();
        }
    }
}

/// Ends the process here if a test has asked for it.
#[cfg(debug_assertions)]
pub fn reach(point: CrashPoint) {
    armed::reach(point);
}

/// Ends the process here if a test has asked for it: never, in this build.
#[cfg(not(debug_assertions))]
pub fn reach(_: CrashPoint) {}
