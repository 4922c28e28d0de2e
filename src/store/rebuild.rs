//! Making the view anew: from the last snapshot that can be read, and what the journal after it comes to ([`Fold`]).

use super::applier::Carried;
use super::disk::Disk;
use super::fold::{Change, Fold, FoldError, Folded};
use super::frame::{Frame, ReadBatch, ReadOp};
use super::journal::{self, Place};
use super::keys::Tree;
use super::layout::{Layout, decode_checkpoint};
use super::loaders::Loaders;
use super::overlay::{Below, Layer, Left};
use super::shared::Shared;
use super::snapshot::{self, SnapshotError};
use super::snapshot_end;
use super::view::{View, ViewError, remove_leftovers};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// How much is gathered before it goes into the view.
const LAYER_BYTES: usize = 4 << 20;
/// After how many entries it is said how far the loading has come.
const PROGRESS_ENTRIES: u64 = 50_000;

/// About how much room a view of so much state takes on the disk: sled may write all of it thrice before it tidies up,
/// and the journal is prepared in segments.
pub(super) fn room_for_view(state_bytes: u64) -> u64 {
    /// Two segments, and sled's own first files.
    const AT_LEAST: u64 = 32 << 20;
    state_bytes.saturating_mul(3).saturating_add(AT_LEAST)
}

/// About how much room it takes to make the view anew from the newest snapshot in `dir` and so much journal after it,
/// which lies there twice for a while: sorted, and in the view.
pub(super) fn room_needed(disk: &Disk, dir: &Path, journal_bytes: u64) -> u64 {
    let newest = snapshot_end::list(dir).unwrap_or_default().pop();
    let measured = newest.and_then(|(_, path)| snapshot::measure(disk, &path).ok());
    let state = measured.unwrap_or_default().state.saturating_add(journal_bytes);
    room_for_view(state).saturating_add(journal_bytes)
}

/// Notes that the view must not be believed at the next start. Best effort: if the disk refuses, the next start
/// will most likely find the same trouble by itself.
pub(super) fn suspect(layout: &Layout, disk: &Disk) {
    if let Err(error) = disk.replace(&layout.suspect_marker(), b"the view must be made anew\n") {
        tracing::warn!(%error, "the mark that the view is suspect could not be written");
    }
}

/// Takes that note back.
pub(super) fn trust(layout: &Layout, disk: &Disk) -> io::Result<()> {
    disk.remove(&layout.suspect_marker())?;
    disk.sync_dir(&layout.dir)
}

/// Puts one operation into a layer.
///
/// # Errors
/// When it names a tree that we do not know.
pub(super) fn stage(
    layer: &mut dyn FnMut(Tree, Vec<u8>, Option<Bytes>),
    op: &ReadOp<'_>,
) -> Result<(), String> {
    let (tree, key, value) = match *op {
        ReadOp::Put { tree, key, value } => (tree, key, Some(Bytes::copy_from_slice(value))),
        ReadOp::Del { tree, key } => (tree, key, None),
    };
    let known = Tree::from_code(tree).ok_or_else(|| format!("an operation on the unknown tree {tree}"))?;
    layer(known, key.to_vec(), value);
    Ok(())
}

/// Gathers operations and carries them into a view.
pub(super) struct Carrier<'v> {
    view: &'v View,
    layer: Layer,
    left: Option<Left>,
}

impl<'v> Carrier<'v> {
    /// Does not carry what was left in the overlay.
    pub fn leaving(view: &'v View, left: Option<Left>) -> Self {
        Self { view, layer: Layer::default(), left }
    }

    /// Takes one batch, which is the entry `sequence`.
    pub fn take(&mut self, sequence: u64, batch: &ReadBatch<'_>) -> Result<(), ViewError> {
        let mut put = |tree, key: Vec<u8>, value| {
            if !self.left.as_ref().is_some_and(|left| left.holds(tree, &key)) {
                self.layer.set(tree, key, value, Below::Maybe);
            }
        };
        for op in &batch.ops {
            stage(&mut put, op).map_err(ViewError::Failed)?;
        }
        self.layer.last = sequence;
        if self.layer.bytes() >= LAYER_BYTES {
            self.carry()?;
        }
        Ok(())
    }

    pub fn take_frame(&mut self, frame: &Frame<'_>) -> Result<(), ViewError> {
        for (sequence, batch) in (frame.first..).zip(frame.batches().map_err(ViewError::Failed)?) {
            self.take(sequence, &batch)?;
        }
        Ok(())
    }

    /// Carries what is gathered into the view.
    pub fn carry(&mut self) -> Result<(), ViewError> {
        let last = self.layer.last;
        let layer = std::mem::take(&mut self.layer);
        if last > 0 {
            self.view.apply(&layer)?;
        }
        Ok(())
    }
}

/// What a view is made from.
pub(super) struct Origin {
    /// The entry at which the snapshot stands; zero if there is none.
    pub sequence: u64,
    snapshot: Option<PathBuf>,
    folded: Folded,
}

/// Finds the newest snapshot that can be read, and folds what came after its entries: what was applied while it was taken
/// lies in itself, the rest in the journal. Both are read at the same time, since most snapshots are as good as their names.
///
/// `journal` folds everything after an entry; `told` says how the caller tells of a view that failed.
///
/// # Errors
/// What `journal` says, and [`ViewError`] if a snapshot that was sound in all bytes turns out not to be, or folding fails.
pub(super) fn gather<E>(
    disk: &Disk,
    dir: &Path,
    left: Option<&Left>,
    told: &dyn Fn(ViewError) -> E,
    journal: &mut dyn FnMut(u64, &mut Fold) -> Result<(), E>,
) -> Result<Origin, E> {
    let failed = |what: String| told(ViewError::Failed(what));
    let fold = |name| Fold::new(disk, dir, name).leaving(left.cloned());
    let snapshots = snapshot_end::list(dir).map_err(|e| failed(e.to_string()))?;
    let candidates = snapshots.into_iter().rev().map(|(sequence, path)| (sequence, Some(path)));
    // In the end that of an empty store.
    for (sequence, snapshot) in candidates.chain([(0, None)]) {
        let (mut within, mut after) = (fold("fold.snapshot"), fold("fold.journal"));
        let (frames, folded) = std::thread::scope(|scope| {
            let read =
                || snapshot.as_deref().map_or(Ok(Readable::Yes), |path| fold_frames(disk, path, &mut within));
            let frames = scope.spawn(read);
            let folded = journal(sequence, &mut after);
            (frames.join(), folded)
        });
        let frames = frames.map_err(|_| failed("reading a snapshot panicked".into()))?;
        if frames.map_err(told)? == Readable::No {
            continue;
        }
        folded?;
        let folded = Folded::of(within, after).map_err(|e| told(ViewError::of_disk(e)))?;
        return Ok(Origin { sequence, snapshot, folded });
    }
    Err(failed("there is nothing to make it from".into()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Readable {
    Yes,
    No,
}

/// Folds the frames in a snapshot whose bytes are as they were written.
fn fold_frames(disk: &Disk, path: &Path, fold: &mut Fold) -> Result<Readable, ViewError> {
    if let Err(error) = snapshot::check_sum(disk, path) {
        tracing::error!(path = %path.display(), %error, "a snapshot is passed over");
        return Ok(Readable::No);
    }
    let frames = snapshot::read_frames(disk, path, &mut |frame| {
        fold.take_frame(&frame).map_err(|error| match error {
            FoldError::Io(source) => SnapshotError::Io(source),
            other => SnapshotError::Damaged(other.to_string()),
        })
    });
    frames.map_err(|error| unusable(path, error))?;
    Ok(Readable::Yes)
}

/// Why nothing can be made from a snapshot. A disk without room is no fault of the snapshot.
fn unusable(path: &Path, error: SnapshotError) -> ViewError {
    let said = format!("{}: {error}", path.display());
    match error {
        SnapshotError::Io(source) => ViewError::of_disk(io::Error::new(source.kind(), said)),
        SnapshotError::Damaged(_) | SnapshotError::Newer(_) | SnapshotError::NewerStore { .. } => {
            ViewError::Failed(said)
        }
    }
}

/// What a fold that did not come to its end is to a view.
fn of_fold(error: FoldError) -> ViewError {
    match error {
        FoldError::Io(source) => ViewError::of_disk(source),
        other => ViewError::Failed(other.to_string()),
    }
}

/// Fills an empty view.
///
/// # Errors
/// [`ViewError`] if the view fails, or the snapshot turns out not to be one.
pub(super) fn fill(
    disk: &Disk,
    view: &View,
    origin: Origin,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ViewError> {
    let Origin { snapshot, folded, .. } = origin;
    std::thread::scope(|scope| {
        let mut merge = Merge { loaders: Loaders::start(scope, view), folded, done: 0, progress };
        if let Some(path) = snapshot {
            let read = snapshot::read_entries(disk, &path, &mut |tree, key, value| {
                merge.take(tree, key, value).map_err(|error| match error {
                    ViewError::Full(said) => io::Error::new(io::ErrorKind::StorageFull, said).into(),
                    ViewError::Failed(said) => SnapshotError::Damaged(said),
                })
            });
            read.map_err(|error| unusable(&path, error))?;
        }
        merge.finish()
    })
}

/// A snapshot and what came after it, both in order, on their way into the view.
struct Merge<'s, 'p> {
    loaders: Loaders<'s>,
    folded: Folded,
    done: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl Merge<'_, '_> {
    /// Takes the next entry of the snapshot: a change of its key replaces it.
    fn take(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        while self.folded.is_below(tree, key) {
            self.take_change()?;
        }
        if self.folded.is_at(tree, key) {
            return self.take_change().map(drop);
        }
        self.load(tree, key, value)
    }

    /// Takes what comes behind the snapshot's last entry.
    fn finish(mut self) -> Result<(), ViewError> {
        while self.take_change()? {}
        self.loaders.finish()
    }

    /// Takes the next change; false if there is none.
    fn take_change(&mut self) -> Result<bool, ViewError> {
        let change = self.folded.next().map_err(ViewError::of_disk)?;
        if let Some(Change { tree, key, value: Some(value) }) = &change {
            self.load(*tree, key, value)?;
        }
        Ok(change.is_some())
    }

    fn load(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        self.done += 1;
        if self.done % PROGRESS_ENTRIES == 1 {
            (self.progress)(self.done);
        }
        self.loaders.take(tree, key, value)
    }
}

/// Reads the journal that is being written; what `visit` says comes back as it was said.
fn read_journal(
    place: &Place,
    from: u64,
    to: u64,
    visit: &mut dyn FnMut(&Frame<'_>) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    let mut failure = None;
    let read = journal::read_range(place, from, to, &mut |frame| {
        visit(&frame).map_err(|error| failure.insert(error).to_string())
    });
    match failure {
        Some(error) => Err(error),
        None => read.map_err(ViewError::Failed),
    }
}

/// While running: opens the view again and brings it to where it was. If it is not believed nothing is there any more,
/// and it is made anew.
pub(super) fn reopen(shared: &Shared, believed: bool, carried: &Carried) -> Result<View, ViewError> {
    let (layout, disk) = (&shared.layout, &shared.host.disk);
    disk.create_dir(&layout.view()).map_err(ViewError::of_disk)?;
    remove_leftovers(disk, &layout.view()).map_err(ViewError::of_disk)?;
    let view = View::open(&layout.view(), shared.options.view_cache_bytes)?;
    let (place, left) = (&shared.place, carried.left.clone());
    if believed {
        let checkpoint = disk.read_small(&layout.checkpoint()).map_err(ViewError::of_disk)?;
        let checkpoint = checkpoint.and_then(|bytes| decode_checkpoint(&bytes));
        let from = checkpoint.ok_or_else(|| ViewError::Failed("CHECKPOINT cannot be read".into()))?;
        let mut carrier = Carrier::leaving(&view, left);
        read_journal(place, from + 1, carried.last, &mut |frame| carrier.take_frame(frame))?;
        carrier.carry()?;
    } else {
        let mut journal = |from: u64, fold: &mut Fold| {
            read_journal(place, from + 1, carried.last, &mut |frame| fold.take_frame(frame).map_err(of_fold))
        };
        let origin = gather(disk, &layout.snapshots(), left.as_ref(), &|error| error, &mut journal)?;
        fill(disk, &view, origin, &mut |_| {})?;
    }
    view.set_applied(carried.complete())?;
    view.set_store(&shared.format.store)?;
    Ok(view)
}

#[cfg(test)]
#[path = "rebuild_tests.rs"]
mod tests;
