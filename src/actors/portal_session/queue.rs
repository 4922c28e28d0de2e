//! What waits for a portal, and what goes next: the order of a queue that shares requests.
//!
//! Interactive work first, but background work is never starved; within a class the oldest deadline first. Calls that
//! may share a request are gathered, the longer the scarcer requests are; transfers and calls that must be alone take
//! the requests in between. Pure: no clock, no actor; it does not know what the work is.
//!
//! Invariants: nothing is lost or doubled; a call waits for company at most its window once a request is free; joined
//! reads are only such as have not been sent yet, so that a joined answer is never older than its question.

use crate::domain::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A person.
    Interactive,
    /// A saga.
    Background,
}

/// How a piece of work uses requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sharing {
    /// May go in one request with others.
    Shared,
    /// Needs a request of its own.
    Alone,
    /// Needs a request of its own and one of the transfer slots.
    Transfer,
}

/// One piece of waiting work.
#[derive(Debug)]
pub struct Ticket<T> {
    /// Who waits.
    pub priority: Priority,
    /// How it uses requests.
    pub sharing: Sharing,
    /// Older goes first: when the work behind it began.
    pub due: Timestamp,
    /// Since when it waits here.
    pub since: Timestamp,
    /// Reads with the same name are answered by one request; none: never joined.
    pub same: Option<String>,
    /// The work.
    pub load: T,
}

/// What the queue may count on now.
#[derive(Debug, Clone, Copy)]
pub struct Outlook {
    /// The present.
    pub now: Timestamp,
    /// Calls that fit into one request.
    pub room: usize,
    /// Requests that background calls may begin now.
    pub background_free: usize,
    /// Requests that interactive calls may begin now.
    pub interactive_free: usize,
    /// Transfers that may begin now.
    pub transfers_free: usize,
    /// How long background calls wait for company, in milliseconds.
    pub gather_ms: u64,
    /// The same while transfers want the same requests.
    pub contended_gather_ms: u64,
}

/// What goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Calls in one request, led by this class: [`WaitingWork::take_shared`].
    Shared(Priority),
    /// One piece alone: [`WaitingWork::take_single`].
    Single(Priority, Sharing),
    /// Nothing before this moment, unless something ends or comes.
    Later(Timestamp),
    /// Nothing, until something ends or comes.
    Nothing,
}

/// Interactive requests in a row before a background one goes in between.
pub const INTERACTIVE_STREAK_MAX: u32 = 4;

type Place = (Timestamp, u64);
type Lane<T> = BTreeMap<Place, Ticket<T>>;

/// Everything that waits for one portal.
#[derive(Debug)]
pub struct WaitingWork<T> {
    lanes: BTreeMap<(Priority, Sharing), Lane<T>>,
    same: HashMap<(Priority, String), Place>,
    /// Since when the present company of background calls gathers.
    gathering_since: Option<Timestamp>,
    streak: u32,
    next: u64,
}

impl<T> Default for WaitingWork<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), same: HashMap::new(), gathering_since: None, streak: 0, next: 0 }
    }
}

impl<T> WaitingWork<T> {
    /// How much waits.
    pub fn len(&self) -> usize {
        self.lanes.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.values().all(BTreeMap::is_empty)
    }

    /// How much waits in one class.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.lanes.iter().filter(|((class, _), _)| *class == priority).map(|(_, lane)| lane.len()).sum()
    }

    /// Puts a piece of work into the queue.
    pub fn push(&mut self, ticket: Ticket<T>) {
        let place = (ticket.due, self.next);
        self.next += 1;
        self.insert(place, ticket);
    }

    fn insert(&mut self, place: Place, ticket: Ticket<T>) {
        if (ticket.priority, ticket.sharing) == (Priority::Background, Sharing::Shared) {
            let since = self.gathering_since.map_or(ticket.since, |since| since.min(ticket.since));
            self.gathering_since = Some(since);
        }
        if let Some(name) = &ticket.same {
            self.same.insert((ticket.priority, name.clone()), place);
        }
        self.lanes.entry((ticket.priority, ticket.sharing)).or_default().insert(place, ticket);
    }

    /// The waiting read of the same class and name that a further one may join; it is due no later than `due` then.
    pub fn join(&mut self, priority: Priority, name: &str, due: Timestamp) -> Option<&mut T> {
        let place = *self.same.get(&(priority, name.to_owned()))?;
        let lane = self.lanes.get_mut(&(priority, Sharing::Shared))?;
        let mut place = place;
        if due < place.0 {
            let mut ticket = lane.remove(&place)?;
            ticket.due = due;
            place.0 = due;
            self.same.insert((priority, name.to_owned()), place);
            lane.insert(place, ticket);
        }
        lane.get_mut(&place).map(|ticket| &mut ticket.load)
    }

    /// What goes next.
    pub fn choose(&self, outlook: &Outlook) -> Choice {
        let first = self.choose_in(Priority::Interactive, outlook);
        let second = self.choose_in(Priority::Background, outlook);
        let sendable = |choice| matches!(choice, Choice::Shared(_) | Choice::Single(..));
        let others_turn = self.streak >= INTERACTIVE_STREAK_MAX && sendable(second);
        match (first, second) {
            (first, _) if sendable(first) && !others_turn => first,
            (_, second) if second != Choice::Nothing => second,
            (first, _) => first,
        }
    }

    fn choose_in(&self, class: Priority, outlook: &Outlook) -> Choice {
        let (free, company_ms, contended_ms) = match class {
            Priority::Interactive => (outlook.interactive_free, 0, 0),
            Priority::Background => (outlook.background_free, outlook.gather_ms, outlook.contended_gather_ms),
        };
        let single = self.single(class, free, outlook.transfers_free);
        let one_alone = single.map_or(Choice::Nothing, |(_, sharing)| Choice::Single(class, sharing));
        let lane = self.lanes.get(&(class, Sharing::Shared));
        let Some((calls, (due, _))) = lane.and_then(|lane| Some((lane.len(), *lane.keys().next()?))) else {
            return one_alone;
        };
        if free == 0 {
            return one_alone;
        }
        if outlook.room <= 1 {
            // Nothing is shared now: all queue in one line.
            return if single.is_some_and(|(at, _)| at < due) { one_alone } else { Choice::Shared(class) };
        }
        let window_ms = if single.is_some() { contended_ms } else { company_ms };
        let since = self.gathering_since.filter(|_| class == Priority::Background).unwrap_or(outlook.now);
        let ready_at = since.plus_ms(window_ms);
        if calls >= outlook.room || ready_at <= outlook.now {
            return Choice::Shared(class);
        }
        if single.is_some() { one_alone } else { Choice::Later(ready_at) }
    }

    fn single(
        &self,
        class: Priority,
        calls_free: usize,
        transfers_free: usize,
    ) -> Option<(Timestamp, Sharing)> {
        let first = |sharing| {
            let lane = self.lanes.get(&(class, sharing))?;
            Some((lane.keys().next()?.0, sharing))
        };
        let alone = first(Sharing::Alone).filter(|_| calls_free > 0);
        let transfer = first(Sharing::Transfer).filter(|_| transfers_free > 0);
        [alone, transfer].into_iter().flatten().min()
    }

    /// Takes up to `room` calls for one request: the first of `leader`, then interactive ones, then background ones.
    pub fn take_shared(&mut self, leader: Priority, room: usize) -> Vec<Ticket<T>> {
        self.count_turn(leader);
        let mut taken: Vec<Ticket<T>> = self.pop(leader, Sharing::Shared).into_iter().collect();
        for class in [Priority::Interactive, Priority::Background] {
            while taken.len() < room {
                match self.pop(class, Sharing::Shared) {
                    Some(ticket) => taken.push(ticket),
                    None => break,
                }
            }
        }
        let left = self.lanes.get(&(Priority::Background, Sharing::Shared));
        self.gathering_since = left.and_then(|lane| lane.values().map(|ticket| ticket.since).min());
        taken
    }

    /// Takes the first that needs a request of its own.
    pub fn take_single(&mut self, class: Priority, sharing: Sharing) -> Option<Ticket<T>> {
        self.count_turn(class);
        self.pop(class, sharing)
    }

    fn count_turn(&mut self, class: Priority) {
        self.streak = match class {
            Priority::Interactive => self.streak.saturating_add(1),
            Priority::Background => 0,
        };
    }

    fn pop(&mut self, class: Priority, sharing: Sharing) -> Option<Ticket<T>> {
        let (_, ticket) = self.lanes.get_mut(&(class, sharing))?.pop_first()?;
        if let Some(name) = &ticket.same {
            self.same.remove(&(class, name.clone()));
        }
        Some(ticket)
    }

    /// Takes out everything that `unwanted` says.
    pub fn take_out(&mut self, mut unwanted: impl FnMut(&Ticket<T>) -> bool) -> Vec<Ticket<T>> {
        let mut out = Vec::new();
        for lane in self.lanes.values_mut() {
            let places: Vec<Place> =
                lane.iter().filter(|(_, ticket)| unwanted(ticket)).map(|(place, _)| *place).collect();
            out.extend(places.iter().filter_map(|place| lane.remove(place)));
        }
        for ticket in &out {
            if let Some(name) = &ticket.same {
                self.same.remove(&(ticket.priority, name.clone()));
            }
        }
        let left = self.lanes.get(&(Priority::Background, Sharing::Shared));
        self.gathering_since = left.and_then(|lane| lane.values().map(|ticket| ticket.since).min());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Background, Interactive};
    use Sharing::{Alone, Shared, Transfer};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn ticket(priority: Priority, sharing: Sharing, due: i64, load: &'static str) -> Ticket<&'static str> {
        Ticket { priority, sharing, due: Timestamp(due), since: NOW, same: None, load }
    }

    fn outlook() -> Outlook {
        Outlook {
            now: NOW.plus_ms(100),
            room: 50,
            background_free: 2,
            interactive_free: 3,
            transfers_free: 1,
            gather_ms: 20,
            contended_gather_ms: 5_000,
        }
    }

    fn loads(taken: Vec<Ticket<&'static str>>) -> Vec<&'static str> {
        taken.into_iter().map(|ticket| ticket.load).collect()
    }

    #[test]
    fn a_person_goes_first_and_takes_waiting_sagas_along() {
        let mut work = WaitingWork::default();
        work.push(ticket(Background, Shared, 1, "saga"));
        work.push(ticket(Interactive, Shared, 9, "person"));
        assert_eq!(work.choose(&outlook()), Choice::Shared(Interactive));
        assert_eq!(loads(work.take_shared(Interactive, 50)), ["person", "saga"]);
        assert_eq!(work.choose(&outlook()), Choice::Nothing);
    }

    #[test]
    fn people_who_never_stop_asking_do_not_starve_the_sagas() {
        let mut work = WaitingWork::default();
        for _ in 0..10 {
            work.push(ticket(Interactive, Alone, 1, "person"));
        }
        work.push(ticket(Background, Transfer, 1, "saga"));
        let mut order = Vec::new();
        while let Choice::Single(class, sharing) = work.choose(&outlook()) {
            order.extend(work.take_single(class, sharing).map(|ticket| ticket.load));
        }
        let turn = order.iter().position(|load| *load == "saga");
        assert_eq!(turn, Some(INTERACTIVE_STREAK_MAX as usize), "{order:?}");
    }

    #[test]
    fn within_a_class_the_oldest_deadline_goes_first() {
        let mut work = WaitingWork::default();
        for (due, load) in [(30, "third"), (10, "first"), (20, "second")] {
            work.push(ticket(Background, Shared, due, load));
            work.push(ticket(Background, Transfer, due, load));
        }
        assert_eq!(loads(work.take_shared(Background, 2)), ["first", "second"]);
        assert_eq!(work.take_single(Background, Transfer).unwrap().load, "first");
    }

    #[test]
    fn calls_wait_for_company_while_transfers_want_the_same_requests() {
        let mut work = WaitingWork::default();
        work.push(ticket(Background, Shared, 1, "call"));
        let early = Outlook { now: NOW.plus_ms(5), ..outlook() };
        assert_eq!(work.choose(&early), Choice::Later(NOW.plus_ms(20)));
        assert_eq!(work.choose(&outlook()), Choice::Shared(Background));
        work.push(ticket(Background, Transfer, 2, "file"));
        assert_eq!(work.choose(&outlook()), Choice::Single(Background, Transfer));
        let later = Outlook { now: NOW.plus_ms(5_000), ..outlook() };
        assert_eq!(work.choose(&later), Choice::Shared(Background), "not for ever");
        let slots_taken = Outlook { transfers_free: 0, ..outlook() };
        assert_eq!(
            work.choose(&slots_taken),
            Choice::Shared(Background),
            "a transfer that cannot go holds nobody up"
        );
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut work = WaitingWork::default();
        work.push(ticket(Background, Transfer, 1, "file"));
        work.push(ticket(Background, Shared, 1, "a"));
        work.push(ticket(Background, Shared, 1, "b"));
        let small = Outlook { room: 2, now: NOW, ..outlook() };
        assert_eq!(work.choose(&small), Choice::Shared(Background));
        let alone = Outlook { room: 1, now: NOW, ..outlook() };
        assert_eq!(work.choose(&alone), Choice::Shared(Background));
    }

    #[test]
    fn what_remains_after_a_batch_gathers_from_its_own_beginning() {
        let mut work = WaitingWork::default();
        work.push(ticket(Background, Shared, 1, "old"));
        work.push(Ticket { since: NOW.plus_ms(90), ..ticket(Background, Shared, 2, "new") });
        assert_eq!(loads(work.take_shared(Background, 1)), ["old"]);
        assert_eq!(work.choose(&outlook()), Choice::Later(NOW.plus_ms(110)));
    }

    #[test]
    fn a_busy_portal_leaves_a_request_for_people_and_for_transfers() {
        let mut work = WaitingWork::default();
        work.push(ticket(Background, Shared, 1, "saga"));
        let busy = Outlook { background_free: 0, interactive_free: 1, ..outlook() };
        assert_eq!(work.choose(&busy), Choice::Nothing);
        work.push(ticket(Background, Transfer, 1, "file"));
        assert_eq!(work.choose(&busy), Choice::Single(Background, Transfer));
        work.push(ticket(Interactive, Shared, 1, "person"));
        assert_eq!(work.choose(&busy), Choice::Shared(Interactive));
    }

    #[test]
    fn the_same_read_is_joined_while_it_waits_and_not_after() {
        let mut work = WaitingWork::default();
        work.push(Ticket { same: Some("read".into()), ..ticket(Background, Shared, 5, "read") });
        work.push(ticket(Background, Shared, 4, "other"));
        assert!(work.join(Interactive, "read", Timestamp(5)).is_none(), "a person does not wait with sagas");
        assert!(work.join(Background, "read", Timestamp(3)).is_some());
        assert_eq!(
            loads(work.take_shared(Background, 1)),
            ["read"],
            "it is as urgent as its most urgent asker"
        );
        assert!(work.join(Background, "read", Timestamp(5)).is_none());
    }

    /// One thing that can happen to a queue.
    #[derive(Debug, Clone)]
    enum Happening {
        Push { interactive: bool, sharing: u8, due: i64, name: u8 },
        Pass { ms: u64, room: usize },
        TakeOut { name: u8 },
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            4 => (any::<bool>(), 0_u8..3, 0_i64..5, 0_u8..6)
                .prop_map(|(interactive, sharing, due, name)| Happening::Push { interactive, sharing, due, name }),
            3 => (0_u64..6_000, 1_usize..6).prop_map(|(ms, room)| Happening::Pass { ms, room }),
            1 => (0_u8..6).prop_map(|name| Happening::TakeOut { name }),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_goes_twice(happenings in prop::collection::vec(happening(), 1..120)) {
            let mut work: WaitingWork<Vec<usize>> = WaitingWork::default();
            let (mut asked, mut answered, mut now) = (0, Vec::new(), NOW);
            for happening in happenings {
                match happening {
                    Happening::Push { interactive, sharing, due, name } => {
                        let priority = if interactive { Interactive } else { Background };
                        let sharing = [Shared, Alone, Transfer][usize::from(sharing)];
                        let same = (sharing == Shared && name > 2).then(|| name.to_string());
                        let due = Timestamp(due);
                        let joined = same.as_deref().and_then(|name| work.join(priority, name, due));
                        match joined {
                            Some(askers) => askers.push(asked),
                            None => work.push(Ticket { priority, sharing, due, since: now, same, load: vec![asked] }),
                        }
                        asked += 1;
                    }
                    Happening::Pass { ms, room } => {
                        now = now.plus_ms(ms);
                        let taken = match work.choose(&Outlook { now, room, ..outlook() }) {
                            Choice::Shared(leader) => work.take_shared(leader, room),
                            Choice::Single(class, sharing) => work.take_single(class, sharing).into_iter().collect(),
                            Choice::Later(at) => { prop_assert!(at > now); Vec::new() }
                            Choice::Nothing => { prop_assert!(work.is_empty()); Vec::new() }
                        };
                        prop_assert!(taken.len() <= room);
                        answered.extend(taken.into_iter().flat_map(|ticket| ticket.load));
                    }
                    Happening::TakeOut { name } => {
                        let name = name.to_string();
                        let out = work.take_out(|ticket| ticket.same.as_deref() == Some(name.as_str()));
                        answered.extend(out.into_iter().flat_map(|ticket| ticket.load));
                    }
                }
            }
            answered.extend(work.take_out(|_| true).into_iter().flat_map(|ticket| ticket.load));
            answered.sort_unstable();
            prop_assert_eq!(answered, (0..asked).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_stays() {
        let mut work = WaitingWork::default();
        work.push(Ticket { same: Some("x".into()), ..ticket(Background, Shared, 1, "blocked") });
        work.push(ticket(Interactive, Alone, 1, "free"));
        assert_eq!(loads(work.take_out(|ticket| ticket.load == "blocked")), ["blocked"]);
        assert!(work.join(Background, "x", Timestamp(1)).is_none());
        assert_eq!((work.len(), work.waiting(Interactive)), (1, 1));
    }
}
