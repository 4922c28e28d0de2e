//! A file of the spool on its way to a remote.

use crate::domain::{Failure, FailureClass, FailureKind, SpoolFile};
use crate::providers::spool_io::FileSource;
use crate::store::{Spool, SpoolError};

/// A file of the spool, to be sent; with its bytes, if it came in a moment ago.
///
/// # Errors
/// The disk does not give it.
pub(super) async fn spooled(spool: &Spool, file: SpoolFile) -> Result<FileSource, Failure> {
    let bytes = match spool.take_fresh(file.digest) {
        Some(bytes) => Some(bytes),
        None => spool.small(file.digest).await.map_err(|error| spool_failed(error.into()))?,
    };
    Ok(FileSource::new(spool.path(file.digest), file).at_hand(bytes))
}

/// What the spool's refusal means to an effect: it is tried again.
pub(super) fn spool_failed(error: SpoolError) -> Failure {
    Failure::new(FailureClass::Transient, FailureKind::Local, "spool", error.text())
}
