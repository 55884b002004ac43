use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, request::Parts};
use http_body_util::Full;
use serde_json::{Map, Value};

use super::{
    audited::By,
    create::{How, Made, Origin},
    layer::Office,
    litellm,
    operation::{Action, asked},
};
use crate::{
    Error, Kind,
    auth::KeyDigest,
    directory::{Revision, Section},
    future,
    query::Query,
};

/// The members of a JSON object.
pub(super) type Fields = Map<String, Value>;

/// Answers an administrator.
pub(super) async fn answer(
    office: &Office,
    parts: &Parts,
    body: &Bytes,
    by: &By,
) -> Result<Response<Full<Bytes>>, Error> {
    let path = parts.uri.path();
    let (action, name) = asked(&parts.method, path)?;
    let name = &*name;
    let query = Query::new(parts.uri.query().unwrap_or_default());
    let version = if_match(&parts.headers)?;
    let value = match action {
        Action::List(section) => office.list(section, &query)?,
        Action::Get(section) => office.settings.now().entry(section, name)?,
        Action::Usage => office.usage(&query).await?,
        Action::Standing(of) => office.standing(of, &query).await?,
        Action::Prices => office.prices(&query)?,
        Action::Audit => office.audit(&query).await?,
        Action::Mirrors => mirrors(office, &query)?,
        Action::Explain => office.explain(body).await?,
        Action::Config => {
            query.only(&[])?;
            office.settings.now().shown()?
        }
        Action::Put(section) => {
            let entry = office.put(by, section, name, object(body)?, version).await?;
            note(by, "set", section, name);
            entry
        }
        Action::Describe => super::openapi::document(),
        Action::Create(section) => return create(office, parts, section, body, by).await,
        Action::Change(section) => {
            let entry = office.change(by, section, name, object(body)?, version).await?;
            note(by, "changed", section, name);
            entry
        }
        Action::Delete(section) => {
            office.delete(by, section, name, version).await?;
            note(by, "deleted", section, name);
            serde_json::json!({ "name": name, "deleted": true })
        }
        Action::Rotate => {
            let entry = office.rotate(by, name, object(body)?, version).await?;
            note(by, "rotated", Section::Keys, name);
            entry
        }
        Action::LiteLlm(action) => litellm::answer(office, action, &query, object(body)?, by).await?,
    };
    Ok(future::json(StatusCode::OK, value.to_string()))
}

/// What came of the copies of a model's requests, or of all, and of their originals.
fn mirrors(office: &Office, query: &Query) -> Result<Value, Error> {
    query.only(&["model"])?;
    let wanted = query.get("model");
    let mut report = office.mirrors.report();
    report.retain(|row| wanted.is_none_or(|model| *row.model == *model));
    Ok(serde_json::json!({ "data": report }))
}

async fn create(
    office: &Office,
    parts: &Parts,
    section: Section,
    body: &Bytes,
    by: &By,
) -> Result<Response<Full<Bytes>>, Error> {
    let replayed = parts.headers.get("idempotency-key").map(KeyDigest::of);
    let asked = KeyDigest::of([section.as_str().as_bytes(), b"\n", body].concat());
    if let Some(replayed) = replayed
        && let Some(answer) = office.replays.find(replayed, asked)?
    {
        return Ok(future::json(StatusCode::CREATED, answer));
    }
    let config = office.settings.config();
    let origin = replayed.zip(config.admin.key.as_ref());
    let origin = origin.map(|(replayed, admin)| Origin::new(admin.expose(), replayed, asked));
    let Made { entry, how } = office.create(by, section, object(body)?, origin.as_ref()).await?;
    let answer = Bytes::from(entry.to_string());
    if how == How::Found {
        return Ok(future::json(StatusCode::OK, answer));
    }
    if how == How::Now {
        note(by, "made", section, entry["name"].as_str().unwrap_or_default());
    }
    if let Some(replayed) = replayed {
        office.replays.keep(replayed, asked, answer.clone());
    }
    Ok(future::json(StatusCode::CREATED, answer))
}

/// Writes down what an administrator has done.
pub(super) fn note(by: &By, what: &'static str, section: Section, name: &str) {
    let id = &by.request;
    tracing::info!(%id, by = "the administrator", what, section = section.as_str(), name, "set by the API");
}

/// The body as an object; an empty one if there is none.
fn object(body: &[u8]) -> Result<Fields, Error> {
    if body.trim_ascii().is_empty() {
        return Ok(Fields::new());
    }
    // What the parser says may quote what it has read.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("the body is not a JSON object, at line {line}, column {column}");
        Error::new(Kind::InvalidRequest, message)
    })
}

/// The version that a change is meant for.
fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, Error> {
    let Some(value) = headers.get("if-match") else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
    let wrong = || {
        Error::new(Kind::InvalidRequest, "if-match: expected a version such as \"7\"").with_param("if-match")
    };
    version.map(|version| Some(Revision(version))).ok_or_else(wrong)
}
