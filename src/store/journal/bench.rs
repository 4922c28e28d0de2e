//! A journal for the tests of its parts.

use super::append::{AppendError, Appended};
use super::{Journal, Place, Survey};
use crate::store::disk::{Disk, Host};
use crate::store::error::OpenError;
use crate::store::faults::FaultyDisk;
use crate::store::frame::{self, Batch, Op, ReadOp};
use crate::store::records::Blob;
use crate::store::segment;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

const SEGMENT: u64 = 64 << 10;

/// A journal on a disk whose faults are planned.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    disk: Disk,
    pub faults: Arc<FaultyDisk>,
}

impl Bench {
    pub fn new() -> Self {
        let faults = Arc::new(FaultyDisk::default());
        let disk = Disk::hooked(faults.clone());
        assert!(Host::here().boot_id.is_some(), "this test runs on Linux");
        Self { dir: tempfile::tempdir().expect("a directory for the test"), disk, faults }
    }
    pub fn place(&self) -> Place {
        Place {
            disk: self.disk.clone(),
            dir: self.dir.path().to_owned(),
            store: [9; 16],
            segment_bytes: SEGMENT,
            preparing: Arc::default(),
        }
    }
    pub fn open(&self) -> Result<(Journal, Vec<Vec<u8>>, u64), OpenError> {
        let survey = Survey::take(self.place())?;
        let torn = survey.torn_bytes;
        let mut values = Vec::new();
        survey.replay(
            1,
            &mut |_, batch| {
                values.extend(batch.ops.into_iter().map(value));
                Ok(())
            },
            &mut |_, _| {},
        )?;
        Ok((survey.start(1)?, values, torn))
    }
    pub fn values(&self) -> Vec<Vec<u8>> {
        self.open().expect("it opens").1
    }
    pub fn file(&self, number: u64) -> PathBuf {
        segment::path(self.dir.path(), number)
    }
}

fn value(op: ReadOp<'_>) -> Vec<u8> {
    match op {
        ReadOp::Put { value, .. } => value.to_vec(),
        ReadOp::Del { key, .. } => key.to_vec(),
    }
}

/// Appends one value as an entry of its own.
pub(super) fn put(journal: &mut Journal, value: &[u8]) -> Result<Appended, AppendError> {
    let op = Op::Put { tree: 1, key: Blob(Bytes::new()), value: Blob(Bytes::copy_from_slice(value)) };
    let frame = frame::encode(journal.next(), &vec![Batch { ops: vec![op] }]).expect("small");
    journal.append(&frame, 1)
}

/// Opens the journal and appends each value.
pub(super) fn filled(bench: &Bench, values: &[&[u8]]) {
    let mut journal = bench.open().expect("it opens").0;
    for value in values {
        put(&mut journal, value).expect("durable");
    }
}
