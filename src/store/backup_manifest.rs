//! What a snapshot or backup says of itself: how many there are of each thing.
//!
//! It stands behind the totals in the last record. Programs that do not know it read the totals and stop there, so it
//! is no new format; a snapshot without it was made by such a program.
//!
//! Two kinds of numbers, told apart by their code:
//! * what the **writer** put into the file (entries of each tree, frames, bytes of files): compared while reading;
//! * what the **live store** counted at that entry (documents by step, notices, effects under way): compared with what
//!   the store that is restored from the file counts by itself.
//!
//! It deliberately does not know how the numbers are come by.

use super::keys::{TREES, Tree};
use super::overlay::Counters;
use super::records::{strict_decode, strict_encode};
use crate::saga::document::Step;
use std::collections::BTreeMap;

/// Documents at the step with this code: 0 to 255.
const STEP: u16 = 0;
const NOTICES: u16 = 0x100;
const PARKED: u16 = 0x101;
const IN_FLIGHT: u16 = 0x102;
/// Entries of the tree with this code, as they were read from the view.
const TREE: u16 = 0x200;
const FRAMES: u16 = 0x300;
const FILE_BYTES: u16 = 0x301;
/// More lines than there are codes are not ours.
const LINES_MAX: usize = 1_024;

/// How many there are of what. The codes are stored: they are never given to something else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest(BTreeMap<u16, u64>);

impl Manifest {
    fn add(&mut self, code: u16, number: u64) {
        let sum = self.0.entry(code).or_default();
        *sum = sum.saturating_add(number);
    }

    /// Notes entries of a tree.
    pub fn entries(&mut self, tree: Tree, count: usize) {
        self.add(TREE + u16::from(tree.code()), count as u64);
    }

    /// Notes a frame.
    pub fn frame(&mut self) {
        self.add(FRAMES, 1);
    }

    /// Notes a part of a file.
    pub fn chunk(&mut self, bytes: usize) {
        self.add(FILE_BYTES, bytes as u64);
    }

    /// Notes what the store counted at the last entry.
    pub fn counted(&mut self, counters: &Counters) {
        for (code, number) in lines(counters) {
            self.0.insert(code, number);
        }
    }

    /// What the writer put into the file, without what the store counted.
    pub fn contents(&self) -> Self {
        Self(self.0.range(TREE..).map(|(code, number)| (*code, *number)).filter(|(_, n)| *n > 0).collect())
    }

    /// The numbers of the store here, with other contents.
    pub fn with_contents(&self, contents: &Self) -> Self {
        let counted = self.0.range(..TREE).map(|(code, number)| (*code, *number));
        Self(counted.chain(contents.0.iter().map(|(code, number)| (*code, *number))).collect())
    }

    /// Whether there are the numbers of a store in it.
    pub fn has_counters(&self) -> bool {
        self.0.contains_key(&NOTICES)
    }

    /// Where the numbers of the store that was backed up differ from these: name, then, now.
    pub fn compared(&self, counters: &Counters) -> Vec<(String, u64, u64)> {
        let then = |code: u16| self.0.get(&code).copied().unwrap_or(0);
        lines(counters).map(|(code, now)| (name(code), then(code), now)).collect()
    }

    /// Whether nothing was applied while the entries were read.
    pub fn is_without_frames(&self) -> bool {
        !self.0.contains_key(&FRAMES)
    }

    /// How many entries of the tree with this name were read.
    pub fn entries_of(&self, tree: &str) -> u64 {
        let tree = Tree::ALL.into_iter().find(|t| t.name() == tree);
        tree.and_then(|t| self.0.get(&(TREE + u16::from(t.code())))).copied().unwrap_or(0)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let lines: Vec<(u16, u64)> = self.0.iter().map(|(code, number)| (*code, *number)).collect();
        strict_encode(&lines).expect("a few hundred numbers are small")
    }

    /// The inverse; nothing at all is the empty manifest of an older program.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let lines: Vec<(u16, u64)> = strict_decode(bytes).map_err(|e| e.to_string())?;
        if lines.len() > LINES_MAX || !lines.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("its manifest is not in order".into());
        }
        Ok(Self(lines.into_iter().collect()))
    }
}

fn lines(counters: &Counters) -> impl Iterator<Item = (u16, u64)> {
    let Counters { sagas, notices, parked, in_flight } = counters;
    let steps = (STEP..).zip(sagas.iter().copied());
    steps.chain([(NOTICES, *notices), (PARKED, *parked), (IN_FLIGHT, *in_flight)])
}

fn name(code: u16) -> String {
    match code {
        NOTICES => "notices".into(),
        PARKED => "parked_notices".into(),
        IN_FLIGHT => "in_flight".into(),
        FRAMES => "frames".into(),
        FILE_BYTES => "file_bytes".into(),
        _ => {
            let tree = code.checked_sub(TREE).filter(|t| usize::from(*t) < TREES);
            let tree = tree.and_then(|t| Tree::from_code(u8::try_from(t).ok()?)).map(Tree::name);
            let step = u8::try_from(code).ok().and_then(Step::from_code).map(Step::name);
            tree.or(step).map_or_else(|| format!("number {code}"), str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let mut manifest = Manifest::default();
        manifest.entries(Tree::Saga, 3);
        manifest.entries(Tree::Saga, 2);
        manifest.frame();
        manifest.chunk(700);
        let mut counters = Counters { notices: 4, in_flight: 1, ..Counters::default() };
        counters.sagas[usize::from(Step::Parked.code())] = 2;
        manifest.counted(&counters);
        manifest
    }

    #[test]
    fn a_manifest_reads_back_and_nothing_is_the_manifest_of_an_older_program() {
        assert_eq!(Manifest::decode(&sample().encode()), Ok(sample()));
        let none = Manifest::decode(&[]).expect("older programs write none");
        assert!(!none.has_counters() && sample().has_counters());
        assert!(Manifest::decode(&[1, 2, 3]).is_err());
    }

    #[test]
    fn a_number_that_differs_is_named() {
        let mut counters = Counters { notices: 4, in_flight: 1, ..Counters::default() };
        counters.sagas[usize::from(Step::Parked.code())] = 1;
        let differing: Vec<_> =
            sample().compared(&counters).into_iter().filter(|(_, then, now)| then != now).collect();
        assert_eq!(differing, [("parked".to_owned(), 2, 1)]);
    }

    #[test]
    fn what_the_writer_put_in_is_compared_without_what_the_store_counted() {
        let mut read = Manifest::default();
        read.entries(Tree::Saga, 5);
        read.frame();
        read.chunk(700);
        assert_eq!(sample().contents(), read.contents());
        read.frame();
        assert_ne!(sample().contents(), read.contents());
    }
}
