//! JSON Schemas in the part of the language that Anthropic takes.
//!
//! Schemas are rewritten as text, member by member, because the order of properties is the order in
//! which a model writes them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::{
    arguments, json,
    schema::{Members, ObjectWriter, any_object, object_root, quoted},
    text::Str,
};

/// Keywords that Anthropic refuses; what they demand is told in the description.
const REFUSED: [&str; 27] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "additionalItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "if",
    "then",
    "else",
    "not",
    "unevaluatedItems",
    "unevaluatedProperties",
];

const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema for a tool's input; `strict` ones are closed.
pub(crate) fn of_tool(schema: Option<&RawValue>, strict: bool) -> Cow<'_, RawValue> {
    let Some(schema) = schema.filter(|schema| schema.get() != "null") else {
        return Cow::Borrowed(any_object());
    };
    let root = object_root(schema);
    match strict {
        true => Cow::Owned(closed(&root)),
        false => root,
    }
}

/// The schema for the input of a tool that takes free text.
pub(crate) fn of_free_text() -> Cow<'static, RawValue> {
    const SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;
    Cow::Borrowed(serde_json::from_str(SCHEMA).unwrap_or(arguments::empty()))
}

/// `schema` with every object closed and nothing in it that Anthropic refuses.
pub(crate) fn closed(schema: &RawValue) -> Box<RawValue> {
    // Ingest refuses such requests; what is written here goes as deep as what is read.
    if json::is_too_deep(schema.get().as_bytes()) {
        return schema.to_owned();
    }
    let mut json = String::with_capacity(schema.get().len() + 64);
    write_closed(schema, &mut json);
    RawValue::from_string(json).unwrap_or_else(|_| schema.to_owned())
}

fn write_closed(schema: &RawValue, json: &mut String) {
    // `true` and `false` are schemas too.
    let Some(members) = Members::of(schema) else { return json.push_str(schema.get()) };
    let mut notes = Vec::new();
    let mut object = ObjectWriter::new(json);
    for (name, value) in &members.0 {
        match &**name {
            "description" | "additionalProperties" => {}
            "properties" | "$defs" | "definitions" => write_named(value, object.name(name)),
            "items" if value.get().starts_with('{') => write_closed(value, object.name(name)),
            "anyOf" | "allOf" => write_each(value, object.name(name)),
            "oneOf" if members.get("anyOf").is_none() => write_each(value, object.name("anyOf")),
            keyword if is_refused(keyword, value) => notes.push(format!("{keyword}: {value}")),
            _ => object.name(name).push_str(value.get()),
        }
    }
    if is_object(&members) {
        object.name("additionalProperties").push_str("false");
    }
    let description =
        members.get("description").and_then(|raw| serde_json::from_str::<Str<'_>>(raw.get()).ok());
    let description = description.as_deref().unwrap_or_default();
    match (description, notes.is_empty()) {
        ("", true) => {}
        (text, true) => object.name("description").push_str(&quoted(text)),
        ("", false) => object.name("description").push_str(&quoted(&notes.join(", "))),
        (text, false) => {
            object.name("description").push_str(&quoted(&format!("{text} ({})", notes.join(", "))));
        }
    }
    object.end();
}

fn is_refused(keyword: &str, value: &RawValue) -> bool {
    match keyword {
        "minItems" => !matches!(value.get(), "0" | "1"),
        "format" => !FORMATS.contains(&value.get().trim_matches('"')),
        "items" | "oneOf" => true,
        _ => REFUSED.contains(&keyword),
    }
}

fn is_object(members: &Members<'_>) -> bool {
    members.get("properties").is_some()
        || members.get("type").is_some_and(|kind| kind.get().contains("\"object\""))
}

fn write_named(schemas: &RawValue, json: &mut String) {
    let Some(members) = Members::of(schemas) else { return json.push_str(schemas.get()) };
    let mut object = ObjectWriter::new(json);
    for (name, schema) in &members.0 {
        write_closed(schema, object.name(name));
    }
    object.end();
}

fn write_each(schemas: &RawValue, json: &mut String) {
    let Ok(schemas) = serde_json::from_str::<Vec<&RawValue>>(schemas.get()) else {
        return json.push_str(schemas.get());
    };
    json.push('[');
    for (index, schema) in schemas.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write_closed(schema, json);
    }
    json.push(']');
}

#[cfg(test)]
mod tests {
    use super::{super::testing::raw, *};

    /// C59, T08
    #[test]
    fn what_is_refused_moves_into_the_description() {
        let schema = r#"{"type":"object","properties":{
            "z":{"type":"integer","minimum":1,"maximum":9,"description":"a digit"},
            "a":{"type":"array","minItems":2,"items":{"type":"string","format":"color","maxLength":3}},
            "minimum":{"oneOf":[{"type":"string","format":"date"},{"type":"null"}]}},"required":["z"]}"#;

        let closed = closed(&raw(schema));

        assert_eq!(
            closed.get(),
            concat!(
                r#"{"type":"object","properties":{"#,
                r#""z":{"type":"integer","description":"a digit (minimum: 1, maximum: 9)"},"#,
                r#""a":{"type":"array","items":{"type":"string","description":"format: \"color\", maxLength: 3"},"#,
                r#""description":"minItems: 2"},"#,
                r#""minimum":{"anyOf":[{"type":"string","format":"date"},{"type":"null"}]}},"#,
                r#""required":["z"],"additionalProperties":false}"#
            )
        );
    }

    #[test]
    fn every_object_is_closed() {
        let schema = r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"additionalProperties":{"type":"string"},"$defs":{"b":{"type":["object","null"]}}}"##;

        let closed = closed(&raw(schema));

        assert_eq!(
            closed.get(),
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":["object","null"],"additionalProperties":false}},"additionalProperties":false}"##
        );
    }

    /// C43
    #[test]
    fn a_tool_that_takes_nothing_takes_an_empty_object() {
        assert_eq!(of_tool(None, false).get(), r#"{"type":"object","properties":{}}"#);
        assert_eq!(of_tool(Some(&raw("null")), false).get(), r#"{"type":"object","properties":{}}"#);
    }

    /// C44
    #[test]
    fn the_root_becomes_a_plain_object() {
        let root = |schema| of_tool(Some(&raw(schema)), false).get().to_owned();
        let plain = r#"{ "type":"object", "properties":{"b":{},"a":{}} }"#;

        assert_eq!(root(plain), plain);
        assert_eq!(root(r#"{"properties":{"a":{}}}"#), r#"{"type":"object","properties":{"a":{}}}"#);
        assert_eq!(
            root(r#"{"type":"string"}"#),
            r#"{"type":"object","properties":{"value":{"type":"string"}},"required":["value"]}"#
        );
        assert_eq!(
            root(
                r#"{"title":"t","anyOf":[
                {"properties":{"a":{"type":"string"},"k":{}},"required":["k","a"]},
                {"properties":{"b":{},"k":{}},"required":["k"]}]}"#
            ),
            r#"{"type":"object","title":"t","properties":{"a":{"type":"string"},"k":{},"b":{}},"required":["k"]}"#
        );
    }
}
