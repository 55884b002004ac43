use http::{
    HeaderMap, HeaderName, Uri,
    header::{self, AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
    uri::PathAndQuery,
};

use super::KeyDigest;
use crate::{Error, Kind, dialect::prefix::Vendor, headers::PROVIDER_KEY, percent, secret::Secret};

/// Where clients put their secrets. The first ones are where the SDKs of OpenAI, Anthropic, Google and Azure put
/// their key, and Bifrost's.
static SECRETS: [HeaderName; 8] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-bf-vk"),
    COOKIE,
    PROXY_AUTHORIZATION,
    PROVIDER_KEY,
];
const ANTHROPIC: usize = 1;
const GOOGLE: usize = 2;
const KEYS: usize = 5;
const OWN: usize = 7;

/// Which of the [`SECRETS`] a request has: looked for once, since most requests have one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried([bool; SECRETS.len()]);

impl Carried {
    pub(super) fn by(headers: &HeaderMap) -> Self {
        let mut carried = Self::default();
        for name in headers.keys() {
            let found = SECRETS.iter().zip(&mut carried.0).find(|(secret, _)| *secret == name);
            if let Some((_, has)) = found {
                *has = true;
            }
        }
        carried
    }

    fn names(self) -> impl Iterator<Item = &'static HeaderName> {
        SECRETS.iter().zip(self.0).filter_map(|(name, has)| has.then_some(name))
    }

    fn keys(self) -> impl Iterator<Item = &'static HeaderName> {
        SECRETS[..KEYS].iter().zip(self.0).filter_map(|(name, has)| has.then_some(name))
    }
}

/// Where a client of Google may put its key into the address.
const PARAMETER: &str = "key";

/// Whose SDK puts a key where the client has put it; kept when the key itself is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presented(pub(crate) Vendor);

impl Presented {
    /// `None` where several do, or there is no key.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        Self::by(Carried::by(headers), uri)
    }

    pub(super) fn by(carried: Carried, uri: &Uri) -> Option<Self> {
        if carried.0[GOOGLE] || keys_in(uri).next().is_some() {
            return Some(Self(Vendor::Google));
        }
        carried.0[ANTHROPIC].then_some(Self(Vendor::Anthropic))
    }
}

/// A key of the client's own for a provider: an extension of the request, put there by
/// [`Auth`](super::Auth) where the caller may bring one. It leaves for that provider and nowhere else.
#[derive(Clone, Debug)]
pub struct ProviderKey(pub Secret);

impl ProviderKey {
    /// Takes it out of the headers.
    pub(super) fn take(carried: Carried, headers: &mut HeaderMap) -> Result<Option<Self>, Error> {
        if !carried.0[OWN] {
            return Ok(None);
        }
        let header::Entry::Occupied(entry) = headers.entry(PROVIDER_KEY) else { return Ok(None) };
        let mut values = entry.remove_entry_mult().1;
        let (first, others) = (values.next(), values.count());
        let text = first.as_ref().and_then(|value| value.to_str().ok()).map(str::trim);
        match text.filter(|text| others == 0 && !text.is_empty()) {
            Some(text) => Ok(Some(Self(Secret::new(text)))),
            None => Err(Error::new(Kind::InvalidRequest, format!("{PROVIDER_KEY}: expected one key"))),
        }
    }
}

/// The digest of the client's key, if it presents one.
pub(crate) fn digest(headers: &HeaderMap, uri: &Uri) -> Result<Option<KeyDigest>, Error> {
    digest_of(Carried::by(headers), headers, uri)
}

pub(super) fn digest_of(
    carried: Carried,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Option<KeyDigest>, Error> {
    let in_headers = carried.keys().flat_map(|name| {
        let is_bearer = *name == AUTHORIZATION;
        headers.get_all(name).iter().filter_map(move |value| key(value.as_bytes(), is_bearer))
    });
    let decoded: Vec<_> = keys_in(uri).map(percent::decoded).collect();
    let mut keys = in_headers.chain(decoded.iter().filter_map(|value| key(value.as_bytes(), false)));
    let Some(first) = keys.next() else {
        return Ok(None);
    };
    // Claude Code's key helper sends one key in two headers.
    if keys.any(|other| other != first) {
        return Err(Error::new(Kind::Unauthenticated, "the request carries two different keys"));
    }
    Ok(Some(KeyDigest::of(first)))
}

/// Takes everything out that is a secret of the client.
pub(super) fn strip(carried: Carried, headers: &mut HeaderMap, uri: &mut Uri) {
    for name in carried.names() {
        headers.remove(name);
    }
    if keys_in(uri).next().is_some() {
        *uri = without_key(uri);
    }
}

fn keys_in(uri: &Uri) -> impl Iterator<Item = &str> {
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| percent::decoded(name) == PARAMETER).map(|(_, value)| value)
}

fn without_key(uri: &Uri) -> Uri {
    let is_key = |pair: &&str| percent::decoded(pair.split('=').next().unwrap_or_default()) == PARAMETER;
    let rest: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(|pair| !is_key(pair)).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    let path_and_query = PathAndQuery::try_from(format!("{}{mark}{}", uri.path(), rest.join("&")));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path_and_query.ok();
    // What was an address stays one without a part of its query; better none than one with a secret.
    Uri::from_parts(parts).unwrap_or_default()
}

fn key(value: &[u8], is_bearer: bool) -> Option<&[u8]> {
    let key = if is_bearer {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)?
    } else {
        value
    };
    Some(key.trim_ascii()).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn found(lines: &[(&'static str, &'static str)]) -> Option<KeyDigest> {
        digest(&headers(lines), &Uri::default()).unwrap()
    }

    fn in_query(uri: &'static str) -> Result<Option<KeyDigest>, Error> {
        digest(&HeaderMap::new(), &Uri::from_static(uri))
    }

    #[test]
    fn every_sdk_finds_a_header_for_its_key() {
        let expected = Some(KeyDigest::of("vk"));

        assert_eq!(found(&[("authorization", "Bearer vk")]), expected);
        assert_eq!(found(&[("authorization", "bearer  vk ")]), expected);
        for name in ["x-api-key", "api-key", "x-goog-api-key", "x-bf-vk"] {
            assert_eq!(found(&[(name, "vk")]), expected, "{name}");
        }
    }

    #[test]
    fn a_key_may_stand_in_the_query_and_does_not_stay_there() {
        let expected = Some(KeyDigest::of("v k"));
        let stripped = |uri: &'static str| {
            let mut uri = Uri::from_static(uri);
            strip(Carried::default(), &mut HeaderMap::new(), &mut uri);
            uri.to_string()
        };

        assert_eq!(in_query("/m:generateContent?key=v%20k").unwrap(), expected);
        assert_eq!(in_query("/m?alt=sse&%6bey=v%20k&key=v%20k").unwrap(), expected);
        assert_eq!(in_query("/m?monkey=v&key=").unwrap(), None);
        assert!(in_query("/m?key=a&key=b").is_err());
        assert_eq!(stripped("/m?key=a"), "/m");
        assert_eq!(stripped("http://h/m?alt=sse&%6Bey=a&x=1&key=b&key"), "http://h/m?alt=sse&x=1");
        assert_eq!(stripped("/m?alt=sse"), "/m?alt=sse");
    }

    #[test]
    fn the_place_of_a_key_tells_whose_sdk_has_sent_it() {
        let of = |name: &'static str| {
            Presented::of(&headers(&[(name, "vk")]), &Uri::default()).map(|presented| presented.0)
        };

        assert_eq!(of("x-goog-api-key"), Some(Vendor::Google));
        assert_eq!(of("x-api-key"), Some(Vendor::Anthropic));
        assert_eq!(of("authorization"), None);
        let in_query = Presented::of(&HeaderMap::new(), &Uri::from_static("/v1/models?key=vk"));
        assert_eq!(in_query, Some(Presented(Vendor::Google)));
    }

    #[test]
    fn an_empty_key_and_other_schemes_are_no_key() {
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("authorization", "Bearer ")]), None);
        assert_eq!(found(&[("authorization", "Basic dms=")]), None);
        assert_eq!(found(&[("authorization", "vk")]), None);
        assert_eq!(found(&[("x-api-key", "")]), None);
    }

    #[test]
    fn one_key_may_come_twice_and_two_keys_may_not() {
        let twice = [("authorization", "Bearer vk"), ("x-api-key", "vk")];
        let differing = [("authorization", "Bearer vk"), ("x-api-key", "other")];
        let repeated = [("x-api-key", "vk"), ("x-api-key", "other")];

        assert_eq!(found(&twice), Some(KeyDigest::of("vk")));
        for lines in [&differing, &repeated] {
            assert_eq!(
                digest(&headers(lines), &Uri::default()).unwrap_err().message(),
                "the request carries two different keys"
            );
        }
    }
}
