use std::{collections::HashMap, fmt::Display, sync::OnceLock, time::SystemTime};

use ::cel::{
    Value,
    common::{
        types::{CelBool, CelDouble, CelInt, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::{choose::Facts, ledger::Zone};

/// The names in an expression, for one request. What is not asked for is not made, and a table or a text is made once,
/// also in loops.
pub(super) struct Variables<'a, 'f> {
    facts: &'a Facts<'f>,
    zone: Option<Zone>,
    tags: Table,
    headers: Table,
    parameters: Table,
    tools: Table,
    text: Table,
}

type Table = OnceLock<Option<Box<dyn Val>>>;

impl<'a, 'f> Variables<'a, 'f> {
    pub(super) fn new(facts: &'a Facts<'f>, zone: Option<Zone>) -> Self {
        let [tags, headers, parameters, tools, text] = Default::default();
        Self { facts, zone, tags, headers, parameters, tools, text }
    }

    fn tags(&self) -> Option<CowVal<'_, '_>> {
        table(&self.tags, || {
            let tags = self.facts.labels().tags.iter();
            Value::from(tags.map(|(name, value)| (name.to_string(), &**value)).collect::<HashMap<_, _>>())
        })
    }

    fn headers(&self) -> Option<CowVal<'_, '_>> {
        table(&self.headers, || {
            let headers = self.facts.headers().map(|(name, value)| (name.to_owned(), value));
            Value::from(headers.collect::<HashMap<_, _>>())
        })
    }

    fn parameters(&self) -> Option<CowVal<'_, '_>> {
        table(&self.parameters, || {
            let parameters = self.facts.parameters().iter();
            let known = parameters.filter_map(|(name, value)| Some((name.to_string(), scalar(value)?)));
            Value::from(known.collect::<HashMap<_, _>>())
        })
    }

    fn tools(&self) -> Option<CowVal<'_, '_>> {
        table(&self.tools, || {
            Value::from(self.facts.tools().iter().map(|name| &**name).collect::<Vec<&str>>())
        })
    }

    fn text(&self) -> Option<CowVal<'_, '_>> {
        table(&self.text, || self.facts.text().into())
    }

    fn now(&self) -> Zoned {
        let now = Timestamp::try_from(self.facts.now()).unwrap_or_default();
        now.to_zoned(self.zone.map_or(TimeZone::UTC, |zone| zone.rules()))
    }
}

fn table(table: &Table, make: impl FnOnce() -> Value) -> Option<CowVal<'_, '_>> {
    table.get_or_init(|| make().try_into().ok()).as_deref().map(CowVal::Borrowed)
}

fn scalar(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Bool(yes) => Some(Value::Bool(*yes)),
        serde_json::Value::Number(number) => {
            number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::Float))
        }
        serde_json::Value::String(text) => Some(text.as_str().into()),
        _ => None,
    }
}

fn int<'b>(number: impl TryInto<i64>) -> CowVal<'b, 'b> {
    CowVal::owned(CelInt::from(number.try_into().unwrap_or(i64::MAX)))
}

fn text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

fn written<'b>(value: impl Display) -> CowVal<'b, 'b> {
    CowVal::owned(CelString::from(value.to_string()))
}

fn share<'b>(share: f64) -> CowVal<'b, 'b> {
    CowVal::owned(CelDouble::from(share))
}

impl VariableResolver for Variables<'_, '_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let facts = self.facts;
        let caller = facts.who();
        let used = facts.share();
        Some(match name {
            "request.model" => text(facts.model()),
            "request.dialect" => text(facts.dialect()),
            "request.stream" => CowVal::owned(CelBool::from(facts.stream())),
            "request.tokens" => int(facts.tokens()),
            "request.max_output" => int(facts.max_output().unwrap_or_default()),
            "request.tools" => return self.tools(),
            "request.text" => return self.text(),
            "request.parameters" => return self.parameters(),
            "request.user" => text(facts.labels().user.as_deref().unwrap_or_default()),
            "request.session" => text(facts.labels().session.as_deref().unwrap_or_default()),
            "key" => text(caller.map_or("", |caller| &caller.name)),
            "team" => text(caller.and_then(|caller| caller.team.as_deref()).unwrap_or_default()),
            "customer" => text(caller.and_then(|caller| caller.customer.as_deref()).unwrap_or_default()),
            "tags" => return self.tags(),
            "headers" => return self.headers(),
            "budget.used" => share(used.budget),
            "limits.requests" => share(used.requests),
            "limits.tokens" => share(used.tokens),
            "limits.input" => share(used.input),
            "limits.output" => share(used.output),
            "limits.concurrent" => share(used.concurrent),
            "time.hour" => int(self.now().hour()),
            "time.minute" => int(self.now().minute()),
            "time.weekday" => int(self.now().weekday().to_monday_one_offset()),
            "time.date" => written(self.now().date()),
            "time.unix" => {
                int(facts.now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
            }
            _ => return None,
        })
    }
}
