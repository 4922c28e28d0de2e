//! `/health/live`, `/health/ready` and `/metrics`, on the operator's listener.
//!
//! *Live* says that the process answers at all: whoever restarts on it must not do so because a disk is full. *Ready*
//! says whether new work is taken, and if not, why, in both languages:
//! ```json
//! {"ready": false, "draining": false, "reasons": [{"ru": "…", "en": "…"}], "details": {}}
//! ```

use crate::actors::Engine;
use crate::telemetry::metrics::Metrics;
use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

/// `GET /health/live`.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "live": true, "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /health/ready`: 200 or 503.
pub async fn ready(engine: Data<Engine>) -> HttpResponse {
    let health = engine.health();
    let mut answer = if health.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(json!({
        "ready": health.ready,
        "draining": health.draining,
        "reasons": health.reasons,
        "details": health.details,
    }))
}

/// `GET /metrics`.
pub async fn metrics(engine: Data<Engine>) -> HttpResponse {
    HttpResponse::Ok().content_type(Metrics::CONTENT_TYPE).body(engine.metrics().encode())
}
