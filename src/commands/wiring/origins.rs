//! Addresses of the configuration from which files may come.

use super::error::WiringError;
use crate::providers::url_rules::Origin;

/// What stands under `key`, as origins.
///
/// # Errors
/// [`WiringError::Origin`] names the key.
pub(super) fn origins(key: &'static str, urls: &[url::Url]) -> Result<Vec<Origin>, WiringError> {
    let parse =
        |url: &url::Url| Origin::parse(url.as_str()).map_err(|source| WiringError::Origin { key, source });
    urls.iter().map(parse).collect()
}
