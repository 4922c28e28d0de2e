//! Where a request comes from, and whose word about that is taken.
//!
//! `X-Forwarded-For` is written by whoever sends the request, so it counts only as far as it was written by proxies
//! that the configuration trusts: read from the right, up to the first address that is not one of them.

use crate::config::Network;
use actix_web::HttpRequest;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How many hops of `X-Forwarded-For` are looked at; chains of honest proxies are shorter.
const HOPS_MAX: usize = 16;

/// Whether one of `networks` contains `address`.
pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The address that a request counts for.
pub fn of(request: &HttpRequest, trusted: &[Network]) -> IpAddr {
    // a request without a peer exists in tests only; it counts as one fixed source, not as nobody
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let lines: Vec<&str> =
        request.headers().get_all("x-forwarded-for").map(|value| value.to_str().unwrap_or("?")).collect();
    behind_proxies(peer, &lines, trusted)
}

/// [`of`] without HTTP: `forwarded` are the lines of `X-Forwarded-For` in their order.
pub fn behind_proxies(peer: IpAddr, forwarded: &[&str], trusted: &[Network]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let hops = forwarded.iter().rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !any_contains(trusted, nearest) {
            return nearest;
        }
        // a hop that cannot be read: the proxy that passed it on is the last thing known for certain
        let Some(address) = hop_address(hop) else { return nearest };
        nearest = address.to_canonical();
    }
    nearest
}

fn hop_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        behind_proxies(peer.parse().unwrap(), forwarded, &networks(trusted)).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(seen("203.0.113.9", &["192.0.2.1"], &[]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", &["192.0.2.1"], &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_names_the_sender_and_nobody_further_left_does() {
        let trusted = ["10.0.0.0/8", "127.0.0.1"];
        assert_eq!(seen("127.0.0.1", &["6.6.6.6, 203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", &["6.6.6.6", "203.0.113.9, 10.1.2.3"], &trusted), "203.0.113.9");
        assert_eq!(seen("::ffff:127.0.0.1", &["203.0.113.9:4711"], &trusted), "203.0.113.9");
        assert_eq!(seen("127.0.0.1", &["[2001:db8::1]:80"], &trusted), "2001:db8::1");
        assert_eq!(seen("127.0.0.1", &[], &trusted), "127.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_counts_for_the_proxy_that_passed_it_on() {
        assert_eq!(seen("127.0.0.1", &["6.6.6.6, unknown"], &["127.0.0.1"]), "127.0.0.1");
        assert_eq!(seen("127.0.0.1", &["6.6.6.6, ?, 10.0.0.1"], &["127.0.0.1", "10.0.0.1"]), "10.0.0.1");
    }

    #[test]
    fn networks_hold_what_their_prefix_says() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
        let slice: Network = "192.0.2.128/25".parse().unwrap();
        assert!(slice.contains("192.0.2.200".parse().unwrap()));
        assert!(!slice.contains("192.0.2.5".parse().unwrap()));
        let six: Network = "2001:db8::/32".parse().unwrap();
        assert!(
            six.contains("2001:db8:ffff::1".parse().unwrap()) && !six.contains("2001:db9::".parse().unwrap())
        );
        for bad in ["", "10.0.0.0/33", "10.0.0.0/x", "::/129", "localhost"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
