//! The certificates of private authorities, as HTTP clients take them.

use crate::config::{self, Config};

/// The certificates of a private authority, as an HTTP client takes them.
pub fn roots(file: Option<&config::CaFile>) -> Vec<Vec<u8>> {
    file.map(|file| file.pem().to_vec()).into_iter().collect()
}

/// The certificates of all private authorities of the configuration, for questions that carry no secret.
pub fn all_roots(config: &Config) -> Vec<Vec<u8>> {
    let of_apps = config.apps.iter().flat_map(|app| [app.ca_file.as_ref(), app.portal.ca_file.as_ref()]);
    let of_portals = config.portals.iter().map(|portal| portal.ca_file.as_ref());
    of_portals.chain(of_apps).chain([config.easydocs.ca_file.as_ref()]).flat_map(roots).collect()
}
