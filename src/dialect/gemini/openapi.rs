//! Schemas of the OpenAPI kind, which Gemini's clients write, as JSON Schemas.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::{
    json,
    schema::{Members, ObjectWriter, quoted},
    text::Str,
};

/// The same as a JSON Schema.
pub(super) fn json_schema(schema: &RawValue) -> Cow<'_, RawValue> {
    if json::is_too_deep(schema.get().as_bytes()) {
        return Cow::Borrowed(schema);
    }
    let mut json = String::with_capacity(schema.get().len() + 64);
    write(schema, &mut json);
    RawValue::from_string(json).map_or(Cow::Borrowed(schema), Cow::Owned)
}

fn write(schema: &RawValue, json: &mut String) {
    let Some(members) = Members::of(schema) else { return json.push_str(schema.get()) };
    let is_nullable = members.get("nullable").is_some_and(|value| value.get() == "true");
    let has_type = members.get("type").is_some();
    let mut object = ObjectWriter::new(json);
    for (name, value) in &members.0 {
        match camel(name) {
            "type" => {
                if let Some(kind) = kind(value, is_nullable) {
                    object.name("type").push_str(&kind);
                }
            }
            "nullable" | "propertyOrdering" | "example" => {}
            // That there is an `enum` says as much.
            "format" if value.get() == "\"enum\"" => {}
            "properties" => write_named(value, object.name("properties")),
            "defs" => write_named(value, object.name("$defs")),
            "items" => write(value, object.name("items")),
            "additionalProperties" => write(value, object.name("additionalProperties")),
            "anyOf" => write_each(value, is_nullable && !has_type, object.name("anyOf")),
            "ref" => object.name("$ref").push_str(&value.get().replace("#/defs/", "#/$defs/")),
            // Whole numbers may be written as strings.
            count @ ("minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
            | "maxProperties") => {
                object.name(count).push_str(value.get().trim_matches('"'));
            }
            other => object.name(other).push_str(value.get()),
        }
    }
    object.end();
}

/// The name in camel case, for those that have two words.
fn camel(name: &str) -> &str {
    match name {
        "any_of" => "anyOf",
        "min_items" => "minItems",
        "max_items" => "maxItems",
        "min_length" => "minLength",
        "max_length" => "maxLength",
        "min_properties" => "minProperties",
        "max_properties" => "maxProperties",
        "property_ordering" => "propertyOrdering",
        "additional_properties" => "additionalProperties",
        other => other,
    }
}

fn kind(value: &RawValue, is_nullable: bool) -> Option<String> {
    let Ok(kind) = serde_json::from_str::<Str<'_>>(value.get()) else { return Some(value.get().to_owned()) };
    if &*kind == "TYPE_UNSPECIFIED" {
        return None;
    }
    let kind = quoted(&kind.to_ascii_lowercase());
    Some(if is_nullable { format!("[{kind},\"null\"]") } else { kind })
}

fn write_named(schemas: &RawValue, json: &mut String) {
    let Some(members) = Members::of(schemas) else { return json.push_str(schemas.get()) };
    let mut object = ObjectWriter::new(json);
    for (name, schema) in &members.0 {
        write(schema, object.name(name));
    }
    object.end();
}

fn write_each(schemas: &RawValue, or_null: bool, json: &mut String) {
    let Ok(schemas) = serde_json::from_str::<Vec<&RawValue>>(schemas.get()) else {
        return json.push_str(schemas.get());
    };
    json.push('[');
    for (index, schema) in schemas.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write(schema, json);
    }
    json.push_str(if or_null { ",{\"type\":\"null\"}]" } else { "]" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(schema: &str) -> String {
        json_schema(serde_json::from_str(schema).unwrap()).get().to_owned()
    }

    /// §4
    #[test]
    fn a_schema_says_the_same_in_the_other_words() {
        assert_eq!(
            converted(
                r##"{"type":"OBJECT","properties":{
                "type":{"type":"STRING","format":"enum","enum":["a"],"nullable":true},
                "list":{"type":"ARRAY","minItems":"1","items":{"type":"INTEGER"},"example":[1]},
                "other":{"any_of":[{"type":"STRING"},{"ref":"#/defs/x"}],"nullable":true}},
                "required":["type"],"propertyOrdering":["type"],"defs":{"x":{"type":"NUMBER"}}}"##
            ),
            concat!(
                r#"{"type":"object","properties":{"type":{"type":["string","null"],"enum":["a"]},"#,
                r#""list":{"type":"array","minItems":1,"items":{"type":"integer"}},"#,
                r##""other":{"anyOf":[{"type":"string"},{"$ref":"#/$defs/x"},{"type":"null"}]}},"##,
                r#""required":["type"],"$defs":{"x":{"type":"number"}}}"#
            )
        );
        assert_eq!(converted("true"), "true");
    }
}
