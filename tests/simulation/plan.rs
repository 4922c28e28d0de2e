//! What a seed decides before anything happens: the configuration, the documents, how rough the world is.

use super::chance::Chance;
use edobridge::domain::{
    Capabilities, CrmItem, FileTransport, Language, PortalId, SigningService, Timestamp,
};
use edobridge::providers::bitrix24::budget::LeakyBucket;
use edobridge::saga::document::own_signature::{Counterparty, CounterpartyKind, OwnSigner};
use edobridge::saga::document::state::{CommentFile, Occasion};
use edobridge::saga::document::transition::OwnPolicy;
use edobridge::saga::document::{Delivery, Policy};
use edobridge::saga::retry::Schedule;

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;
pub const START: Timestamp = Timestamp(1_700_000_000_000);
/// Watched; the originals lie here, and the signed copies are put here too: their echoes must start nothing.
pub const FOLDER: u64 = 77;
/// The field in which originals are found and signed files are put.
pub const FIELD: &str = "ufCrmContract";
/// The stage in which files of an item are wanted.
pub const SIGNING: &str = "C1:SIGNING";

/// What a document is, and what is wished for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A file of the Drive, signed at EasyDocs.
    Plain,
    /// Files in a field of a CRM item; the signed one comes back into the same field, and the item moves on.
    OfItem,
    /// A generated document that a robot orders; the robot waits for the end.
    OfRobot,
    /// A file of the Drive that our director signs first, at iDocs.
    Own,
    /// As a robot's, and our director signs it first.
    OwnOfRobot,
}

/// One document of the script.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub sort: Sort,
    pub portal: Portal,
    /// When it begins, milliseconds after the start.
    pub at_ms: u64,
    pub item: u64,
    pub file: u64,
}

/// All of it.
pub struct Plan {
    pub policy: Policy,
    /// That of each portal.
    pub buckets: [LeakyBucket; 2],
    pub wishes: Vec<Wish>,
    /// How long the world is rough.
    pub chaos_ms: u64,
    /// How often a call goes wrong.
    pub fault_permille: u64,
    /// How often a sending goes wrong that nothing finds again, besides.
    pub sending_fault_permille: u64,
    /// How often the process dies, at each of the places where it can.
    pub crash_permille: u64,
    /// How often the disk fails under the living process, at each write.
    pub ailing_permille: u64,
    /// Whether the disk fails for a while, until somebody mends it.
    pub breaks_down: bool,
    /// Whether the signing service answers a repeated create of one id with the first document.
    pub idempotent: bool,
    /// Whether iDocs answers a number that it has seen with an error, instead of making a second document.
    pub refuses_repeats: bool,
    /// Which release's records are written at first; 0 = the newest.
    pub version: u16,
    /// Whether everything begins at once at a portal with a small bucket, and the process dies in the middle of it.
    pub storm: bool,
}

/// How iDocs is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// By drafts.
    V3,
    /// By one call that takes file and signature together.
    V1,
}

/// How many files lie in the field of this item.
pub fn files_of(item: u64) -> u64 {
    1 + item % 4
}

/// One of the two portals. Their files and items have the same numbers: only the portal tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Portal {
    Main,
    Second,
}

impl Portal {
    pub const ALL: [Self; 2] = [Self::Main, Self::Second];

    pub fn id(self) -> PortalId {
        PortalId(if self == Self::Main { "main" } else { "second" }.into())
    }

    pub fn of(id: &PortalId) -> Self {
        let found = Self::ALL.into_iter().find(|portal| portal.id() == *id);
        found.unwrap_or_else(|| panic!("nobody has made the portal {id:?}"))
    }
}

pub fn deal(id: u64) -> CrmItem {
    CrmItem { entity_type_id: 2, id }
}

impl Plan {
    /// Whether a document of it goes to iDocs in one piece.
    pub fn sends_whole(&self) -> bool {
        self.policy.own.service.transport == FileTransport::WithTheDocument
            && self.wishes.iter().any(|wish| matches!(wish.sort, Sort::Own | Sort::OwnOfRobot))
    }

    pub fn of(chance: &mut Chance) -> Self {
        let chaos_ms = chance.pick(&[6 * HOUR, 3 * DAY, 21 * DAY]);
        let idempotent = chance.percent(10);
        let interface = chance.pick(&[Interface::V3, Interface::V1]);
        let storm = chance.percent(25);
        let count = if storm { chance.between(5, 10) } else { chance.between(1, 5) };
        // Often all of them are at one portal: a storm there must fill its bucket.
        let two = chance.percent(50);
        let within_ms = if storm { 4 * SECOND } else { chaos_ms };
        let wishes = (0..count).map(|n| {
            let portal = if two { Portal::ALL[usize::from(n % 2 == 1)] } else { Portal::Main };
            wish(chance, portal, if two { n / 2 } else { n }, within_ms)
        });
        let wishes = wishes.collect();
        Self {
            policy: policy(chance, idempotent, interface),
            buckets: [bucket(chance, storm), bucket(chance, storm)],
            wishes,
            chaos_ms,
            fault_permille: chance.pick(&[0, 50, 150, 350]),
            sending_fault_permille: chance.pick(&[0, 400, 700]),
            crash_permille: chance.pick(&[0, 3, 8, 25]),
            ailing_permille: chance.pick(&[0, 5, 20, 60]),
            breaks_down: chance.percent(6),
            idempotent,
            refuses_repeats: chance.percent(50),
            version: chance.pick(&[0, 1, 1, 2]),
            storm,
        }
    }
}

/// The numbers begin anew at each portal.
fn wish(chance: &mut Chance, portal: Portal, n: u64, within_ms: u64) -> Wish {
    let sort = chance.pick(&[
        Sort::Plain,
        Sort::Plain,
        Sort::OfItem,
        Sort::OfRobot,
        Sort::Own,
        Sort::Own,
        Sort::OwnOfRobot,
    ]);
    Wish { sort, portal, at_ms: chance.below(within_ms / 2 + 1), item: 500 + n, file: 9_000 + 10 * n }
}

fn bucket(chance: &mut Chance, storm: bool) -> LeakyBucket {
    let small = |chance: &mut Chance, burst| LeakyBucket {
        rate_milli_per_s: u32::try_from(chance.between(200, 2_000)).expect("small"),
        burst: u32::try_from(burst).expect("small"),
    };
    match chance.below(3) {
        _ if storm => {
            let burst = chance.between(4, 8);
            small(chance, burst)
        }
        0 => LeakyBucket::CLOUD,
        _ => {
            let burst = chance.between(4, 20);
            small(chance, burst)
        }
    }
}

fn policy(chance: &mut Chance, idempotent: bool, interface: Interface) -> Policy {
    let settle_ms = chance.pick(&[15 * SECOND, 45 * SECOND]);
    Policy {
        create_is_idempotent: idempotent,
        server_error: Schedule::finite([10 * SECOND, 30 * SECOND]),
        portal_error: Schedule::finite([5 * SECOND, 15 * SECOND, MINUTE]),
        outage: Schedule::finite([SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR]),
        jitter_percent: 20,
        settle_ms,
        looks: u32::try_from(chance.between(2, 3)).expect("small"),
        rounds_max: u32::try_from(chance.between(2, 3)).expect("small"),
        doubt_until: None,
        search_available: chance.percent(70),
        poll: chance.percent(40).then(|| Schedule::endless([HOUR, 6 * HOUR])),
        callback_grace_ms: HOUR,
        repeat_create_on_server_error: false,
        reminders_ms: vec![DAY, 3 * DAY],
        deadline_ms: 14 * DAY,
        lease_ms: chance.pick(&[2 * MINUTE, 10 * MINUTE]),
        throttled_ms: 10 * SECOND,
        pdf_pause_ms: 35 * SECOND,
        pdf_wait_ms: 30 * MINUTE,
        language: chance.pick(&[Language::Ru, Language::En]),
        own: OwnPolicy {
            service: match interface {
                Interface::V3 => SigningService::Idocs.capabilities(),
                Interface::V1 => Capabilities::of_idocs_v1(),
            },
            process: Schedule::endless([10 * SECOND, MINUTE, 10 * MINUTE]),
            process_deadline_ms: HOUR,
            whole_file_end: "p7s".into(),
            number_template: "{name}-{short}".into(),
            poll: Schedule::endless([HOUR, 6 * HOUR]),
            reminders_ms: vec![DAY, 3 * DAY],
            escalation_ms: 4 * DAY,
            counterparty_reminders_ms: vec![DAY, 3 * DAY],
            deadline_ms: 14 * DAY,
            settle_ms,
        },
    }
}

/// What the rule of a sort wishes.
pub fn delivery(sort: Sort) -> Delivery {
    let plain = Delivery {
        rule: format!("{sort:?}"),
        route_id: "route-1".into(),
        folder_id: Some(FOLDER),
        suffix: "_signed".into(),
        comment: true,
        notify: vec![7, 8],
        notify_on: vec![Occasion::Signed, Occasion::Refused, Occasion::Reminder],
        ..Delivery::default()
    };
    let of_item = |plain| Delivery {
        field: Some(FIELD.into()),
        comment_file: CommentFile::Attached,
        stage_on_signed: Some("C1:WON".into()),
        stage_on_refused: Some("C1:LOSE".into()),
        item_stage: Some(SIGNING.into()),
        ..plain
    };
    let signer = || Some(Box::new(director()));
    match sort {
        Sort::Plain => plain,
        Sort::OfItem | Sort::OfRobot => of_item(plain),
        Sort::Own => Delivery { signer: signer(), ..plain },
        Sort::OwnOfRobot => Delivery { signer: signer(), ..of_item(plain) },
    }
}

fn director() -> OwnSigner {
    OwnSigner {
        name: "director".into(),
        employee_id: "employee-1".into(),
        user: Some(17),
        escalate_to: vec![18],
        group: "Legal".into(),
        counterparty: Counterparty {
            bin: "123456789012".into(),
            email: "office@example.kz".into(),
            kind: CounterpartyKind::Company,
        },
    }
}
