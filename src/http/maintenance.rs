//! `/admin/v1`, what keeps the store in order: a backup while running, and the check of what must always hold.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `POST /backup` | [`BackupRequest`] | [`BackupView`], when the file is whole and on disk |
//! | `POST /store-check` | | [`InvariantsView`] |
//!
//! Both read the whole store and answer when they are done, which takes minutes on a large one. One at a time: a
//! second order is refused, so that impatience does not multiply the load.

use super::admin::Operator;
use super::error::{ApiError, Code};
use crate::domain::Text;
use crate::store::{BackupError, BackupReport, InvariantReport};
use actix_web::HttpResponse;
use actix_web::web::Json;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Characters of a path: what Linux takes.
const PATH_BYTES_MAX: usize = 4_096;

/// Body of `POST /admin/v1/backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// The new file, an absolute path on the machine of the service, in a directory that the service may write to.
    pub to: PathBuf,
}

/// Answer of `POST /admin/v1/backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupView {
    /// Where it is.
    pub path: PathBuf,
    /// The journal entry it stands at.
    pub sequence: u64,
    /// Entries of the store.
    pub entries: u64,
    /// Documents among them.
    pub documents: u64,
    /// Files of the spool.
    pub files: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of all that precedes the trailer, hex.
    pub sha256: String,
    /// Files of the spool that are not in it, because the disk gives other bytes than it was given.
    #[serde(default)]
    pub damaged_files: u64,
}

impl From<BackupReport> for BackupView {
    fn from(report: BackupReport) -> Self {
        let BackupReport { path, sequence, entries, sagas, files, damaged_files, bytes, sha256 } = report;
        Self { path, sequence, entries, documents: sagas, files, bytes, sha256, damaged_files }
    }
}

/// Answer of `POST /admin/v1/store-check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvariantsView {
    /// Documents that were looked at.
    pub documents: u64,
    /// Index entries, claims, notices and references that were looked at.
    pub entries: u64,
    /// How many rules are broken in all.
    pub violation_count: u64,
    /// The first of them, in words for developers.
    pub violations: Vec<String>,
}

impl From<&InvariantReport> for InvariantsView {
    fn from(report: &InvariantReport) -> Self {
        Self {
            documents: report.sagas,
            entries: report.entries,
            violation_count: report.violation_count,
            violations: report.violations.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The right to read the whole store; given back when dropped, also when the client has gone away.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(busy: &Arc<AtomicBool>) -> Result<Self, ApiError> {
        if busy.swap(true, Ordering::AcqRel) {
            let words = Text::new(
                "Резервная копия или проверка хранилища уже идёт: дождитесь её конца.",
                "A backup or a check of the store is under way already: wait until it ends.",
            );
            return Err(ApiError::with(Code::Rejected, words));
        }
        Ok(Self(Arc::clone(busy)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// `POST /admin/v1/backup`.
///
/// # Errors
/// `invalid_request` for a path that is not absolute; `rejected` if the file exists, cannot be written, or another
/// one is under way; `unavailable`.
pub async fn backup(operator: Operator, request: Json<BackupRequest>) -> Result<HttpResponse, ApiError> {
    let to = request.into_inner().to;
    if !to.is_absolute() || to.as_os_str().len() > PATH_BYTES_MAX {
        let words = Text::new(
            "Укажите полный путь нового файла: /каталог/имя.",
            "Give the full path of the new file: /directory/name.",
        );
        return Err(ApiError::with(Code::InvalidRequest, words));
    }
    let _turn = Turn::take(operator.turn())?;
    let report = operator.engine().store().backup(to, |_| {}).await.map_err(|error| backup_error(&error))?;
    tracing::info!(path = %report.path.display(), bytes = report.bytes, "a backup was made by order of the operator");
    Ok(HttpResponse::Ok().json(BackupView::from(report)))
}

fn backup_error(error: &BackupError) -> ApiError {
    tracing::warn!(error = %crate::actors::error_chain(error), "a backup was not made");
    let code = match error {
        BackupError::Store(_) => Code::Unavailable,
        BackupError::Damaged { .. }
        | BackupError::Newer { .. }
        | BackupError::TargetNotEmpty { .. }
        | BackupError::TargetExists { .. }
        | BackupError::NoRoom { .. }
        | BackupError::Open(_)
        | BackupError::Io { .. } => Code::Rejected,
    };
    ApiError::with(code, backup_text(error))
}

/// What a person is told when a backup was not made, verified or restored.
pub fn backup_text(error: &BackupError) -> Text {
    let chain = crate::actors::error_chain(error);
    match error {
        BackupError::TargetExists { path } => Text::new(
            format!("Файл {} уже есть: назовите другой, готовая копия не перезаписывается.", path.display()),
            format!(
                "The file {} exists already: name another one, a backup is never replaced.",
                path.display()
            ),
        ),
        BackupError::TargetNotEmpty { dir } => Text::new(
            format!(
                "Каталог {} не пуст: назовите новый, в существующее хранилище ничего не восстанавливается.",
                dir.display()
            ),
            format!(
                "The directory {} is not empty: name a new one, nothing is restored over a store.",
                dir.display()
            ),
        ),
        BackupError::Io { .. } => Text::new(
            format!(
                "Не удалось: {chain}. Проверьте, что каталог есть, что в него может писать пользователь службы (для systemd — ReadWritePaths=) и что на диске есть место."
            ),
            format!(
                "This failed: {chain}. Check that the directory is there, that the user of the service may write to it (with systemd: ReadWritePaths=), and that the disk has space."
            ),
        ),
        BackupError::Damaged { .. } => Text::new(
            format!("Копия непригодна: {chain}. Возьмите другую."),
            format!("The backup is not good: {chain}. Take another one."),
        ),
        BackupError::NoRoom { .. } => Text::new(
            format!("Мало места: {chain}. Освободите место или назовите другой каталог."),
            format!("Too little room: {chain}. Free some, or name another directory."),
        ),
        BackupError::Newer { .. } => Text::new(
            format!("Копию сделала более новая версия edobridge: {chain}. Установите её."),
            format!("The backup was made by a newer edobridge: {chain}. Install that one."),
        ),
        BackupError::Open(open) => open.text(),
        BackupError::Store(store) => store.text(),
    }
}

/// `POST /admin/v1/store-check`.
///
/// # Errors
/// `rejected` if another one is under way; `unavailable`.
pub async fn store_check(operator: Operator) -> Result<HttpResponse, ApiError> {
    let _turn = Turn::take(operator.turn())?;
    let report = operator.engine().store().check_invariants().await?;
    if !report.is_clean() {
        tracing::error!(count = report.violation_count, "the store breaks its rules");
    }
    Ok(HttpResponse::Ok().json(InvariantsView::from(&report)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Rule, Violation};

    #[test]
    fn only_one_whole_reading_at_a_time() {
        let busy = Arc::default();
        let turn = Turn::take(&busy).unwrap();
        assert_eq!(Turn::take(&busy).err().map(|error| error.code), Some(Code::Rejected));
        drop(turn);
        assert!(Turn::take(&busy).is_ok());
    }

    #[test]
    fn every_failure_of_a_backup_has_a_sentence_in_both_languages() {
        let io = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let path = PathBuf::from("/backups/x");
        for error in [
            BackupError::TargetExists { path: path.clone() },
            BackupError::TargetNotEmpty { dir: path.clone() },
            BackupError::NoRoom { dir: path.clone(), needed: 9, free: 1 },
            BackupError::Damaged { path: path.clone(), detail: "a byte is wrong".into() },
            BackupError::Io { doing: "writing", path: path.clone(), source: io() },
        ] {
            let text = backup_text(&error);
            for words in [&text.ru, &text.en] {
                assert!(words.contains("/backups/x") && words.ends_with('.'), "{words}");
            }
        }
    }

    #[test]
    fn a_broken_rule_is_shown_with_its_number() {
        let report = InvariantReport {
            sagas: 3,
            entries: 9,
            violations: vec![Violation { rule: Rule::OneTimer, saga: None, detail: "none".into() }],
            violation_count: 1,
            ..InvariantReport::default()
        };
        let view = InvariantsView::from(&report);
        assert_eq!((view.documents, view.violation_count), (3, 1));
        assert!(view.violations[0].starts_with("ST-1"), "{view:?}");
    }
}
