//! The gap report for people: what the portals' webhooks have missed, and what healed it.

use super::admin::Operator;
use super::document_view::rfc3339;
use super::error::ApiError;
use crate::actors::gap_report::{Gap, GapTotals};
use crate::domain::{PortalId, Text};
use crate::telemetry::metrics::GapCause;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

/// Answer of `GET /admin/v1/gaps`. Everything since the service was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapList {
    /// Numbers of each portal.
    pub portals: Vec<PortalGaps>,
    /// The latest gaps, newest first; a bounded number.
    pub items: Vec<GapLine>,
}

impl GapList {
    /// The numbers of one portal.
    pub fn of(&self, portal: &str) -> Option<PortalGaps> {
        self.portals.iter().find(|gaps| gaps.portal == portal).cloned()
    }
}

/// How the webhook and the second channel of one portal did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalGaps {
    /// Its id.
    pub portal: String,
    /// Events of the webhook about objects that rules listen to.
    pub heard: u64,
    /// Changes that a second channel found.
    pub found: u64,
    /// Of these: the webhook had told us too.
    pub confirmed: u64,
    /// Of these: missed by the webhook while we were listening, and healed.
    pub lost: u64,
    /// Of these: made before the service was started, and healed.
    pub before_start: u64,
    /// Of these: at a portal whose webhook does not speak to us.
    pub only_channel: u64,
    /// Of these: an event may still come.
    pub undecided: u64,
    /// The latest healing, in milliseconds after the change.
    pub late_ms_max: u64,
}

impl PortalGaps {
    fn new(portal: &PortalId, totals: &GapTotals) -> Self {
        Self {
            portal: portal.to_string(),
            heard: totals.heard,
            found: totals.found,
            confirmed: totals.confirmed,
            lost: totals.lost,
            before_start: totals.before_start,
            only_channel: totals.only_channel,
            undecided: totals.undecided,
            late_ms_max: totals.late_ms_max,
        }
    }
}

/// One change that the webhook did not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapLine {
    /// The portal.
    pub portal: String,
    /// What changed: `deal:501`, `dynamic_1046:7`, `generated:61`.
    pub subject: String,
    /// What healed it: `offline_queue` or `sweep`.
    pub channel: String,
    /// `lost` or `before_start`.
    pub cause: String,
    /// When it changed, by the portal's clock.
    pub changed_at: Option<String>,
    /// When it was healed.
    pub healed_at: String,
    /// How late that was, in milliseconds.
    pub late_ms: Option<u64>,
    /// In words.
    pub words: Text,
}

impl From<&Gap> for GapLine {
    fn from(gap: &Gap) -> Self {
        Self {
            portal: gap.portal.to_string(),
            subject: gap.subject.to_string(),
            channel: gap.channel.label().as_str().to_owned(),
            cause: gap.cause.as_str().to_owned(),
            changed_at: gap.changed_at.map(rfc3339),
            healed_at: rfc3339(gap.healed_at),
            late_ms: gap.late_ms(),
            words: words(gap.cause),
        }
    }
}

fn words(cause: GapCause) -> Text {
    match cause {
        GapCause::Lost => Text::new(
            "Событие не пришло: Битрикс24 его не повторит. Если таких много, проверьте исходящий вебхук и доступность нашего адреса.",
            "The event never came, and Bitrix24 does not resend it. If there are many, check the outgoing webhook and whether our address can be reached.",
        ),
        GapCause::BeforeStart => Text::new(
            "Изменение сделано до запуска службы: событие могло прийти, когда её не было.",
            "The change was made before the service was started: its event may have come while nobody listened.",
        ),
    }
}

/// The report of a running engine.
pub fn of_engine(engine: &crate::actors::Engine) -> GapList {
    let (totals, gaps) = engine.gaps();
    GapList {
        portals: totals.iter().map(|(portal, totals)| PortalGaps::new(portal, totals)).collect(),
        items: gaps.iter().map(GapLine::from).collect(),
    }
}

/// `GET /admin/v1/gaps`.
///
/// # Errors
/// None of its own.
pub async fn gaps(operator: Operator) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(of_engine(operator.engine())))
}
