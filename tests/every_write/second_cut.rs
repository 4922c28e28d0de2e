//! A cut during the recovery from a cut: what the first has left is opened by a process of its own behind the layer, which
//! takes one thing more and ends; what a second cut leaves of that is judged like the first.
//!
//! What was acknowledged before the first cut must be there, and what was acknowledged between the two.

use crate::cuts::{Begun, Left, Tally, judge_cuts};
use crate::image::{self, Cut, Files, Image, Syncs};
use crate::judge::{Judge, Told, Verdict};
use crate::life::{self, Deed};
use crate::play;
use crate::trace::{self, Line, tell};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is accepted between the two cuts.
pub const BETWEEN: &str = "between";

/// A first cut.
pub struct First {
    pub number: usize,
    pub cut: Cut,
    pub files: Files,
    pub told: Told,
}

/// What is left by the first cuts of a trace: after the changes, and in the ways, that `wanted` says.
pub fn firsts(lines: &[Line], wanted: impl Fn(usize) -> Option<Cut>) -> Vec<First> {
    let (mut image, mut told, mut number) = (Image::new(Syncs::Honest), Told::default(), 0);
    let mut firsts = Vec::new();
    let mut cut_here = |image: &Image, told: &Told, number: usize| {
        if let Some(cut) = wanted(number) {
            let files = image.after(cut, number as u64);
            firsts.push(First { number, cut, files, told: told.clone() });
        }
    };
    for line in lines {
        if line.is_change {
            cut_here(&image, &told, number);
            number += 1;
        }
        image.advance(line);
        told.hear(line);
    }
    cut_here(&image, &told, number);
    firsts
}

/// The recovery in the child: it opens what is there, takes one thing, and ends in order.
pub fn recover(root: &Path, boot: &str) {
    tell(root, &format!("boot {boot}"));
    let (store, _) = play::open(life::store_dir(root), boot).expect("what a cut leaves opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let accept = Deed::Accept { labels: &[BETWEEN], cursor: None };
    runtime.block_on(life::perform(&store, root, accept)).expect("it takes something new");
    tell(root, BETWEEN);
    store.close_blocking().expect("it closes");
}

/// The trace of the recovery from `first`, played below `ground`.
fn play(first: &First, ground: &Path) -> Vec<Line> {
    let (root, trace) = (ground.join("root"), ground.join("trace"));
    image::write(&first.files, &root);
    let boot = if first.cut.is_power_cut() { "after the first cut" } else { &first.told.boot };
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_that_recovers", "--nocapture"])
        .envs(trace::variables(&root, &trace, None))
        .env("EVERY_WRITE_BOOT", boot)
        .stdin(Stdio::null())
        .output()
        .expect("the child runs");
    assert!(
        output.status.success(),
        "after change {}, {}: {}",
        first.number,
        first.cut.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    trace::read(&trace)
}

/// Judges what second cuts leave during the recovery from `first`.
pub fn judge(first: &First, ground: &Path, syncs: Syncs, cuts: impl Fn(usize) -> Vec<Cut>) -> Tally {
    let lines = play(first, ground);
    let deeds = life::deeds(&life::whole());
    let begun = Begun { image: Image::of(&first.files, syncs), told: first.told.clone() };
    let mut tally = judge_cuts(&lines, begun, None, cuts, Told::hear, || {
        let judge = Judge::new(&deeds);
        move |left: &Left<Told>, dir: &Path| -> Result<Verdict, String> {
            judge.judge(&left.files, dir, &left.told, left.cut)
        }
    });
    for what in &mut tally.wrong {
        *what = format!("cut after change {}, {}, and then {what}", first.number, first.cut.name());
    }
    std::fs::remove_dir_all(ground).expect("what was judged is removed");
    tally
}
