//! The environment variables of the process, read once and passed on as a value.
//!
//! Only this file asks the operating system for them, so that everything above can be tested without touching
//! the state of the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Prefix of the variables that overlay the configuration: `EDOBRIDGE__SECTION__KEY`.
pub const ENV_PREFIX: &str = "EDOBRIDGE__";

/// A snapshot of environment variables.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let variables = std::env::vars_os();
        Self(
            variables
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }
    /// Just these variables, for tests and for programs that build their configuration.
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    /// The folder where systemd puts credentials (`LoadCredential=`), if it did.
    pub fn credentials_directory(&self) -> Option<PathBuf> {
        self.get("CREDENTIALS_DIRECTORY").map(PathBuf::from)
    }
    /// Variables that overlay the configuration, in the order of their names.
    pub(super) fn overlay(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
