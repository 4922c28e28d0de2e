//! The limit of every durable store: a plain append file with group commit. One thread gathers what waits, writes
//! it once, syncs it once, answers all. The file is zeroed beforehand and reused in a circle, so that a sync writes
//! no metadata. It is a yardstick: it can neither be read nor recovered.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// The size of the file; as four segments of the real journal.
const FILE_BYTES: u64 = 64 << 20;
/// The most that is written at once, as in the real store.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// How many records may wait.
const QUEUE_MAX: usize = 4_096;

/// The log. Cheap to clone; the writer ends with the last clone.
#[derive(Clone)]
pub struct GroupLog(SyncSender<(Vec<u8>, oneshot::Sender<u64>)>);

impl GroupLog {
    /// Makes the file `path` and starts its writer.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        std::thread::spawn(move || write_groups(&file, &receiver));
        Ok(Self(sender))
    }

    /// The number of the record, once it is on disk.
    pub async fn append(&self, record: Vec<u8>) -> u64 {
        let (reply, answer) = oneshot::channel();
        self.0.send((record, reply)).expect("the writer lives as long as a handle of it");
        answer.await.expect("the writer answers everything that it takes, or ends the bench")
    }
}

fn write_groups(file: &File, queue: &Receiver<(Vec<u8>, oneshot::Sender<u64>)>) {
    let (mut at, mut sequence) = (0, 0);
    let (mut bytes, mut replies) = (Vec::with_capacity(GROUP_BYTES_MAX), Vec::new());
    while let Ok(first) = queue.recv() {
        let mut next = Some(first);
        while let Some((record, reply)) = next {
            sequence += 1;
            put_record(&mut bytes, sequence, &record);
            replies.push((sequence, reply));
            next = if bytes.len() < GROUP_BYTES_MAX { queue.try_recv().ok() } else { None };
        }
        if at + bytes.len() as u64 > FILE_BYTES {
            at = 0;
        }
        file.write_all_at(&bytes, at).expect("the disk takes a group");
        file.sync_data().expect("the disk syncs a group");
        at += bytes.len() as u64;
        bytes.clear();
        for (number, reply) in replies.drain(..) {
            // a caller that is gone does not mind
            let _ = reply.send(number);
        }
    }
}

/// Length, sequence, checksum, payload.
fn put_record(bytes: &mut Vec<u8>, sequence: u64, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("records are small");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
    bytes.extend_from_slice(record);
}
