//! A life is played in a process of its own, behind the file layer. It says into the trace what it begins and what
//! was acknowledged to it, so that both stand in order with the writes.

use crate::life::{self, Deed, End, Model, Refusal, Session};
use crate::trace::{lift_faults, tell};
use edobridge::domain::Text;
use edobridge::store::disk::{Disk, Host};
use edobridge::store::{OpenReport, Readiness, Store};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What the process does when something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The fault is gone; it waits until the store is ready, and goes on.
    Recover,
    /// It dies at once, whatever is under way.
    Die,
}

/// How often a deed is repeated before the store counts as one that does not recover.
const REPEATS: usize = 400;
/// The pause between, and between two looks at a store that is to become ready.
const PAUSE: Duration = Duration::from_millis(25);
/// How long a store may need until it is ready, once the fault is gone.
const RECOVERY: Duration = Duration::from_secs(90);

/// The machine under this boot id.
pub fn host(boot: &str) -> Host {
    Host { disk: Disk::real(), boot_id: Some(boot.to_owned()) }
}

pub fn open(dir: PathBuf, boot: &str) -> Result<(Store, OpenReport), Refusal> {
    Store::open_on(life::options(dir), host(boot), &mut |_| {}).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|source| source.to_string()).unwrap_or_default();
        Refusal { text: error.text(), detail: format!("{error}: {cause}") }
    })
}

/// A life that is being played.
pub struct Player {
    root: PathBuf,
    manner: Manner,
    runtime: Runtime,
    deeds: Vec<Deed>,
    models: Vec<Model>,
    /// Deeds done.
    done: usize,
}

impl Player {
    pub fn new(root: &Path, manner: Manner, life: &[Session]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let deeds = life::deeds(life);
        Self { root: root.to_owned(), manner, runtime, models: Model::after_each(&deeds), deeds, done: 0 }
    }

    /// Plays all of it.
    pub fn play(mut self, life: &[Session]) {
        for session in life {
            tell(&self.root, &format!("boot {}", session.boot));
            let store = self.open(session.boot);
            for deed in &session.deeds {
                tell(&self.root, &format!("begin {}", self.done));
                self.live(&store, *deed);
                tell(&self.root, &format!("done {}", self.done));
                self.done += 1;
            }
            assert_eq!(self.facts(&store), Ok(self.done), "what the store says is what was done");
            match session.end {
                End::Closed => self.close(store),
                End::Dropped => drop(store),
            }
        }
        tell(&self.root, "end");
    }

    fn open(&self, boot: &str) -> Store {
        let dir = life::store_dir(&self.root);
        let mut refused = match open(dir.clone(), boot) {
            Ok((store, _)) => return store,
            Err(refusal) => refusal,
        };
        self.refused(&refused);
        for _ in 0..REPEATS {
            match open(dir.clone(), boot) {
                Ok((store, _)) => return store,
                Err(again) => refused = again,
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the fault is gone and the store does not open: {refused:?}");
    }

    /// Says the refusal, which must be clear, and takes the fault away.
    fn refused(&self, refusal: &Refusal) {
        assert_clear(refusal);
        tell(&self.root, "refused");
        if self.manner == Manner::Die {
            std::process::abort();
        }
        lift_faults(&self.root);
    }

    /// One deed, until it is acknowledged.
    fn live(&self, store: &Store, deed: Deed) {
        let mut refused = match self.runtime.block_on(life::perform(store, &self.root, deed)) {
            Ok(()) => return,
            Err(refusal) => refusal,
        };
        self.refused(&refused);
        for _ in 0..REPEATS {
            self.wait_until_ready(store);
            // What was refused may have been done all the same: it is looked for before it is repeated.
            match self.facts(store) {
                Ok(found) if found == self.done => {}
                Ok(found) => {
                    assert_eq!(found, self.done + 1);
                    return;
                }
                Err(what) => panic!("{deed:?} was refused, and now there is something else: {what}"),
            }
            match self.runtime.block_on(life::perform(store, &self.root, deed)) {
                Ok(()) => return,
                Err(again) => refused = again,
            }
            assert_clear(&refused);
            std::thread::sleep(PAUSE);
        }
        panic!("the fault is gone and {deed:?} is still refused: {refused:?}");
    }

    fn wait_until_ready(&self, store: &Store) {
        let until = Instant::now() + RECOVERY;
        while let Readiness::NotReady(reason) = store.health().readiness {
            assert!(Instant::now() < until, "the fault is gone and the store is not ready: {}", reason.en);
            std::thread::sleep(PAUSE);
        }
    }

    /// After how many deeds the world would look as the store says.
    fn facts(&self, store: &Store) -> Result<usize, String> {
        let mut found = self.runtime.block_on(life::facts_in(store, &self.deeds));
        let until = Instant::now() + RECOVERY;
        while found.is_err() && Instant::now() < until {
            std::thread::sleep(PAUSE);
            found = self.runtime.block_on(life::facts_in(store, &self.deeds));
        }
        let found = found.map_err(|refusal| format!("it cannot be read: {refusal:?}"))?;
        // The later one first: some deeds change nothing that could be seen.
        let both = [self.done + 1, self.done].into_iter().filter(|n| *n < self.models.len());
        let mut fitting: Vec<usize> = both.filter(|n| self.models[*n].facts() == found).collect();
        let expected = || self.models[self.done].facts();
        match fitting.pop() {
            Some(number) => Ok(number),
            None => Err(format!(
                "missing: {:#?}\nunknown: {:#?}",
                expected().difference(&found).collect::<Vec<_>>(),
                found.difference(&expected()).collect::<Vec<_>>()
            )),
        }
    }

    fn close(&self, store: Store) {
        if let Err(error) = store.close_blocking() {
            self.refused(&error.into());
        }
    }
}

/// A refusal names what is wrong, in both languages, as a sentence.
pub fn assert_clear(refusal: &Refusal) {
    let Text { ru, en } = &refusal.text;
    let is_sentence = |text: &str| text.chars().count() > 20 && text.ends_with('.');
    assert!(is_sentence(ru) && is_sentence(en) && ru != en, "not a clear word: {refusal:?}");
}
