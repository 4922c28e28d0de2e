//! ItemReader: events that speak of CRM items are answered by reading those items, many at once.
//!
//! An event carries an id and may be one of ten thousand, so no document is made before the item was read: what waits
//! is gathered, each item is read once for all its events, fifty items a call, fifty calls a request. An item that no
//! rule wants leaves no document behind, only a count and a line for debugging. While an item keeps changing, the
//! pauses between its readings grow.
//!
//! What waits here is a copy in memory: the notices stay in the inbox until they are answered, and are routed again
//! after a restart. It decides nothing about documents: an item that is wanted gets one, which reads it again.
//!
//! # Invariants
//! * **IR-1** A notice is settled only after a reading of its item that began after the notice was accepted.
//! * **IR-2** A portal that cannot be read holds up no other: each has a lane of its own.

use super::Parts;
use super::decision::HandleError;
use super::deliver::Deliver;
use super::item_rules::{self, Verdict};
use super::portal_session::PortalCaller;
use super::retry_scheduler::{Create, RetryScheduler};
use super::session_registry::Sessions;
use crate::domain::{CrmItem, Failure, FailureClass, NoticeId, PortalId};
use crate::providers::bitrix24::item_pages::{self, Listed};
use crate::providers::bitrix24::{Caller, crm};
use crate::saga::document::{Event, Source};
use crate::telemetry::metrics::{CallOutcome, TriggerKind, TriggerOutcome};
use actix::prelude::*;
use futures_util::stream::{self, StreamExt as _};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Items of one round: as many as one batch of full lists can ask for.
const ROUND_ITEMS: usize = crate::limits::BATCH_MAX * item_pages::IDS_MAX;
/// How long what comes is gathered before a round: an event seldom comes alone.
const GATHER: Duration = Duration::from_millis(30);
/// The same after a round of many items: a storm goes on, and fuller requests work it off sooner.
const GATHER_IN_STORM: Duration = Duration::from_millis(500);
/// Items in a round that make it one of a storm: more than one call asks for.
const STORM_ITEMS: usize = item_pages::IDS_MAX;
/// Notices that one lane remembers; what is beyond stays in the inbox and is offered again. 60 bytes each.
const HELD_MAX: usize = 50_000;
/// Notices that have left the inbox lately and are remembered; numbers are never used again.
const GONE_MAX: usize = 20_000;
/// The pause before an item is read again that was read just now; doubles while it keeps changing.
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// Items whose last reading is remembered.
const RECENT_MAX: usize = 50_000;
/// The first pause after a failed round; doubles.
const FAILED_MIN: Duration = Duration::from_millis(500);
/// The longest such pause.
const FAILED_MAX: Duration = Duration::from_secs(60);
/// Items that are answered at the same time: keeps the disk's group commits full.
const ANSWERED_AT_ONCE: usize = 64;

/// Whether a finding of a second channel brought the item here, or an event of the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The webhook.
    ByEvent,
    /// A second channel.
    BySecondChannel,
}

/// Reads items for events. One for all portals.
pub struct ItemReader {
    parts: Arc<Parts>,
    sessions: Sessions,
    lanes: Mutex<HashMap<PortalId, Lane>>,
}

/// What waits for one portal.
#[derive(Default)]
struct Lane {
    /// Whether a task works on it.
    running: bool,
    held: HashSet<NoticeId>,
    /// Notices that have left the inbox lately: a page of it that was read before may still offer them.
    gone: HashSet<NoticeId>,
    gone_order: VecDeque<NoticeId>,
    waiting: HashMap<CrmItem, Pending>,
    order: VecDeque<CrmItem>,
    recent: HashMap<CrmItem, Recent>,
    failed_in_a_row: u32,
    not_before: Option<Instant>,
}

/// The notices of one item.
struct Pending {
    notices: Vec<NoticeId>,
    told: Told,
    not_before: Option<Instant>,
}

/// The last reading of an item.
#[derive(Clone, Copy)]
struct Recent {
    read_at: Instant,
    pause: Duration,
}

/// An item whose turn has come.
struct Turn {
    item: CrmItem,
    notices: Vec<NoticeId>,
    told: Told,
}

/// What a lane does next.
enum Next {
    Read(Vec<Turn>),
    Wait(Instant),
    Done,
}

impl Lane {
    fn add(&mut self, id: NoticeId, item: CrmItem, told: Told) {
        if self.gone.contains(&id) || self.held.len() >= HELD_MAX || !self.held.insert(id) {
            return;
        }
        let not_before = self.recent.get(&item).map(|recent| recent.read_at + recent.pause);
        let order = &mut self.order;
        let pending = self.waiting.entry(item).or_insert_with(|| {
            order.push_back(item);
            Pending { notices: Vec::new(), told, not_before }
        });
        pending.notices.push(id);
        if told == Told::ByEvent {
            pending.told = Told::ByEvent;
        }
    }

    /// The items whose turn has come, oldest first.
    fn next(&mut self, now: Instant) -> Next {
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            return Next::Wait(until);
        }
        let (mut turns, mut later, mut soonest) = (Vec::new(), VecDeque::new(), None::<Instant>);
        for item in std::mem::take(&mut self.order) {
            let due = self.waiting.get(&item).and_then(|p| p.not_before).filter(|until| *until > now);
            if turns.len() == ROUND_ITEMS || due.is_some() {
                soonest = soonest.into_iter().chain(due).min();
                later.push_back(item);
            } else if let Some(Pending { notices, told, .. }) = self.waiting.remove(&item) {
                turns.push(Turn { item, notices, told });
            }
        }
        self.order = later;
        match (turns.is_empty(), soonest) {
            (false, _) => {
                self.note_reading(&turns, now);
                Next::Read(turns)
            }
            (true, Some(until)) => Next::Wait(until),
            (true, None) => {
                self.running = false;
                Next::Done
            }
        }
    }

    /// Remembers when an item was read, and how long it may rest now.
    fn note_reading(&mut self, turns: &[Turn], now: Instant) {
        self.recent.retain(|_, recent| now < recent.read_at + recent.pause * 2);
        if self.recent.len() > RECENT_MAX {
            self.recent.clear();
        }
        for turn in turns {
            let before = self.recent.get(&turn.item).map(|recent| recent.pause);
            let pause = before.map_or(AGAIN_MIN, |pause| (pause * 2).min(AGAIN_MAX));
            self.recent.insert(turn.item, Recent { read_at: now, pause });
        }
    }

    /// These notices have left the inbox.
    fn answered(&mut self, notices: &[NoticeId]) {
        self.let_go(notices);
        for id in notices {
            if self.gone.insert(*id) {
                self.gone_order.push_back(*id);
            }
        }
        while self.gone_order.len() > GONE_MAX {
            if let Some(oldest) = self.gone_order.pop_front() {
                self.gone.remove(&oldest);
            }
        }
    }

    /// These notices are the inbox's business again.
    fn let_go(&mut self, notices: &[NoticeId]) {
        for id in notices {
            self.held.remove(id);
        }
    }

    /// An item could not be read: its notices wait for the next round, with those that came meanwhile.
    fn put_back(&mut self, turn: Turn) {
        let order = &mut self.order;
        let pending = self.waiting.entry(turn.item).or_insert_with(|| {
            order.push_front(turn.item);
            Pending { notices: Vec::new(), told: turn.told, not_before: None }
        });
        pending.notices.extend(turn.notices);
        pending.not_before = None;
    }
}

/// What became of one item.
enum Answered {
    /// Nothing is to be made of these notices any more; what was, has taken its own out of the inbox.
    Done(Vec<NoticeId>),
    /// It waits for the next round.
    Unread(Turn, Failure),
    /// The store or the scheduler could not take it: the inbox offers its notices again.
    Left(Vec<NoticeId>, String),
}

impl ItemReader {
    /// A reader of items through `sessions`.
    pub fn new(parts: Arc<Parts>, sessions: Sessions) -> Self {
        Self { parts, sessions, lanes: Mutex::default() }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<PortalId, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a portal; none if it is no longer known.
    pub fn caller(&self, portal: &PortalId) -> Option<PortalCaller> {
        self.sessions.session(portal).map(PortalCaller::background)
    }

    /// Whether this notice waits here already.
    pub fn holds(&self, portal: &PortalId, id: NoticeId) -> bool {
        self.lanes().get(portal).is_some_and(|lane| lane.held.contains(&id) || lane.gone.contains(&id))
    }

    /// Items that wait to be read.
    pub fn waiting(&self, portal: &PortalId) -> usize {
        self.lanes().get(portal).map_or(0, |lane| lane.waiting.len())
    }

    /// Takes a notice in hand: it is answered once its item was read. Must be called inside an arbiter.
    pub fn add(
        self: &Arc<Self>,
        portal: &PortalId,
        id: NoticeId,
        item: CrmItem,
        told: Told,
        scheduler: &Addr<RetryScheduler>,
    ) {
        let mut lanes = self.lanes();
        let lane = lanes.entry(portal.clone()).or_default();
        lane.add(id, item, told);
        if !lane.running {
            lane.running = true;
            let work = Work {
                reader: self.clone(),
                portal: portal.clone(),
                scheduler: scheduler.clone(),
                ended: Cell::new(false),
            };
            actix::spawn(work.run());
        }
    }
}

/// The task of one lane; ends when nothing waits.
struct Work {
    reader: Arc<ItemReader>,
    portal: PortalId,
    scheduler: Addr<RetryScheduler>,
    /// Whether it has ended in order.
    ended: Cell<bool>,
}

impl Drop for Work {
    /// A task that ends in the middle (a panic, a stop) lets everything go: the inbox offers it again.
    fn drop(&mut self) {
        if !self.ended.get() {
            self.with_lane(|lane| *lane = Lane::default());
        }
    }
}

impl Work {
    async fn run(self) {
        tokio::time::sleep(GATHER).await;
        while !self.reader.parts.is_draining() {
            let next = self.with_lane(|lane| lane.next(Instant::now()));
            self.show_waiting();
            match next {
                Next::Read(turns) => {
                    let many = turns.len() > STORM_ITEMS && turns.len() < ROUND_ITEMS;
                    self.round(turns).await;
                    tokio::time::sleep(if many { GATHER_IN_STORM } else { GATHER }).await;
                }
                // What comes meanwhile may be due earlier.
                Next::Wait(until) => {
                    tokio::time::sleep_until(until.min(Instant::now() + AGAIN_MIN)).await;
                }
                Next::Done => return self.ended.set(true),
            }
        }
    }

    fn with_lane<T>(&self, change: impl FnOnce(&mut Lane) -> T) -> T {
        change(self.reader.lanes().entry(self.portal.clone()).or_default())
    }

    fn show_waiting(&self) {
        let waiting = self.reader.waiting(&self.portal) as u64;
        self.reader.parts.metrics.set_items_waiting(self.portal.as_str(), waiting);
    }

    /// Reads the items of all turns and answers their notices.
    async fn round(&self, turns: Vec<Turn>) {
        let (mut chunks, mut by_type) = (Vec::new(), BTreeMap::<u32, Vec<Turn>>::new());
        for turn in turns {
            let of_type = by_type.entry(turn.item.entity_type_id).or_default();
            of_type.push(turn);
            if of_type.len() == item_pages::IDS_MAX {
                chunks.push(std::mem::take(of_type));
            }
        }
        chunks.extend(by_type.into_values().filter(|rest| !rest.is_empty()));
        let answered: Vec<Vec<Answered>> =
            stream::iter(chunks).map(|chunk| self.chunk(chunk)).buffer_unordered(ROUND_ITEMS).collect().await;
        self.conclude(answered.into_iter().flatten()).await;
    }

    /// Items of one type, at most a page.
    async fn chunk(&self, turns: Vec<Turn>) -> Vec<Answered> {
        if self.reader.parts.capabilities.lacks(&self.portal, item_pages::METHOD) {
            return self.each_alone(turns).await;
        }
        let Some(caller) = self.reader.caller(&self.portal) else {
            return turns.into_iter().map(left_without_portal).collect();
        };
        let type_id = turns[0].item.entity_type_id;
        let ids: Vec<u64> = turns.iter().map(|turn| turn.item.id).collect();
        let (_, fields) = item_rules::wishes(&self.reader.parts, &self.portal, type_id);
        let read = item_pages::by_ids(&caller, type_id, &ids, &fields).await;
        let outcome = read.as_ref().map_or_else(|f| CallOutcome::from(f.class), |_| CallOutcome::Ok);
        self.reader.parts.metrics.items_read(self.portal.as_str(), outcome, ids.len());
        match read {
            Ok(rows) => {
                let mut rows: HashMap<CrmItem, Listed> =
                    rows.into_iter().map(|row| (row.item.item, row)).collect();
                let with_rows: Vec<_> =
                    turns.into_iter().map(|turn| (rows.remove(&turn.item), turn)).collect();
                let caller = &caller;
                stream::iter(with_rows)
                    .map(|(row, turn)| async move {
                        match row {
                            Some(row) => self.answer(turn, &row).await,
                            None => self.look_for(turn, caller).await,
                        }
                    })
                    .buffer_unordered(ANSWERED_AT_ONCE)
                    .collect()
                    .await
            }
            // A list that can never be had (an old box, no rights): each item gets its document, which can fall
            // back or say to a person what is wrong.
            Err(failure) if failure.class == FailureClass::Permanent => {
                tracing::warn!(portal = %self.portal, code = %failure.code, "items cannot be listed, each is read alone");
                self.each_alone(turns).await
            }
            Err(failure) => turns.into_iter().map(|turn| Answered::Unread(turn, failure.clone())).collect(),
        }
    }

    async fn each_alone(&self, turns: Vec<Turn>) -> Vec<Answered> {
        let each = stream::iter(turns).map(|turn| self.begin(turn));
        each.buffer_unordered(ANSWERED_AT_ONCE).collect().await
    }

    /// A list does not say why an item is missing in it.
    async fn look_for(&self, turn: Turn, caller: &dyn Caller) -> Answered {
        match crm::item_get(caller, turn.item).await {
            Ok(item) => self.answer(turn, &Listed { item, updated_by: None }).await,
            Err(failure) if failure.code == "not_found" => {
                self.settle(turn, TriggerOutcome::Filtered, "gone")
            }
            Err(failure) if failure.class == FailureClass::Permanent => self.begin(turn).await,
            Err(failure) => Answered::Unread(turn, failure),
        }
    }

    async fn answer(&self, turn: Turn, row: &Listed) -> Answered {
        let verdict = match item_rules::judge(&self.reader.parts, &self.portal, row).await {
            Ok(verdict) => verdict,
            Err(error) => return left(turn, &error),
        };
        match verdict {
            Verdict::NotWanted => self.settle(turn, TriggerOutcome::Filtered, "not_wanted"),
            Verdict::AllTaken => self.settle(turn, TriggerOutcome::Duplicate, "all_taken"),
            Verdict::OwnWrite => self.settle(turn, TriggerOutcome::Echo, "own_write"),
            Verdict::Wanted | Verdict::NoSuchField => self.begin(turn).await,
        }
    }

    /// The item gets its document, or the one that is reading it is told that it has changed again.
    async fn begin(&self, turn: Turn) -> Answered {
        let Some((first, repeats)) = turn.notices.split_first() else { return Answered::Done(Vec::new()) };
        let create = Create {
            portal: self.portal.clone(),
            source: Source::CrmItem { item: turn.item },
            rule: None,
            robot: None,
            notice: Some(*first),
        };
        let outcome = match self.scheduler.send(create).await {
            Ok(Err(HandleError::Taken { by })) => {
                let again = Deliver { saga: by, event: Event::TriggeredAgain, notice: Some(*first) };
                self.scheduler.send(again).await
            }
            other => {
                if let Ok(Ok(_)) = &other {
                    self.count(started(turn.told));
                }
                other
            }
        };
        match outcome {
            Ok(Ok(_)) => {
                repeats.iter().for_each(|_| self.count(TriggerOutcome::Coalesced));
                self.with_lane(|lane| lane.answered(&[*first]));
                Answered::Done(repeats.to_vec())
            }
            Ok(Err(error)) => left(turn, &error),
            Err(error) => left(turn, &error),
        }
    }

    /// No document is to be made; the notices are taken out of the inbox with those of the whole round.
    fn settle(&self, turn: Turn, outcome: TriggerOutcome, why: &'static str) -> Answered {
        tracing::debug!(portal = %self.portal, item = %turn.item, notices = turn.notices.len(), why, "an item needs no work");
        self.count(outcome);
        turn.notices.iter().skip(1).for_each(|_| self.count(TriggerOutcome::Coalesced));
        Answered::Done(turn.notices)
    }

    fn count(&self, outcome: TriggerOutcome) {
        self.reader.parts.metrics.triggered(TriggerKind::DealStage, outcome);
    }

    /// What is done leaves the inbox in one durable write; what could not be read goes back into the lane, and the
    /// next round waits a little.
    async fn conclude(&self, answered: impl Iterator<Item = Answered>) {
        let (mut done, mut unread, mut worst, mut left_reason) =
            (Vec::new(), Vec::new(), None::<Failure>, None);
        for one in answered {
            match one {
                Answered::Done(notices) => done.extend(notices),
                Answered::Unread(turn, failure) => {
                    unread.push(turn);
                    worst = Some(match worst.take() {
                        Some(known) if known.retry_after_ms >= failure.retry_after_ms => known,
                        Some(_) | None => failure,
                    });
                }
                Answered::Left(notices, reason) => {
                    self.with_lane(|lane| lane.let_go(&notices));
                    left_reason = Some(reason);
                }
            }
        }
        let settled = self.reader.parts.store.settle_done(done.clone()).await;
        if let Err(error) = &settled {
            left_reason = Some(error.to_string());
        }
        if let Some(failure) = &worst {
            let (unread, code, reason) = (unread.len(), &failure.code, &failure.reason.en);
            tracing::warn!(portal = %self.portal, unread, %code, %reason, "items wait for the portal to be readable");
        }
        self.with_lane(|lane| {
            match settled {
                Ok(()) => lane.answered(&done),
                Err(_) => lane.let_go(&done),
            }
            unread.into_iter().for_each(|turn| lane.put_back(turn));
            lane.failed_in_a_row = if worst.is_some() { lane.failed_in_a_row.saturating_add(1) } else { 0 };
            lane.not_before = worst.as_ref().map(|f| Instant::now() + pause_after(lane.failed_in_a_row, f));
        });
        if let Some(reason) = left_reason {
            tracing::warn!(portal = %self.portal, %reason, "notices wait for a later attempt");
        }
    }
}

fn started(told: Told) -> TriggerOutcome {
    match told {
        Told::ByEvent => TriggerOutcome::Started,
        Told::BySecondChannel => TriggerOutcome::Healed,
    }
}

fn left(turn: Turn, error: &dyn std::error::Error) -> Answered {
    Answered::Left(turn.notices, super::error_chain(error))
}

fn left_without_portal(turn: Turn) -> Answered {
    Answered::Left(turn.notices, "the portal is no longer known".to_owned())
}

/// Doubles with each failed round; never shorter than the portal asks for.
fn pause_after(failed_in_a_row: u32, failure: &Failure) -> Duration {
    let doubled = FAILED_MIN.saturating_mul(1 << failed_in_a_row.saturating_sub(1).min(10)).min(FAILED_MAX);
    doubled.max(Duration::from_millis(failure.retry_after_ms.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FailureKind, Text};

    fn deal(id: u64) -> CrmItem {
        CrmItem { entity_type_id: 2, id }
    }

    fn read(lane: &mut Lane, now: Instant) -> Vec<(CrmItem, usize)> {
        match lane.next(now) {
            Next::Read(turns) => turns.iter().map(|turn| (turn.item, turn.notices.len())).collect(),
            Next::Wait(_) | Next::Done => Vec::new(),
        }
    }

    #[tokio::test]
    async fn many_events_of_one_item_share_one_reading() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        for n in 0..100 {
            lane.add(NoticeId(n), deal(1), Told::ByEvent);
        }
        lane.add(NoticeId(100), deal(2), Told::ByEvent);
        lane.add(NoticeId(100), deal(2), Told::ByEvent);
        assert_eq!(read(&mut lane, now), [(deal(1), 100), (deal(2), 1)]);
    }

    #[tokio::test]
    async fn an_item_that_keeps_changing_is_read_more_and_more_rarely() {
        let (mut lane, begin) = (Lane::default(), Instant::now());
        let (mut readings, mut id) = (0, 0);
        // Two minutes of a change every 10 ms: twelve thousand events.
        for tick in 0..12_000_u64 {
            let now = begin + Duration::from_millis(tick * 10);
            id += 1;
            lane.add(NoticeId(id), deal(1), Told::ByEvent);
            let turns = read(&mut lane, now);
            readings += turns.len();
            turns.iter().for_each(|_| lane.held.clear());
        }
        assert!((6..=14).contains(&readings), "{readings} readings");
        // After a rest it is read at once again.
        let rested = begin + Duration::from_secs(300);
        assert_eq!(read(&mut lane, rested).len(), 1);
        lane.add(NoticeId(id + 1), deal(1), Told::ByEvent);
        assert_eq!(read(&mut lane, rested + Duration::from_secs(31)).len(), 1);
    }

    #[tokio::test]
    async fn an_event_that_comes_during_a_reading_is_answered_by_a_later_one() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.add(NoticeId(1), deal(1), Told::ByEvent);
        let Next::Read(turns) = lane.next(now) else { panic!("the item is due") };
        lane.add(NoticeId(2), deal(1), Told::ByEvent);
        assert!(lane.held.contains(&NoticeId(1)));
        drop(turns);
        assert_eq!(read(&mut lane, now + AGAIN_MIN), [(deal(1), 1)]);
    }

    #[tokio::test]
    async fn what_could_not_be_read_keeps_its_place_and_its_notices() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.add(NoticeId(1), deal(1), Told::BySecondChannel);
        let Next::Read(mut turns) = lane.next(now) else { panic!("the item is due") };
        lane.add(NoticeId(2), deal(9), Told::ByEvent);
        lane.add(NoticeId(3), deal(1), Told::ByEvent);
        lane.put_back(turns.remove(0));
        assert_eq!(read(&mut lane, now), [(deal(9), 1), (deal(1), 2)]);
    }

    #[tokio::test]
    async fn a_notice_that_was_answered_is_not_read_again_when_an_old_page_offers_it() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.add(NoticeId(1), deal(1), Told::ByEvent);
        assert_eq!(read(&mut lane, now).len(), 1);
        lane.answered(&[NoticeId(1)]);
        lane.add(NoticeId(1), deal(1), Told::ByEvent);
        assert!(read(&mut lane, now + AGAIN_MAX).is_empty());
        assert!(lane.held.is_empty());
    }

    #[tokio::test]
    async fn one_round_takes_no_more_than_one_request_can_ask_for() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        for n in 0..10_000 {
            lane.add(NoticeId(n), deal(n), Told::ByEvent);
        }
        let rounds: Vec<usize> = (0..5).map(|_| read(&mut lane, now).len()).collect();
        assert_eq!(rounds, [2_500, 2_500, 2_500, 2_500, 0]);
    }

    #[test]
    fn pauses_after_failures_grow_and_respect_the_portal() {
        let plain =
            Failure::new(FailureClass::Transient, FailureKind::ServerError, "http_502", Text::default());
        let pauses: Vec<u64> = (1..=9).map(|n| pause_after(n, &plain).as_millis() as u64).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(pause_after(1, &plain.retry_after_ms(7_000)), Duration::from_secs(7));
    }
}
