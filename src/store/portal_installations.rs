//! Installations of our applications in the store, with their secrets sealed.
//!
//! The only place where an [`Installation`] becomes bytes. A record whose key is lost still lists: without secrets
//! and as [`InstallationStatus::NeedsAuthorisation`], so that an administrator who opens the application heals it.

use super::command::{Command, encoded};
use super::error::StoreError;
use super::group::{bad_key, decoded};
use super::keys::{self, Tree};
use super::portal_seal::{KeyId, NONCE_BYTES, SealRing, Sealed};
use super::portal_seal_key::{self, SealKeyError};
use super::records::{Blob, Kind, strict_decode, strict_encode};
use super::state::Range;
use super::{PAGE_MAX, Store};
use crate::domain::{
    AppId, Installation, InstallationKey, InstallationStatus, PortalId, Secret, Timestamp, TokenPair,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// What a sealed claim is bound to: no record is called so.
const CLAIM_PLACE: &[u8] = b"edobridge claim of an installation";

/// The record. Frozen: see the header of `records`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct InstallationV1 {
    pub app: String,
    pub member_id: String,
    pub portal: PortalId,
    pub origin: String,
    pub oauth_origin: String,
    pub scopes: Vec<String>,
    pub user_id: u64,
    pub status: InstallationStatus,
    pub plan: String,
    pub version: u32,
    pub installed_at: Timestamp,
    pub updated_at: Timestamp,
    pub uninstalled_at: Option<Timestamp>,
    pub refreshed_at: Timestamp,
    pub refresh_began_at: Option<Timestamp>,
    pub access_expires_at: Timestamp,
    pub key_id: KeyId,
    pub nonce: [u8; NONCE_BYTES],
    pub sealed: Blob,
}

/// What is inside `sealed`. Frozen as the record is.
#[derive(Serialize, Deserialize, Default, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct SecretsV1 {
    /// Access and refresh token; empty texts if there is no pair.
    access: String,
    refresh: String,
    application_tokens: Vec<String>,
}

/// The installations of one store. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Installations {
    store: Store,
    ring: Arc<RwLock<SealRing>>,
    place: KeyPlace,
}

/// Where the sealing key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// The configuration: whoever changes it there keeps the old one until everything is sealed anew.
    Configured,
    /// Our own file in this directory: we change it ourselves.
    File(PathBuf),
}

/// Why a change of the key did not end. What was not reached still has its older key, which is kept.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file's.
    #[error(transparent)]
    Key(#[from] SealKeyError),
}

/// What a change of the key did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RekeyReport {
    /// Records that are sealed with the present key now.
    pub resealed: usize,
    /// Records that no key opens; they were left as they are.
    pub unreadable: usize,
}

impl std::fmt::Debug for Installations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installations").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Installations {
    /// Over `store`, with the keys of `ring`.
    pub fn new(store: Store, ring: SealRing, place: KeyPlace) -> Self {
        Self { store, ring: Arc::new(RwLock::new(ring)), place }
    }

    fn ring(&self) -> SealRing {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seals what a portal says of itself until it is confirmed: key id, nonce, sealed text.
    pub fn seal_claim(&self, text: &[u8]) -> Vec<u8> {
        let sealed = self.ring().seal(CLAIM_PLACE, text);
        [&sealed.key_id[..], &sealed.nonce, &sealed.bytes].concat()
    }

    /// The inverse of [`Installations::seal_claim`]; none if no key of ours opens it, or it was changed.
    pub fn open_claim(&self, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (key_id, rest) = bytes.split_first_chunk()?;
        let (nonce, text) = rest.split_first_chunk()?;
        self.ring().open(CLAIM_PLACE, &Sealed { key_id: *key_id, nonce: *nonce, bytes: text.to_vec() })
    }

    /// Remembers `installation`. Durable when it returns: tokens are used only after that.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the tokens in it must not be used.
    pub async fn put(&self, installation: &Installation) -> Result<(), StoreError> {
        let record = record_of(installation, &self.ring());
        let (key, value) = (keys::installation(&installation.key), encoded("an installation", &record)?);
        self.store.ask(|reply| Command::PutInstallation { key, value: Some(value), reply }).await?
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn remove(&self, key: &InstallationKey) -> Result<(), StoreError> {
        let key = keys::installation(key);
        self.store.ask(|reply| Command::PutInstallation { key, value: None, reply }).await?
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn get(&self, key: &InstallationKey) -> Result<Option<Installation>, StoreError> {
        let record =
            self.store.record::<InstallationV1>(Tree::Installation, &keys::installation(key)).await?;
        Ok(record.and_then(|record| installation_of(record, &self.ring())))
    }

    /// All of them, by application and `member_id`.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn all(&self) -> Result<Vec<Installation>, StoreError> {
        let (records, ring) = (self.records().await?, self.ring());
        Ok(records.into_iter().filter_map(|record| installation_of(record, &ring)).collect())
    }

    async fn records(&self) -> Result<Vec<InstallationV1>, StoreError> {
        let (mut all, mut range) = (Vec::new(), Range::all());
        loop {
            let part = range.clone();
            let rows =
                self.store.read(move |state| state.range(None, Tree::Installation, part, PAGE_MAX)).await?;
            let Some((last, _)) = rows.last() else { return Ok(all) };
            if last.is_empty() {
                return Err(bad_key(Tree::Installation, last));
            }
            range = Range::after(Some(last.clone()));
            for (key, raw) in &rows {
                all.push(decoded::<InstallationV1>(Tree::Installation, key, raw)?);
            }
        }
    }

    /// Seals everything anew: with the present key of the configuration, or with a new one of our own. What no key
    /// opens is left alone and counted. Nobody may put an installation meanwhile.
    ///
    /// # Errors
    /// [`RekeyError`].
    pub async fn rekey(&self) -> Result<RekeyReport, RekeyError> {
        if let KeyPlace::File(dir) = &self.place {
            let older = self.ring().keys();
            let next = portal_seal_key::rotate(dir)?.with_older(older);
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
        let report = self.reseal(&self.ring()).await?;
        if let KeyPlace::File(dir) = &self.place
            && report.unreadable == 0
        {
            portal_seal_key::forget_old(dir)?;
        }
        Ok(report)
    }

    async fn reseal(&self, ring: &SealRing) -> Result<RekeyReport, StoreError> {
        let mut report = RekeyReport::default();
        for record in self.records().await? {
            let Some(secrets) = unsealed(&record, ring) else {
                report.unreadable += 1;
                continue;
            };
            let record = sealed(record, &secrets, ring);
            let key = place_key(&record);
            let value = encoded("an installation", &record)?;
            self.store.ask(|reply| Command::PutInstallation { key, value: Some(value), reply }).await??;
            report.resealed += 1;
        }
        Ok(report)
    }
}

fn place_key(record: &InstallationV1) -> Vec<u8> {
    [record.app.as_bytes(), b"\0", record.member_id.as_bytes()].concat()
}

/// What the secrets are bound to: the kind, and the key of the record.
fn place(record: &InstallationV1) -> Vec<u8> {
    [&Kind::Installation.code().to_le_bytes()[..], &place_key(record)].concat()
}

fn sealed(mut record: InstallationV1, secrets: &SecretsV1, ring: &SealRing) -> InstallationV1 {
    let text = Zeroizing::new(strict_encode(secrets).expect("some tokens are far below the record's limit"));
    let sealed = ring.seal(&place(&record), &text);
    record.key_id = sealed.key_id;
    record.nonce = sealed.nonce;
    record.sealed = Blob(sealed.bytes.into());
    record
}

fn unsealed(record: &InstallationV1, ring: &SealRing) -> Option<SecretsV1> {
    let sealed = Sealed { key_id: record.key_id, nonce: record.nonce, bytes: record.sealed.0.to_vec() };
    strict_decode(&ring.open(&place(record), &sealed)?).ok()
}

fn record_of(it: &Installation, ring: &SealRing) -> InstallationV1 {
    let token = |choose: fn(&TokenPair) -> &Secret| {
        it.tokens.as_ref().map(|pair| choose(pair).expose().to_owned()).unwrap_or_default()
    };
    let secrets = SecretsV1 {
        access: token(|pair| &pair.access),
        refresh: token(|pair| &pair.refresh),
        application_tokens: it.application_tokens.iter().map(|t| t.expose().to_owned()).collect(),
    };
    let record = InstallationV1 {
        app: it.key.app.as_str().to_owned(),
        member_id: it.key.member_id.as_str().to_owned(),
        portal: it.portal.clone(),
        origin: it.origin.clone(),
        oauth_origin: it.oauth_origin.clone(),
        scopes: it.scopes.clone(),
        user_id: it.user_id,
        status: it.status,
        plan: it.plan.clone(),
        version: it.version,
        installed_at: it.installed_at,
        updated_at: it.updated_at,
        uninstalled_at: it.uninstalled_at,
        refreshed_at: it.refreshed_at,
        refresh_began_at: it.refresh_began_at,
        access_expires_at: it.tokens.as_ref().map(|pair| pair.expires_at).unwrap_or_default(),
        key_id: KeyId::default(),
        nonce: [0; NONCE_BYTES],
        sealed: Blob::default(),
    };
    sealed(record, &secrets, ring)
}

/// None for a record whose `member_id` is none: it was not written by us.
fn installation_of(record: InstallationV1, ring: &SealRing) -> Option<Installation> {
    let secrets = unsealed(&record, ring);
    let Ok(member_id) = record.member_id.parse() else {
        tracing::error!(app = %record.app, "an installation without a usable member_id is ignored");
        return None;
    };
    let status = match (&secrets, record.status) {
        (None, InstallationStatus::Active) => {
            let key = super::portal_seal::hex(record.key_id);
            tracing::error!(member_id = %record.member_id, key.id = key, "the seal key of an installation is missing");
            InstallationStatus::NeedsAuthorisation
        }
        (_, status) => status,
    };
    let secrets = secrets.unwrap_or_default();
    let tokens = (!secrets.access.is_empty()).then(|| TokenPair {
        access: Secret::new(secrets.access.as_str()),
        refresh: Secret::new(secrets.refresh.as_str()),
        expires_at: record.access_expires_at,
    });
    Some(Installation {
        key: InstallationKey { app: AppId(record.app), member_id },
        portal: record.portal,
        origin: record.origin,
        oauth_origin: record.oauth_origin,
        scopes: record.scopes,
        user_id: record.user_id,
        status,
        plan: record.plan,
        version: record.version,
        installed_at: record.installed_at,
        updated_at: record.updated_at,
        uninstalled_at: record.uninstalled_at,
        refreshed_at: record.refreshed_at,
        refresh_began_at: record.refresh_began_at,
        tokens,
        application_tokens: secrets.application_tokens.iter().map(|t| Secret::new(t.as_str())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::StoreOptions;
    use super::super::portal_seal::SealKey;
    use super::*;
    use std::path::Path;

    fn installation(member: &str) -> Installation {
        Installation {
            key: InstallationKey { app: AppId("sign".into()), member_id: member.parse().unwrap() },
            portal: PortalId(member.into()),
            origin: "https://p.example".into(),
            oauth_origin: "https://oauth.example".into(),
            scopes: vec!["disk".into(), "crm".into()],
            user_id: 17,
            status: InstallationStatus::Active,
            plan: "L".into(),
            version: 3,
            installed_at: Timestamp(1),
            updated_at: Timestamp(2),
            uninstalled_at: None,
            refreshed_at: Timestamp(3),
            refresh_began_at: Some(Timestamp(4)),
            tokens: Some(TokenPair {
                access: Secret::new("planted-access-token"),
                refresh: Secret::new("planted-refresh-token"),
                expires_at: Timestamp(5),
            }),
            application_tokens: vec![Secret::new("planted-application-token")],
        }
    }

    fn open(dir: &Path, ring: &SealRing) -> Installations {
        let (store, _) = Store::open(StoreOptions::new(dir.join("store")), &mut |_| {}).unwrap();
        Installations::new(store, ring.clone(), KeyPlace::Configured)
    }

    fn ring() -> SealRing {
        SealRing::new(SealKey::generate(), Vec::new())
    }

    fn holds(dir: &Path, needle: &[u8]) -> bool {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
            if path.is_dir() {
                return holds(&path, needle);
            }
            std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle)
        })
    }

    #[tokio::test]
    async fn an_installation_survives_a_restart_and_no_file_holds_its_secrets() {
        let (dir, ring) = (tempfile::tempdir().unwrap(), ring());
        let all = open(dir.path(), &ring);
        for member in ["m1", "m2"] {
            all.put(&installation(member)).await.unwrap();
        }
        drop(all);
        let all = open(dir.path(), &ring);
        assert_eq!(all.all().await.unwrap(), [installation("m1"), installation("m2")]);
        assert_eq!(all.get(&installation("m2").key).await.unwrap(), Some(installation("m2")));
        all.remove(&installation("m1").key).await.unwrap();
        assert_eq!(all.all().await.unwrap().len(), 1);
        assert!(all.store.check_invariants().await.unwrap().violations.is_empty());
        all.store.close().await.unwrap();
        assert!(holds(dir.path(), b"https://p.example"), "the search finds what is in the clear");
        for secret in ["planted-access-token", "planted-refresh-token", "planted-application-token"] {
            assert!(!holds(dir.path(), secret.as_bytes()), "{secret}");
        }
    }

    #[tokio::test]
    async fn a_lost_key_leaves_an_installation_that_asks_to_be_authorised() {
        let dir = tempfile::tempdir().unwrap();
        let all = open(dir.path(), &ring());
        all.put(&installation("m1")).await.unwrap();
        drop(all);
        let found = open(dir.path(), &ring()).all().await.unwrap().remove(0);
        assert_eq!(found.status, InstallationStatus::NeedsAuthorisation);
        assert!(found.tokens.is_none() && found.application_tokens.is_empty());
        assert_eq!((found.origin.as_str(), found.user_id), ("https://p.example", 17));
    }

    #[tokio::test]
    async fn a_new_key_seals_everything_anew_so_that_the_old_one_may_go() {
        let (dir, old) = (tempfile::tempdir().unwrap(), ring());
        let all = open(dir.path(), &old);
        all.put(&installation("m1")).await.unwrap();
        all.put(&installation("m2")).await.unwrap();
        let next = SealKey::generate();
        drop(all);
        let all = open(dir.path(), &SealRing::new(next.clone(), vec![old.present().clone()]));
        assert_eq!(all.rekey().await.unwrap(), RekeyReport { resealed: 2, unreadable: 0 });
        drop(all);
        let all = open(dir.path(), &SealRing::new(next, Vec::new()));
        assert_eq!(all.all().await.unwrap(), [installation("m1"), installation("m2")]);
        drop(all);
        let stranger = open(dir.path(), &ring());
        assert_eq!(stranger.rekey().await.unwrap(), RekeyReport { resealed: 0, unreadable: 2 });
    }
}
