//! Sessions of browsers: a signed cookie in place of the administrators' key.
//!
//! A session is kept nowhere. Its cookie says when it ends and is signed with the key itself, so that every node of
//! the same key knows it, and another key ends them all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, Method, Request, header};
use ring::hmac;

use crate::{Error, Kind, secret::Secret};

/// Names the cookie.
const COOKIE: &str = "bartizan-session";
/// What scripts of the dashboard send with all that changes something, and a form of another site can't.
const CSRF: HeaderName = HeaderName::from_static("x-bartizan-csrf");
/// How long a session lasts.
#[cfg(any(feature = "dashboard", test))]
pub(crate) const LASTS: Duration = Duration::from_secs(12 * 60 * 60);

/// A session for whoever has presented `key`, as the value of its cookie; `None` without randomness.
#[cfg(any(feature = "dashboard", test))]
fn begin(key: &Secret, now: SystemTime) -> Option<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).ok()?;
    let ends = now.checked_add(LASTS)?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let signed = format!("{ends}.{}", hex(&bits));
    let signature = hmac::sign(&signing(key), signed.as_bytes());
    Some(format!("{signed}.{}", hex(signature.as_ref())))
}

/// Whether it was begun with this key, and hasn't ended.
fn is_valid(key: &Secret, session: &str, now: SystemTime) -> bool {
    let Some((signed, signature)) = session.rsplit_once('.') else { return false };
    let Some(signature) = unhex(signature) else { return false };
    // Compares in constant time.
    if hmac::verify(&signing(key), signed.as_bytes(), &signature).is_err() {
        return false;
    }
    let ends = signed.split('.').next().and_then(|ends| ends.parse().ok());
    ends.is_some_and(|ends| now < UNIX_EPOCH + Duration::from_secs(ends))
}

/// The key of signatures, which is of no use for anything else.
fn signing(key: &Secret) -> hmac::Key {
    let derived =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()), b"dashboard session");
    hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
}

/// Whether a request comes from somebody who has logged in with this key.
///
/// # Errors
///
/// [`Kind::Forbidden`] if it would change something and need not come from the dashboard.
pub(crate) fn admits<B>(key: &Secret, req: &Request<B>) -> Result<bool, Error> {
    let now = SystemTime::now();
    if !sessions(req.headers()).any(|session| is_valid(key, session, now)) {
        return Ok(false);
    }
    if !matches!(*req.method(), Method::GET | Method::HEAD) {
        from_here(req)?;
    }
    Ok(true)
}

/// Refuses what a page of another site may have sent.
///
/// # Errors
///
/// [`Kind::Forbidden`].
pub(crate) fn from_here<B>(req: &Request<B>) -> Result<(), Error> {
    let headers = req.headers();
    if headers.contains_key(CSRF) && is_same_origin(req) {
        return Ok(());
    }
    tracing::warn!(path = req.uri().path(), "refused: sent by another site");
    Err(Error::new(
        Kind::Forbidden,
        "this was not sent by the dashboard; its header x-bartizan-csrf is missing",
    ))
}

/// Browsers say it themselves where the connection is a safe one, and tell where they come from otherwise.
fn is_same_origin<B>(req: &Request<B>) -> bool {
    let headers = req.headers();
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    let host = host.or_else(|| req.uri().authority().map(|authority| authority.as_str().as_bytes()));
    let origin = origin.to_str().unwrap_or_default().split_once("://").map(|(_, host)| host.as_bytes());
    origin.is_some() && origin == host
}

/// The header `set-cookie` of somebody who logs in; `None` without randomness.
#[cfg(any(feature = "dashboard", test))]
pub(crate) fn cookie<B>(key: &Secret, req: &Request<B>) -> Option<String> {
    Some(written(&begin(key, SystemTime::now())?, LASTS, req))
}

/// The header `set-cookie` of somebody who logs out.
#[cfg(any(feature = "dashboard", test))]
pub(crate) fn no_cookie<B>(req: &Request<B>) -> String {
    written("", Duration::ZERO, req)
}

#[cfg(any(feature = "dashboard", test))]
fn written<B>(session: &str, lasts: Duration, req: &Request<B>) -> String {
    let forwarded = req.headers().get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let is_safe = forwarded || req.uri().scheme_str() == Some("https");
    let secure = if is_safe { "; Secure" } else { "" };
    format!("{COOKIE}={session}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", lasts.as_secs())
}

fn sessions(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, session)| session)
}

#[cfg(any(feature = "dashboard", test))]
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        Secret::new("the-key-of-the-administrators")
    }

    fn request(method: Method, headers: &[(&str, &str)]) -> Request<()> {
        let mut req = Request::builder().method(method).uri("/admin/v1/keys").header("host", "gateway:8080");
        for (name, value) in headers {
            req = req.header(*name, *value);
        }
        req.body(()).unwrap()
    }

    fn session() -> String {
        format!("other=1; {COOKIE}={}", begin(&key(), SystemTime::now()).unwrap())
    }

    #[test]
    fn a_session_lasts_half_a_day_and_ends_with_its_key() {
        let now = SystemTime::now();

        let session = begin(&key(), now).unwrap();

        let nearly = LASTS - Duration::from_secs(2);
        assert!(is_valid(&key(), &session, now) && is_valid(&key(), &session, now + nearly));
        assert!(!is_valid(&key(), &session, now + LASTS));
        assert!(!is_valid(&Secret::new("another-key"), &session, now));
        assert_ne!(begin(&key(), now).unwrap(), session);
    }

    #[test]
    fn nobody_makes_or_lengthens_a_session_without_the_key() {
        let now = SystemTime::now();
        let session = begin(&key(), now).unwrap();
        let (ends, rest) = session.split_once('.').unwrap();
        let longer = format!("{}.{rest}", ends.parse::<u64>().unwrap() + 1);

        for forged in
            [&*longer, "", ".", "..", "9999999999.00.", "9999999999.00.zz", &session[..session.len() - 1]]
        {
            assert!(!is_valid(&key(), forged, now), "{forged}");
        }
    }

    #[test]
    fn what_changes_something_has_to_come_from_the_dashboard() {
        let session = session();
        let asked = |method: Method, more: &[(&str, &str)]| {
            let headers: Vec<_> = [("cookie", &*session)].iter().chain(more).copied().collect();
            admits(&key(), &request(method, &headers))
        };
        let marked = (CSRF.as_str().to_owned(), "1");
        let marked = (&*marked.0, marked.1);

        assert!(asked(Method::GET, &[]).unwrap());
        assert!(asked(Method::POST, &[marked, ("sec-fetch-site", "same-origin")]).unwrap());
        assert!(asked(Method::POST, &[marked, ("origin", "http://gateway:8080")]).unwrap());
        for foreign in [
            &[("sec-fetch-site", "same-origin")] as &[_],
            &[marked, ("sec-fetch-site", "cross-site")],
            &[marked, ("sec-fetch-site", "same-site")],
            &[marked, ("origin", "https://evil.example")],
            &[marked, ("origin", "null")],
        ] {
            assert_eq!(asked(Method::DELETE, foreign).unwrap_err().kind(), Kind::Forbidden, "{foreign:?}");
        }
    }

    #[test]
    fn nobody_comes_in_without_a_session() {
        let wrong = format!("{COOKIE}=9999999999.00.00");

        assert!(!admits(&key(), &request(Method::GET, &[])).unwrap());
        assert!(!admits(&key(), &request(Method::GET, &[("cookie", &wrong)])).unwrap());
    }

    #[test]
    fn scripts_and_other_sites_never_see_the_cookie() {
        let plain = cookie(&key(), &request(Method::POST, &[])).unwrap();
        let safe = cookie(&key(), &request(Method::POST, &[("x-forwarded-proto", "https")])).unwrap();

        assert!(plain.contains("; HttpOnly; SameSite=Strict") && !plain.contains("Secure"), "{plain}");
        assert!(safe.ends_with("; Secure"), "{safe}");
        assert!(no_cookie(&request(Method::DELETE, &[])).contains("=; Path=/; Max-Age=0"));
    }
}
