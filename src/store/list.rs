//! Lists for people: filters, pages, and where the next page begins.

use crate::domain::{PortalId, SagaId, Timestamp};
use crate::saga::document::Step;

/// How many index entries one call looks at, so that a narrow filter over a large store stays quick. A page
/// may therefore be short, or empty, and still have a next one.
pub const LIST_SCAN_MAX: usize = 2_000;

/// Which sagas are wanted. Everything that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentFilter {
    /// Steps, in the order of the list; empty = all, in stored order.
    pub steps: Vec<Step>,
    /// The portal.
    pub portal: Option<PortalId>,
    /// Id of the rule.
    pub rule: Option<String>,
    /// A part of the file's name, in any case.
    pub name_contains: Option<String>,
    /// Changed at this moment or later.
    pub updated_from: Option<Timestamp>,
    /// Changed before this moment.
    pub updated_before: Option<Timestamp>,
    /// Code of the dead letter.
    pub dead_letter_code: Option<String>,
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    pub(super) step: Step,
    pub(super) since: Timestamp,
    pub(super) saga: SagaId,
}

impl std::fmt::Display for ListCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.step.name(), self.since.0, self.saga)
    }
}

/// A text that is not a [`ListCursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the place of a page; take `next` of the page before")]
pub struct InvalidListCursor;

impl std::str::FromStr for ListCursor {
    type Err = InvalidListCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(InvalidListCursor);
        let step = Step::from_name(part()?).ok_or(InvalidListCursor)?;
        let since = Timestamp(part()?.parse().map_err(|_| InvalidListCursor)?);
        let saga = part()?.parse().map_err(|_| InvalidListCursor)?;
        Ok(Self { step, since, saga })
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What fits, newest first within each step.
    pub items: Vec<T>,
    /// Where to go on; `None` = this was the last page.
    pub next: Option<ListCursor>,
}
