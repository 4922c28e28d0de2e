//! What happened, as a number: two runs of one seed must be one and the same.

use std::fmt::Write as _;

/// A running hash (FNV-1a) of everything that was decided and done.
pub struct Trace {
    hash: u64,
    loud: bool,
    line: String,
}

impl Trace {
    pub fn new(loud: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, loud, line: String::new() }
    }

    #[allow(clippy::print_stdout, reason = "a replay shows what happens")]
    pub fn note(&mut self, now_ms: u64, what: std::fmt::Arguments<'_>) {
        self.line.clear();
        write!(self.line, "{now_ms} {what}").expect("a text takes everything");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.loud {
            println!("{}", self.line);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}
