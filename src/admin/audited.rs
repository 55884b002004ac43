//! What is entered in the audit of the changes that administrators make.

use std::net::IpAddr;

use http::{Request, header};
use serde_json::{Map, Value, json};

use super::settings::InForce;
use crate::{
    Error, Exchange, Kind,
    audit::{Entry, Event, EventKind, Trail},
    directory::{Change, Section},
    exchange::{ClientAddress, RequestId},
};

/// Whoever presents the key itself.
const KEY: &str = "the administrators' key";
/// Whoever does so with the program's own commands.
const COMMAND_LINE: &str = "the administrators' key, on the command line";
/// Whoever has logged in to the dashboard.
const SESSION: &str = "an administrator at the dashboard";
/// As what the program's own commands announce themselves.
const AGENT: &str = "bartizan-command-line";
/// What only the gateway sets, or nobody may see.
const HIDDEN: [&str; 5] = ["key", "sha256", "previous", "seed", "prefix"];
/// What is about people as often as not.
const PRIVATE: [&str; 1] = ["metadata"];
/// The longest text of what has changed. Of more only the names of the fields are entered.
const MOST: usize = 4 << 10;

/// Who makes a change, and by which request.
#[derive(Clone, Debug)]
pub(super) struct By {
    who: &'static str,
    from: Option<IpAddr>,
    pub(super) request: RequestId,
}

impl By {
    /// Whoever has sent `req` with the key of the administrators.
    pub(super) fn key<B>(req: &Request<B>) -> Self {
        let agent = req.headers().get(header::USER_AGENT);
        Self::of(req, if agent.is_some_and(|agent| agent == AGENT) { COMMAND_LINE } else { KEY })
    }

    /// Whoever has sent `req` from the dashboard.
    pub(super) fn session<B>(req: &Request<B>) -> Self {
        Self::of(req, SESSION)
    }

    fn of<B>(req: &Request<B>, who: &'static str) -> Self {
        let from = req.extensions().get::<ClientAddress>().map(|address| address.0);
        Self { who, from, request: *Exchange::of(req).id() }
    }

    #[cfg(test)]
    pub(super) fn somebody() -> Self {
        Self::key(&Request::new(()))
    }

    fn event(&self, now: &InForce, change: &Change) -> Event {
        let Change { section, name, content } = change;
        let old = now.document(*section, name).map(|document| &*document.content);
        let (old, new) = (fields(old), fields(content.as_deref()));
        let action = action(old.as_ref(), new.as_ref());
        let kind = if *section == Section::Keys { EventKind::Key } else { EventKind::Change };
        let mut names = Vec::new();
        let mut changes = Map::new();
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
            let (from, to) = (old.get(name), new.get(name));
            if from == to || HIDDEN.contains(&name.as_str()) {
                continue;
            }
            names.push(name.as_str());
            if !PRIVATE.contains(&name.as_str()) {
                changes.insert(name.clone(), json!({ "from": from, "to": to }));
            }
        }
        let event = Event::new(kind, self.who, format!("{action} the {} `{name}`", section.singular()))
            .from(self.from)
            .detail("request", self.request.as_str())
            .detail("section", section.as_str())
            .detail("name", &**name)
            .detail("action", action)
            .detail("fields", names);
        let changes = Value::Object(changes);
        if changes.to_string().len() <= MOST { event.detail("changes", changes) } else { event }
    }

    /// Enters that a change is about to be made.
    ///
    /// # Errors
    ///
    /// If it can't be entered: then it may not be made.
    pub(super) async fn enter<'t>(
        &self,
        trail: &'t Trail,
        now: &InForce,
        change: &Change,
    ) -> Result<Entered<'t>, Error> {
        let entry = trail.enter(&self.event(now, change)).await.map_err(|error| {
            let message = "nothing is changed: the audit, in which every change is entered, can't be written";
            Error::new(Kind::Internal, message).with_source(error)
        })?;
        Ok(Entered { trail, by: self.clone(), entry, outcome: Outcome::Unknown })
    }
}

/// What is stored of an entry.
fn fields(content: Option<&str>) -> Option<Map<String, Value>> {
    serde_json::from_str(content?).ok()
}

fn action(old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> &'static str {
    let (Some(old), Some(new)) = (old, new) else {
        return if new.is_some() { "made" } else { "deleted" };
    };
    let is_off = |fields: &Map<String, Value>| fields.get("disabled") == Some(&Value::Bool(true));
    match (is_off(old), is_off(new)) {
        _ if old.get("sha256") != new.get("sha256") => "rotated",
        (false, true) => "disabled",
        (true, false) => "enabled",
        _ => "changed",
    }
}

/// A change that was entered and is being made. What doesn't become of it is entered too, however it ends.
#[derive(Debug)]
pub(super) struct Entered<'t> {
    trail: &'t Trail,
    by: By,
    entry: Entry,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Made,
    NotMade,
    Unknown,
}

impl Entered<'_> {
    /// It was made, or it was not, because somebody else was quicker.
    pub(super) fn tell(mut self, is_made: bool) {
        self.outcome = if is_made { Outcome::Made } else { Outcome::NotMade };
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let number = self.entry.number;
        let what = match self.outcome {
            Outcome::Made => return,
            Outcome::NotMade => format!("entry {number} was not carried out: somebody else was quicker"),
            Outcome::Unknown => format!("it is not known whether entry {number} was carried out"),
        };
        let event = Event::new(EventKind::Audit, "the gateway", what)
            .detail("request", self.by.request.as_str())
            .detail("entry", number);
        self.trail.note(event);
    }
}
