//! `/key/…` as LiteLLM has it, over the same functions. What can't be held to is refused, not ignored.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{
    answer::{Fields, note},
    audited::By,
    create::How,
    entry::unknown,
    layer::Office,
    operation::LiteLlm,
    settings::InForce,
};
use crate::{
    Error, Kind,
    auth::KeyDigest,
    config::{Key, Unit, tidy},
    directory::Section,
    ledger::{Measure, Period},
    query::Query,
};

/// The fields of LiteLLM that have a meaning here.
const KNOWN: &str = "key, key_alias, team_id, user_id, models, max_budget, budget_duration, duration, rpm_limit, \
                     tpm_limit, max_parallel_requests, metadata, blocked, key_type";
/// The kinds of keys that may do what all keys may do here.
const KEY_TYPES: [&str; 2] = ["default", "llm_api"];
/// That it names all models.
const ALL_MODELS: [&str; 2] = ["all-proxy-models", "all-team-models"];

/// Where whose key it is stands in the metadata.
const USER: &str = "user_id";
/// What a list may be narrowed by. The keys of teams are among the others in any case.
pub(super) const LIST: [&str; 9] = [
    "page",
    "size",
    "team_id",
    "organization_id",
    USER,
    "key_hash",
    "key_alias",
    "return_full_object",
    "include_team_keys",
];

pub(super) async fn answer(
    office: &Office,
    action: LiteLlm,
    query: &Query,
    mut body: Fields,
    by: &By,
) -> Result<Value, Error> {
    match action {
        LiteLlm::Generate => generate(office, body, by).await,
        LiteLlm::Info => {
            query.only(&["key"])?;
            let now = office.settings.now();
            let key = find(&now, query.get("key").ok_or_else(|| missing("key"))?)?;
            Ok(json!({ "key": token(key), "info": info(office, key).await? }))
        }
        LiteLlm::Update => {
            let Some(Value::String(key)) = body.remove("key") else { return Err(missing("key")) };
            let now = office.settings.now();
            let key = find(&now, &key)?;
            let name = key.name.clone();
            if body.remove("key_alias").is_some_and(|alias| alias != *name) {
                return Err(refused("key_alias: a key keeps its name"));
            }
            let patch = settings(body, Some(key))?;
            office.change(by, Section::Keys, &name, patch, None).await?;
            note(by, "changed", Section::Keys, &name);
            let now = office.settings.now();
            info(office, find(&now, &name)?).await
        }
        LiteLlm::Delete => delete(office, &body, by).await,
        LiteLlm::List => list(office, query).await,
    }
}

async fn generate(office: &Office, mut body: Fields, by: &By) -> Result<Value, Error> {
    // LiteLLM's own client has another name for it.
    let brought =
        [body.remove("key"), body.remove("api_key")].into_iter().flatten().find(|key| !key.is_null());
    let name = match body.remove("key_alias") {
        Some(Value::String(name)) => name,
        None | Some(Value::Null) => format!("key-{}", by.request.as_str()),
        Some(_) => return Err(refused("key_alias: is not a text")),
    };
    let mut fields = settings(body, None)?;
    fields.insert("name".to_owned(), name.clone().into());
    let key = brought.clone();
    fields.extend(brought.map(|key| ("key".to_owned(), key)));
    let made = office.create(by, Section::Keys, fields, None).await?;
    if made.how == How::Found {
        let message = format!("key_alias: there is a key `{name}` already");
        return Err(Error::new(Kind::Conflict, message).with_param("key_alias"));
    }
    note(by, "made", Section::Keys, &name);
    let now = office.settings.now();
    let found = find(&now, &name)?;
    let mut answer = info(office, found).await?;
    answer["key"] = key.unwrap_or_else(|| made.entry["key"].clone());
    answer["token"] = token(found);
    answer["token_id"] = token(found);
    Ok(answer)
}

async fn delete(office: &Office, body: &Fields, by: &By) -> Result<Value, Error> {
    let lists = ["keys", "key_aliases"].into_iter().filter_map(|name| body.get(name)?.as_array());
    let wanted: Vec<&Value> = lists.flatten().collect();
    if wanted.is_empty() {
        return Err(missing("keys"));
    }
    let now = office.settings.now();
    // All of them have to be there before one is deleted.
    let names = wanted
        .iter()
        .map(|key| find(&now, key.as_str().unwrap_or_default()).map(|key| key.name.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    for name in names {
        office.delete(by, Section::Keys, &name, None).await?;
        note(by, "deleted", Section::Keys, &name);
    }
    Ok(json!({ "deleted_keys": wanted }))
}

async fn list(office: &Office, query: &Query) -> Result<Value, Error> {
    query.only(&LIST)?;
    let (page, size) = (query.number("page", 1, usize::MAX)?, query.number("size", 10, 100)?);
    let now = office.settings.now();
    let is = |wanted: Option<&str>, has: Option<&str>| wanted.is_none() || wanted == has;
    let mut keys: Vec<&Key> = now.config.keys.iter().collect();
    keys.retain(|key| {
        is(query.get("team_id"), key.team.as_deref())
            && is(query.get("organization_id"), key.customer(&now.config))
            && is(query.get("user_id"), user(key).as_str())
            && is(query.get("key_hash"), token(key).as_str())
            && is(query.get("key_alias"), Some(&key.name))
    });
    keys.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let total = keys.len();
    let whole = query.get("return_full_object") == Some("true");
    let mut shown = Vec::new();
    for key in keys.into_iter().skip((page - 1).saturating_mul(size)).take(size) {
        shown.push(if whole { info(office, key).await? } else { token(key) });
    }
    let pages = total.div_ceil(size);
    Ok(json!({ "keys": shown, "total_count": total, "current_page": page, "total_pages": pages }))
}

/// Whose key it is; a name that nothing goes by.
fn user(key: &Key) -> &Value {
    key.metadata.get(USER).unwrap_or(&Value::Null)
}

/// A key by itself, by its hash or by its name.
fn find<'n>(now: &'n InForce, text: &str) -> Result<&'n Key, Error> {
    let presented = KeyDigest::of(text);
    let hash = text.parse::<KeyDigest>().ok();
    let keys = || now.config.keys.iter();
    let is_digest = |digest: KeyDigest| keys().find(|key| key.digest() == Some(digest));
    let found = is_digest(presented).or_else(|| is_digest(hash?)).or_else(|| now.key(text));
    // What was sent may be a key, so it isn't repeated.
    found.ok_or_else(|| unknown(Section::Keys, "that was named"))
}

/// The hash of a key that was made here; a key of the file may be short, so that its hash is its name.
fn token(key: &Key) -> Value {
    match &key.prefix {
        Some(_) => key.sha256.clone().into(),
        None => key.name.clone().into(),
    }
}

/// Our fields of theirs. Of a new key `null` is nothing; of another it takes something away.
fn settings(body: Fields, old: Option<&Key>) -> Result<Fields, Error> {
    let mut ours = json!({});
    let mut budget = (None, None);
    let (mut metadata, mut user) = (Value::Null, None);
    for (name, value) in body {
        if old.is_none() && value.is_null() {
            continue;
        }
        let per_minute = |value: &Value| value.as_u64().map(|count| json!(format!("{count}/minute")));
        match name.as_str() {
            "team_id" => ours["team"] = value,
            "models" => ours["allow"] = models(value),
            "metadata" => metadata = value,
            USER => user = Some(value),
            "key_type" if KEY_TYPES.iter().any(|known| value == *known) => {}
            "blocked" => ours["disabled"] = if value.is_null() { json!(false) } else { value },
            "rpm_limit" => ours["limits"]["requests"] = some(&name, &value, per_minute)?,
            "tpm_limit" => ours["limits"]["tokens"] = some(&name, &value, per_minute)?,
            "max_parallel_requests" => {
                ours["limits"]["concurrent"] = some(&name, &value, |value| value.as_u64().map(Value::from))?;
            }
            "duration" => ours["expires"] = some(&name, &value, expires)?,
            "max_budget" => budget.0 = Some(value),
            "budget_duration" => budget.1 = Some(value),
            _ if is_empty(&value) => {}
            _ => return Err(refused(&format!("{name}: can't be held to here; known are {KNOWN}"))),
        }
    }
    if let Some(user) = user {
        if metadata.is_null() {
            metadata = json!({});
        }
        let fields = metadata.as_object_mut().ok_or_else(|| refused("metadata: is not an object"))?;
        fields.insert(USER.to_owned(), user);
    }
    if !metadata.is_null() {
        ours["metadata"] = metadata;
    }
    match budget {
        (None, None) => {}
        (Some(Value::Null), _) => ours["budget"] = Value::Null,
        // The budget that there is keeps its period.
        (Some(amount), None) if old.is_some_and(|key| key.budget.len() == 1) => {
            ours["budget"] = json!({ "usd": amount });
        }
        (Some(amount), None | Some(Value::Null)) => ours["budget"] = json!({ "usd": amount, "per": "total" }),
        (Some(amount), Some(per)) => ours["budget"] = json!({ "usd": amount, "per": period(&per)? }),
        (None, Some(per)) => ours["budget"]["per"] = period(&per)?.into(),
    }
    match ours {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Fields::new()),
    }
}

/// A list without names is all models.
fn models(value: Value) -> Value {
    match value.as_array() {
        Some(names) if names.iter().all(|name| ALL_MODELS.iter().any(|all| name == all)) => Value::Null,
        _ => value,
    }
}

fn some(name: &str, value: &Value, read: impl Fn(&Value) -> Option<Value>) -> Result<Value, Error> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    read(value).ok_or_else(|| refused(&format!("{name}: is not of the form that LiteLLM has")))
}

fn expires(value: &Value) -> Option<Value> {
    let lasts = Duration::read(value.as_str()?)?;
    Some(SystemTime::now().checked_add(lasts)?.write().into())
}

/// `30d` and the like look back; `1mo` is a month of the calendar.
fn period(value: &Value) -> Result<String, Error> {
    let period = match value.as_str() {
        Some("1mo" | "monthly") => Some(Period::Month),
        Some("daily") => Some(Period::Day),
        Some("weekly") => Some(Period::Week),
        Some(text) => text.parse().ok(),
        None => None,
    };
    period.map(|period| period.to_string()).ok_or_else(|| {
        refused("budget_duration: expected a time such as 30d, 24h or 1mo").with_param("budget_duration")
    })
}

fn is_empty(value: &Value) -> bool {
    tidy(json!({ "value": value })).as_object().is_none_or(Fields::is_empty)
        || *value == false
        || value.as_f64() == Some(0.0)
}

/// What LiteLLM tells of a key.
async fn info(office: &Office, key: &Key) -> Result<Value, Error> {
    let usage = office.usage_of_key(&key.name).await?;
    let spend = usage.iter().find(|usage| usage.scope.counted_as().0 == Measure::Usd);
    let spend = spend.map_or(0.0, |usage| dollars(usage.balance.posted));
    let budget = key.budget.iter().find_map(|budget| Some((budget.usd?, budget.per)));
    let per_minute = |allowances: &[crate::config::Written<crate::config::Allowance>]| {
        allowances.iter().find(|one| one.period == Period::Minute).map(|one| one.amount.0)
    };
    Ok(json!({
        "key_alias": key.name,
        "key_name": key.prefix.as_ref().map(|prefix| format!("{prefix}...")),
        "team_id": key.team,
        "user_id": user(key),
        "models": key.allow.clone().unwrap_or_default(),
        "spend": spend,
        "max_budget": budget.map(|(usd, _)| dollars(usd.0)),
        "budget_duration": budget.map(|(_, per)| per.to_string()).filter(|per| per != "total"),
        "rpm_limit": per_minute(&key.limits.requests),
        "tpm_limit": per_minute(&key.limits.tokens),
        "max_parallel_requests": key.limits.concurrent.map(|most| most.0),
        "expires": key.expires.map(|at| at.write()),
        "metadata": key.metadata,
        "blocked": key.disabled,
    }))
}

/// As LiteLLM writes money, which is no place to count it.
fn dollars(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn missing(name: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{name}: is missing")).with_param(name)
}

fn refused(message: &str) -> Error {
    Error::new(Kind::InvalidRequest, message)
}
