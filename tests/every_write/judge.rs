//! Opens what a cut has left, and compares it with what was acknowledged before the cut.

use crate::image::{self, Cut, Files};
use crate::life::{self, Deed, Model, Refusal};
use crate::play;
use crate::second_cut::BETWEEN;
use crate::trace::{Happened, Line};
use edobridge::store::{Fate, NewNotice, NoticeKind, Store, ViewFate, restore_backup};
use std::collections::BTreeSet;
use std::path::Path;
use tokio::runtime::Runtime;

/// What was told by the life up to some moment.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Deeds that were begun.
    pub begun: usize,
    /// Deeds that were acknowledged.
    pub done: usize,
    /// The boot of the machine.
    pub boot: String,
    pub refusals: usize,
    pub has_ended: bool,
    /// What was accepted between two cuts was acknowledged.
    pub between: bool,
}

impl Told {
    pub fn hear(&mut self, line: &Line) {
        let Happened::Told(what) = &line.what else { return };
        match what.split_once(' ').unwrap_or((what, "")) {
            ("boot", boot) => boot.clone_into(&mut self.boot),
            ("begin", number) => self.begun = number.parse::<usize>().expect("a number") + 1,
            ("done", number) => self.done = number.parse::<usize>().expect("a number") + 1,
            ("refused", _) => self.refusals += 1,
            ("end", _) => self.has_ended = true,
            (BETWEEN, _) => self.between = true,
            (other, _) => panic!("nobody says {other}"),
        }
    }

    pub fn of(lines: &[Line]) -> Self {
        let mut told = Self::default();
        lines.iter().for_each(|line| told.hear(line));
        told
    }
}

/// What became of what a cut has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It opened, and so many acknowledged facts were there.
    Opened { facts: usize, rebuilt: bool },
    /// It was refused in clear words, and the backup brought back so many facts.
    Refused { text: String, facts: usize },
    /// It was refused in clear words before there was a backup or anything to lose.
    RefusedEmpty { text: String },
}

/// Compares stores with a life.
pub struct Judge {
    deeds: Vec<Deed>,
    models: Vec<BTreeSet<String>>,
    backups: Vec<(&'static str, usize)>,
    runtime: Runtime,
}

impl Judge {
    pub fn new(deeds: &[Deed]) -> Self {
        let models = Model::after_each(deeds);
        let backups = models.last().map(|model| model.backups.clone()).unwrap_or_default();
        let models = models.iter().map(Model::facts).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { deeds: deeds.to_vec(), models, backups, runtime }
    }

    /// Looks at what a cut has left, in `dir`, of which everything is removed afterwards.
    ///
    /// # Errors
    /// What is missing, or half there.
    pub fn judge(&self, files: &Files, dir: &Path, told: &Told, cut: Cut) -> Result<Verdict, String> {
        let root = dir.join("root");
        image::write(files, &root);
        let boot = if cut.is_power_cut() { "after the cut" } else { &told.boot };
        let verdict = match play::open(life::store_dir(&root), boot) {
            Ok((store, report)) => {
                let rebuilt = matches!(report.view, ViewFate::Rebuilt { .. });
                self.examine(store, told).map(|facts| Verdict::Opened { facts, rebuilt })
            }
            Err(refusal) => self.restore(&refusal, &root, dir, told),
        };
        std::fs::remove_dir_all(dir).expect("what was judged is removed");
        verdict
    }

    /// Checks that what is in the store is what was acknowledged, perhaps with what was under way, and that it
    /// goes on.
    ///
    /// # Errors
    /// What is missing, or half there.
    pub fn examine(&self, store: Store, told: &Told) -> Result<usize, String> {
        let facts = self.compare_between(&store, told)?;
        self.runtime.block_on(goes_on(&store))?;
        drop(store);
        Ok(facts)
    }

    /// What was accepted between two cuts comes last; the rest is as if it had not been.
    fn compare_between(&self, store: &Store, told: &Told) -> Result<usize, String> {
        let pending = self.runtime.block_on(store.notices(None, 1_000)).map_err(|error| error.to_string())?;
        let last = pending.last().filter(|notice| notice.body.starts_with(BETWEEN.as_bytes()));
        if told.between && last.is_none() {
            return Err("what was acknowledged between two cuts is missing".to_owned());
        }
        if let Some(last) = last {
            let settled = self.runtime.block_on(store.settle(last.id, Fate::Done));
            settled.map_err(|error| format!("it takes nothing: {error}"))?;
        }
        self.compare(store, told.done, told.begun)
    }

    fn compare(&self, store: &Store, done: usize, begun: usize) -> Result<usize, String> {
        let unreadable = |refusal: Refusal| format!("it opens and cannot be read: {refusal:?}");
        let found = self.runtime.block_on(life::facts_in(store, &self.deeds)).map_err(unreadable)?;
        let acknowledged = &self.models[done];
        if !self.models[done..=begun].contains(&found) {
            let missing: Vec<_> = acknowledged.difference(&found).collect();
            let strange: Vec<_> = found.difference(acknowledged).collect();
            return Err(format!(
                "acknowledged facts are missing: {missing:#?}\ninstead of them: {strange:#?}"
            ));
        }
        let report = self.runtime.block_on(store.check_invariants());
        let report = report.map_err(|error| unreadable(error.into()))?;
        match report.violations.first() {
            None => Ok(acknowledged.len()),
            Some(first) => Err(format!("{} rules are broken, the first: {first}", report.violation_count)),
        }
    }

    fn restore(&self, refusal: &Refusal, root: &Path, dir: &Path, told: &Told) -> Result<Verdict, String> {
        play::assert_clear(refusal);
        let text = refusal.text.en.clone();
        let Some((name, deeds)) = self.backups.iter().rev().find(|(_, number)| *number < told.done) else {
            return match told.done {
                0 => Ok(Verdict::RefusedEmpty { text }),
                _ => Err(format!("refused ({}), and there is no backup yet", refusal.detail)),
            };
        };
        let facts = self.restored(&life::backup_path(root, name), &dir.join("restored"), *deeds)?;
        Ok(Verdict::Refused { text, facts })
    }

    /// Restores a backup and checks that everything is there that was acknowledged before it was asked for.
    ///
    /// # Errors
    /// What is missing.
    pub fn restored(&self, backup: &Path, target: &Path, deeds: usize) -> Result<usize, String> {
        restore_backup(backup, target).map_err(|error| format!("the backup is of no use: {error}"))?;
        let opened = play::open(target.to_owned(), "after the restoring");
        let (store, _) = opened.map_err(|refusal| format!("what was restored does not open: {refusal:?}"))?;
        self.compare(&store, deeds, deeds)
    }

    /// The backups that were acknowledged, each with the number of deeds before it.
    pub fn backups(&self, told: &Told) -> Vec<(&'static str, usize)> {
        self.backups.iter().copied().filter(|(_, number)| *number < told.done).collect()
    }
}

/// A store that was mended takes new work.
async fn goes_on(store: &Store) -> Result<(), String> {
    let notice = NewNotice {
        kind: NoticeKind::Operator,
        portal: None,
        received_at: edobridge::domain::Timestamp(1),
        content_type: String::new(),
        body: bytes::Bytes::from_static(b"after the cut"),
    };
    let accepted = store.accept(notice).await.map_err(|error| format!("it takes nothing new: {error}"))?;
    let pending = store.notices(None, 1_000).await.map_err(|error| error.to_string())?;
    match pending.last() {
        Some(last) if last.id == accepted.id && accepted.fresh => Ok(()),
        other => Err(format!("what it takes does not come last: {other:?}")),
    }
}
