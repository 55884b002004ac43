//! JSON Schemas in the part of the language that Gemini takes.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::{
    json,
    lost::Lost,
    schema::{Members, ObjectWriter, merged_root, object_root, quoted},
    text::Str,
};

/// Keywords that Gemini doesn't know; what they demand is told in the description.
const UNKNOWN: [&str; 22] = [
    "pattern",
    "minLength",
    "maxLength",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "then",
    "else",
    "not",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Schemas deeper than this are not looked into.
const MAX_MERGES: u32 = 128;

/// The schema for what a function takes; `None` for one that takes nothing.
pub(super) fn of_function<'a>(schema: Option<&'a RawValue>, lost: &mut Lost) -> Option<Cow<'a, RawValue>> {
    let schema = schema.filter(|schema| schema.get() != "null")?;
    Some(Cow::Owned(adapted(&object_root(schema), "tools[].parameters", lost)))
}

/// `schema` without what Gemini doesn't take. Keywords that can't be said otherwise are noted as lost,
/// below `field`.
pub(super) fn adapted(schema: &RawValue, field: &str, lost: &mut Lost) -> Box<RawValue> {
    // Ingest refuses such requests; what is written here goes as deep as what is read.
    if json::is_too_deep(schema.get().as_bytes()) {
        return schema.to_owned();
    }
    let mut writer = Writer { field, lost, merges: 0 };
    let mut json = String::with_capacity(schema.get().len() + 64);
    writer.write(schema, &mut json);
    RawValue::from_string(json).unwrap_or_else(|_| schema.to_owned())
}

/// `schema` without the keywords that Gemini refuses; `None` if it has none of them.
pub(crate) fn gemini_schema(schema: &str) -> Option<String> {
    let mut lost = Lost::default();
    let adapted = adapted(serde_json::from_str(schema).ok()?, "", &mut lost);
    (!lost.into_names().is_empty()).then(|| adapted.get().to_owned())
}

struct Writer<'w> {
    field: &'w str,
    lost: &'w mut Lost,
    merges: u32,
}

impl Writer<'_> {
    fn write(&mut self, schema: &RawValue, json: &mut String) {
        // `true` and `false` are schemas too.
        let Some(members) = Members::of(schema) else { return json.push_str(schema.get()) };
        if members.get("$ref").is_some() {
            return self.reference(&members, json);
        }
        if let Some(all) = members.get("allOf").filter(|_| self.merges < MAX_MERGES) {
            self.merges += 1;
            if let Some(merged) = merged(&members, all) {
                self.write(&merged, json);
                self.merges -= 1;
                return;
            }
            self.merges -= 1;
        }
        let mut notes = Vec::new();
        let mut object = ObjectWriter::new(json);
        for (name, value) in &members.0 {
            self.member(name, value, &members, &mut object, &mut notes);
        }
        let says = |kind: &str| members.get("type").is_some_and(|value| value.get() == kind);
        if says("\"array\"") && members.get("items").is_none() && members.get("prefixItems").is_none() {
            object.name("items").push_str("{\"type\":\"string\"}");
        }
        let description =
            members.get("description").and_then(|raw| serde_json::from_str::<Str<'_>>(raw.get()).ok());
        let notes = notes.join(", ");
        let text = match (description.as_deref().unwrap_or_default(), &*notes) {
            (text, "") => text.to_owned(),
            ("", notes) => notes.to_owned(),
            (text, notes) => format!("{text} ({notes})"),
        };
        if !text.is_empty() {
            object.name("description").push_str(&quoted(&text));
        }
        object.end();
    }

    fn member(
        &mut self,
        name: &str,
        value: &RawValue,
        members: &Members<'_>,
        object: &mut ObjectWriter<'_>,
        notes: &mut Vec<String>,
    ) {
        match name {
            "type" | "title" | "required" | "minItems" | "maxItems" | "minimum" | "maximum" | "enum"
            | "propertyOrdering" | "$id" | "$anchor" => object.name(name).push_str(value.get()),
            "properties" => self.named(value, object.name("properties")),
            "$defs" | "definitions" => self.named(value, object.name("$defs")),
            "items" if value.get().starts_with('[') => self.each(value, object.name("prefixItems")),
            "items" | "additionalProperties" => self.write(value, object.name(name)),
            "prefixItems" | "anyOf" => self.each(value, object.name(name)),
            "oneOf" if members.get("anyOf").is_none() => self.each(value, object.name("anyOf")),
            "const" if members.get("enum").is_none() && value.get().starts_with(is_start_of_scalar) => {
                object.name("enum").push_str(&format!("[{value}]"));
            }
            "format" if matches!(value.get(), "\"date-time\"" | "\"date\"" | "\"time\"") => {
                object.name("format").push_str(value.get());
            }
            _ if UNKNOWN.contains(&name) || matches!(name, "format" | "const" | "oneOf" | "allOf") => {
                self.lost.push(&format!("{}.{name}", self.field));
                notes.push(format!("{name}: {value}"));
            }
            // What is left describes the schema, or is somebody's own; it demands nothing.
            _ => {}
        }
    }

    /// A reference may have no other members beside it than those that begin with `$`.
    fn reference(&mut self, members: &Members<'_>, json: &mut String) {
        let mut object = ObjectWriter::new(json);
        for (name, value) in &members.0 {
            match &**name {
                "$ref" => {
                    object.name("$ref").push_str(&value.get().replace("\"#/definitions/", "\"#/$defs/"));
                }
                "$defs" | "definitions" => self.named(value, object.name("$defs")),
                _ => {}
            }
        }
        object.end();
    }

    fn named(&mut self, schemas: &RawValue, json: &mut String) {
        let Some(members) = Members::of(schemas) else { return json.push_str(schemas.get()) };
        let mut object = ObjectWriter::new(json);
        for (name, schema) in &members.0 {
            self.write(schema, object.name(name));
        }
        object.end();
    }

    fn each(&mut self, schemas: &RawValue, json: &mut String) {
        let Ok(schemas) = serde_json::from_str::<Vec<&RawValue>>(schemas.get()) else {
            return json.push_str(schemas.get());
        };
        json.push('[');
        for (index, schema) in schemas.into_iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            self.write(schema, json);
        }
        json.push(']');
    }
}

/// Strings and numbers may be listed, truth values and null may not.
fn is_start_of_scalar(first: char) -> bool {
    first == '"' || first == '-' || first.is_ascii_digit()
}

/// `members` with the branches of their `allOf` in their place; `None` if those can't be joined.
fn merged(members: &Members<'_>, all: &RawValue) -> Option<Box<RawValue>> {
    let branches: Vec<&RawValue> = serde_json::from_str(all.get()).ok()?;
    if let [only] = branches[..] {
        let only = Members::of(only)?;
        let mut json = String::new();
        let mut object = ObjectWriter::new(&mut json);
        let own = members.0.iter().filter(|(name, _)| &**name != "allOf" && only.get(name).is_none());
        for (name, value) in own.chain(&only.0) {
            object.name(name).push_str(value.get());
        }
        object.end();
        return RawValue::from_string(json).ok();
    }
    let is_object = |branch: &Members<'_>| branch.get("$ref").is_none() && branch.get("properties").is_some();
    let are_objects = branches.iter().all(|branch| Members::of(branch).as_ref().is_some_and(is_object));
    let is_plain = members.get("anyOf").is_none() && members.get("oneOf").is_none();
    (are_objects && is_plain).then(|| RawValue::from_string(merged_root(members)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(schema: &str) -> (String, Vec<Box<str>>) {
        let mut lost = Lost::default();
        let adapted = super::adapted(serde_json::from_str(schema).unwrap(), "s", &mut lost);
        (adapted.get().to_owned(), lost.into_names())
    }

    /// C59
    #[test]
    fn what_is_not_known_moves_into_the_description_and_is_reported() {
        let (schema, lost) = adapted(
            r#"{"$schema":"x","type":"object","properties":{
            "z":{"type":"integer","exclusiveMinimum":1,"maximum":9,"description":"a digit"},
            "pattern":{"type":"string","pattern":"^a","format":"email","minLength":2}},
            "required":["z"],"additionalProperties":false}"#,
        );

        assert_eq!(
            schema,
            concat!(
                r#"{"type":"object","properties":{"#,
                r#""z":{"type":"integer","maximum":9,"description":"a digit (exclusiveMinimum: 1)"},"#,
                r#""pattern":{"type":"string","description":"pattern: \"^a\", format: \"email\", minLength: 2"}},"#,
                r#""required":["z"],"additionalProperties":false}"#
            )
        );
        assert_eq!(
            lost,
            ["s.exclusiveMinimum", "s.pattern", "s.format", "s.minLength"].map(Box::<str>::from)
        );
    }

    /// §4
    #[test]
    fn what_can_be_said_otherwise_is_not_lost() {
        let same = r#"{"type":"object","properties":{"a":{"type":["string","null"],"format":"date"},"b":{"enum":[1,"x"]}}}"#;
        assert_eq!(adapted(same), (same.to_owned(), vec![]));

        assert_eq!(
            adapted(r#"{"oneOf":[{"const":"a"},{"type":"array"},{"type":"array","items":[{"type":"string"}]}]}"#),
            (
                r#"{"anyOf":[{"enum":["a"]},{"type":"array","items":{"type":"string"}},{"type":"array","prefixItems":[{"type":"string"}]}]}"#.into(),
                vec![]
            )
        );
        assert_eq!(
            adapted(
                r##"{"properties":{"a":{"allOf":[{"$ref":"#/definitions/x"}],"description":"d"}},"definitions":{"x":{"type":"string","default":"y"}}}"##
            )
            .0,
            r##"{"properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"string"}}}"##
        );
        assert_eq!(
            adapted(
                r#"{"allOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"b":{}}}]}"#
            )
            .0,
            r#"{"type":"object","properties":{"a":{"type":"string"},"b":{}},"required":["a"]}"#
        );
    }

    /// C43, C44
    #[test]
    fn a_function_takes_an_object_or_nothing() {
        let of = |schema: Option<&str>| {
            let raw = schema.map(|schema| serde_json::from_str::<&RawValue>(schema).unwrap());
            of_function(raw, &mut Lost::default()).map(|schema| schema.get().to_owned())
        };

        assert_eq!(of(None), None);
        assert_eq!(of(Some("null")), None);
        assert_eq!(
            of(Some(r#"{"type":"string"}"#)).unwrap(),
            r#"{"type":"object","properties":{"value":{"type":"string"}},"required":["value"]}"#
        );
    }
}
