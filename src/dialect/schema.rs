//! JSON Schemas, rewritten as text, member by member: the order of properties is the order in which a model
//! writes them.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::dialect::{arguments, text::Str};

/// The members of an object in their order.
pub(crate) struct Members<'a>(pub(crate) Vec<(Str<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// `None` for what is not an object.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The value of the member with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Writes one JSON object into a text.
pub(crate) struct ObjectWriter<'t> {
    json: &'t mut String,
    is_first: bool,
}

impl<'t> ObjectWriter<'t> {
    /// Begins an object at the end of `json`.
    pub(crate) fn new(json: &'t mut String) -> Self {
        json.push('{');
        Self { json, is_first: true }
    }

    /// Writes a name; the value is to follow.
    pub(crate) fn name(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.json.push(',');
        }
        self.json.push_str(&quoted(name));
        self.json.push(':');
        self.json
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        self.json.push('}');
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into())
}

/// The schema of an object of which nothing is known.
pub(crate) fn any_object() -> &'static RawValue {
    serde_json::from_str(r#"{"type":"object","properties":{}}"#).unwrap_or(arguments::empty())
}

const COMBINATORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// A schema whose root is plainly an object, as providers want it for a tool's input.
pub(crate) fn object_root(schema: &RawValue) -> Cow<'_, RawValue> {
    if is_plainly_an_object(schema.get()) {
        return Cow::Borrowed(schema);
    }
    let Some(members) = Members::of(schema) else { return Cow::Borrowed(any_object()) };
    let combines = COMBINATORS.iter().any(|name| members.get(name).is_some());
    let kind = members.get("type").map(RawValue::get);
    let json = match kind {
        Some("\"object\"") if !combines => return Cow::Borrowed(schema),
        Some(kind) if !combines && !kind.contains("\"object\"") => {
            format!(r#"{{"type":"object","properties":{{"value":{schema}}},"required":["value"]}}"#)
        }
        _ => merged_root(&members),
    };
    RawValue::from_string(json).map_or(Cow::Borrowed(any_object()), Cow::Owned)
}

/// Whether it can be seen without reading that nothing has to be done to the root, as with most tools: its
/// first or its last member says that it is an object.
fn is_plainly_an_object(schema: &str) -> bool {
    const SAYS: [&str; 3] = ["\"type\"", ":", "\"object\""];

    let inner = schema.strip_prefix('{').and_then(|schema| schema.strip_suffix('}')).unwrap_or_default();
    let after = |rest, token| Some(str::strip_prefix(rest, token)?.trim_ascii_start());
    let before = |rest, token| Some(str::strip_suffix(rest, token)?.trim_ascii_end());
    let is_first = || SAYS.into_iter().try_fold(inner.trim_ascii_start(), after);
    let is_last = || SAYS.into_iter().rev().try_fold(inner.trim_ascii_end(), before);
    (is_first().is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
        || is_last().is_some_and(|rest| rest.ends_with(',')))
        // All combinators end like that; escapes may hide one.
        && memchr::memmem::find(inner.as_bytes(), b"Of\"").is_none()
        && memchr::memchr(b'\\', inner.as_bytes()).is_none()
}

/// Whether a schema is as OpenAI wants it for what is strict: every object in it takes the properties it
/// names, all of them and no others.
pub(crate) fn is_closed(schema: &RawValue) -> bool {
    let root: Value = serde_json::from_str(schema.get()).unwrap_or_default();
    let mut rest = vec![&root];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => {
                if !is_closed_or_no_object(members) {
                    return false;
                }
                rest.extend(members.values());
            }
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    root["type"] == "object"
}

fn is_closed_or_no_object(schema: &Map<String, Value>) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    let kind = schema.get("type");
    let kinds = kind.and_then(Value::as_array).map_or_else(|| kind.into_iter().collect(), Vec::from_iter);
    if properties.is_none() && !kinds.iter().any(|kind| **kind == "object") {
        return true;
    }
    let required = schema.get("required").and_then(Value::as_array);
    let required: HashSet<_> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && properties.into_iter().flatten().all(|(name, _)| required.contains(name.as_str()))
}

/// Joins the branches of `allOf`, `anyOf` and `oneOf` into one object: all their properties, and
/// required what every branch that may apply requires.
pub(crate) fn merged_root(root: &Members<'_>) -> String {
    let mut properties = Distinct::default();
    let mut required = Distinct::default();
    properties.extend(properties_of(root));
    required.extend(names(root.get("required")).map(|name| (name, ())));
    for combinator in COMBINATORS {
        let Some(branches) =
            root.get(combinator).and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok())
        else {
            continue;
        };
        let branches: Vec<_> = branches.into_iter().filter_map(Members::of).collect();
        let mut demands: HashMap<Str<'_>, usize> = HashMap::new();
        for branch in &branches {
            properties.extend(properties_of(branch));
            let distinct: HashSet<_> = names(branch.get("required")).collect();
            for name in distinct {
                *demands.entry(name).or_default() += 1;
            }
        }
        let demanded = branches.iter().flat_map(|branch| names(branch.get("required")));
        let applies = |name: &Str<'_>| combinator == "allOf" || demands.get(name) == Some(&branches.len());
        required.extend(demanded.filter(applies).map(|name| (name, ())));
    }
    let mut json = String::new();
    let mut object = ObjectWriter::new(&mut json);
    object.name("type").push_str("\"object\"");
    for (name, value) in &root.0 {
        if !matches!(&**name, "type" | "properties" | "required") && !COMBINATORS.contains(&&**name) {
            object.name(name).push_str(value.get());
        }
    }
    let mut inner = ObjectWriter::new(object.name("properties"));
    for (name, value) in &properties.members {
        inner.name(name).push_str(value.get());
    }
    inner.end();
    if !required.members.is_empty() {
        let required: Vec<_> = required.members.iter().map(|(name, ())| quoted(name)).collect();
        object.name("required").push_str(&format!("[{}]", required.join(",")));
    }
    object.end();
    json
}

/// Members in their order, the first one of each name.
struct Distinct<'a, T> {
    members: Vec<(Str<'a>, T)>,
    known: HashSet<Str<'a>>,
}

impl<T> Default for Distinct<'_, T> {
    fn default() -> Self {
        Self { members: Vec::new(), known: HashSet::new() }
    }
}

impl<'a, T> Distinct<'a, T> {
    fn extend(&mut self, members: impl IntoIterator<Item = (Str<'a>, T)>) {
        for (name, value) in members {
            if self.known.insert(name.clone()) {
                self.members.push((name, value));
            }
        }
    }
}

fn properties_of<'a>(schema: &Members<'a>) -> impl Iterator<Item = (Str<'a>, &'a RawValue)> {
    schema.get("properties").and_then(Members::of).into_iter().flat_map(|members| members.0)
}

fn names(required: Option<&RawValue>) -> impl Iterator<Item = Str<'_>> {
    let names = required.and_then(|raw| serde_json::from_str::<Vec<Str<'_>>>(raw.get()).ok());
    names.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seen_at_either_end_that_a_schema_is_an_object() {
        for plain in [
            r#"{"type":"object"}"#,
            r#"{ "type" : "object" , "properties":{}}"#,
            r#"{"properties":{"a":{"type":"string"}},"type":"object"}"#,
            "{\"required\":[],\n\"type\" : \"object\"\n}",
        ] {
            assert!(is_plainly_an_object(plain), "{plain}");
        }
        for other in [
            "{}",
            "true",
            r#"{"type":"objects"}"#,
            r#"{"title":"type","object"}"#,
            r#"{"properties":{"a":{"type":"object"}}}"#,
            r#"{"anyOf":[],"type":"object"}"#,
            r#"{"type":"object","any\u004ff":[]}"#,
            r#"{"x":{"type":"object"}"#,
            r#"{"not-type":"object"}"#,
        ] {
            assert!(!is_plainly_an_object(other), "{other}");
        }
    }

    #[test]
    fn a_schema_is_closed_if_all_that_is_in_it_is() {
        let is_closed = |schema: &str| super::is_closed(serde_json::from_str(schema).unwrap());
        let object = |inner: &str| {
            format!(
                r#"{{"type":"object","properties":{{"a":{inner}}},"required":["a"],"additionalProperties":false}}"#
            )
        };

        assert!(is_closed(&object("{}")) && is_closed(&object(&object("true"))));
        assert!(is_closed(&object(r#"{"type":["string","null"]}"#)));
        assert!(is_closed(r#"{"type":"object","additionalProperties":false}"#));
        assert!(!is_closed(&object("{}").replace("[\"a\"]", "[]")));
        assert!(!is_closed(&object("{}").replace("false", "true")));
        assert!(!is_closed(&object(r#"{"items":{"type":["null","object"]}}"#)));
        assert!(!is_closed(&object(r#"{"anyOf":[{"properties":{}}]}"#)));
        assert!(!is_closed(r#"{"type":"object"}"#) && !is_closed("{}") && !is_closed("true"));
    }
}
