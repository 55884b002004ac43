//! Applies the rules of a preset to a request.

use std::sync::Arc;

use aho_corasick::packed::Searcher;
use http::HeaderMap;

use super::{
    Deviations, Quirk, facts,
    object::{Member, Object, items},
    quirk::Changes,
    rule::{Action, Rule},
};
use crate::{Payload, Target};

/// What is done to requests to one target: that of its provider and that of its model.
#[derive(Clone, Debug)]
pub(crate) struct Adapter(Arc<[Adaptation]>);

/// What is done to requests in one dialect.
#[derive(Debug)]
struct Adaptation {
    dialect: &'static str,
    rules: Vec<&'static Rule>,
    quirk: Option<Quirk>,
    /// Looks in one go for the words of which a request has to have one; `None` if it need not.
    signs: Option<Searcher>,
}

impl Adapter {
    /// Looks up once what holds for all requests.
    pub(crate) fn new(deviations: &Deviations, to: &Target) -> Self {
        let dialects = deviations.dialects().chain(facts::dialects());
        let mut adaptations: Vec<Adaptation> = Vec::new();
        for dialect in dialects {
            if adaptations.iter().any(|known| known.dialect == dialect) {
                continue;
            }
            let (rules, quirk) = deviations.of(dialect);
            let rules = rules.iter().chain(facts::of(dialect)).filter(|rule| rule.concerns(to));
            let rules: Vec<_> = rules.collect();
            if quirk.is_some() || !rules.is_empty() {
                let signs: Option<Vec<_>> = rules.iter().map(|rule| sign(rule)).collect();
                let signs = signs.filter(|_| quirk.is_none()).and_then(Searcher::new);
                adaptations.push(Adaptation { dialect, rules, quirk, signs });
            }
        }
        Self(adaptations.into())
    }

    /// A request with these headers as `to` takes it, and the fields that are lost by that.
    pub(crate) fn adapted(
        &self,
        payload: Payload,
        headers: &HeaderMap,
        to: &Target,
    ) -> (Payload, Vec<Box<str>>) {
        let dialect = payload.dialect().id();
        let Some(adaptation) = self.0.iter().find(|adaptation| adaptation.dialect == dialect) else {
            return (payload, Vec::new());
        };
        adaptation.adapted(payload, headers, to)
    }
}

impl Adaptation {
    fn adapted(&self, payload: Payload, headers: &HeaderMap, to: &Target) -> (Payload, Vec<Box<str>>) {
        let source = payload.source().clone();
        if self.signs.as_ref().is_some_and(|signs| signs.find(&source).is_none()) {
            return (payload, Vec::new());
        }
        let Some((text, request)) =
            std::str::from_utf8(&source).ok().and_then(|text| Some((text, Object::read(text.trim_ascii())?)))
        else {
            return (payload, Vec::new());
        };
        let mut changes = Changes::new(text, headers);
        let rules: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| may_concern(rule, &request, text) && rule.applies(&request, headers, to))
            .map(|rule| (rule.path, *rule))
            .collect();
        object(&request, &rules, &mut changes);
        if let Some(quirk) = self.quirk {
            (quirk.0)(&request, &mut changes);
        }
        let (edits, lost) = changes.finish();
        let payload = edits.into_iter().fold(payload, |payload, (at, with)| payload.edited(at, with));
        (payload, lost)
    }
}

/// Whether a rule may find something, by the members of the request and a word that it has to have.
fn may_concern(rule: &Rule, request: &Object<'_>, text: &str) -> bool {
    request.get(step(rule.path).0).is_some() && has_sign(rule, text.as_bytes())
}

/// Whether a rule may find something, by a word that the request has to have.
fn has_sign(rule: &Rule, text: &[u8]) -> bool {
    sign(rule).is_none_or(|sign| memchr::memmem::find(text, sign.as_bytes()).is_some())
}

/// A word without which there is nothing to do for a rule.
fn sign(rule: &Rule) -> Option<&'static str> {
    match rule.action {
        Action::OmitBeside(other) => Some(other),
        _ => rule.sign(),
    }
}

/// The first name of a path, and what comes after it.
fn step(path: &str) -> (&str, Option<&str>) {
    match path.find(['.', '[']) {
        Some(at) => (&path[..at], Some(&path[at..])),
        None => (path, None),
    }
}

type Active<'r> = (&'static str, &'r Rule);

/// Goes down to the values that paths lead to.
fn descend(value: &str, rules: &[Active<'_>], changes: &mut Changes<'_>) {
    let under = |prefix: &str| -> Vec<Active<'_>> {
        rules.iter().filter_map(|(path, rule)| Some((path.strip_prefix(prefix)?, *rule))).collect()
    };
    if value.starts_with('[') {
        let rules = under("[].");
        for item in items(value) {
            if let Some(item) = Object::read(item) {
                object(&item, &rules, changes);
            }
        }
    } else if let Some(members) = Object::read(value) {
        object(&members, &under("."), changes);
    }
}

/// What becomes of a member.
enum Fate<'m> {
    Stays,
    Goes,
    /// It is written differently in one place.
    Changes(&'m str, String),
}

fn object(object: &Object<'_>, rules: &[Active<'_>], changes: &mut Changes<'_>) {
    if rules.is_empty() {
        return;
    }
    let mut removal = Removal::default();
    for member in object.members() {
        let mine = || rules.iter().filter(|(path, _)| step(path).0 == &*member.name);
        let mut fate = Fate::Stays;
        let mut deeper = Vec::new();
        for (path, rule) in mine() {
            match step(path).1 {
                Some(rest) => deeper.push((rest, *rule)),
                None => fate = apply(member, rule, object, changes).unwrap_or(fate),
            }
        }
        // A name that another member is about to get.
        let is_taken = rules.iter().any(|(path, rule)| match rule.action {
            Action::Rename(to) => *to == *member.name && has(object, path),
            Action::Succeed(by) => *by == *member.name && has(object, path) && !has(object, by),
            _ => false,
        });
        removal.next(member, is_taken || matches!(fate, Fate::Goes), changes);
        match fate {
            Fate::Changes(part, with) if !is_taken => changes.replace(part, with),
            Fate::Stays if !is_taken && !deeper.is_empty() => descend(member.value, &deeper, changes),
            _ => {}
        }
    }
    removal.finish(changes);
}

/// Whether an object has a member that is something.
fn has(object: &Object<'_>, name: &str) -> bool {
    object.get(name).is_some_and(|value| value != "null")
}

/// `None` if the rule has nothing to change.
fn apply<'m>(
    member: &Member<'m>,
    rule: &Rule,
    object: &Object<'_>,
    changes: &mut Changes<'_>,
) -> Option<Fate<'m>> {
    match rule.action {
        Action::Rename(to) if member.value == "null" && has(object, to) => Some(Fate::Goes),
        Action::Succeed(by) if member.value == "null" || has(object, by) => Some(Fate::Goes),
        Action::Rename(to) | Action::Succeed(to) => Some(Fate::Changes(member.key, format!("\"{to}\""))),
        Action::OmitBeside(other) => has(object, other).then_some(Fate::Goes),
        Action::Omit => Some(Fate::Goes),
        Action::OmitNull => (member.value == "null").then_some(Fate::Goes),
        Action::Refuse { unless } => {
            changes.lost.push_if(says_something(member.value, unless), rule.path);
            Some(Fate::Goes)
        }
        Action::Change { change, is_loss } => change(member.value).map(|value| {
            changes.lost.push_if(is_loss, rule.path);
            Fate::Changes(member.value, value)
        }),
    }
}

/// Whether a value is more than the default; where none is given, whatever is empty is.
fn says_something(value: &str, default: Option<&str>) -> bool {
    value != "null"
        && match default {
            Some(default) => value != default && !is_same_number(value, default),
            None => !matches!(value, "false" | "\"\"" | "[]" | "{}"),
        }
}

/// Whether both are the same number, however it is written.
fn is_same_number(one: &str, other: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    number(one).is_some_and(|one| Some(one) == number(other))
}

/// Takes members out together with the commas that would be left over.
#[derive(Default)]
struct Removal {
    /// Where the last member ended, if one of them stays.
    after: Option<usize>,
    /// Where the members at the beginning that go begin, and end so far.
    before: Option<(usize, usize)>,
}

impl Removal {
    fn next(&mut self, member: &Member<'_>, goes: bool, changes: &mut Changes<'_>) {
        let (key, value) = (changes.at(member.key), changes.at(member.value));
        match (goes, self.after) {
            (true, Some(after)) => changes.edit(after..value.end, ""),
            (true, None) => self.before = Some((self.before.map_or(key.start, |(from, _)| from), value.end)),
            (false, _) => {
                if let Some((from, _)) = self.before.take() {
                    changes.edit(from..key.start, "");
                }
            }
        }
        if !goes || self.after.is_some() {
            self.after = Some(value.end);
        }
    }

    /// Nothing was left after the beginning.
    fn finish(self, changes: &mut Changes<'_>) {
        if let Some((from, to)) = self.before {
            changes.edit(from..to, "");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Dialect, Exchange,
        dialect::OPENAI_CHAT,
        payload::{Head, ModelName},
        target::ModelFacts,
    };

    const RULES: &[Rule] = &[
        Rule::renamed("max_completion_tokens", "max_tokens"),
        Rule::refused("logit_bias"),
        Rule::refused_unless("n", "1"),
        Rule::omitted("stream_options"),
        Rule::never_null("messages[].tool_calls"),
        Rule::refused("messages[].name"),
        Rule::omitted("tools[].function.parameters.$id"),
        Rule::changed("messages[].role", |role| (role == "\"developer\"").then(|| "\"system\"".into()))
            .where_there_is("developer"),
        Rule::forced("temperature", |value| (value == "2").then(|| "1.5".to_owned())),
        Rule::refused("stop").of_thinking_models(),
    ];

    /// A request as a target with these deviations takes it, and the fields that are lost by that.
    pub(in crate::preset) fn adapted(
        payload: Payload,
        headers: &HeaderMap,
        deviations: &Deviations,
        to: &Target,
    ) -> (Payload, Vec<Box<str>>) {
        Adapter::new(deviations, to).adapted(payload, headers, to)
    }

    /// A request as a provider with these deviations gets it, and what it has lost.
    pub(in crate::preset) fn sent(
        source: &str,
        deviations: &Deviations,
        facts: ModelFacts,
    ) -> (String, Vec<String>) {
        let payload =
            Payload::new(&OPENAI_CHAT, Head::default(), source.to_owned().into(), Exchange::default());
        let (payload, lost) =
            adapted(payload, &HeaderMap::new(), deviations, &Target::new("p", "m").facts(facts));
        let text = String::from_utf8(payload.to_bytes().into()).unwrap();
        (text, lost.iter().map(ToString::to_string).collect())
    }

    fn changed(source: &str) -> (String, Vec<String>) {
        sent(source, &Deviations::new("openai-chat", RULES), ModelFacts::default())
    }

    #[test]
    fn fields_are_taken_out_wherever_they_stand() {
        let (first, _) = changed(r#"{ "logit_bias":{}, "n":1 , "model":"m"}"#);
        let (middle, _) = changed(r#"{"model":"m", "n":1, "logit_bias":{},"seed":1}"#);
        let (last, _) = changed(r#"{"model":"m","n":1 , "logit_bias":{} }"#);
        let (all, _) = changed(r#"{ "n":1,"logit_bias":{} }"#);
        let (scattered, _) = changed(r#"{"n":1,"model":"m","logit_bias":{},"seed":1,"stream_options":{}}"#);

        assert_eq!(first, r#"{ "model":"m"}"#);
        assert_eq!(middle, r#"{"model":"m","seed":1}"#);
        assert_eq!(last, r#"{"model":"m" }"#);
        assert_eq!(all, r#"{  }"#);
        assert_eq!(scattered, r#"{"model":"m","seed":1}"#);
    }

    #[test]
    fn only_what_says_something_is_reported() {
        let (_, nothing) = changed(r#"{"n":1,"logit_bias":{},"stream_options":{"include_usage":true}}"#);
        let (_, something) = changed(r#"{"n":2,"logit_bias":{"1":2},"temperature":2}"#);

        assert!(nothing.is_empty(), "{nothing:?}");
        assert_eq!(something, ["n", "logit_bias", "temperature"]);
    }

    #[test]
    fn a_renamed_field_goes_before_one_that_has_the_name() {
        let (renamed, lost) = changed(r#"{"max_completion_tokens":9,"x":1}"#);
        let (both, _) = changed(r#"{"max_tokens":5,"max_completion_tokens":9}"#);

        assert_eq!((&*renamed, lost.len()), (r#"{"max_tokens":9,"x":1}"#, 0));
        assert_eq!(both, r#"{"max_tokens":9}"#);
        let (null, _) = changed(r#"{"max_completion_tokens":null,"max_tokens":5}"#);
        assert_eq!(null, r#"{"max_tokens":5}"#);
    }

    #[test]
    fn paths_lead_into_arrays_and_objects() {
        let source = r#"{"messages":[{"role":"developer","content":"\"name\":1","name":"n"},{"tool_calls":null,"role":"user"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{"$id":"x","type":"object"}}}]}"#;

        let (text, lost) = changed(source);

        assert_eq!(
            text,
            r#"{"messages":[{"role":"system","content":"\"name\":1"},{"role":"user"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}"#
        );
        assert_eq!(lost, ["messages[].name"]);
    }

    #[test]
    fn some_rules_are_about_models_that_think() {
        let deviations = Deviations::new("openai-chat", RULES);
        let source = r#"{"stop":["x"]}"#;

        let plain = sent(source, &deviations, ModelFacts::new([], ["reasoning"]));
        let thinking = sent(source, &deviations, ModelFacts::new(["reasoning"], []));

        assert_eq!(plain, (source.to_owned(), vec![]));
        assert_eq!(thinking, ("{}".to_owned(), vec!["stop".to_owned()]));
    }

    #[test]
    fn what_needs_no_change_is_not_copied() {
        let source =
            bytes::Bytes::from(r#"{"model":"m","messages":[{"role":"user","content":"developer"}]}"#);
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), source.clone(), Exchange::default());

        let (same, lost) = adapted(
            payload,
            &HeaderMap::new(),
            &Deviations::new("openai-chat", RULES),
            &Target::new("p", "m"),
        );

        assert_eq!(same.to_bytes().as_ptr(), source.as_ptr());
        assert!(lost.is_empty());
    }

    #[test]
    fn another_dialect_is_left_alone() {
        let source = r#"{"logit_bias":{"1":2}}"#;

        assert_eq!(
            sent(source, &Deviations::new("anthropic", RULES), ModelFacts::default()),
            (source.to_owned(), vec![])
        );
    }

    #[test]
    fn edits_of_others_stay() {
        let source = r#"{"logit_bias":{"1":2},"model":"old","n":1,"stream":true}"#;
        let (parts, ()) = http::Request::new(()).into_parts();
        let head = OPENAI_CHAT.peek(&parts, source).unwrap();
        let payload = Payload::new(&OPENAI_CHAT, head, source.into(), Exchange::default());
        let payload = OPENAI_CHAT.ask_for_usage(payload.with_model(&ModelName::new("new")));

        let (payload, _) = adapted(
            payload,
            &HeaderMap::new(),
            &Deviations::new("openai-chat", RULES),
            &Target::new("p", "m"),
        );

        let text = r#"{"stream_options":{"include_usage":true},"model":"new","stream":true}"#;
        assert_eq!(payload.to_bytes(), text);
    }

    proptest! {
        #[test]
        fn what_is_left_is_json_without_the_refused_fields(names in prop::collection::vec(0..4usize, 0..12)) {
            const NAMES: [&str; 4] = ["n", "logit_bias", "stream_options", "seed"];
            // A member that stands twice is refused on the way in.
            let mut seen = [false; 4];
            let members: Vec<String> = names
                .iter()
                .filter(|name| !std::mem::replace(&mut seen[**name], true))
                .map(|name| format!(r#" "{}" : {{"a":[1,","]}}"#, NAMES[*name]))
                .collect();
            let (text, _) = changed(&format!("{{{}}}", members.join(" ,")));

            let left: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(left.keys().cloned().collect::<Vec<_>>(), if seen[3] { vec!["seed"] } else { vec![] });
        }
    }
}
