//! Every bound in one file, with its reason. Relations between bounds are checked when compiling.

/// Notices that may wait for the disk at once, on each thread with doors: some 30 ms of work at the measured rate of the store; more would
/// only lengthen the queue that a sender has to wait in.
pub const INGRESS_WAITING_MAX: usize = 1_024;

/// Events that may wait for one saga: callbacks, a timer and an answer; a flood beyond it stays in the inbox.
pub const SAGA_MAILBOX: usize = 64;

/// Messages that may wait for the scheduler; each effect under way sends one when it ends.
pub const SCHEDULER_MAILBOX: usize = 4_096;

/// Threads that read and write files for the remotes' arbiter. Tokio would start up to 512, and each keeps a few MiB of its
/// own once it has had a file in hand; a disk works no faster for more of them.
pub const FILE_THREADS_MAX: usize = 16;

/// An idle one ends after so long, in milliseconds, and gives its memory back.
pub const FILE_THREAD_IDLE_MS: u64 = 2_000;

/// Notices routed at the same time: keeps the disk's group commits full without holding many bodies in memory.
pub const NOTICES_IN_HAND_MAX: usize = 64;

/// Notices that one thread gives to the store as one: one turn's at 64 senders, and no command of the store's is so
/// large that others wait for it.
pub const INGRESS_GATHERED_MAX: usize = 64;

/// The same in bytes of their bodies.
pub const INGRESS_GATHERED_BYTES: usize = 256 << 10;

/// Notices of no rule's concern that are being settled at the same time: some milliseconds of a storm.
pub const NOTICES_SETTLING_MAX: usize = 512;

/// After a look at the store that found something, the next waits so long, in milliseconds: what comes meanwhile is then
/// looked up, routed and settled together, and those who wait for their acknowledgement have the processor. A look for
/// each notice took a tenth of all the processor time of a document.
pub const LOOK_PAUSE_MS: u64 = 5;

/// Due sagas started in one tick, so that a restart with many does not storm the remotes.
pub const DUE_PER_TICK: usize = 256;

/// How long the scheduler sleeps at most before it looks at the store again, in milliseconds: what a lost hint
/// costs.
pub const SCAN_INTERVAL_MS: u64 = 1_000;

/// A full look at the inbox, in case an earlier attempt to route a notice has failed, in milliseconds.
pub const INBOX_RESCAN_MS: u64 = 5_000;

/// Panics of one saga before it is parked.
pub const SAGA_PANICS_MAX: u32 = 3;

/// Requests of background calls under way at one portal. Few, so that what waits meanwhile is packed into one batch.
pub const PORTAL_REQUESTS_MAX: usize = 2;

/// Further requests that only calls of people may begin: a portal that answers slowly must not look dead to them.
pub const PORTAL_INTERACTIVE_REQUESTS: usize = 1;

/// Calls that may wait for one portal's budget. Each belongs to a saga under way.
pub const PORTAL_QUEUE_MAX: usize = 4_096;

/// Commands in one `batch` (Bitrix24 docs, `settings/how-to-call-rest-api/batch.md`).
pub const BATCH_MAX: usize = 50;

/// Requests whose budget is written to disk ahead of their use: a crash can waste, never overspend them.
pub const BUDGET_AHEAD: u64 = 10;

/// Requests left of those when the next ones are written, so that none waits for the disk.
pub const BUDGET_LOW_WATER: u64 = 4;

/// While transfers want every request, calls gather for the time of so many requests: a batch is then one request in
/// eleven, and carries up to fifty calls.
pub const GATHER_REQUESTS: f64 = 10.0;

/// Longest time that a call waits for company, in milliseconds, however slow the portal's bucket is.
pub const GATHER_MS_MAX: u64 = 10_000;

/// Methods that the account of a portal's budget names; further ones are counted together. We call about thirty.
pub const USAGE_METHODS_MAX: usize = 64;

/// Hours that the account of a portal's budget goes back: a long weekend.
pub const USAGE_HOURS: u64 = 96;

/// How often the account of a portal's budget is written to disk at most, in milliseconds: what a crash may forget.
pub const USAGE_SAVE_MS: u64 = 60_000;

/// Largest file by one base64 upload, in bytes; above it the two-step upload is used (the EasyDocs guide, 10 MB).
pub const SMALL_UPLOAD_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Pages of a folder read when looking for an upload; 50 files each, newest ids only.
pub const FOLDER_PAGES_MAX: u32 = 40;

/// New files taken from one folder poll before the cursor is stored.
pub const FOLDER_POLL_FILES_MAX: usize = 500;

const _: () = assert!(BATCH_MAX <= 50, "the portal refuses longer batches");
const _: () = assert!(PORTAL_QUEUE_MAX >= DUE_PER_TICK, "one tick's sagas must fit into a portal's queue");
const _: () = assert!(BUDGET_LOW_WATER < BUDGET_AHEAD, "a payment must lift the account above its low water");
const _: () = assert!(USAGE_HOURS <= 256, "the hour's place in the store is one byte");
const _: () = assert!(SCAN_INTERVAL_MS < INBOX_RESCAN_MS, "the rescan is the rarer of the two");
