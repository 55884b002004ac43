use schemars::schema_for;

use super::Config;

/// The JSON Schema of [`Config`], for editors: every field with its description and default.
pub fn json_schema() -> String {
    format!("{:#}", schema_for!(Config).to_value())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::EXAMPLE;

    /// Whether `value` has the types and the fields that `schema` asks for.
    fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            return fits(value, root.pointer(name.trim_start_matches('#')).unwrap(), root);
        }
        if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
            return choices.iter().any(|choice| fits(value, choice, root));
        }
        if let Some(constant) = schema.get("const") {
            return value == constant;
        }
        has_type(value, &schema["type"])
            && schema["enum"].as_array().is_none_or(|values| values.contains(value))
            && schema["required"]
                .as_array()
                .is_none_or(|fields| fields.iter().all(|f| value.get(f.as_str().unwrap()).is_some()))
            && value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| fits(item, &schema["items"], root)))
            && value.as_object().is_none_or(|fields| {
                let field = |name| schema["properties"].get(name).or(schema.get("additionalProperties"));
                fields.iter().all(|(name, value)| field(name).is_some_and(|schema| fits(value, schema, root)))
            })
    }

    fn has_type(value: &Value, types: &Value) -> bool {
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |wanted: &Value| *wanted == name || (*wanted == "number" && name == "integer");
        types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
    }

    #[test]
    fn the_schema_describes_the_example_and_nothing_else() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();
        let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();

        assert!(fits(&example, &schema, &schema));

        example["models"]["chat"]["timeuots"] = "5s".into();
        assert!(!fits(&example, &schema, &schema));
    }

    #[test]
    fn every_field_has_a_description() {
        let schema: Value = serde_json::from_str(&json_schema()).unwrap();

        let types = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for (name, field) in types.filter_map(|of| of["properties"].as_object()).flatten() {
            assert!(field["description"].is_string(), "{name}");
        }
        let listen = schema.pointer("/$defs/Server/properties/listen").unwrap();
        assert_eq!(listen["default"], "127.0.0.1:8080");
    }
}
