use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{
    audit, litellm,
    operation::{Action, LiteLlm, OPERATIONS, Operation},
    standing::SCOPES,
};
use crate::{
    config::{Customer, Key, Team, UsdPrice},
    directory::Section,
};

/// What is answered, as OpenAPI describes it.
pub(super) fn document() -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<Customer>();
    generator.subschema_for::<Team>();
    generator.subschema_for::<Key>();
    generator.subschema_for::<UsdPrice>();
    let schemas = generator.take_definitions(true);
    let mut paths = json!({ "/v1/key": { "get": {
        "summary": "Show what the presented key may do and what is left of it",
        "security": [{ "key": [] }],
        "responses": { "200": { "description": "what is left" }, "401": { "description": "the key is not known" } },
    } } });
    for one in &OPERATIONS {
        paths[one.path][one.method.as_str().to_lowercase()] = operation(one);
    }
    json!({
        "openapi": "3.0.3",
        "info": { "title": "bartizan", "version": env!("CARGO_PKG_VERSION"),
            "description": "Customers, teams, keys and prices of the gateway" },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "admin": { "type": "http", "scheme": "bearer", "description": "the key of the administrators" },
                "key": { "type": "http", "scheme": "bearer", "description": "a key of the gateway" },
            },
        },
    })
}

fn operation(one: &Operation) -> Value {
    let mut described = json!({
        "summary": one.summary,
        "security": [{ "admin": [] }],
        "parameters": parameters(one),
        "responses": { "200": { "description": "as asked" }, "400": { "description": "what was sent is wrong" },
            "401": { "description": "not the key of the administrators" },
            "409": { "description": "it is set in the file, is there already, or was changed meanwhile" } },
    });
    if one.action == Action::Describe {
        described["security"] = json!([]);
    }
    if let Some(schema) = body(one.action) {
        described["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
    }
    if let Action::Create(_) = one.action {
        described["responses"]["201"] = json!({ "description": "made" });
    }
    described
}

fn body(action: Action) -> Option<Value> {
    let entry = |section| {
        let name = match section {
            Section::Customers => "Customer",
            Section::Teams => "Team",
            Section::Keys => "Key",
            Section::Prices => "UsdPrice",
        };
        json!({ "$ref": format!("#/components/schemas/{name}") })
    };
    match action {
        // Neither needs all fields: a name is given with the rest, or isn't changed.
        Action::Create(Section::Keys) => Some(entry(Section::Keys)),
        Action::Create(section) => Some(json!({ "allOf": [entry(section),
            { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } }] })),
        Action::Put(section) => Some(entry(section)),
        Action::Change(_) => Some(json!({ "type": "object",
            "description": "the fields to change; null takes one away (RFC 7396)" })),
        Action::Explain => Some(json!({ "type": "object", "required": ["body"], "properties": {
            "key": { "type": "string", "description": "the name of the key that would be presented, whose budgets count as they stand" },
            "path": { "type": "string", "default": "/v1/chat/completions" },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } },
            "body": { "type": "object", "description": "the request as it would be sent" } } })),
        Action::Rotate => Some(json!({ "type": "object", "properties": { "grace": { "type": "string",
            "description": "how long the old key still works, such as 1h" } } })),
        Action::LiteLlm(LiteLlm::Generate | LiteLlm::Update | LiteLlm::Delete) => {
            Some(json!({ "type": "object", "description": "the fields that LiteLLM has" }))
        }
        _ => None,
    }
}

const DAYS: &str =
    "a day in UTC, whatever time zone budgets have, such as 2026-11-01, or how many back such as 30d";

fn parameters(one: &Operation) -> Value {
    let named = |place: &str, name: &str, required: bool| {
        let mut schema = json!({ "type": "string" });
        if name == "scope" {
            schema["enum"] = json!(SCOPES);
        }
        let mut named = json!({ "in": place, "name": name, "required": required, "schema": schema });
        if matches!((place, name), ("query", "since" | "until")) {
            named["description"] = if one.action == Action::Audit { audit::MOMENTS } else { DAYS }.into();
        }
        if (place, name) == ("query", "kind") {
            named["schema"]["enum"] = audit::kinds().collect();
        }
        named
    };
    let query: &[&str] = match one.action {
        Action::List(_) => &["limit", "after", "prefix", "team", "customer"],
        Action::Usage => &["key", "team", "customer", "user", "session", "tag", "provider", "since", "until"],
        Action::Standing(_) => &["limit", "after", "scope", "name", "customer"],
        Action::Prices => &["limit", "after", "prefix", "model", "source", "set"],
        Action::Audit => &audit::PARAMETERS,
        Action::Mirrors => &["model"],
        Action::LiteLlm(LiteLlm::Info) => &["key"],
        Action::LiteLlm(LiteLlm::List) => &litellm::LIST,
        _ => &[],
    };
    let headers: &[&str] = match one.action {
        Action::Create(_) => &["idempotency-key"],
        Action::Change(_) | Action::Put(_) | Action::Delete(_) | Action::Rotate => &["if-match"],
        _ => &[],
    };
    let in_path = ["name", "model"].into_iter().find(|name| one.path.contains(&format!("{{{name}}}")));
    let path = in_path.map(|name| named("path", name, true));
    let query = query.iter().map(|name| named("query", name, false));
    path.into_iter().chain(query).chain(headers.iter().map(|name| named("header", name, false))).collect()
}
