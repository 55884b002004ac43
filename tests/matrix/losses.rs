//! What one dialect can say and another can't.

use bartizan::Target;
use serde_json::{Value, json};

use crate::{
    gateway::{Act, ask},
    readme,
    talk::{Answer, Question},
    wire::{ALL, Wire},
};

/// Something that a client may ask for.
struct Wish {
    /// Its row in the README.
    row: &'static str,
    /// What chat completions, responses, messages and Gemini say for it; null if they can't.
    said: [Value; 4],
    /// By what it is known to have reached a provider of each.
    arrives: [&'static str; 4],
}

/// Members that take the place of others.
fn patch(to: &mut Value, with: &Value) {
    let Some(members) = with.as_object() else { return *to = with.clone() };
    for (name, value) in members {
        patch(&mut to[name], value);
    }
}

fn chat_part(part: Value) -> Value {
    json!({"messages": [{"role": "user", "content": [part]}]})
}

fn item_part(part: Value) -> Value {
    json!({"input": [{"type": "message", "role": "user", "content": [part]}]})
}

fn block(block: Value) -> Value {
    json!({"messages": [{"role": "user", "content": [block]}]})
}

fn gemini_part(part: Value) -> Value {
    json!({"contents": [{"role": "user", "parts": [part]}]})
}

fn wishes() -> Vec<Wish> {
    let none = || Value::Null;
    let config = |config: Value| json!({"generationConfig": config});
    let function = json!({"type": "object", "properties": {}});
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let page = json!({"url": "https://example.com/a", "title": "A", "start_index": 4, "end_index": 5});
    let typed = |page: &Value| {
        let mut page = page.clone();
        page["type"] = "url_citation".into();
        page
    };
    let chat_tool = json!({"type": "function", "function": {"name": "f", "parameters": function}});
    vec![
        Wish {
            row: "temperature",
            said: [
                json!({"temperature": 0.5}),
                json!({"temperature": 0.5}),
                json!({"temperature": 0.5}),
                config(json!({"temperature": 0.5})),
            ],
            arrives: [r#""temperature":0.5"#; 4],
        },
        Wish {
            row: "temperature above 1",
            said: [
                json!({"temperature": 1.7}),
                json!({"temperature": 1.7}),
                none(),
                config(json!({"temperature": 1.7})),
            ],
            arrives: [r#""temperature":1.7"#, r#""temperature":1.7"#, "", r#""temperature":1.7"#],
        },
        Wish {
            row: "a cap below 16",
            said: [
                json!({"max_completion_tokens": 5}),
                none(),
                json!({"max_tokens": 5}),
                config(json!({"maxOutputTokens": 5})),
            ],
            arrives: [r#""max_completion_tokens":5"#, "", r#""max_tokens":5"#, r#""maxOutputTokens":5"#],
        },
        Wish {
            row: "`top_k`",
            said: [json!({"top_k": 7}), none(), json!({"top_k": 7}), config(json!({"topK": 7}))],
            arrives: ["", "", r#""top_k":7"#, r#""topK":7"#],
        },
        Wish {
            row: "stop texts",
            said: [
                json!({"stop": ["X"]}),
                none(),
                json!({"stop_sequences": ["X"]}),
                config(json!({"stopSequences": ["X"]})),
            ],
            arrives: [r#""stop":["X"]"#, "", r#""stop_sequences":["X"]"#, r#""stopSequences":["X"]"#],
        },
        Wish {
            row: "seed",
            said: [json!({"seed": 7}), none(), none(), config(json!({"seed": 7}))],
            arrives: [r#""seed":7"#, "", "", r#""seed":7"#],
        },
        Wish {
            row: "penalties",
            said: [json!({"presence_penalty": 0.5}), none(), none(), config(json!({"presencePenalty": 0.5}))],
            arrives: [r#""presence_penalty":0.5"#, "", "", r#""presencePenalty":0.5"#],
        },
        Wish {
            row: "several answers (`n`)",
            said: [json!({"n": 2}), none(), none(), config(json!({"candidateCount": 2}))],
            arrives: [r#""n":2"#, "", "", r#""candidateCount":2"#],
        },
        Wish {
            row: "logprobs",
            said: [
                json!({"logprobs": true, "top_logprobs": 2}),
                json!({"top_logprobs": 2, "include": ["message.output_text.logprobs"]}),
                none(),
                config(json!({"responseLogprobs": true, "logprobs": 2})),
            ],
            arrives: [
                r#""logprobs":true"#,
                r#""include":["message.output_text.logprobs"]"#,
                "",
                r#""responseLogprobs":true"#,
            ],
        },
        Wish {
            row: "`logit_bias`, predicted output",
            said: [json!({"logit_bias": {"1": 2}}), none(), none(), none()],
            arrives: [""; 4],
        },
        Wish {
            row: "one call at a time",
            said: [
                json!({"tools": [chat_tool], "parallel_tool_calls": false}),
                json!({"tools": [{"type": "function", "name": "f", "parameters": function, "strict": false}], "parallel_tool_calls": false}),
                json!({"tools": [{"name": "f", "input_schema": function}],
                    "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
                none(),
            ],
            arrives: [
                r#""parallel_tool_calls":false"#,
                r#""parallel_tool_calls":false"#,
                r#""disable_parallel_tool_use":true"#,
                "",
            ],
        },
        Wish {
            row: "tools for free text",
            said: [
                json!({"tools": [{"type": "custom", "custom": {"name": "run"}}]}),
                json!({"tools": [{"type": "custom", "name": "run"}]}),
                none(),
                none(),
            ],
            arrives: [r#""custom""#, r#""custom""#, r#""name":"run""#, r#""name":"run""#],
        },
        Wish {
            row: "tools that run at a provider",
            said: [
                none(),
                json!({"tools": [{"type": "web_search"}]}),
                json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
                json!({"tools": [{"googleSearch": {}}]}),
            ],
            arrives: [""; 4],
        },
        Wish {
            row: "JSON without a schema",
            said: [
                json!({"response_format": {"type": "json_object"}}),
                json!({"text": {"format": {"type": "json_object"}}}),
                none(),
                config(json!({"responseMimeType": "application/json"})),
            ],
            arrives: ["json_object", "json_object", "JSON", r#""responseMimeType":"application/json""#],
        },
        Wish {
            row: "an image by its address",
            said: [
                chat_part(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})),
                item_part(
                    json!({"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}),
                ),
                block(
                    json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
                ),
                none(),
            ],
            arrives: ["https://example.com/a.png"; 4],
        },
        Wish {
            row: "how closely to look at an image",
            said: [
                chat_part(json!({"type": "image_url", "image_url":
                    {"url": "https://example.com/a.png", "detail": "high"}})),
                item_part(
                    json!({"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"}),
                ),
                none(),
                none(),
            ],
            arrives: [r#""detail":"high""#, r#""detail":"high""#, "", ""],
        },
        Wish {
            row: "a file's name",
            said: [
                chat_part(json!({"type": "file", "file":
                    {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "b.pdf"}})),
                item_part(json!({"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0=",
                    "filename": "b.pdf"})),
                block(json!({"type": "document", "title": "b.pdf", "source":
                    {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}})),
                none(),
            ],
            arrives: [r#""filename":"b.pdf""#, r#""filename":"b.pdf""#, r#""title":"b.pdf""#, ""],
        },
        Wish {
            row: "PDF",
            said: [
                chat_part(json!({"type": "file", "file":
                    {"file_data": "data:application/pdf;base64,JVBERi0="}})),
                item_part(json!({"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0="})),
                block(json!({"type": "document", "source":
                    {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}})),
                gemini_part(json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}})),
            ],
            arrives: ["JVBERi0="; 4],
        },
        Wish {
            row: "audio",
            said: [
                json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hear this"},
                    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]}]}),
                none(),
                none(),
                gemini_part(json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}})),
            ],
            arrives: ["UklGRg==", "", "", "UklGRg=="],
        },
        Wish {
            row: "files stored at OpenAI",
            said: [
                chat_part(json!({"type": "file", "file": {"file_id": "file-1"}})),
                item_part(json!({"type": "input_file", "file_id": "file-1"})),
                none(),
                none(),
            ],
            arrives: [r#""file_id":"file-1""#, r#""file_id":"file-1""#, "", ""],
        },
        Wish {
            row: "files stored at Anthropic or Google",
            said: [
                none(),
                none(),
                block(json!({"type": "document", "source": {"type": "file", "file_id": "file_011"}})),
                gemini_part(json!({"fileData": {"mimeType": "application/pdf",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/1"}})),
            ],
            arrives: [""; 4],
        },
        Wish {
            row: "the end user's id",
            said: [
                json!({"user": "u1"}),
                json!({"safety_identifier": "u1"}),
                json!({"metadata": {"user_id": "u1"}}),
                none(),
            ],
            arrives: [r#""safety_identifier":"u1""#, r#""safety_identifier":"u1""#, r#""user_id":"u1""#, ""],
        },
        Wish {
            row: "`service_tier: flex`",
            said: [
                json!({"service_tier": "flex"}),
                json!({"service_tier": "flex"}),
                none(),
                json!({"serviceTier": "flex"}),
            ],
            arrives: [r#""service_tier":"flex""#, r#""service_tier":"flex""#, "", r#""serviceTier":"flex""#],
        },
        Wish {
            row: "`metadata`, `verbosity`",
            said: [
                json!({"metadata": {"a": "b"}, "verbosity": "low"}),
                json!({"metadata": {"a": "b"}, "text": {"verbosity": "low"}}),
                none(),
                none(),
            ],
            arrives: [r#""metadata":{"a":"b"}"#, r#""metadata":{"a":"b"}"#, "", ""],
        },
        Wish {
            row: "`safetySettings`",
            said: [
                none(),
                none(),
                none(),
                json!({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]}),
            ],
            arrives: [""; 4],
        },
        Wish {
            row: "what an earlier answer cites",
            said: [
                json!({"messages": [said("user", "Hi"), {"role": "assistant", "content": "See A.", "annotations":
                    [{"type": "url_citation", "url_citation": page}]}, said("user", "And?")]}),
                json!({"input": [said("user", "Hi"), {"type": "message", "role": "assistant", "content": [
                    {"type": "output_text", "text": "See A.", "annotations": [typed(&page)]}]}, said("user", "And?")]}),
                json!({"messages": [said("user", "Hi"), {"role": "assistant", "content": [{"type": "text", "text": "See A.",
                    "citations": [{"type": "web_search_result_location", "cited_text": "q", "url": "https://example.com/a",
                        "title": "A", "encrypted_index": "Eo8B"}]}]}, said("user", "And?")]}),
                none(),
            ],
            arrives: ["", r#""url":"https://example.com/a""#, "", ""],
        },
    ]
}

/// What becomes of a wish of this client's: `yes`, `lost`, `refused`, or `gone` without a word.
async fn fate(client: &dyn Wire, provider: &dyn Wire, said: &Value, arrives: &str) -> &'static str {
    let mut body = client.ask(&Question::new("Hi"), false);
    patch(&mut body, said);
    let answer = Act::Answer(provider.answer(&Answer::new("Hi"), ""));

    // A model of which nothing is known takes all that its dialect can say.
    let target = Target::new("provider", provider.model());
    let got = ask(client.path(false), &body, provider.dialect(), target, answer).await;

    if got.status == 400 {
        assert!(got.asked.is_none(), "{:?}", got.body);
        return "refused";
    }
    assert_eq!(got.lost_header(), got.lost);
    if !got.lost.is_empty() {
        eprintln!("{said} loses {:?} at {}", got.lost, provider.name());
        return "lost";
    }
    let asked = got.asked.unwrap().to_string();
    if arrives.is_empty() || !asked.contains(arrives) {
        eprintln!("neither there nor lost: {said} is {asked}");
        return "gone";
    }
    "yes"
}

#[tokio::test]
async fn every_loss_is_said_as_the_readme_says() {
    let mut differing = Vec::new();
    for Wish { row, said, arrives } in wishes() {
        for (provider, arrives) in ALL.into_iter().zip(arrives) {
            let mut fates = Vec::new();
            for (client, said) in ALL.into_iter().zip(&said) {
                if !said.is_null() && client.name() != provider.name() {
                    fates.push(fate(client, provider, said, arrives).await);
                }
            }
            fates.dedup();
            let found = if fates.is_empty() { "–".to_owned() } else { fates.join("/") };
            if found != readme::says(row, provider.name()) {
                differing.push(format!("{row} to {}: {found}", provider.name()));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
    let rows = wishes().iter().map(|wish| wish.row).collect::<Vec<_>>();
    assert_eq!(readme::rows()[crate::FEATURES.len()..], rows);
}
