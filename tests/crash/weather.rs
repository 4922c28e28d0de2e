//! The weather of a storm: what is wrong with the world during one life of the process, and when that life ends.
//!
//! Everything is chosen by a seed; what then happens depends on the machine's time, so a seed repeats the choices and
//! not the run.
//!
//! Invariants: every fault strikes a bounded number of calls, so that the weather always clears; none of them makes
//! an effect come later than [`HELD_MS`] after its call.

use edobridge::sandbox::{ErrorAnswer, Fault, FaultKind, Side};
use std::time::Duration;

/// xorshift64: choices that a seed repeats.
pub struct Dice(u64);

impl Dice {
    /// Mixed, since neighbouring seeds would begin alike.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
    pub fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}

/// What is wrong during a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing but the kill at its end.
    Fair,
    /// Requests and answers are lost.
    Lossy,
    /// Answers say other things than what was done: 5xx after the effect, empty, torn, a page of the web server.
    Lying,
    /// Answers and effects come after we have given up.
    Slow,
    /// A remote's ports are closed.
    Down,
    /// The process is stopped for seconds, so that timeouts end on both sides.
    Stopped,
    /// The disk of the data directory is full.
    FullDisk,
}

/// What a deck holds: every weather, in the proportion in which it comes.
const DECK: [(Weather, usize); 7] = [
    (Weather::Fair, 6),
    (Weather::Lossy, 6),
    (Weather::Lying, 5),
    (Weather::Slow, 2),
    (Weather::Down, 2),
    (Weather::Stopped, 2),
    (Weather::FullDisk, 2),
];

/// Draws weathers until the deck is empty, then takes a new one: so each comes often enough in any long run.
#[derive(Default)]
pub struct Deck {
    left: Vec<Weather>,
}

impl Deck {
    /// Cards of a full deck.
    pub fn len() -> usize {
        DECK.iter().map(|(_, count)| count).sum()
    }

    pub fn draw(&mut self, dice: &mut Dice) -> Weather {
        if self.left.is_empty() {
            self.left = DECK.iter().flat_map(|(weather, count)| vec![*weather; *count]).collect();
        }
        let place = dice.below(self.left.len() as u64) as usize;
        self.left.swap_remove(place)
    }
}

/// Longer than the timeouts of the storm's configuration.
const SLOW_MS: u64 = 1_900;
/// How late an effect may come. The pause before a look must be longer.
pub const HELD_MS: u64 = 1_200;

/// Calls, families first: the sandbox lets the earliest set fault win.
const CALLS: [&str; 16] = [
    "disk.*",
    "upload.*",
    "download",
    "crm.*",
    "im.*",
    "batch",
    "disk.folder.uploadfile",
    "crm.timeline.comment.add",
    "easydocs.*",
    "easydocs.create",
    "easydocs.download",
    "idocs.*",
    "idocs.create",
    "idocs.save",
    "callback",
    "idocs.webhook",
];
/// Among how many calls of a family one is struck.
const AMONG: u64 = 6;
/// Faults of one life.
const FAULTS: std::ops::Range<u64> = 3..9;

/// The faults of a life in this weather; none where the weather is not a matter of answers.
pub fn faults(weather: Weather, dice: &mut Dice) -> Vec<Fault> {
    let kinds: fn(&mut Dice) -> FaultKind = match weather {
        Weather::Lossy => lossy,
        Weather::Lying => lying,
        Weather::Slow => slow,
        Weather::Fair | Weather::Down | Weather::Stopped | Weather::FullDisk => return Vec::new(),
    };
    let count = FAULTS.start + dice.below(FAULTS.end - FAULTS.start);
    (0..count).map(|_| Fault::nth(*dice.of(&CALLS), 1 + dice.below(AMONG) as u32, kinds(dice))).collect()
}

fn lossy(dice: &mut Dice) -> FaultKind {
    dice.of(&[
        FaultKind::Refuse,
        FaultKind::CutBefore,
        FaultKind::CutAfter,
        FaultKind::Truncated,
        FaultKind::Duplicate,
    ])
    .clone()
}

fn lying(dice: &mut Dice) -> FaultKind {
    let busy = ErrorAnswer::new(503, "unavailable").retry_after_s(1);
    dice.of(&[
        FaultKind::status(500, "INTERNAL_SERVER_ERROR"),
        FaultKind::status_after(500, "INTERNAL_SERVER_ERROR"),
        FaultKind::Status(busy.clone()),
        FaultKind::StatusAfter(busy),
        FaultKind::Html(502),
        FaultKind::HtmlAfter(200),
        FaultKind::HtmlAfter(502),
        FaultKind::EmptyBody,
    ])
    .clone()
}

fn slow(dice: &mut Dice) -> FaultKind {
    dice.of(&[FaultKind::Slow(SLOW_MS), FaultKind::SlowBefore(HELD_MS)]).clone()
}

/// A remote to be closed.
pub fn side(dice: &mut Dice) -> Side {
    *dice.of(&[Side::Bitrix24, Side::EasyDocs, Side::IDocs])
}

/// When a life ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// So long after the process was started: mostly before it is ready.
    AfterStart(Duration),
    /// So long after it was ready for the first time, and the weather has passed.
    AfterReady(Duration),
}

impl End {
    pub fn of(weather: Weather, dice: &mut Dice) -> Self {
        match weather {
            Weather::Fair | Weather::Lossy | Weather::Lying if dice.one_in(3) => {
                Self::AfterStart(dice.millis(3..900))
            }
            Weather::Fair | Weather::Lossy | Weather::Lying => Self::AfterReady(dice.millis(3..1_400)),
            Weather::Slow => Self::AfterReady(dice.millis(700..3_000)),
            Weather::Down | Weather::Stopped | Weather::FullDisk => Self::AfterReady(dice.millis(3..700)),
        }
    }
}

/// Every deck brings every weather, and no fault is endless.
pub fn deck() {
    let mut dice = Dice::new(7);
    let mut deck = Deck::default();
    let drawn: Vec<Weather> = (0..Deck::len()).map(|_| deck.draw(&mut dice)).collect();
    for (weather, count) in DECK {
        assert_eq!(drawn.iter().filter(|one| **one == weather).count(), count, "{weather:?}");
    }
    let kinds: std::collections::BTreeSet<&str> = (0..200)
        .flat_map(|_| [Weather::Lossy, Weather::Lying, Weather::Slow])
        .flat_map(|weather| faults(weather, &mut dice))
        .map(|fault| {
            assert!(matches!(fault.on_calls, edobridge::sandbox::OnCalls::Nth(1..)), "{fault:?}");
            fault.kind.name()
        })
        .collect();
    assert_eq!(kinds.len(), 12, "every kind of fault that the sandbox knows: {kinds:?}");
}
