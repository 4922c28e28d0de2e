//! The published list of the vendor's queue servers: `{"nodes": ["203.0.113.7", …]}`
//! (`settings/cloud-and-on-premise/network-access.md`; Russian zone `repos.1c-bitrix.ru/webhook/app.json`, others
//! `dl.bitrix24.com/webhook/app-world.json`). To be asked at most once a minute; new servers are listed five to ten
//! minutes before they send.

use crate::providers::http_client::{HttpClient, WireError};
use reqwest::Url;
use serde_json::Value;

/// Longest list that is read: real ones have some dozens of addresses.
const LIST_BYTES_MAX: u64 = 256 * 1024;
/// Addresses in it at most.
const NODES_MAX: usize = 10_000;
/// Longest address, with a range.
const NODE_CHARS_MAX: usize = 64;

/// The list could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// The exchange failed.
    #[error("the list cannot be fetched: {0}")]
    Wire(#[from] WireError),
    /// Another status than 200.
    #[error("the server of the list answers {0}")]
    Status(u16),
    /// It is not such a list.
    #[error("what came is no list of addresses")]
    Misshapen,
}

/// Fetches the list: addresses as they are written, at least one.
///
/// # Errors
/// [`NodesError`]; a list without addresses is misshapen, since nobody could send then.
pub async fn fetch(http: &HttpClient, url: &Url) -> Result<Vec<String>, NodesError> {
    let answer = http.exchange(http.get(url.clone()), LIST_BYTES_MAX).await?;
    if answer.status != 200 {
        return Err(NodesError::Status(answer.status));
    }
    nodes(&answer.body).ok_or(NodesError::Misshapen)
}

fn nodes(body: &[u8]) -> Option<Vec<String>> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let list = list.get("nodes")?.as_array().filter(|list| list.len() <= NODES_MAX)?;
    let node = |value: &Value| {
        let text = value.as_str()?.trim();
        (!text.is_empty() && text.len() <= NODE_CHARS_MAX).then(|| text.to_owned())
    };
    let nodes: Vec<String> = list.iter().filter_map(node).collect();
    (!nodes.is_empty()).then_some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::http_client::HttpSettings;
    use crate::providers::test_server::{Reply, TestServer};

    #[tokio::test]
    async fn only_a_list_with_addresses_is_a_list() {
        let server = TestServer::start(vec![
            Reply::ok(r#"{"nodes":["203.0.113.7"," 198.51.100.0/24 ",7,""]}"#),
            Reply::ok(r#"{"nodes":[]}"#),
            Reply::ok("<html>maintenance</html>"),
            Reply::status(302, "Location: https://elsewhere.example/\r\n", ""),
        ]);
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        let url: Url = server.url("/webhook/app.json").parse().unwrap();
        assert_eq!(fetch(&http, &url).await.unwrap(), ["203.0.113.7", "198.51.100.0/24"]);
        assert!(matches!(fetch(&http, &url).await, Err(NodesError::Misshapen)));
        assert!(matches!(fetch(&http, &url).await, Err(NodesError::Misshapen)));
        assert!(matches!(fetch(&http, &url).await, Err(NodesError::Status(302))));
    }
}
