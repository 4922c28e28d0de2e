//! Making the view anew: from the last snapshot that can be read, and the journal after it.

use super::applier::Carried;
use super::disk::Disk;
use super::frame::{Batch, Frame, Op};
use super::journal;
use super::keys::Tree;
use super::layout::{Layout, decode_checkpoint};
use super::loaders::Loaders;
use super::overlay::{Below, Layer, Left};
use super::shared::Shared;
use super::snapshot::{self, Item, SnapshotError};
use super::snapshot_end;
use super::view::{View, ViewError, remove_leftovers};
use bytes::Bytes;
use std::io;
use std::path::Path;

/// How much is gathered before it goes into the view.
const LAYER_BYTES: usize = 4 << 20;
/// After how many entries of a snapshot it is said how far the loading has come.
const PROGRESS_ENTRIES: u64 = 50_000;

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
pub(super) fn stage(layer: &mut dyn FnMut(Tree, Vec<u8>, Option<Bytes>), op: Op) -> Result<(), String> {
    let (tree, key, value) = match op {
        Op::Put { tree, key, value } => (tree, key, Some(value.0)),
        Op::Del { tree, key } => (tree, key, None),
    };
    let known = Tree::from_code(tree).ok_or_else(|| format!("an operation on the unknown tree {tree}"))?;
    layer(known, key.0.into(), value);
    Ok(())
}

/// Gathers operations and carries them into a view.
pub(super) struct Carrier<'v> {
    view: &'v View,
    layer: Layer,
    left: Option<Left>,
}

impl<'v> Carrier<'v> {
    pub fn new(view: &'v View) -> Self {
        Self { view, layer: Layer::default(), left: None }
    }

    /// Does not carry what was left in the overlay.
    pub fn leaving(view: &'v View, left: Option<Left>) -> Self {
        Self { left, ..Self::new(view) }
    }

    /// Takes one batch, which is the entry `sequence`.
    pub fn take(&mut self, sequence: u64, batch: Batch) -> Result<(), String> {
        let stays = |tree, key: &[u8]| {
            tree == Tree::Notice && self.left.as_ref().is_some_and(|left| key >= left.from.as_slice())
        };
        let mut put = |tree, key: Vec<u8>, value| {
            if !stays(tree, &key) {
                self.layer.set(tree, key, value, Below::Maybe);
            }
        };
        for op in batch.ops {
            stage(&mut put, op)?;
        }
        self.layer.last = sequence;
        if self.layer.bytes() >= LAYER_BYTES {
            self.carry().map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    pub fn take_frame(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        for (sequence, batch) in (frame.first..).zip(frame.batches()?) {
            self.take(sequence, batch)?;
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

/// Loads the newest snapshot that can be read into `view`, which must be empty. Returns the entry that it stands
/// at: zero if there is none.
///
/// # Errors
/// [`ViewError`] if the view fails, or if a snapshot that was sound in all bytes turns out not to be.
pub(super) fn load_newest_snapshot(
    disk: &Disk,
    dir: &Path,
    view: &View,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ViewError> {
    let snapshots = snapshot_end::list(dir).map_err(|e| ViewError::Failed(e.to_string()))?;
    for (sequence, path) in snapshots.into_iter().rev() {
        match snapshot::check_sum(disk, &path) {
            Ok(_) => {
                let failed = |e: SnapshotError| ViewError::Failed(format!("{}: {e}", path.display()));
                load_snapshot(disk, &path, view, progress).map_err(failed)?;
                return Ok(sequence);
            }
            Err(error) => tracing::error!(path = %path.display(), %error, "a snapshot is passed over"),
        }
    }
    Ok(0)
}

fn load_snapshot(
    disk: &Disk,
    path: &Path,
    view: &View,
    progress: &mut dyn FnMut(u64),
) -> Result<(), SnapshotError> {
    let failed = |e: ViewError| SnapshotError::Damaged(e.to_string());
    std::thread::scope(|scope| {
        let mut loaders = Some(Loaders::start(scope, view));
        let mut carrier = Carrier::new(view);
        let (mut done, mut told) = (0, 0);
        snapshot::read(disk, path, &mut |item| match item {
            Item::Entries(entries) => {
                done += entries.len() as u64;
                if told == 0 || done - told >= PROGRESS_ENTRIES {
                    told = done;
                    progress(done);
                }
                let loaders = loaders.as_mut();
                let loaders = loaders.ok_or_else(|| SnapshotError::Damaged("entries after frames".into()))?;
                loaders.take(entries).map_err(failed)
            }
            Item::Frame { first, count, payload } => {
                loaders.take().map_or(Ok(()), Loaders::finish).map_err(failed)?;
                let frame = Frame { first, count, payload: &payload, len: 0 };
                carrier.take_frame(&frame).map_err(SnapshotError::Damaged)
            }
            Item::End(totals, _) => {
                loaders.take().map_or(Ok(()), Loaders::finish).map_err(failed)?;
                carrier.carry().map_err(failed)?;
                view.set_applied(totals.sequence).map_err(failed)
            }
            Item::Format(_) | Item::File { .. } | Item::Chunk(_) => Ok(()),
        })?;
        Ok(())
    })
}

/// While running: opens the view again and brings it to where it was. If it is not believed it is set aside and
/// made anew.
pub(super) fn reopen(shared: &Shared, believed: bool, carried: &Carried) -> Result<View, ViewError> {
    let (layout, disk) = (&shared.layout, &shared.host.disk);
    let failed = |e: io::Error| ViewError::Failed(e.to_string());
    if !believed {
        layout.set_view_aside(disk).map_err(failed)?;
    }
    disk.create_dir(&layout.view()).map_err(failed)?;
    remove_leftovers(disk, &layout.view()).map_err(failed)?;
    let view = View::open(&layout.view(), shared.options.view_cache_bytes)?;
    let from = if believed {
        let checkpoint = disk.read_small(&layout.checkpoint()).map_err(failed)?;
        let checkpoint = checkpoint.and_then(|bytes| decode_checkpoint(&bytes));
        checkpoint.ok_or_else(|| ViewError::Failed("CHECKPOINT cannot be read".into()))?
    } else {
        load_newest_snapshot(disk, &layout.snapshots(), &view, &mut |_| {})?
    };
    let mut carrier = Carrier::leaving(&view, carried.left.clone());
    let replayed =
        journal::read_range(&shared.place, from + 1, carried.last, &mut |frame| carrier.take_frame(&frame));
    replayed.map_err(ViewError::Failed)?;
    carrier.carry()?;
    view.set_applied(carried.complete())?;
    view.set_store(&shared.format.store)?;
    Ok(view)
}
