//! What is left of a trace by cuts before the first change and after each, judged by many at once, and counted.

use crate::image::{Cut, Files, Image, Syncs};
use crate::judge::Verdict;
use crate::trace::Line;
use crate::{ground, is_whole};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left by a cut after a number of changes, and what was told before it.
pub struct Left<T> {
    pub number: usize,
    pub cut: Cut,
    pub files: Files,
    pub told: T,
}

/// Counts, by the way of cutting.
#[derive(Default)]
pub struct Tally {
    pub by_cut: BTreeMap<Cut, Counts>,
    pub wrong: Vec<String>,
}

#[derive(Default, Clone)]
pub struct Counts {
    pub opened: usize,
    rebuilt: usize,
    pub refused: usize,
    pub facts: usize,
    pub said: BTreeMap<String, usize>,
}

impl Tally {
    /// Takes the counts of another.
    pub fn add(&mut self, other: Self) {
        for (cut, counts) in other.by_cut {
            let own = self.by_cut.entry(cut).or_default();
            own.opened += counts.opened;
            own.rebuilt += counts.rebuilt;
            own.refused += counts.refused;
            own.facts += counts.facts;
            for (text, times) in counts.said {
                *own.said.entry(text).or_default() += times;
            }
        }
        self.wrong.extend(other.wrong);
    }

    fn note<T>(&mut self, left: &Left<T>, verdict: Result<Verdict, String>) {
        let counts = self.by_cut.entry(left.cut).or_default();
        match verdict {
            Ok(Verdict::Opened { facts, rebuilt }) => {
                counts.opened += 1;
                counts.rebuilt += usize::from(rebuilt);
                counts.facts += facts;
            }
            Ok(Verdict::Refused { text, facts }) => {
                counts.refused += 1;
                counts.facts += facts;
                *counts.said.entry(text).or_default() += 1;
            }
            Ok(Verdict::RefusedEmpty { text }) => {
                counts.refused += 1;
                *counts.said.entry(text).or_default() += 1;
            }
            Err(what) => {
                self.wrong.push(format!("cut after change {}, {}: {what}", left.number, left.cut.name()));
            }
        }
    }

    pub fn print(&self) {
        for (cut, counts) in &self.by_cut {
            let Counts { opened, rebuilt, refused, facts, said } = counts;
            println!(
                "  {:<28} {opened} opened ({rebuilt} made anew), {refused} refused, {facts} facts checked",
                cut.name()
            );
            said.iter().for_each(|(text, times)| println!("    {times} times: {text}"));
        }
    }

    /// Nothing was missing, and nothing was refused that could be opened.
    pub fn assert_clean(&self) {
        assert!(self.wrong.is_empty(), "{} are wrong:\n{}", self.wrong.len(), self.wrong.join("\n"));
        for (cut, counts) in &self.by_cut {
            assert_eq!(counts.refused, 0, "{}: refused what could be opened: {:?}", cut.name(), counts.said);
        }
    }
}

/// How often a place is cut in a way that chance has a part in.
fn seeds(cut: Cut) -> u64 {
    match cut {
        Cut::Death | Cut::Dropped => 1,
        Cut::Torn | Cut::Reordered => {
            if is_whole() {
                8
            } else {
                1
            }
        }
    }
}

/// What there was before the trace began, and what was told.
pub struct Begun<T> {
    pub image: Image,
    pub told: T,
}

impl<T: Default> Begun<T> {
    /// Nothing.
    pub fn with(syncs: Syncs) -> Self {
        Self { image: Image::new(syncs), told: T::default() }
    }
}

/// Judges what is left by a cut before the first change and after each, or after the one numbered `only`. `hear`
/// gathers what was told before the cut; each thread has a judge of its own, who is given a directory to work in.
pub fn judge_cuts<T, J>(
    lines: &[Line],
    begun: Begun<T>,
    only: Option<usize>,
    cuts: impl Fn(usize) -> Vec<Cut>,
    hear: impl Fn(&mut T, &Line),
    judge: impl Fn() -> J + Sync,
) -> Tally
where
    T: Clone + Send,
    J: Fn(&Left<T>, &Path) -> Result<Verdict, String>,
{
    let tally = Mutex::new(Tally::default());
    let ground = ground();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let (give, take) = std::sync::mpsc::sync_channel::<Left<T>>(threads);
    let (take, number) = (Mutex::new(take), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let judge = judge();
                while let Some(left) = { take.lock().expect("no panic").recv().ok() } {
                    let dir = ground.path().join(number.fetch_add(1, Ordering::SeqCst).to_string());
                    let verdict = judge(&left, &dir);
                    tally.lock().expect("no panic").note(&left, verdict);
                }
            });
        }
        let (Begun { mut image, mut told }, mut changes) = (begun, 0);
        let cut_here = |image: &Image, told: &T, number: usize| {
            if only.is_some_and(|only| only != number) {
                return;
            }
            for (cut, chance) in cuts(number).into_iter().flat_map(|c| (0..seeds(c)).map(move |s| (c, s))) {
                let files = image.after(cut, number as u64 + (chance << 32));
                give.send(Left { number, cut, files, told: told.clone() }).expect("somebody judges");
            }
        };
        for line in lines {
            // The cut comes just before the next change: whatever was told until then must be there.
            if line.is_change {
                cut_here(&image, &told, changes);
                changes += 1;
            }
            image.advance(line);
            hear(&mut told, line);
        }
        cut_here(&image, &told, changes);
        drop(give);
    });
    tally.into_inner().expect("no panic")
}
