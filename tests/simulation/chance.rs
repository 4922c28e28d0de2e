//! The one source of chance of a seed: splitmix64, so that the same seed is the same run on every machine.

/// Numbers that look random and are not.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    pub fn permille(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.permille(percent * 10)
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("an index of a slice")]
    }

    /// Short far more often than long: seconds, minutes, hours, up to `longest_ms`.
    pub fn wait_ms(&mut self, longest_ms: u64) -> u64 {
        let longest = match self.below(4) {
            0 => longest_ms.min(2_000),
            1 => longest_ms.min(600_000),
            2 => longest_ms.min(6 * 3_600_000),
            _ => longest_ms,
        };
        self.below(longest + 1)
    }
}
