use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

/// Something that is to be entered.
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) id: Box<str>,
    pub(super) kind: EventKind,
    pub(super) who: Box<str>,
    pub(super) from: Option<IpAddr>,
    pub(super) what: Box<str>,
    pub(super) details: Map<String, Value>,
    pub(super) once: Option<(Box<str>, Duration)>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A customer, a team or a price was set.
    Change,
    /// A key was made, changed, disabled, rotated or deleted, has expired, or was refused by its provider.
    Key,
    /// The gateway has started or stopped, or its configuration was read again.
    Config,
    /// A model is served by another one.
    Model,
    /// A target is passed over, or answers again.
    Breaker,
    /// Somebody has logged in, or tried to.
    Login,
    /// The audit itself: events that are missing in it.
    Audit,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Change, Self::Key, Self::Config, Self::Model, Self::Breaker, Self::Login, Self::Audit];

    /// As it is called in entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Key => "key",
            Self::Config => "config",
            Self::Model => "model",
            Self::Breaker => "breaker",
            Self::Login => "login",
            Self::Audit => "audit",
        }
    }
}

impl Event {
    /// `who` did `what`: a short text each, without secrets.
    pub fn new(kind: EventKind, who: impl Into<Box<str>>, what: impl Into<Box<str>>) -> Self {
        let (who, what) = (who.into(), what.into());
        Self { id: random().into(), kind, who, from: None, what, details: Map::new(), once: None }
    }

    /// Sets the address of who did it.
    #[must_use]
    pub fn from(self, address: Option<IpAddr>) -> Self {
        Self { from: address, ..self }
    }

    /// Adds something that programs may want to know. Numbers that are not whole become texts.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), whole(value.into()));
        self
    }

    /// Sets a name by which all nodes know it that may find it out at the same time: it is entered if nobody has in
    /// the time that it `lasts`.
    #[must_use]
    pub fn once(self, name: impl Into<Box<str>>, lasts: Duration) -> Self {
        Self { once: Some((name.into(), lasts)), ..self }
    }

    /// What was done.
    pub fn what(&self) -> &str {
        &self.what
    }
}

/// 64 random bits; without randomness the time has to do.
fn random() -> String {
    let mut bits = [0; 8];
    if getrandom::fill(&mut bits).is_err() {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        bits = (since.as_nanos() as u64).to_be_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bits))
}

/// The same without numbers that programs write differently.
fn whole(value: Value) -> Value {
    /// Beyond that, programs that have doubles only read another one.
    const MOST: u64 = 1 << 53;

    match value {
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match size {
                Some(size) if size <= MOST => Value::Number(number),
                _ => Value::String(number.to_string()),
            }
        }
        Value::Array(values) => values.into_iter().map(whole).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, whole(value))).collect())
        }
        other => other,
    }
}
