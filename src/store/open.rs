//! Opening: what is trusted, what is replayed, what is rebuilt.
//!
//! Nothing is changed before the lock is held, the format is known to be ours, and the journal has been looked
//! through to its end. Then:
//!
//! | found | what is done |
//! |---|---|
//! | no FORMAT, empty directory | a new store |
//! | no OPEN | closed cleanly: the view is believed |
//! | OPEN of this very boot, no SUSPECT | the process died, the page cache survived: believed, the journal after the checkpoint is applied |
//! | OPEN of another boot, or SUSPECT | the view is made anew from the newest sound snapshot and the journal |
//! | the view does not open, is another's, or lacks what the checkpoint says | set aside, made anew |
//! | the journal ends before the checkpoint, a snapshot or the view | refused: files are missing |
//!
//! A full disk keeps nobody from opening, as long as the journal's reserve is there: it is given up for the few bytes
//! that an opening writes. What is stored can then be read, new work is refused (`keeper`), and it goes on when there is
//! room again.

mod count;

use self::count::{count, next_notice};
use super::applier::TAKING;
use super::disk::{Disk, Host, is_full};
use super::error::{OpenError, StoreError};
use super::fold::{Fold, FoldError};
use super::frame::ReadBatch;
use super::journal::{Journal, Place, Survey};
use super::keeper;
use super::layout::{Format, FormatError, Layout, decode_checkpoint, encode_checkpoint};
use super::options::StoreOptions;
use super::overlay::{Below, Carry, Counters, Overlay};
use super::queue::{Bell, Closing, Queue};
use super::readers::Readers;
use super::rebuild;
use super::segment;
use super::shared::{Conditions, Gauges, Shared, Stop};
use super::snapshot_end;
use super::spool::Spool;
use super::spool_stock;
use super::state::State;
use super::threads::Threads;
use super::upgrade;
use super::view::{Owner, View, ViewError, remove_leftovers};
use super::writer::OVERLAY_BYTES_CALL;
use super::{Handle, Store};
use crate::domain::Text;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What the opening is doing, for the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenProgress {
    /// The journal is being read.
    ReadingJournal {
        /// Bytes read.
        done: u64,
        /// Bytes to read.
        total: u64,
    },
    /// The view is thrown away and made anew, and this is why.
    RebuildingView {
        /// Why.
        reason: Text,
    },
    /// The snapshot is being loaded into the view.
    LoadingSnapshot {
        /// Entries loaded.
        done: u64,
    },
    /// The view is being opened.
    OpeningView,
    /// Indexes are being counted.
    Counting,
    /// An older store is being backed up before its upgrade.
    KeepingWayBack,
}

/// What became of the view at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewFate {
    /// The store is new.
    Created,
    /// It was trusted, and the journal after the checkpoint applied to it.
    Trusted,
    /// It was made anew from snapshot and journal.
    Rebuilt {
        /// Why.
        reason: Text,
    },
}

/// What was found and done at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// What became of the view.
    pub view: ViewFate,
    /// Journal entries that were applied again.
    pub replayed: u64,
    /// Bytes of an unfinished frame that were cut off the journal's end: never acknowledged.
    pub torn_bytes: u64,
    /// Frames that an earlier failed write left behind, fenced off by a later segment.
    pub abandoned_frames: u64,
    /// Leftovers of an interrupted start (`snap.*.generating`) that were removed.
    pub leftovers_removed: u32,
    /// Files of the spool that no record names and that were removed; none if they are still being counted.
    pub spool_swept: Option<u64>,
    /// How long the opening took.
    pub took: Duration,
}

/// Whether the store becomes one of our format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Raise {
    /// It does, before anything of ours is written.
    First,
    /// It stays what it is: nothing of ours is written.
    Never,
}

/// Opens the store on this host; an older one is upgraded, with a way back.
pub(super) fn open(
    options: StoreOptions,
    host: Host,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(Store, OpenReport), OpenError> {
    check_options(&options)?;
    upgrade::keep_way_back(&options, &host, progress)?;
    open_as(options, host, Raise::First, progress)
}

/// Opens the store on this host.
pub(super) fn open_as(
    options: StoreOptions,
    host: Host,
    raise: Raise,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(Store, OpenReport), OpenError> {
    let dir = options.dir.clone();
    open_there(options, host, raise, progress).map_err(|error| error.on_disk_of(&dir))
}

fn open_there(
    options: StoreOptions,
    host: Host,
    raise: Raise,
    progress: &mut dyn FnMut(OpenProgress),
) -> Result<(Store, OpenReport), OpenError> {
    let began = Instant::now();
    let layout = Layout::new(&options.dir);
    make_private_dir(&layout.dir, &host.disk).map_err(io("making", &layout.dir))?;
    let lock = layout.take_lock()?;
    let (format, age) = read_or_make_format(&layout, &host.disk)?;
    let format = match raise {
        Raise::First => raise_format(format, &layout, &host.disk)?,
        Raise::Never => format,
    };
    for dir in [layout.journal(), layout.snapshots()] {
        host.disk.create_dir(&dir).map_err(io("making", &dir))?;
    }
    // Of a snapshot that was being taken when the process died.
    let half = layout.snapshots().join(TAKING);
    host.disk.remove(&half).map_err(io("removing", &half))?;
    let place = Place {
        disk: host.disk.clone(),
        dir: layout.journal(),
        store: format.store,
        segment_bytes: options.segment_bytes,
        preparing: Arc::default(),
    };
    let survey = Survey::take(place.clone())?;
    let mut opening = Opening { options, host, layout, format, survey, age, progress, leftovers_removed: 0 };
    let marks = opening.read_marks()?;
    opening.check_end(marks.known())?;
    opening.make_room()?;
    let belief = opening.believe(&marks)?;
    let viewed = opening.open_view(belief, &marks)?;
    opening.start(viewed, marks.newest_snapshot.unwrap_or(0), place, lock, began)
}

/// Notices hold what remote systems sent, tokens included: nobody else on the machine may read them.
///
/// The directory around it (the data directory, which is ours too) as well, where we make it. Their names are made
/// durable, or a power cut could take the whole store with everything that was acknowledged in it.
fn make_private_dir(dir: &Path, disk: &Disk) -> io::Result<()> {
    if let Some(around) = dir.parent().filter(|around| !around.as_os_str().is_empty()) {
        disk.create_private_dir(around)?;
    }
    disk.create_private_dir(dir)
}

/// Whether there was a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Known,
}

/// What earlier runs left about the view.
struct Marks {
    checkpoint: Option<u64>,
    newest_snapshot: Option<u64>,
    /// The boot under which it was left open.
    open: Option<String>,
    suspect: bool,
}

impl Marks {
    /// The last entry that certainly was written.
    fn known(&self) -> u64 {
        self.checkpoint.max(self.newest_snapshot).unwrap_or(0)
    }
}

/// What is thought of the view before it is opened.
enum Belief {
    /// It has everything up to this entry.
    Trusted(u64),
    /// It is to be made anew.
    Doubted(Text),
}

/// The view, with what came after it on top.
struct Viewed {
    view: View,
    overlay: Overlay,
    fate: ViewFate,
    /// The last entry of all.
    last: u64,
    /// Up to where the view itself is complete.
    applied: u64,
    /// Up to where it is durable.
    checkpoint: u64,
    replayed: u64,
    abandoned: u64,
}

/// The journal after the view.
struct Replayed {
    overlay: Overlay,
    /// How many entries there were.
    replayed: u64,
    /// Up to which entry they went into the view.
    carried: u64,
    abandoned: u64,
}

struct Opening<'p> {
    options: StoreOptions,
    host: Host,
    layout: Layout,
    format: Format,
    survey: Survey,
    age: Age,
    progress: &'p mut dyn FnMut(OpenProgress),
    leftovers_removed: u32,
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Io { doing, path, source }
}

fn damaged_entry(survey: &Survey, sequence: u64, detail: &str) -> OpenError {
    let detail = format!("entry {sequence}: {detail}");
    OpenError::DamagedJournal { segment: survey.segment_of(sequence), offset: 0, detail }
}

/// How a start tells of a view in `dir` that failed.
fn of_view(dir: &Path) -> impl Fn(ViewError) -> OpenError + use<> {
    let dir = dir.to_owned();
    move |error| match error {
        ViewError::Full(said) => io("writing", &dir)(io::Error::new(io::ErrorKind::StorageFull, said)),
        ViewError::Failed(detail) => OpenError::View { detail },
    }
}

fn check_options(options: &StoreOptions) -> Result<(), OpenError> {
    let wrong = |option, found, expected: String| Err(OpenError::Option { option, found, expected });
    if options.segment_bytes < StoreOptions::SEGMENT_BYTES_MIN || !options.segment_bytes.is_multiple_of(4_096)
    {
        let expected = format!("at least {} and a multiple of 4096", StoreOptions::SEGMENT_BYTES_MIN);
        return wrong("segment_bytes", options.segment_bytes, expected);
    }
    if options.segment_bytes > 1 << 30 {
        return wrong("segment_bytes", options.segment_bytes, "at most 1 GiB".into());
    }
    if options.queue_max == 0 {
        return wrong("queue_max", 0, "at least 1".into());
    }
    Ok(())
}

fn read_or_make_format(layout: &Layout, disk: &Disk) -> Result<(Format, Age), OpenError> {
    let path = layout.format();
    let Some(bytes) = disk.read_small(&path).map_err(io("reading", &path))? else {
        let strange = [layout.journal(), layout.view(), layout.snapshots()].into_iter().find(|p| p.exists());
        if let Some(strange) = strange {
            let detail = format!("it is missing, while {} is there", strange.display());
            return Err(OpenError::DamagedFile { path, detail });
        }
        let format = Format::new(*uuid::Uuid::new_v4().as_bytes());
        disk.replace(&path, format.to_text().as_bytes()).map_err(io("writing", &path))?;
        return Ok((format, Age::New));
    };
    match Format::parse(&String::from_utf8_lossy(&bytes)) {
        Ok(format) => Ok((format, Age::Known)),
        Err(FormatError::Newer { what, found, known }) => Err(OpenError::Newer { what, found, known }),
        Err(FormatError::Unreadable(detail)) => Err(OpenError::DamagedFile { path, detail }),
    }
}

/// We are about to write records of our versions: an older program must see that before anything else.
fn raise_format(format: Format, layout: &Layout, disk: &Disk) -> Result<Format, OpenError> {
    let ours = Format::new(format.store);
    if format != ours {
        let path = layout.format();
        disk.replace(&path, ours.to_text().as_bytes()).map_err(io("writing", &path))?;
    }
    Ok(ours)
}

impl Opening<'_> {
    fn read_marks(&self) -> Result<Marks, OpenError> {
        let small = |path: &Path| self.host.disk.read_small(path).map_err(io("reading", path));
        let checkpoint = small(&self.layout.checkpoint())?.and_then(|bytes| decode_checkpoint(&bytes));
        let open = small(&self.layout.open_marker())?;
        let snapshots =
            snapshot_end::list(&self.layout.snapshots()).map_err(io("listing", &self.layout.snapshots()))?;
        Ok(Marks {
            checkpoint,
            newest_snapshot: snapshots.last().map(|(sequence, _)| *sequence),
            open: open.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()),
            suspect: self.layout.suspect_marker().exists(),
        })
    }

    /// The journal must reach at least to what was certainly written. A store that was restored from a backup
    /// has a snapshot and no journal yet.
    fn check_end(&self, known: u64) -> Result<(), OpenError> {
        let restored = self.survey.last().is_none() && !self.layout.checkpoint().exists();
        let journal_end = self.survey.last().unwrap_or(0);
        if journal_end >= known || restored {
            return Ok(());
        }
        Err(OpenError::ViewAhead { journal_end, view_at: known, segment: self.survey.segment_of(known) })
    }

    /// On a full disk the journal's reserve makes room for what an opening writes: the marks, and the view's own files.
    /// It was never written to, and is made anew when there is room.
    fn make_room(&self) -> Result<(), OpenError> {
        let dir = self.layout.journal();
        let free = self.host.disk.free_bytes(&dir).map_err(io("measuring", &dir))?;
        let reserve = segment::reserve_path(&dir);
        if free >= self.options.segment_bytes || !reserve.exists() {
            return Ok(());
        }
        tracing::warn!(
            free_bytes = free,
            "the disk is full: the reserve of the journal makes room to open the store"
        );
        self.host.disk.remove(&reserve).map_err(io("removing", &reserve))
    }

    fn believe(&self, marks: &Marks) -> Result<Belief, OpenError> {
        let doubted = |ru: &str, en: &str| Ok(Belief::Doubted(Text::new(ru, en)));
        if self.age == Age::New {
            self.host
                .disk
                .replace(&self.layout.checkpoint(), &encode_checkpoint(0))
                .map_err(io("writing", &self.layout.checkpoint()))?;
            return Ok(Belief::Trusted(0));
        }
        if marks.suspect {
            return doubted(
                "была ошибка диска, или прошлая перестройка не закончилась",
                "there was an error of the disk, or an earlier rebuild was not finished",
            );
        }
        let Some(checkpoint) = marks.checkpoint else {
            return doubted("нет контрольной точки", "there is no checkpoint");
        };
        match &marks.open {
            None => Ok(Belief::Trusted(checkpoint)),
            Some(boot) if Some(boot) == self.host.boot_id.as_ref() => Ok(Belief::Trusted(checkpoint)),
            Some(_) => doubted(
                "машина была перезагружена, когда хранилище было открыто",
                "the machine was restarted while the store was open",
            ),
        }
    }

    fn open_view(&mut self, belief: Belief, marks: &Marks) -> Result<Viewed, OpenError> {
        let disk = self.host.disk.clone();
        if let Belief::Doubted(_) = belief {
            rebuild::suspect(&self.layout, &disk);
        }
        let boot = self.host.boot_id.as_deref().unwrap_or("unknown");
        let marker = self.layout.open_marker();
        disk.replace(&marker, boot.as_bytes()).map_err(io("writing", &marker))?;
        disk.create_dir(&self.layout.view()).map_err(io("making", &self.layout.view()))?;
        let removed = remove_leftovers(&disk, &self.layout.view());
        self.leftovers_removed = removed.map_err(io("cleaning", &self.layout.view()))?;
        (self.progress)(OpenProgress::OpeningView);
        let reason = match belief {
            Belief::Trusted(checkpoint) => match self.trusted_view(checkpoint)? {
                Ok(view) => return self.replay_over(view, checkpoint, marks),
                Err(reason) => {
                    rebuild::suspect(&self.layout, &disk);
                    self.layout.set_view_aside(&disk).map_err(io("setting aside", &self.layout.view()))?;
                    reason
                }
            },
            Belief::Doubted(reason) => {
                self.layout.remove_view().map_err(io("removing", &self.layout.view()))?;
                reason
            }
        };
        tracing::warn!(reason = reason.en, "the view is made anew");
        (self.progress)(OpenProgress::RebuildingView { reason: reason.clone() });
        let made = self.rebuild(reason);
        made.map_err(|error| match error {
            OpenError::Io { source, .. } if is_full(&source) => self.no_room(&source, marks),
            other => other,
        })
    }

    /// There is no room for a view that is made anew. Nothing is wrong with what it is made from; what there is of it
    /// is removed, or it would keep the disk full.
    fn no_room(&self, said: &io::Error, marks: &Marks) -> OpenError {
        tracing::error!(error = %said, "there is no room to make the view anew");
        if let Err(error) = self.layout.remove_view() {
            tracing::warn!(%error, "a view that is not whole cannot be removed");
        }
        let (disk, dir) = (&self.host.disk, self.layout.dir.clone());
        let journal = self.survey.bytes_after(marks.newest_snapshot.unwrap_or(0));
        let needed = rebuild::room_needed(disk, &self.layout.snapshots(), journal);
        let free = disk.free_bytes(&dir).unwrap_or(0);
        OpenError::NoRoom { dir, needed, free }
    }

    /// The view that is believed, or why it is not after all.
    fn trusted_view(&self, checkpoint: u64) -> Result<Result<View, Text>, OpenError> {
        let because = |error: &dyn std::fmt::Display| {
            Text::new(
                format!("представление не открывается: {error}"),
                format!("the view does not open: {error}"),
            )
        };
        let view = match View::open(&self.layout.view(), self.options.view_cache_bytes) {
            Ok(view) => view,
            // It is as it was, and a new one would need more room than this.
            Err(full @ ViewError::Full(_)) => return Err(of_view(&self.layout.view())(full)),
            Err(error @ ViewError::Failed(_)) => return Ok(Err(because(&error))),
        };
        let (owner, applied) = match (view.owner(), view.applied()) {
            (Ok(owner), Ok(applied)) => (owner, applied),
            (Err(full @ ViewError::Full(_)), _) | (_, Err(full @ ViewError::Full(_))) => {
                return Err(of_view(&self.layout.view())(full));
            }
            (Err(error), _) | (_, Err(error)) => return Ok(Err(because(&error))),
        };
        if self.age == Age::New {
            view.set_store(&self.format.store).map_err(of_view(&self.layout.view()))?;
            return Ok(Ok(view));
        }
        if owner == Owner::OtherVersion {
            view.close();
            // Nothing is wrong with it, so nobody wants to look at it later.
            self.layout.remove_view().map_err(io("removing", &self.layout.view()))?;
            return Ok(Err(Text::new(
                "представление записано другой версией программы",
                "the view was written by another version of the program",
            )));
        }
        if owner != Owner::Store(self.format.store) || applied < checkpoint {
            view.close();
            return Ok(Err(Text::new(
                "представление отсутствует или неполно",
                "the view is missing or incomplete",
            )));
        }
        self.check_end(applied)?;
        Ok(Ok(view))
    }

    /// Puts the journal after `checkpoint` over a view that is believed.
    fn replay_over(&mut self, view: View, checkpoint: u64, marks: &Marks) -> Result<Viewed, OpenError> {
        debug_assert!(marks.checkpoint.is_none_or(|c| c == checkpoint));
        let Replayed { overlay, replayed, carried, abandoned } = self.replay(&view, checkpoint)?;
        let fate = if self.age == Age::New { ViewFate::Created } else { ViewFate::Trusted };
        let last = checkpoint + replayed;
        Ok(Viewed { view, overlay, fate, last, applied: carried, checkpoint, replayed, abandoned })
    }

    /// The overlay of everything after `from`; if it grows too large, it goes into the view meanwhile.
    fn replay(&mut self, view: &View, from: u64) -> Result<Replayed, OpenError> {
        let mut overlay = Overlay::default();
        let (mut replayed, mut carried) = (0, from);
        let Self { survey, progress, layout, .. } = self;
        let mut visit = |sequence: u64, batch: ReadBatch<'_>| {
            for op in &batch.ops {
                let set = &mut |tree, key, value| overlay.set(tree, key, value, Below::Maybe);
                rebuild::stage(set, op).map_err(|detail| damaged_entry(survey, sequence, &detail))?;
            }
            overlay.reached(sequence, Counters::default());
            replayed += 1;
            if overlay.upper().bytes() >= OVERLAY_BYTES_CALL {
                let layer = overlay.take(Carry::All);
                view.apply(&layer).map_err(of_view(&layout.view()))?;
                overlay.drop_lower();
                carried = layer.last;
            }
            Ok(())
        };
        let mut report = |done, total| progress(OpenProgress::ReadingJournal { done, total });
        let abandoned = survey.replay(from + 1, &mut visit, &mut report)?;
        Ok(Replayed { overlay, replayed, carried, abandoned })
    }

    fn rebuild(&mut self, reason: Text) -> Result<Viewed, OpenError> {
        let disk = self.host.disk.clone();
        let (dir, snapshots) = (self.layout.view(), self.layout.snapshots());
        disk.create_dir(&dir).map_err(io("making", &dir))?;
        let (mut replayed, mut abandoned) = (0, 0);
        let mut journal = |from: u64, fold: &mut Fold| {
            self.check_reaches_back(from)?;
            (replayed, abandoned) = self.fold_journal(fold, from)?;
            Ok::<(), OpenError>(())
        };
        let failed = of_view(&dir);
        let origin = rebuild::gather(&disk, &snapshots, None, &failed, &mut journal)?;
        let from = origin.sequence;
        let view = View::open(&dir, self.options.view_cache_bytes).map_err(&failed)?;
        let progress = &mut *self.progress;
        let mut loading = |done| progress(OpenProgress::LoadingSnapshot { done });
        rebuild::fill(&disk, &view, origin, &mut loading).map_err(&failed)?;
        let last = from + replayed;
        let completed = || {
            view.set_applied(last)?;
            view.set_store(&self.format.store)?;
            view.flush(&disk)
        };
        completed().map_err(&failed)?;
        let checkpoint = self.layout.checkpoint();
        disk.replace(&checkpoint, &encode_checkpoint(last)).map_err(io("writing", &checkpoint))?;
        rebuild::trust(&self.layout, &disk).map_err(io("cleaning", &self.layout.dir))?;
        Ok(Viewed {
            view,
            overlay: Overlay::default(),
            fate: ViewFate::Rebuilt { reason },
            last,
            applied: last,
            checkpoint: last,
            replayed,
            abandoned,
        })
    }

    /// Takes everything after `from` in. Returns how many entries there were, and how many frames were fenced off.
    fn fold_journal(&mut self, fold: &mut Fold, from: u64) -> Result<(u64, u64), OpenError> {
        let mut replayed = 0;
        let Self { survey, progress, layout, .. } = self;
        let mut visit = |sequence: u64, batch: ReadBatch<'_>| {
            replayed += 1;
            fold.take(&batch).map_err(|error| match error {
                FoldError::Io(source) => io("sorting the journal in", &layout.snapshots())(source),
                damaged @ (FoldError::UnknownTree(_) | FoldError::Damaged(_)) => {
                    damaged_entry(survey, sequence, &damaged.to_string())
                }
            })
        };
        let mut report = |done, total| progress(OpenProgress::ReadingJournal { done, total });
        let abandoned = survey.replay(from + 1, &mut visit, &mut report)?;
        Ok((replayed, abandoned))
    }

    /// Without a snapshot the journal must begin at its first entry.
    fn check_reaches_back(&self, snapshot: u64) -> Result<(), OpenError> {
        match self.survey.first() {
            Some(first) if first > snapshot + 1 => Err(OpenError::MissingJournal {
                needed: snapshot + 1,
                detail: format!(
                    "the newest readable snapshot stands at entry {snapshot}, the oldest entry of the journal is {first}"
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn start(
        self,
        viewed: Viewed,
        newest_snapshot: u64,
        place: Place,
        lock: File,
        began: Instant,
    ) -> Result<(Store, OpenReport), OpenError> {
        let Self { options, host, layout, format, survey, progress, leftovers_removed, .. } = self;
        let Viewed { view, overlay, fate, last, applied, checkpoint, replayed, abandoned } = viewed;
        let torn_bytes = survey.torn_bytes;
        let since_snapshot = survey.segments_after(newest_snapshot) * options.segment_bytes;
        let journal = survey.start(last + 1)?;
        progress(OpenProgress::Counting);
        let state = State::new(Arc::new(view), overlay);
        let (counters, inbox) = count(&state).map_err(state_error)?;
        let next_notice = next_notice(&state).map_err(state_error)?;
        state.overlay_mut().reached(last, counters);
        let disk_low = Arc::new(AtomicBool::new(false));
        let spool = Spool::open(
            &layout.spool(),
            format.store,
            host.disk.clone(),
            options.spool_bytes_max,
            Arc::clone(&disk_low),
        );
        let spool = spool.map_err(io("opening", &layout.spool()))?;
        let queue = Queue::new(options.queue_max);
        let gauges = gauges(&journal, last, applied, counters, &layout, since_snapshot)?;
        gauges.note_checkpoint(checkpoint);
        let shared = Arc::new(Shared {
            options,
            host,
            layout,
            format,
            place,
            state,
            queue,
            spool,
            applier: Bell::default(),
            keeper: Bell::default(),
            stock: Bell::default(),
            room: Bell::default(),
            jobs: Mutex::new(Some(VecDeque::new())),
            stop: Stop::default(),
            gauges,
            conditions: Mutex::new(Conditions::default()),
            observer: OnceLock::new(),
            disk_low,
        });
        keeper::watch_disk(&shared, false);
        let (threads, counted) = Threads::start(&shared, journal, next_notice, inbox)?;
        let readers = Readers::start(&shared).map_err(|error| {
            shared.stop.abandon();
            shared.queue.close(Closing::Abandon);
            io("starting threads for", &shared.layout.dir)(error)
        })?;
        let spool_swept = swept_in_time(&counted);
        let took = began.elapsed();
        let report = OpenReport {
            view: fate,
            replayed,
            torn_bytes,
            abandoned_frames: abandoned,
            leftovers_removed,
            spool_swept,
            took,
        };
        Ok((
            Store(Arc::new(Handle {
                shared,
                threads: Mutex::new(Some(threads)),
                readers: Mutex::new(readers),
                lock: Mutex::new(Some(lock)),
                documents_as: AtomicU16::new(0),
            })),
            report,
        ))
    }
}

/// How many files of the spool nobody needed, if that is known soon.
fn swept_in_time(counted: &Receiver<u64>) -> Option<u64> {
    match counted.recv_timeout(spool_stock::PATIENCE) {
        Ok(removed) => Some(removed),
        Err(RecvTimeoutError::Timeout) => {
            tracing::info!("the spool is large: it is counted meanwhile, and new files wait for that");
            None
        }
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

fn state_error(error: StoreError) -> OpenError {
    OpenError::View { detail: error.to_string() }
}

fn gauges(
    journal: &Journal,
    last: u64,
    applied: u64,
    counters: Counters,
    layout: &Layout,
    since_snapshot: u64,
) -> Result<Gauges, OpenError> {
    let gauges = Gauges::default();
    gauges.sequence.store(last, Ordering::Release);
    gauges.segment.store(journal.segment_number(), Ordering::Release);
    let snapshots = snapshot_end::list(&layout.snapshots()).map_err(io("listing", &layout.snapshots()))?;
    let newest = snapshots.last().and_then(|(_, path)| path.metadata().ok()).map_or(0, |m| m.len());
    gauges.snapshot_bytes.store(newest, Ordering::Relaxed);
    // What lies behind the newest snapshot counts towards the next one, in whole segments.
    gauges.journal_written.store(since_snapshot, Ordering::Relaxed);
    gauges.note_applied(applied, counters);
    Ok(gauges)
}
