//! The signing page and the checks of signatures, over real sockets, with real CMS files made by openssl, and driven
//! in a real browser against an emulated signing agent.
//!
//! Without Chromium and its driver the tests in the browser say so and pass; under `CI=true` they fail.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says so when it skips"
)]

mod support;

#[path = "signing_page/agent_tests.rs"]
mod agent_tests;
#[path = "signing_page/browser.rs"]
mod browser;
#[path = "signing_page/cms_tests.rs"]
mod cms_tests;
#[path = "signing_page/desk.rs"]
mod desk;
#[path = "signing_page/exchange.rs"]
mod exchange;
#[path = "signing_page/http_tests.rs"]
mod http_tests;
#[path = "support/ncalayer.rs"]
mod ncalayer;
#[path = "signing_page/pki.rs"]
mod pki;
#[path = "signing_page/site.rs"]
mod site;
