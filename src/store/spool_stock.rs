//! Taking stock: what the spool holds, and which of it nobody needs any more.
//!
//! Each document that waits has a file here, and a look at each of a million takes longer than an administrator shall
//! wait for a start. A small spool is counted before the store is open; a large one while it already answers. What needs
//! the count (a new file, the removal of an old one) waits for it.

use super::disk::list_dir;
use super::error::StoreError;
use super::keeper;
use super::keys::{self, Tree};
use super::shared::{Course, Shared, spool_trouble};
use super::spool::{Spool, digest_of};
use super::state::{Range, State};
use crate::domain::FileDigest;
use std::collections::HashSet;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// How long the opening of a store waits for the count.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// When it is tried again after an error of the disk.
const AGAIN: Duration = Duration::from_secs(1);
/// How many references are read in one go.
const CHUNK: usize = 4_096;

/// Counts until it succeeds or the store stops. `outcome` is told of the first try: how many files were removed.
pub(super) fn run(shared: &Shared, outcome: Sender<u64>) {
    let (began, mut outcome) = (Instant::now(), Some(outcome));
    while shared.stop.course() == Course::Run {
        let counted = count_landed(&shared.spool, |digest| keeper::is_named(&shared.state, digest)).and_then(
            |landed| {
                let referenced = |begin| referenced_files(&shared.state, begin);
                take_stock(&shared.spool, landed, referenced, || shared.stop.course() == Course::Run)
            },
        );
        match counted {
            Ok(None) => return,
            Ok(Some(stock)) => {
                shared.spool.note_counted(stock.held, stock.unneeded);
                shared.conditions().spool = None;
                let removed = keeper::sweep(shared);
                let took_ms = began.elapsed().as_millis();
                match outcome.take().map(|outcome| outcome.send(removed)) {
                    Some(Ok(())) => {}
                    // The opening did not wait for it.
                    Some(Err(_)) | None => {
                        tracing::info!(files = stock.files, removed, took_ms, "the spool was counted");
                    }
                }
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the spool cannot be counted");
                shared.spool.note_uncounted(&error);
                shared.conditions().spool = Some(spool_trouble(&error));
                drop(outcome.take());
                shared.stock.sleep(AGAIN);
            }
        }
    }
}

/// What was found in the spool.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stock {
    files: u64,
    /// Their bytes.
    held: u64,
    /// Those that perhaps no record names.
    unneeded: Vec<FileDigest>,
}

/// Looks at what has landed: what no record names is let go, because nobody knows whether it was ever synced.
fn count_landed(
    spool: &Spool,
    is_named: impl Fn(FileDigest) -> Result<bool, StoreError>,
) -> io::Result<Stock> {
    let mut stock = Stock::default();
    for (digest, size) in spool.landed() {
        if is_named(digest).map_err(|e| io::Error::other(e.to_string()))? {
            stock.files += 1;
            stock.held += size;
        } else {
            spool.disown_landed(digest);
        }
    }
    Ok(stock)
}

/// Looks at every finished file, shard by shard, beside what is counted already. Nothing if it shall not go on.
fn take_stock(
    spool: &Spool,
    mut stock: Stock,
    referenced: impl Fn(u8) -> Result<HashSet<FileDigest>, StoreError>,
    goes_on: impl Fn() -> bool,
) -> io::Result<Option<Stock>> {
    for shard in spool.shards()? {
        if !goes_on() {
            return Ok(None);
        }
        count_shard(&shard, &referenced, &mut stock)?;
    }
    Ok(Some(stock))
}

fn count_shard(
    shard: &Path,
    referenced: impl Fn(u8) -> Result<HashSet<FileDigest>, StoreError>,
    stock: &mut Stock,
) -> io::Result<()> {
    let mut known: Option<(u8, HashSet<FileDigest>)> = None;
    for path in list_dir(shard)? {
        let Some(digest) = digest_of(&path) else { continue };
        let begin = digest.0[0];
        let needed = match &known {
            Some((of, needed)) if *of == begin => needed,
            Some(_) | None => {
                let asked = referenced(begin).map_err(|e| io::Error::other(e.to_string()))?;
                &known.insert((begin, asked)).1
            }
        };
        stock.files += 1;
        stock.held += path.metadata()?.len();
        if !needed.contains(&digest) {
            stock.unneeded.push(digest);
        }
    }
    Ok(())
}

/// The files that records name and whose digests begin with this byte.
fn referenced_files(state: &State, begin: u8) -> Result<HashSet<FileDigest>, StoreError> {
    let (mut digests, mut range) = (HashSet::new(), Range::prefix(&[begin]));
    loop {
        let pairs = state.range(None, Tree::SpoolRef, range.clone(), CHUNK)?;
        digests.extend(pairs.iter().filter_map(|(key, _)| Some(keys::parse_spool_ref(key)?.0)));
        match pairs.last() {
            Some((last, _)) if pairs.len() == CHUNK => range.from = Bound::Excluded(last.clone()),
            Some(_) | None => return Ok(digests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::Disk;
    use crate::store::spool::tests::keep;
    use sha2::{Digest as _, Sha256};
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn planted(spool: &Spool, bytes: &[u8]) -> FileDigest {
        let digest = FileDigest(Sha256::digest(bytes).into());
        let path = spool.path(digest);
        std::fs::create_dir_all(path.parent().expect("in a shard")).expect("made");
        std::fs::write(path, bytes).expect("planted");
        digest
    }

    #[test]
    fn what_is_there_is_counted_and_what_nobody_names_is_told() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let low = Arc::new(AtomicBool::new(false));
        let spool =
            Spool::open(&dir.path().join("spool"), [1; 16], Disk::real(), 1 << 20, low).expect("it opens");
        let (kept, other) = (planted(&spool, b"kept"), planted(&spool, b"another"));
        let stock = take_stock(&spool, Stock::default(), |_| Ok([kept].into()), || true).expect("counted");
        assert_eq!(stock, Some(Stock { files: 2, held: 11, unneeded: vec![other] }));
        let asked = Cell::new(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() < 2
        };
        assert_eq!(
            take_stock(&spool, Stock::default(), |_| Ok(HashSet::new()), goes_on).expect("stopped"),
            None
        );
    }

    #[tokio::test]
    async fn what_has_landed_is_believed_only_where_a_record_names_it() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let open = || {
            let low = Arc::new(AtomicBool::new(false));
            Spool::open(&dir.path().join("spool"), [1; 16], Disk::real(), 1 << 20, low).expect("it opens")
        };
        let spool = open();
        spool.note_counted(0, Vec::new());
        spool.open_landing();
        let porter = std::thread::spawn({
            let spool = spool.clone();
            move || crate::store::spool::take_in(&spool)
        });
        let named = keep(&spool, b"named").await.expect("kept");
        let other = keep(&spool, b"nobody knows whether it was synced").await.expect("kept");
        spool.close_landing();
        porter.join().expect("it does not panic");
        let spool = open();
        assert!(spool.size_of(other.digest).is_ok());
        let stock = count_landed(&spool, |digest| Ok(digest == named.digest)).expect("counted");
        assert_eq!(stock, Stock { files: 1, held: 5, unneeded: Vec::new() });
        assert!(spool.size_of(named.digest).is_ok() && spool.size_of(other.digest).is_err());
    }
}
