//! Which language a signer reads: the one in the address, else the one that the browser asks for.

use crate::domain::SignerLanguage;
use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;

/// Languages of one header that are looked at.
const WISHES_MAX: usize = 20;

/// The language for this request, one of `offered`; the first of them if none fits.
pub(super) fn of(request: &HttpRequest, offered: &[SignerLanguage]) -> SignerLanguage {
    let chosen = form_urlencoded::parse(request.query_string().as_bytes())
        .find(|(name, _)| name == "lang")
        .and_then(|(_, code)| SignerLanguage::of_code(&code));
    let wished = || {
        let header = request.headers().get(ACCEPT_LANGUAGE)?.to_str().ok()?;
        preferred(header, offered)
    };
    let default = offered.first().copied().unwrap_or_default();
    chosen.filter(|language| offered.contains(language)).or_else(wished).unwrap_or(default)
}

/// The offered language with the greatest weight; the earlier one of equals (RFC 9110, 12.5.4).
fn preferred(header: &str, offered: &[SignerLanguage]) -> Option<SignerLanguage> {
    let mut best: Option<(f32, SignerLanguage)> = None;
    for wish in header.split(',').take(WISHES_MAX) {
        let mut parts = wish.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let primary = tag.split('-').next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        let Some(language) = SignerLanguage::of_code(primary).filter(|l| offered.contains(l)) else {
            continue;
        };
        let weight: f32 = weight.unwrap_or(0.0);
        if weight > 0.0 && best.is_none_or(|(known, _)| weight > known) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(uri: &str, header: &str, offered: &[SignerLanguage]) -> &'static str {
        let request = TestRequest::with_uri(uri).insert_header((ACCEPT_LANGUAGE, header)).to_http_request();
        of(&request, offered).code()
    }

    #[test]
    fn the_address_wins_then_the_browser_then_the_first_offered() {
        let all = SignerLanguage::ALL;
        assert_eq!(read("/sign/x?lang=kk", "en", &all), "kk");
        assert_eq!(read("/sign/x?lang=xx", "en-GB,en;q=0.9", &all), "en");
        assert_eq!(read("/sign/x", "de, kk-KZ;q=0.5, en;q=0.7", &all), "en");
        assert_eq!(read("/sign/x", "kk, en", &all), "kk");
        assert_eq!(read("/sign/x", "kk;q=0, de", &all), "ru");
        assert_eq!(read("/sign/x", "", &all), "ru");
        assert_eq!(read("/sign/x?lang=en", "en", &[SignerLanguage::Kk, SignerLanguage::Ru]), "kk");
    }
}
