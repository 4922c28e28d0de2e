//! Whether the world reaches us: the address that EasyDocs and Bitrix24 are given leads to this very service.
//!
//! The probe is a callback without a signature, which must be refused with 401 in our own words: it passes the name
//! server, the certificate, the proxy and the door, and can have no effect whoever answers. From inside a network the
//! way to one's own public address may be closed (no hairpin NAT), so that failing to reach it is no proof.

use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook, Verdict};
use crate::config::Config;
use crate::domain::Text;
use crate::http::error::{Code, ErrorBody};
use crate::http::routes::EASYDOCS_CALLBACK;
use crate::providers::http_client::{Answer, HttpClient, HttpSettings, WireError};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

/// How long the own address is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer that is read: ours has some hundred bytes, a page of a proxy some thousand.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What the section is called.
pub fn title() -> Text {
    Text::new("Наш адрес снаружи", "Our address from outside")
}

/// Looks at the address and tries it.
pub async fn check(examination: &Examination, notes: Notebook) {
    let config = examination.config();
    let Some(base) = config.public.base_url.as_ref() else {
        return notes.add(no_address(config));
    };
    if base.scheme() != "https" {
        notes.add(Finding::warning(
            "https",
            format!("Адрес {base} без https: годится только для эмулятора на этой машине."),
            format!("The address {base} is not https: good for a sandbox on this machine only."),
        ));
    }
    let addresses = match resolve(base).await {
        Ok(addresses) => addresses,
        Err(error) => return notes.add(unknown_name(base, &error)),
    };
    let private = is_private(&addresses);
    notes.extend(judge_addresses(base, &addresses));
    let probe = probe(base).await;
    notes.add(match probe {
        Ok(answer) => judge_answer(base, &answer, examination.is_running()),
        Err(error) => judge_silence(base, &error, private),
    });
}

fn no_address(config: &Config) -> Finding {
    let by_account = config.easydocs.create.fields.callback_url.is_empty();
    let (ru, en) = (
        "public.base_url не задан: проверять нечего.",
        "public.base_url is not set: there is nothing to try.",
    );
    let finding = if config.rules.is_empty() || by_account {
        Finding::skipped("base_url", ru, en)
    } else {
        Finding::problem("base_url", ru, en)
    };
    finding.fix(
        "Укажите адрес, по которому этот узел виден снаружи: base_url = \"https://edo.example.ru/\".",
        "Give the address at which the world reaches this host: base_url = \"https://edo.example.ru/\".",
    )
}

async fn resolve(base: &Url) -> Result<Vec<IpAddr>, String> {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = base.port_or_known_default().unwrap_or(443);
    let looked_up = tokio::task::spawn_blocking(move || (host.as_str(), port).to_socket_addrs());
    match tokio::time::timeout(PATIENCE, looked_up).await {
        Ok(Ok(Ok(found))) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(panic)) => Err(panic.to_string()),
        Err(_) => Err(format!("{} s", PATIENCE.as_secs())),
    }
}

fn unknown_name(base: &Url, error: &str) -> Finding {
    let host = base.host_str().unwrap_or_default();
    Finding::problem(
        "dns",
        format!("Имя {host} не находится: {error}."),
        format!("The name {host} is not found: {error}."),
    )
    .fix(
        "Заведите для него запись A или AAAA с вашим внешним адресом.",
        "Give it an A or AAAA record with your public address.",
    )
}

/// Whether the address is one that only this machine or this network knows.
fn is_inner(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared(ip.octets()),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// 100.64.0.0/10: behind the provider's own NAT (RFC 6598).
fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xc0 == 64
}

fn is_private(addresses: &[IpAddr]) -> bool {
    addresses.iter().all(|ip| is_inner(*ip))
}

fn judge_addresses(base: &Url, addresses: &[IpAddr]) -> Option<Finding> {
    let host = base.host_str().unwrap_or_default();
    let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if addresses.iter().all(|ip| ip.to_canonical().is_loopback()) {
        return (base.scheme() == "https").then(|| {
            Finding::warning(
                "dns",
                format!("Имя {host} ведёт на эту же машину ({list}): EasyDocs его так не увидит."),
                format!("The name {host} leads to this very machine ({list}): EasyDocs will not see it so."),
            )
            .fix(
                "Уберите его из /etc/hosts или проверьте запись у внешнего DNS.",
                "Take it out of /etc/hosts, or check the record at a public name server.",
            )
        });
    }
    Some(if is_private(addresses) {
        Finding::warning(
            "dns",
            format!("Имя {host} здесь ведёт на внутренний адрес ({list})."),
            format!("The name {host} leads to an inner address here ({list})."),
        )
        .fix(
            "Если снаружи DNS отвечает иначе, это не беда; проверьте: dig +short @8.8.8.8 и имя.",
            "If DNS answers otherwise outside, this is no harm; check with: dig +short @8.8.8.8 and the name.",
        )
    } else {
        Finding::ok(
            "dns",
            format!("Имя {host} находится: {list}."),
            format!("The name {host} is found: {list}."),
        )
    })
}

/// Where callbacks are sent.
fn callback_address(base: &Url) -> String {
    format!("{}{EASYDOCS_CALLBACK}", base.as_str().trim_end_matches('/'))
}

async fn probe(base: &Url) -> Result<Answer, WireError> {
    let settings = HttpSettings {
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        total_timeout: PATIENCE,
        ..HttpSettings::default()
    };
    let unreachable = |error: String| WireError::Unreachable(error);
    let http = HttpClient::new(&settings).map_err(|error| unreachable(crate::actors::error_chain(&error)))?;
    let url = Url::parse(&callback_address(base)).map_err(|error| unreachable(error.to_string()))?;
    let request = http.post(url).header(CONTENT_TYPE, "application/json").body("{}");
    http.exchange(request, ANSWER_BYTES_MAX).await
}

fn judge_answer(base: &Url, answer: &Answer, running: bool) -> Finding {
    let address = callback_address(base);
    let status = answer.status;
    let code = serde_json::from_slice::<ErrorBody>(&answer.body).ok().map(|body| body.code);
    let is = |wanted: Code| code.as_deref() == Some(wanted.name());
    if is(Code::SignatureRefused) || is(Code::TooMany) {
        return Finding::ok(
            "callback",
            format!(
                "{address} доходит до службы: callback без подписи отвергнут ({status}), как и должно быть."
            ),
            format!(
                "{address} leads to the service: a callback without a signature was refused ({status}), as it must be."
            ),
        );
    }
    if is(Code::NotFound) {
        return Finding::problem(
            "callback",
            format!("{address} доходит до edobridge, но callback EasyDocs там не принимают."),
            format!("{address} leads to edobridge, but callbacks of EasyDocs are not taken there."),
        )
        .fix(
            "Служба запущена со старой конфигурацией: перезапустите её.",
            "The service runs with an older configuration: restart it.",
        );
    }
    if let 502..=504 = status {
        return proxy_without_service(&address, status, running);
    }
    let (ru, en) = (
        format!("По адресу {address} отвечает не edobridge (HTTP {status})."),
        format!("What answers at {address} is not edobridge (HTTP {status})."),
    );
    Finding::problem("callback", ru, en).fix(
        "Направьте этот путь на public.listen (образец для nginx — deploy/nginx/edobridge.conf), без перенаправлений и страниц входа.",
        "Lead this path to public.listen (a sample for nginx: deploy/nginx/edobridge.conf), without redirects and login pages.",
    )
}

fn proxy_without_service(address: &str, status: u16, running: bool) -> Finding {
    let (ru, en) = (
        format!("По адресу {address} отвечает прокси, но службы за ним нет (HTTP {status})."),
        format!("A proxy answers at {address}, but there is no service behind it (HTTP {status})."),
    );
    if running {
        Finding::problem("callback", ru, en).fix(
            "Служба работает: сверьте upstream прокси с public.listen.",
            "The service runs: compare the upstream of the proxy with public.listen.",
        )
    } else {
        Finding::skipped("callback", ru, en)
            .fix("Запустите службу и повторите проверку.", "Start the service and run this again.")
    }
}

/// No answer from one's own address: a proof only where nothing but this machine is in between.
fn judge_silence(base: &Url, error: &WireError, private: bool) -> Finding {
    let address = callback_address(base);
    let detail = error.to_string();
    let (ru, en) = (
        format!("{address} отсюда не отвечает: {detail}."),
        format!("{address} does not answer from here: {detail}."),
    );
    if detail.to_lowercase().contains("certificate") {
        return Finding::problem("callback", ru, en).fix(
            "Сертификат не годится: EasyDocs и Битрикс24 его тоже не примут. Проверьте цепочку, имя и срок.",
            "The certificate will not do, and EasyDocs and Bitrix24 will refuse it too. Check its chain, name and dates.",
        );
    }
    let loopback =
        base.host_str().is_some_and(|host| host == "127.0.0.1" || host == "localhost" || host == "[::1]");
    let verdict = if loopback { Verdict::Skipped } else { Verdict::Warning };
    let finding = Finding::of(verdict, "callback", Text::new(ru, en));
    if loopback {
        return finding
            .fix("Запустите службу и повторите проверку.", "Start the service and run this again.");
    }
    let (inner_ru, inner_en) = if private {
        (" (имя ведёт на внутренний адрес)", " (the name leads to an inner address)")
    } else {
        ("", "")
    };
    finding.fix(
        format!("Изнутри сети{inner_ru} это ничего не доказывает: маршрутизатор может не пускать к собственному внешнему адресу. Проверьте из другой сети, например с телефона: curl -i -H 'Content-Type: application/json' -d '{{}}' {address} — должно быть 401 и signature_refused."),
        format!("From inside the network{inner_en} this proves nothing: the router may not let us to our own public address. Try from another network, a phone for instance: curl -i -H 'Content-Type: application/json' -d '{{}}' {address} must give 401 and signature_refused."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://edo.example/").unwrap()
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    fn ours(code: Code) -> Answer {
        let body = ErrorBody { code: code.name().to_owned(), message: code.message() };
        answer(code.status().as_u16(), &serde_json::to_string(&body).unwrap())
    }

    #[test]
    fn only_our_own_refusal_proves_that_the_address_leads_here() {
        let verdict = |answer: &Answer| judge_answer(&base(), answer, true).verdict;
        assert_eq!(verdict(&ours(Code::SignatureRefused)), Verdict::Ok);
        assert_eq!(verdict(&ours(Code::TooMany)), Verdict::Ok);
        assert_eq!(verdict(&ours(Code::NotFound)), Verdict::Problem);
        assert_eq!(verdict(&answer(401, "Basic login wanted")), Verdict::Problem);
        assert_eq!(verdict(&answer(200, r#"{"ok":true}"#)), Verdict::Problem);
        assert_eq!(verdict(&answer(302, "")), Verdict::Problem);
    }

    #[test]
    fn a_proxy_before_a_stopped_service_is_no_fault() {
        let page = answer(502, "<html>Bad Gateway</html>");
        assert_eq!(judge_answer(&base(), &page, false).verdict, Verdict::Skipped);
        assert_eq!(judge_answer(&base(), &page, true).verdict, Verdict::Problem);
    }

    #[test]
    fn silence_of_the_own_address_proves_nothing_but_a_bad_certificate_does() {
        let silent = judge_silence(&base(), &WireError::Silent, false);
        assert_eq!(silent.verdict, Verdict::Warning);
        assert!(silent.fix.unwrap().en.contains("curl -i"));
        let bad = WireError::Unreachable("invalid peer certificate: Expired".into());
        assert_eq!(judge_silence(&base(), &bad, false).verdict, Verdict::Problem);
    }

    #[test]
    fn inner_addresses_are_known() {
        for inner in [
            "10.1.2.3",
            "192.168.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "fd00::1",
            "::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_inner(inner.parse().unwrap()), "{inner}");
        }
        for outer in ["8.8.8.8", "100.128.0.1", "2001:4860:4860::8888"] {
            assert!(!is_inner(outer.parse().unwrap()), "{outer}");
        }
    }

    #[test]
    fn the_callback_address_keeps_a_path_of_the_base() {
        let base = Url::parse("https://x.example/edo/").unwrap();
        assert_eq!(callback_address(&base), "https://x.example/edo/easydocs/callback");
    }
}
