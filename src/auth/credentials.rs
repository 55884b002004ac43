use http::{
    HeaderMap, HeaderName,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION},
};

use super::KeyDigest;
use crate::{Error, Kind};

/// Where the SDKs of OpenAI, Anthropic, Azure and Google put their key, and Bifrost's.
static CARRIERS: [HeaderName; 5] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-bf-vk"),
];

/// The digest of the client's key, if it presents one.
pub(super) fn digest(headers: &HeaderMap) -> Result<Option<KeyDigest>, Error> {
    let mut keys = CARRIERS.iter().flat_map(|name| {
        let is_bearer = *name == AUTHORIZATION;
        headers.get_all(name).iter().filter_map(move |value| key(value.as_bytes(), is_bearer))
    });
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
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in CARRIERS.iter().chain(&[COOKIE, PROXY_AUTHORIZATION]) {
        headers.remove(name);
    }
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
        digest(&headers(lines)).unwrap()
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
                digest(&headers(lines)).unwrap_err().message(),
                "the request carries two different keys"
            );
        }
    }
}
