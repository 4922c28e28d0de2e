//! Labels of metrics: closed sets as enums, static names, and names from the configuration.

use crate::domain::{FailureClass, FailureKind};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use std::fmt::{Error, Write as _};

/// An enum whose variants have fixed names as label values.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_values! {
    /// Who sent a notice.
    NoticeSource {
        /// Events of a portal.
        Bitrix24 = "bitrix24",
        /// Callbacks of EasyDocs.
        Easydocs = "easydocs",
        /// iDocs.
        Idocs = "idocs",
        /// The admin API and the command line.
        Operator = "operator",
        /// Signatures from the signing page.
        SigningPage = "signing_page",
    }
}

label_values! {
    /// What a notice was.
    NoticeOutcome {
        /// Stored, to be worked on.
        Accepted = "accepted",
        /// A repeat of one that is stored.
        Duplicate = "duplicate",
        /// Of a kind that no rule asks for.
        Ignored = "ignored",
        /// Authentic but unusable: kept for a person.
        Parked = "parked",
    }
}

label_values! {
    /// Why a request was refused.
    RefusalReason {
        /// Token or signature wrong or missing.
        Forged = "forged",
        /// From an address that may not send.
        Sender = "sender",
        /// Body over the limit.
        Oversized = "oversized",
        /// Body that cannot be read.
        Malformed = "malformed",
        /// Wrong type or encoding of the body.
        MediaType = "media_type",
        /// Too many requests from one address.
        Rate = "rate",
        /// The client was too slow.
        Slow = "slow",
        /// Too much is waiting here.
        Busy = "busy",
        /// The store takes nothing now.
        StoreUnavailable = "store_unavailable",
    }
}

label_values! {
    /// The kind of a trigger.
    TriggerKind {
        /// A watched folder.
        Folder = "folder",
        /// The event of a file.
        FileEvent = "file_event",
        /// The stage of a CRM item.
        DealStage = "deal_stage",
        /// A document of the document generator.
        Generated = "generated_document",
        /// A person or a program asked.
        Request = "request",
    }
}

label_values! {
    /// What came of a file that a trigger showed.
    TriggerOutcome {
        /// A document was started.
        Started = "started",
        /// A document was started for a file whose event had been missed.
        Healed = "healed",
        /// The file has its document already.
        Duplicate = "duplicate",
        /// The file is our own signed copy.
        Echo = "echo",
        /// Name, size, folder or stage did not fit.
        Filtered = "filtered",
        /// One of several events that one reading of the item has answered.
        Coalesced = "coalesced",
    }
}

label_values! {
    /// A way besides the webhook by which changes of a portal are learned.
    HealingChannel {
        /// The portal's offline queue.
        OfflineQueue = "offline_queue",
        /// A periodic question for what changed.
        Sweep = "sweep",
    }
}

label_values! {
    /// Why a change was not told by the webhook, as far as that can be known.
    GapCause {
        /// We were listening, and nothing came.
        Lost = "lost",
        /// It was made before this process started.
        BeforeStart = "before_start",
    }
}

label_values! {
    /// What became of a document in an operation on many at iDocs.
    BulkOutcome {
        /// It was asked for with others.
        Pushed = "pushed",
        /// Its content was made.
        Done = "done",
        /// It failed as its single call would.
        Failed = "failed",
        /// It asked alone after all.
        FellBack = "fell_back",
        /// It was not wanted any more.
        LeftOut = "left_out",
    }
}

label_values! {
    /// What came of the list of events of an iDocs account.
    HistoryOutcome {
        /// It was asked for.
        Asked = "asked",
        /// It could not be read.
        Failed = "failed",
        /// It told of a status that a document had not been seen in, and the document was looked at.
        Used = "used",
    }
}

label_values! {
    /// The remote system of a call.
    Provider {
        /// A portal.
        Bitrix24 = "bitrix24",
        /// The signing service.
        Easydocs = "easydocs",
        /// The signing service of Kazakhstan.
        Idocs = "idocs",
    }
}

label_values! {
    /// How a call ended.
    CallOutcome {
        /// With the answer that was asked for.
        Ok = "ok",
        /// Without effect; it will be repeated.
        Transient = "transient",
        /// Refused by a limit.
        Throttled = "throttled",
        /// Our credentials were refused.
        Auth = "auth",
        /// Refused for good.
        Permanent = "permanent",
        /// Nobody knows.
        Ambiguous = "ambiguous",
    }
}

impl From<FailureClass> for CallOutcome {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Transient => Self::Transient,
            FailureClass::Throttled => Self::Throttled,
            FailureClass::Auth => Self::Auth,
            FailureClass::Permanent => Self::Permanent,
            FailureClass::Ambiguous => Self::Ambiguous,
        }
    }
}

label_values! {
    /// The kind of a request to a portal.
    RequestKind {
        /// One method.
        Single = "single",
        /// Several methods in one batch.
        Batch = "batch",
        /// A download or the second step of an upload.
        Transfer = "transfer",
    }
}

label_values! {
    /// How a renewal of tokens ended.
    TokenOutcome {
        /// There is a new pair.
        Renewed = "renewed",
        /// The server refused.
        Refused = "refused",
        /// There was no usable answer.
        Failed = "failed",
    }
}

/// The state of a circuit breaker; its number is the value of the gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Calls go through.
    Closed = 0,
    /// One probe is on its way.
    HalfOpen = 1,
    /// Nothing is sent.
    Open = 2,
}

/// The label of a kind of failure.
pub(super) const fn failure_kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "unreachable",
        FailureKind::NoAnswer => "no_answer",
        FailureKind::ServerError => "server_error",
        FailureKind::Garbled => "garbled",
        FailureKind::Refused => "refused",
        FailureKind::Limit => "limit",
        FailureKind::Credentials => "credentials",
        FailureKind::Local => "local",
    }
}

/// Declares sets of labels, which differ only in their fields.
macro_rules! label_sets {
    ($($name:ident { $($field:ident: $type:ty),+ })+) => {
        $(
            #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
            pub(super) struct $name { $(pub(super) $field: $type),+ }
        )+
    };
}

label_sets! {
    NoticeLabels { source: NoticeSource, outcome: NoticeOutcome }
    SourceLabels { source: NoticeSource }
    RefusalLabels { source: NoticeSource, reason: RefusalReason }
    TriggerLabels { trigger: TriggerKind, outcome: TriggerOutcome }
    HttpLabels { route: &'static str, status: u16 }
    RouteLabels { route: &'static str }
    StateLabels { state: &'static str }
    StateEventLabels { state: &'static str, event: &'static str }
    ReasonLabels { reason: &'static str }
    InvariantLabels { id: &'static str }
    CallLabels { provider: Provider, call: &'static str }
    CallOutcomeLabels { provider: Provider, call: &'static str, outcome: CallOutcome }
    RetryLabels { provider: Provider, kind: &'static str }
    RemoteLabels { remote: String }
    PortalLabels { portal: String }
    PortalMethodLabels { portal: String, method: &'static str }
    RequestLabels { portal: String, kind: RequestKind }
    TokenLabels { outcome: TokenOutcome }
    InstallationLabels { status: &'static str }
    BulkLabels { outcome: BulkOutcome }
    HistoryLabels { outcome: HistoryOutcome }
    GapLabels { portal: String, channel: HealingChannel, cause: GapCause }
    PortalChannelLabels { portal: String, channel: HealingChannel }
    PortalOutcomeLabels { portal: String, outcome: CallOutcome }
    BuildLabels { version: &'static str }
}

/// Methods of a portal that metrics name: labels must come from a closed set.
const PORTAL_METHODS: [&str; 34] = [
    "app.info",
    "batch",
    "bizproc.event.send",
    "bizproc.robot.add",
    "bizproc.robot.list",
    "bizproc.workflow.instances",
    "crm.deal.update",
    "crm.documentgenerator.document.add",
    "crm.documentgenerator.document.get",
    "crm.documentgenerator.document.list",
    "crm.item.get",
    "crm.item.list",
    "crm.item.update",
    "crm.timeline.comment.add",
    "crm.timeline.comment.list",
    "disk.file.get",
    "disk.file.markdeleted",
    "disk.folder.get",
    "disk.folder.getchildren",
    "disk.folder.uploadfile",
    "download",
    "event.bind",
    "event.get",
    "event.offline.clear",
    "event.offline.error",
    "event.offline.get",
    "event.offline.list",
    "events",
    "feature.get",
    "im.notify.system.add",
    "method.get",
    "profile",
    "scope",
    "user.get",
];

/// The label of every other method.
pub(super) const OTHER_METHOD: &str = "other";

/// The label of a portal's method.
pub(super) fn portal_method(method: &str) -> &'static str {
    PORTAL_METHODS.iter().find(|known| **known == method).copied().unwrap_or(OTHER_METHOD)
}

/// Of the portal with this name.
pub(super) fn portal_labels(portal: &str) -> PortalLabels {
    PortalLabels { portal: portal.to_owned() }
}
