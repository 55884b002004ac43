use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{
    answer::Fields,
    audited::By,
    entry::{unknown, written},
    layer::Office,
    replay::KEPT_FOR,
    settings::InForce,
};
use crate::{
    Error, Kind,
    auth::KeyDigest,
    config::{Customer, Key, Place, Previous, Problem, Team, Unit, UsdPrice, Written, read, tidy},
    directory::{Change, Revision, Section},
};

/// The longest name.
const MAX_NAME: usize = 256;
/// The longest time in which a replaced key still works.
const MAX_GRACE: Duration = Duration::from_secs(30 * 86_400);
/// The most keys that work beside the current one.
const MAX_PREVIOUS: usize = 4;
/// How many characters of a key are shown: too few to guess the rest.
const PREFIX: usize = 10;
/// What only the gateway sets.
const OWN: [&str; 4] = ["prefix", "previous", "seed", "version"];

/// What became of a wish for a new entry.
pub(super) struct Made {
    pub(super) entry: Value,
    pub(super) how: How,
}

/// How an entry that is wished for has come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It was made.
    Now,
    /// The same request has made it before, maybe on another node.
    Before,
    /// It was there, and says the same.
    Found,
}

impl Office {
    /// Makes an entry; one that is there already and says the same is shown instead.
    /// With an `origin`, a key that is made for it is the same whenever it is asked for.
    pub(super) async fn create(
        &self,
        by: &By,
        section: Section,
        mut fields: Fields,
        origin: Option<&Origin>,
    ) -> Result<Made, Error> {
        let name = take_name(&mut fields)?;
        refuse_own(&fields)?;
        let mut key = None;
        if section == Section::Keys {
            key = give_key(&mut fields, origin)?;
            fields.insert("name".to_owned(), name.clone().into());
        }
        let content = content(section, fields)?;
        let mut how = How::Found;
        let now = self
            .settings
            .change(by, |now| {
                if !now.has(section, &name) {
                    how = How::Now;
                    return Ok(Some(Change::put(section, &name, content.to_string())));
                }
                how = How::Found;
                now.changeable(section, &name, None)?;
                let made = key.as_ref().zip(origin).and_then(|(_, origin)| now.key_of(origin, &name));
                if made.is_some() {
                    (key, how) = (made, How::Before);
                    return Ok(None);
                }
                if now.says_the_same(section, &name, &content, key.is_some()) {
                    return Ok(None);
                }
                let message = format!(
                    "the {} `{name}` is there already and says something else; change it with PATCH",
                    section.singular()
                );
                Err(Error::new(Kind::Conflict, message).with_param("name"))
            })
            .await?;
        let mut entry = now.entry(section, &name)?;
        if let Some(key) = key.filter(|_| how != How::Found) {
            entry["key"] = key.into();
        }
        Ok(Made { entry, how })
    }

    /// Makes an entry, or puts it in the place of the one there is.
    pub(super) async fn put(
        &self,
        by: &By,
        section: Section,
        name: &str,
        fields: Fields,
        version: Option<Revision>,
    ) -> Result<Value, Error> {
        check_name(name)?;
        let content = content(section, fields)?.to_string();
        let now = self
            .settings
            .change(by, |now| {
                if version.is_some() || now.has(section, name) {
                    now.changeable(section, name, version)?;
                }
                Ok(Some(Change::put(section, name, content.as_str())))
            })
            .await?;
        now.entry(section, name)
    }

    /// Merges `patch` into an entry (RFC 7396).
    pub(super) async fn change(
        &self,
        by: &By,
        section: Section,
        name: &str,
        patch: Fields,
        version: Option<Revision>,
    ) -> Result<Value, Error> {
        refuse_own(&patch)?;
        if let Some(fixed) = ["name", "key", "sha256"].into_iter().find(|field| patch.contains_key(*field)) {
            let message = format!("{fixed}: can't be changed; a key is replaced by rotating it");
            return Err(Error::new(Kind::InvalidRequest, message).with_param(fixed));
        }
        let patch = Value::Object(patch);
        let now = self
            .settings
            .change(by, |now| {
                let mut fields = now.changeable(section, name, version)?;
                merge(&mut fields, &patch);
                let Value::Object(fields) = fields else { return Ok(None) };
                Ok(Some(Change::put(section, name, content(section, fields)?.to_string())))
            })
            .await?;
        now.entry(section, name)
    }

    /// Takes an entry away that nothing else needs.
    pub(super) async fn delete(
        &self,
        by: &By,
        section: Section,
        name: &str,
        version: Option<Revision>,
    ) -> Result<(), Error> {
        let decide = |now: &InForce| {
            now.changeable(section, name, version)?;
            now.refuse_if_needed(section, name)?;
            Ok(Some(Change::delete(section, name)))
        };
        self.settings.change(by, decide).await.map(drop)
    }

    /// Puts another key in the place of one, which works for a while if that is wanted.
    pub(super) async fn rotate(
        &self,
        by: &By,
        name: &str,
        mut fields: Fields,
        version: Option<Revision>,
    ) -> Result<Value, Error> {
        let grace = grace(&mut fields)?;
        let key = random_key()?;
        let now = self
            .settings
            .change(by, |now| {
                let fields = now.changeable(Section::Keys, name, version)?;
                let mut kept: Key = read(&fields.to_string()).map_err(|problem| invalid(&problem))?;
                let now = SystemTime::now();
                let mut previous: Vec<_> =
                    kept.previous.iter().filter(|one| *one.until > now).cloned().collect();
                if let Some(sha256) = kept.sha256.take().filter(|_| !grace.is_zero()) {
                    previous.push(Previous { sha256, until: Written::new(now + grace) });
                }
                let surplus = previous.len().saturating_sub(MAX_PREVIOUS);
                kept.previous = previous.into_iter().skip(surplus).collect();
                kept.sha256 = Some(KeyDigest::of(&key).to_string());
                (kept.prefix, kept.seed) = (Some(prefix(&key)), None);
                Ok(Some(Change::put(Section::Keys, name, written(&kept).to_string())))
            })
            .await?;
        let mut entry = now.entry(Section::Keys, name)?;
        entry["key"] = key.into();
        Ok(entry)
    }
}

impl InForce {
    /// What an entry says that may be changed here, if it is of that version.
    fn changeable(&self, section: Section, name: &str, version: Option<Revision>) -> Result<Value, Error> {
        let what = section.singular();
        if self.is_of_file(section, name) {
            let message = format!("the {what} `{name}` is set in the configuration's file; change it there");
            return Err(Error::new(Kind::Conflict, message).with_param("name"));
        }
        let document = self.document(section, name).ok_or_else(|| unknown(section, name))?;
        if version.is_some_and(|version| version != document.version) {
            let message = format!(
                "if-match: the {what} `{name}` was changed meanwhile, it is of version {}",
                document.version.0
            );
            return Err(Error::new(Kind::Conflict, message).with_param("if-match"));
        }
        serde_json::from_str(&document.content)
            .map_err(|error| Error::new(Kind::Internal, "what is stored is not JSON").with_source(error))
    }

    /// Whether an entry is as `content` wants it; the keys themselves differ if one was made up.
    fn says_the_same(&self, section: Section, name: &str, content: &Value, made_up: bool) -> bool {
        let stored = self.document(section, name).and_then(|one| serde_json::from_str(&one.content).ok());
        let settings = |mut value: Value| {
            if let (true, Some(fields)) = (made_up, value.as_object_mut()) {
                ["sha256", "prefix", "previous", "seed"]
                    .into_iter()
                    .for_each(|field| drop(fields.remove(field)));
            }
            value
        };
        stored.map(settings) == Some(settings(content.clone()))
    }

    /// The key of an entry that was made lately by the request that `origin` is about, and not replaced since.
    fn key_of(&self, origin: &Origin, name: &str) -> Option<String> {
        let document = self.document(Section::Keys, name)?;
        // The clock of the store may be ahead.
        let is_fresh = document.changed.elapsed().map_or(true, |passed| passed <= KEPT_FOR);
        let kept: Key = serde_json::from_str(&document.content).ok().filter(|_| is_fresh)?;
        let key = origin.key(kept.seed.as_deref()?);
        (kept.digest()? == KeyDigest::of(&key)).then_some(key)
    }

    fn refuse_if_needed(&self, section: Section, name: &str) -> Result<(), Error> {
        let config = &self.config;
        let keys = config.keys.iter();
        let needs = |other: &Option<String>| other.as_deref() == Some(name);
        let mut needed: Vec<String> = match section {
            Section::Keys | Section::Prices => Vec::new(),
            Section::Teams => {
                keys.filter(|key| needs(&key.team)).map(|key| format!("key `{}`", key.name)).collect()
            }
            Section::Customers => {
                let teams = config.teams.iter().filter(|(_, team)| needs(&team.customer));
                let teams = teams.map(|(name, _)| format!("team `{name}`"));
                let keys = keys.filter(|key| needs(&key.customer)).map(|key| format!("key `{}`", key.name));
                teams.chain(keys).collect()
            }
        };
        if needed.is_empty() {
            return Ok(());
        }
        let count = needed.len();
        needed.truncate(5);
        let more = if count > 5 { " and others" } else { "" };
        let message =
            format!("the {} `{name}` is still needed by {}{more}", section.singular(), needed.join(", "));
        Err(Error::new(Kind::Conflict, message).with_param("name"))
    }
}

/// What is stored of an entry that says `fields`.
fn content(section: Section, fields: Fields) -> Result<Value, Error> {
    let json = tidy(Value::Object(fields)).to_string();
    let content = match section {
        Section::Customers => read::<Customer>(&json).map(|customer| written(&customer)),
        Section::Teams => read::<Team>(&json).map(|team| written(&team)),
        Section::Keys => read::<Key>(&json).map(|key| written(&key)),
        Section::Prices => read::<UsdPrice>(&json).map(|price| written(&price)),
    };
    content.map_err(|problem| invalid(&problem))
}

fn invalid(problem: &Problem) -> Error {
    match &problem.place {
        Place::Value(path) => {
            Error::new(Kind::InvalidRequest, format!("{path}: {}", problem.message)).with_param(path)
        }
        _ => Error::new(Kind::InvalidRequest, &*problem.message),
    }
}

fn take_name(fields: &mut Fields) -> Result<String, Error> {
    let Some(Value::String(name)) = fields.remove("name") else {
        return Err(wrong_name("is missing, or no text"));
    };
    check_name(&name)?;
    Ok(name)
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(wrong_name("has from 1 to 256 bytes, and no control characters"));
    }
    Ok(())
}

fn wrong_name(message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("name: {message}")).with_param("name")
}

fn refuse_own(fields: &Fields) -> Result<(), Error> {
    match OWN.into_iter().find(|field| fields.contains_key(*field)) {
        None => Ok(()),
        Some(field) => {
            let message = format!("{field}: is set by the gateway");
            Err(Error::new(Kind::InvalidRequest, message).with_param(field))
        }
    }
}

/// Puts the hash in the place of the key that is brought along, or of a new one, which is returned.
fn give_key(fields: &mut Fields, origin: Option<&Origin>) -> Result<Option<String>, Error> {
    let wrong = |message: &str| Error::new(Kind::InvalidRequest, format!("key: {message}")).with_param("key");
    let (key, made_up) = match (fields.remove("key"), fields.contains_key("sha256")) {
        (None | Some(Value::Null), true) => return Ok(None),
        (None | Some(Value::Null), false) => match origin {
            Some(origin) => {
                let seed = random()?;
                let key = origin.key(&seed);
                fields.insert("seed".to_owned(), seed.into());
                (key, true)
            }
            None => (random_key()?, true),
        },
        (Some(Value::String(key)), false) if key.chars().count() >= 16 => (key, false),
        (Some(_), true) => return Err(wrong("stands beside `sha256`; one is enough")),
        (Some(_), false) => return Err(wrong("is a text of at least 16 characters")),
    };
    fields.insert("sha256".to_owned(), KeyDigest::of(&key).to_string().into());
    if made_up {
        // Of another key, which may be short, nothing is shown.
        fields.insert("prefix".to_owned(), prefix(&key).into());
    }
    Ok(Some(key).filter(|_| made_up))
}

fn grace(fields: &mut Fields) -> Result<Duration, Error> {
    let wrong = |message: String| Error::new(Kind::InvalidRequest, message);
    let grace = match fields.remove("grace") {
        None | Some(Value::Null) => Some(Duration::ZERO),
        Some(Value::String(text)) => Duration::read(&text).filter(|grace| *grace <= MAX_GRACE),
        Some(_) => None,
    };
    if let Some(field) = fields.keys().next() {
        return Err(wrong(format!("unknown field `{field}`, expected `grace`")).with_param(field));
    }
    grace.ok_or_else(|| {
        wrong("grace: expected a duration such as 1h or 7d, at most 30d".to_owned()).with_param("grace")
    })
}

/// 256 random bits behind the prefix by which these keys are recognised.
fn random_key() -> Result<String, Error> {
    Ok(format!("bz-{}", random()?))
}

fn random() -> Result<String, Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)
        .map_err(|_| Error::new(Kind::Internal, "there is no randomness to make a key of"))?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// Who asks for a key, by which request: what has to be known beside the seed to make the same key again.
///
/// The seed is kept, and is random; the rest is known to the administrators, and is kept nowhere.
pub(super) struct Origin(KeyDigest);

impl Origin {
    /// Of a request that carries an `idempotency-key`.
    pub(super) fn new(admin: &str, id: KeyDigest, asked: KeyDigest) -> Self {
        let admin = KeyDigest::of(admin);
        Self(KeyDigest::of([*admin.as_bytes(), *id.as_bytes(), *asked.as_bytes()].concat()))
    }

    fn key(&self, seed: &str) -> String {
        let digest = KeyDigest::of([b"bartizan key", &self.0.as_bytes()[..], seed.as_bytes()].concat());
        format!("bz-{}", URL_SAFE_NO_PAD.encode(digest.as_bytes()))
    }
}

fn prefix(key: &str) -> String {
    key.chars().take(PREFIX).collect()
}

/// JSON Merge Patch, RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Fields::new());
    }
    let Some(fields) = value.as_object_mut() else { return };
    for (name, change) in patch {
        match change {
            Value::Null => drop(fields.remove(name)),
            change => merge(fields.entry(name.as_str()).or_insert(Value::Null), change),
        }
    }
}
