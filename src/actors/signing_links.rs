//! Links to the signing page: made where the key is, and nowhere else.
//!
//! Invariant: a link never outlives the content that it was made for.

use crate::domain::signing::{LinkKey, SignLink, SigningUnit};
use crate::domain::{SagaId, Timestamp};
use crate::saga::document::own_signature::ContentUnit;

/// What links are made of besides what they are for.
#[derive(Debug, Clone)]
pub struct SigningLinks {
    key: LinkKey,
    /// Address of the page without its token, as the world sees it: `https://edo.example.ru/sign/`.
    page_url: String,
    ttl_ms: u64,
}

impl SigningLinks {
    /// Links under `base_url` that live at most `ttl_ms` milliseconds.
    pub fn new(key: LinkKey, base_url: &str, ttl_ms: u64) -> Self {
        Self { key, page_url: format!("{}/sign/", base_url.trim_end_matches('/')), ttl_ms }
    }

    /// The key, for whoever checks links.
    pub fn key(&self) -> &LinkKey {
        &self.key
    }

    /// The address at which the signer called `signer` signs this unit. A secret: it belongs into no log.
    pub fn url(&self, document: SagaId, unit: &ContentUnit, signer: &str, now: Timestamp) -> String {
        let link = SignLink::issue(&self.key, &unit_of(document, unit), signer, self.ends(unit, now));
        format!("{}{}", self.page_url, link.token())
    }

    /// When a link that is made now dies.
    pub fn ends(&self, unit: &ContentUnit, now: Timestamp) -> Timestamp {
        now.plus_ms(self.ttl_ms).min(unit.expires_at)
    }
}

/// The unit as links and the signing page know it.
pub fn unit_of(document: SagaId, unit: &ContentUnit) -> SigningUnit {
    SigningUnit { document, number: unit.number, content: unit.content, expires_at: unit.expires_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FileDigest, SpoolFile};
    use crate::saga::document::own_signature::Ticket;

    #[test]
    fn a_link_proves_itself_and_ends_with_its_content_or_earlier() {
        let unit = ContentUnit {
            number: 2,
            content: SpoolFile { digest: FileDigest([7; 32]), size_bytes: 10 },
            ticket: Ticket::new("t"),
            made_at: Timestamp(0),
            expires_at: Timestamp(5_000),
        };
        let links = SigningLinks::new(LinkKey::new([9; 32]), "https://edo.example.ru/x/", 1_000);
        let document = SagaId::from_u128(5);
        for (now, ends) in [(1_000, 2_000), (4_500, 5_000)] {
            let url = links.url(document, &unit, "director", Timestamp(now));
            let token = url.strip_prefix("https://edo.example.ru/x/sign/").unwrap();
            let link = SignLink::parse(token).unwrap();
            assert_eq!(link.expires_at, Timestamp(ends));
            assert!(link.verify(links.key(), &unit_of(document, &unit), "director"));
            assert!(!link.verify(links.key(), &unit_of(document, &unit), "accountant"));
        }
        assert!(!format!("{links:?}").contains("[9, 9"), "the key is not shown");
    }
}
