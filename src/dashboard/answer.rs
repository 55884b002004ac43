use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::json;

use super::{
    assets, drift,
    export::{self, Form},
    layer::Desk,
    respond::{empty, guard, json, refusal, whole},
    sums,
    wanted::wanted,
};
use crate::{
    BoxBody, BoxError, Error, Kind,
    audit::{Event, EventKind},
    auth::KeyDigest,
    exchange::ClientAddress,
    logs::{Logs, Place},
    percent,
    query::Query,
    secret::Secret,
    session,
};

/// The largest body of a request, which is a key and a little.
const MAX_BODY: usize = 4 << 10;
/// How long a client may take for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is entered in the audit that keys are tried.
const REFUSED_EACH: Duration = Duration::from_secs(60);
/// The most records of one answer.
const MOST: usize = 500;

/// Answers a request for something at `/logs`.
pub(super) async fn answer<B>(desk: Arc<Desk>, req: Request<B>) -> Response<BoxBody>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let path = req.uri().path().to_owned();
    let answered = match path.strip_prefix("/logs/api/") {
        Some("session") => session_of(&desk, req).await,
        // What has an opinion on bodies is above.
        Some(asked) => asks(&desk, asked, &req.map(drop)).await,
        None => page(&path, req.method(), req.headers()),
    };
    let mut answer = answered.unwrap_or_else(|error| refusal(&error));
    guard(answer.headers_mut());
    answer
}

/// The page, or a file of it; neither has anything in it that isn't for everybody.
fn page(path: &str, method: &Method, headers: &HeaderMap) -> Result<Response<BoxBody>, Error> {
    only_read(method)?;
    let path = path.strip_prefix("/logs").unwrap_or_default();
    let path = path.trim_start_matches('/').trim_end_matches('/');
    if let Some(name) = path.strip_prefix("assets/") {
        return assets::asset(name, headers).ok_or_else(nothing_there);
    }
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let is_page = match first {
        "" | "spend" | "models" | "health" | "keys" | "audit" | "config" => rest.is_empty(),
        "requests" => true,
        _ => false,
    };
    if is_page {
        return Ok(assets::page(headers));
    }
    // It says so itself.
    let mut page = assets::page(&HeaderMap::new());
    *page.status_mut() = StatusCode::NOT_FOUND;
    Ok(page)
}

/// Logs in and out, and says whether somebody is.
async fn session_of<B>(desk: &Desk, req: Request<B>) -> Result<Response<BoxBody>, Error>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let state = |state: &str| json(&json!({ "state": state, "version": env!("CARGO_PKG_VERSION") }));
    let Some(key) = (desk.key)() else { return state("no_key") };
    match *req.method() {
        Method::GET => state(if session::admits(&key, &req)? { "in" } else { "out" }),
        Method::POST => {
            session::from_here(&req)?;
            let (parts, body) = req.into_parts();
            let asked = Request::from_parts(parts, ());
            log_in(desk, &key, &asked, &collect(body).await?)
        }
        Method::DELETE => {
            session::from_here(&req)?;
            with_cookie(empty(StatusCode::NO_CONTENT), &session::no_cookie(&req))
        }
        _ => Err(Error::other_method(&[Method::GET, Method::POST, Method::DELETE])),
    }
}

#[derive(Deserialize)]
struct Presented {
    key: Secret,
}

fn log_in(desk: &Desk, key: &Secret, req: &Request<()>, body: &[u8]) -> Result<Response<BoxBody>, Error> {
    let client = req.extensions().get::<ClientAddress>().map(|address| address.0);
    desk.tries.check(client)?;
    let presented: Presented = serde_json::from_slice(body)
        .map_err(|_| Error::new(Kind::InvalidRequest, "expected a JSON object with the `key`"))?;
    // Digests are compared in constant time.
    if KeyDigest::of(presented.key.expose().trim()) != KeyDigest::of(key.expose()) {
        desk.tries.note(client);
        // Whoever tries many needn't fill the audit.
        let tried =
            Event::new(EventKind::Login, "somebody at the dashboard", "was refused: that is not the key");
        desk.note(tried.from(client).once("dashboard login refused", REFUSED_EACH));
        tracing::warn!("refused at the dashboard: not the key of the administrators");
        return Err(Error::new(Kind::Unauthenticated, "that is not the key of the administrators"));
    }
    desk.note(
        Event::new(EventKind::Login, "an administrator at the dashboard", "has logged in").from(client),
    );
    tracing::info!("an administrator has logged in to the dashboard");
    let cookie = session::cookie(key, req);
    let cookie = cookie.ok_or_else(|| Error::new(Kind::Internal, "there is no randomness for a session"))?;
    with_cookie(empty(StatusCode::NO_CONTENT), &cookie)
}

impl Desk {
    /// Enters something in the audit, if there is one.
    fn note(&self, event: Event) {
        if let Some(trail) = &self.trail {
            trail.note(event);
        }
    }
}

fn with_cookie(mut answer: Response<BoxBody>, cookie: &str) -> Result<Response<BoxBody>, Error> {
    let value = HeaderValue::try_from(cookie)
        .map_err(|error| Error::new(Kind::Internal, "the cookie can't be written").with_source(error))?;
    answer.headers_mut().insert(header::SET_COOKIE, value);
    Ok(answer)
}

async fn collect<B>(body: B) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let limited = pin!(Limited::new(body, MAX_BODY));
    let collected = tokio::time::timeout(PATIENCE, limited.collect())
        .await
        .map_err(|_| Error::new(Kind::RequestTimeout, "the request's body did not arrive in time"))?;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| match error.is::<LengthLimitError>() {
        true => Error::new(Kind::TooLarge, format!("the request's body is larger than {MAX_BODY} bytes")),
        false => Error::new(Kind::InvalidRequest, "the request's body broke off").with_source(error),
    })
}

/// Answers with what the pages show, to those who may see it.
async fn asks(desk: &Desk, asked: &str, req: &Request<()>) -> Result<Response<BoxBody>, Error> {
    let denied = || Error::new(Kind::Unauthenticated, "nobody is logged in, or no longer; log in at /logs");
    let key = (desk.key)().ok_or_else(denied)?;
    if !session::admits(&key, req)? {
        return Err(denied());
    }
    only_read(req.method())?;
    let query = Query::new(req.uri().query().unwrap_or_default());
    let logs = || {
        let missing = "this gateway keeps no records that can be shown; see `log.records`";
        desk.logs.clone().ok_or_else(|| Error::new(Kind::NotFound, missing))
    };
    let (asked, form) = Form::of(asked);
    match (asked, form) {
        ("requests", Form::Page) => list(&*logs()?, &query).await,
        ("requests", form) => export::requests(logs()?, &query, form),
        ("sums", form) => sums::answer(&*logs()?, &query, form).await,
        ("drift", form) => drift::answer(&*logs()?, &query, form).await,
        ("health", Form::Page) => health(desk),
        (other, Form::Page) => match other.strip_prefix("requests/") {
            Some(id) => one(&*logs()?, &percent::decoded(id)).await,
            None => Err(nothing_there()),
        },
        _ => Err(nothing_there()),
    }
}

/// Some records, newest first, and where to go on.
async fn list(logs: &dyn Logs, query: &Query) -> Result<Response<BoxBody>, Error> {
    let filter = wanted(query, &["limit", "before"])?;
    let limit = query.number("limit", 100, MOST)?;
    let before = query.get("before").map(|place| {
        let wrong = || Error::new(Kind::InvalidRequest, "before: expected a place").with_param("before");
        place.parse().map(Place).map_err(|_| wrong())
    });
    json(&logs.find(&filter, before.transpose()?, limit).await?)
}

async fn one(logs: &dyn Logs, id: &str) -> Result<Response<BoxBody>, Error> {
    let gone =
        || Error::new(Kind::NotFound, "there is no record of this request; it may have been deleted by now");
    json(&logs.get(id).await?.ok_or_else(gone)?)
}

fn health(desk: &Desk) -> Result<Response<BoxBody>, Error> {
    let health = desk.health.as_ref().ok_or_else(nothing_there)?;
    Ok(whole(StatusCode::OK, "application/json", health()))
}

fn only_read(method: &Method) -> Result<(), Error> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Error::other_method(&[Method::GET, Method::HEAD])),
    }
}

fn nothing_there() -> Error {
    Error::new(Kind::NotFound, "there is nothing here")
}
