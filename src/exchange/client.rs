use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// Where a client is: an extension of requests, set by whoever accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Where the client is of a request that came from `peer` through so many `proxies`, each of which adds to
    /// `x-forwarded-for` whom it was asked by. What stands there besides, the client may have written itself.
    ///
    /// ```
    /// use bartizan::exchange::ClientAddress;
    /// use http::{HeaderMap, HeaderValue};
    ///
    /// let peer = [10, 0, 0, 1].into();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-forwarded-for", HeaderValue::from_static("1.1.1.1, 203.0.113.7"));
    ///
    /// assert_eq!(ClientAddress::behind(0, peer, &headers).0, peer);
    /// assert_eq!(ClientAddress::behind(1, peer, &headers).0.to_string(), "203.0.113.7");
    /// ```
    pub fn behind(proxies: usize, peer: IpAddr, headers: &HeaderMap) -> Self {
        // IPv4 is IPv4 on a socket for both, too.
        let peer = peer.to_canonical();
        let Some(nearer) = proxies.checked_sub(1) else { return Self(peer) };
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let said = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).nth(nearer);
        Self(said.and_then(|said| address(said.trim())).map_or(peer, |address| address.to_canonical()))
    }
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_proxies_in_front_have_added_is_believed() {
        let peer = "::ffff:10.0.0.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 203.0.113.7:4711".parse().unwrap());
        headers.append("x-forwarded-for", "[2001:db8::1]:443,unknown".parse().unwrap());
        let behind = |proxies| ClientAddress::behind(proxies, peer, &headers).0.to_string();

        let addresses = [0, 1, 2, 3, 4, 5].map(behind);

        assert_eq!(addresses, ["10.0.0.1", "10.0.0.1", "2001:db8::1", "203.0.113.7", "6.6.6.6", "10.0.0.1"]);
    }
}
