//! The quick route: a draft is told to whom it goes, and who must sign.

use super::client::{Call, Client};
use super::ids;
use super::route_template::Counterparty;
use crate::domain::Failure;
use crate::providers::remote::Nature;
use serde_json::{Value, json};

impl Client {
    /// Gives a draft its route. Class `probe`: after an unknown outcome look whether the document has one
    /// ([`Client::outbox_document`]).
    ///
    /// # Errors
    /// Ambiguous whenever the route may have been set.
    pub async fn create_route(
        &self,
        document: &str,
        employee: &str,
        counterparty: &Counterparty,
    ) -> Result<(), Failure> {
        self.require(Call::CreateRoute)?;
        let body = self.route_body(document, employee, counterparty)?;
        let path = "/sync/external/outbox/route/quick-route/create";
        self.post(path, &body, Nature::Write).await.map(|_| ())
    }

    pub(super) fn route_body(
        &self,
        document: &str,
        employee: &str,
        counterparty: &Counterparty,
    ) -> Result<Value, Failure> {
        counterparty.check()?;
        Ok(json!({
            "documentId": ids::document(document)?,
            "employeeId": ids::employee(employee)?,
            "route": self.settings.route.filled(counterparty),
        }))
    }
}
