//! The signing services that we speak to, and what each of them can do: the flow is decided by these flags, never by
//! a service's name.
//!
//! Knows nothing of addresses and wire formats. The values are those of the table (f) of our reference, which says
//! for each what it rests on.

use super::text::Text;
use serde::{Deserialize, Serialize};

/// A signing service. Append only: stored by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum SigningService {
    /// EasyDocs (Russia): a route over there does everything.
    #[default]
    EasyDocs,
    /// iDocs (Kazakhstan): our own signer signs first, with a key on their own computer.
    Idocs,
}

impl SigningService {
    /// Every service, in the order of their codes.
    pub const ALL: [Self; 2] = [Self::EasyDocs, Self::Idocs];

    /// Stable word for metrics, filters and the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EasyDocs => "easydocs",
            Self::Idocs => "idocs",
        }
    }

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EasyDocs => "EasyDocs",
            Self::Idocs => "iDocs",
        }
    }

    /// What it can do, by the interface that it is spoken to by default.
    pub const fn capabilities(self) -> Capabilities {
        match self {
            Self::EasyDocs => EASYDOCS,
            Self::Idocs => IDOCS,
        }
    }

    /// What a person is told who cancels a document that the service still has: that it cannot be taken back, or
    /// nothing where it can.
    pub fn words_on_cancel(self) -> Option<Text> {
        match self.capabilities().recall {
            Support::Yes => None,
            Support::WhereConfigured | Support::No => {
                let name = self.name();
                Some(Text::new(
                    format!(
                        "{name} не умеет отзывать документы: у нас работа прекращена, а там он остаётся. Отзовите его \
                         в личном кабинете {name}."
                    ),
                    format!(
                        "{name} cannot recall documents: our work on it has ended, but it stays over there. Recall it \
                         in the account of {name}."
                    ),
                ))
            }
        }
    }
}

/// Whether a service can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Support {
    /// It can.
    Yes,
    /// Not documented: only where the configuration names the path.
    WhereConfigured,
    /// It cannot, as far as anybody knows.
    No,
}

/// Who of ours signs, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signer {
    /// The route at the service names them, and they sign over there.
    InsideTheService,
    /// One of our users makes a CMS over bytes that the service gives, on our page or in 1C.
    OurUser,
}

/// How the counterparty and the order of signatures are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteChoice {
    /// By the id of a route that was prepared over there.
    ById,
    /// In the call itself: the counterparty's number and address.
    InTheCall,
}

/// How the file travels to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileTransport {
    /// In the creating call.
    WithTheDocument,
    /// As a blob of its own before it.
    AsBlob,
}

/// What proves that a notice comes from the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeProof {
    /// A signature over its body: what it says is believed.
    Signature,
    /// Nothing but an address that nobody can guess: it is a hint, the status is read.
    HintOnly,
}

/// What comes back for people and for evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignedResult {
    /// One PDF that holds everything.
    PdfContainer,
    /// A print form for people, and an archive with the original and the signatures for evidence.
    PrintFormAndArchive,
}

/// Whether the bytes that were signed can be compared with the bytes that we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentGuard {
    /// The service gives the bytes to be signed, and they hold our file as it was.
    SameBytes,
    /// The service rebuilds the file (EasyDocs converts to PDF/A): digests differ by nature, only the form of the
    /// container can be checked, and nothing more may be claimed.
    RebuiltByTheService,
}

/// What a signing service can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// How the file travels.
    pub transport: FileTransport,
    /// Our own id goes with the document.
    pub own_id_on_create: Support,
    /// A repeated create is known to make no second document.
    pub idempotent_create: Support,
    /// A repeated signature with the same token is meant to make no second one.
    pub idempotent_sign: Support,
    /// A document can be found by our own id.
    pub search_by_own_id: Support,
    /// Documents can be listed, so that a lost one is found by its number.
    pub list_query: Support,
    /// The status of a document can be asked for.
    pub read_status: Support,
    /// Notices of changes come by themselves.
    pub push_status: Support,
    /// What a notice is worth.
    pub notice_proof: NoticeProof,
    /// The past statuses of a document can be read.
    pub event_history: Support,
    /// Many documents can be worked on at once, with results asked for later.
    pub bulk: Support,
    /// Who of ours signs.
    pub signer: Signer,
    /// How the route is told.
    pub route: RouteChoice,
    /// What comes back.
    pub result: SignedResult,
    /// What can be compared.
    pub guard: ContentGuard,
    /// The reason of a refusal can be read.
    pub refusal_reason: Support,
    /// A document can be taken back by a call.
    pub recall: Support,
    /// The credentials can be tried without an effect.
    pub health_check: Support,
}

impl Capabilities {
    /// What iDocs can do by its older external API V1, which is known from the code of one client only (table f,
    /// column iDocs V1): one call takes the file together with our signature, and nothing finds what it made.
    pub const fn of_idocs_v1() -> Self {
        IDOCS_V1
    }

    /// Whether a document of unknown outcome can be looked for over there; if not, a person has to look.
    pub const fn finds_lost_documents(&self) -> bool {
        matches!(
            (self.own_id_on_create, self.search_by_own_id, self.list_query, self.idempotent_create),
            (Support::Yes, _, _, _)
                | (_, Support::Yes, _, _)
                | (_, _, Support::Yes, _)
                | (_, _, _, Support::Yes)
        )
    }

    /// Whether a person of ours has to be shown a page to sign on.
    pub const fn needs_signing_page(&self) -> bool {
        matches!(self.signer, Signer::OurUser)
    }
}

const EASYDOCS: Capabilities = Capabilities {
    transport: FileTransport::WithTheDocument,
    own_id_on_create: Support::Yes,
    idempotent_create: Support::WhereConfigured,
    idempotent_sign: Support::No,
    search_by_own_id: Support::WhereConfigured,
    list_query: Support::WhereConfigured,
    read_status: Support::WhereConfigured,
    push_status: Support::Yes,
    notice_proof: NoticeProof::Signature,
    event_history: Support::No,
    bulk: Support::No,
    signer: Signer::InsideTheService,
    route: RouteChoice::ById,
    result: SignedResult::PdfContainer,
    guard: ContentGuard::RebuiltByTheService,
    refusal_reason: Support::No,
    recall: Support::No,
    health_check: Support::WhereConfigured,
};

const IDOCS: Capabilities = Capabilities {
    transport: FileTransport::AsBlob,
    own_id_on_create: Support::No,
    idempotent_create: Support::No,
    idempotent_sign: Support::Yes,
    search_by_own_id: Support::No,
    list_query: Support::Yes,
    read_status: Support::Yes,
    push_status: Support::Yes,
    notice_proof: NoticeProof::HintOnly,
    event_history: Support::WhereConfigured,
    bulk: Support::Yes,
    signer: Signer::OurUser,
    route: RouteChoice::InTheCall,
    result: SignedResult::PrintFormAndArchive,
    guard: ContentGuard::SameBytes,
    refusal_reason: Support::Yes,
    recall: Support::No,
    health_check: Support::Yes,
};

/// What is `?` in the table is taken for absent, unless a key of the configuration says where it is.
const IDOCS_V1: Capabilities = Capabilities {
    transport: FileTransport::WithTheDocument,
    own_id_on_create: Support::No,
    idempotent_create: Support::No,
    idempotent_sign: Support::No,
    search_by_own_id: Support::No,
    list_query: Support::No,
    read_status: Support::Yes,
    push_status: Support::WhereConfigured,
    notice_proof: NoticeProof::HintOnly,
    event_history: Support::WhereConfigured,
    bulk: Support::No,
    signer: Signer::OurUser,
    route: RouteChoice::InTheCall,
    result: SignedResult::PrintFormAndArchive,
    guard: ContentGuard::SameBytes,
    refusal_reason: Support::No,
    recall: Support::No,
    health_check: Support::No,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_spelled_in_the_configuration_as_in_the_metrics() {
        for service in SigningService::ALL {
            let text = format!("\"{}\"", service.code());
            assert_eq!(serde_json::to_string(&service).unwrap(), text);
            assert_eq!(serde_json::from_str::<SigningService>(&text).unwrap(), service);
        }
    }

    #[test]
    fn only_the_service_whose_signer_is_ours_needs_a_page() {
        assert!(SigningService::Idocs.capabilities().needs_signing_page());
        assert!(!SigningService::EasyDocs.capabilities().needs_signing_page());
    }

    #[test]
    fn a_service_that_can_be_lost_track_of_can_be_looked_into_by_some_way() {
        for service in SigningService::ALL {
            assert!(service.capabilities().finds_lost_documents(), "{}", service.name());
        }
    }

    #[test]
    fn the_older_idocs_takes_file_and_signature_at_once_and_finds_nothing_that_was_lost() {
        let can = Capabilities::of_idocs_v1();
        assert!(can.needs_signing_page() && !can.finds_lost_documents());
        assert_eq!(can.transport, FileTransport::WithTheDocument);
        assert_eq!((can.refusal_reason, can.recall), (Support::No, Support::No));
    }

    #[test]
    fn a_service_without_recall_says_so_on_cancel() {
        for service in SigningService::ALL {
            let words = service.words_on_cancel().unwrap();
            assert!(words.ru.contains(service.name()) && words.en.contains("recall"));
        }
    }
}
