//! Random requests that are close to what clients send, and canonical streams.

use bartizan::{
    Tokens,
    dialect::canonical::{Citation, Event, Finish, Source},
};
use serde_json::{Map, Value, json};

/// Random choices, taken from bytes so that they shrink; the end of the tape is all zeros, the simplest.
pub struct Tape<'t> {
    bytes: std::slice::Iter<'t, u8>,
    /// One member of so many is missing or wrong; none if it is 0.
    odd: usize,
}

const TEXTS: [&str; 8] = ["hi", "x y", "", " ", "ü\u{1F600}\n\"\\", "a\u{0}b", "{\"a\":1}", "end "];
const IDS: [&str; 8] = ["call_a", "call_b", "call_c", "toolu_1", "", "a.b:0", "é", "call_a "];
const NAMES: [&str; 8] = ["f", "get_weather", "a/b", "a_b", "", "wörld", "g", "x y"];
const ARGUMENTS: [&str; 8] =
    ["{}", "{\"a\":1}", "", "{\"a\":", "[1]", "null", "not json", "{\"b\":1.0,\"a\":\"\\u00fc\"}"];
const TYPES: [&str; 6] = ["image/png", "image/jpg", "image/tiff", "application/pdf", "text/plain", ""];

impl<'t> Tape<'t> {
    pub fn new(bytes: &'t [u8], odd: usize) -> Self {
        Self { bytes: bytes.iter(), odd }
    }

    pub fn pick(&mut self, of: usize) -> usize {
        usize::from(self.bytes.next().copied().unwrap_or(0)) % of
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.pick(of.len())]
    }

    fn text(&mut self) -> Value {
        self.one(&TEXTS).into()
    }

    fn list(&mut self, most: usize, one: impl Fn(&mut Self) -> Value) -> Value {
        let count = self.pick(most + 1);
        (0..count).map(|_| one(self)).collect::<Vec<_>>().into()
    }

    /// An object of these members, some of which are missing or wrong, and some more.
    fn object<const N: usize>(&mut self, members: [(&str, Value); N]) -> Value {
        let mut object = Map::new();
        for (name, value) in members {
            if self.odd > 0 && self.pick(self.odd) == 1 {
                if let Some(value) = self.wrong() {
                    object.insert(name.into(), value);
                }
            } else {
                object.insert(name.into(), value);
            }
        }
        if self.odd > 0 && self.pick(self.odd) == 1 {
            object.insert("unheard_of".into(), json!({"a": [1, null]}));
        }
        object.into()
    }

    fn wrong(&mut self) -> Option<Value> {
        let wrong = [
            None,
            Some(Value::Null),
            Some("".into()),
            Some(7.into()),
            Some((-1).into()),
            Some(json!([])),
            Some(json!({})),
            Some(true.into()),
            Some(json!([null])),
            Some(json!(1e300)),
        ];
        wrong[self.pick(wrong.len())].clone()
    }

    /// Some of these members.
    fn some<const N: usize>(&mut self, object: &mut Value, members: [(&str, Value); N]) {
        for (name, value) in members {
            if self.pick(4) == 1 {
                object[name] = value;
            }
        }
    }

    fn cached(&mut self, mut block: Value) -> Value {
        if self.pick(4) == 1 {
            block["cache_control"] = json!({"type": "ephemeral", "ttl": self.one(&["5m", "1h"])});
        }
        block
    }

    fn schema(&mut self) -> Value {
        match self.pick(6) {
            0 => json!({"type": "object", "properties": {}}),
            1 => {
                json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]})
            }
            2 => json!({"anyOf": [{"properties": {"a": {}}, "required": ["a"]}, {"type": "object"}]}),
            3 => json!({"type": "string"}),
            4 => json!({}),
            _ => self.wrong().unwrap_or(json!(true)),
        }
    }

    pub fn chat_request(&mut self) -> Value {
        let messages = self.list(8, Self::chat_message);
        let tools = self.list(3, Self::chat_tool);
        let mut request = self.object([("model", "m".into()), ("messages", messages)]);
        let choice = match self.pick(6) {
            0 => json!("auto"),
            1 => json!("none"),
            2 => json!("required"),
            3 => json!({"type": "function", "function": {"name": self.one(&NAMES)}}),
            4 => json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto",
                "tools": [{"type": "function", "function": {"name": self.one(&NAMES)}}]}}),
            _ => json!({"type": "custom", "custom": {"name": self.one(&NAMES)}}),
        };
        let format = match self.pick(3) {
            0 => json!({"type": "text"}),
            1 => json!({"type": "json_object"}),
            _ => {
                json!({"type": "json_schema", "json_schema": {"name": self.one(&NAMES), "schema": self.schema()}})
            }
        };
        let stop = self.list(6, Self::text);
        let members = [
            ("tools", tools),
            ("tool_choice", choice),
            ("response_format", format),
            ("stop", stop),
            ("temperature", self.one(&[0.0, 1.0, 2.0]).into()),
            ("top_p", self.one(&[0.1, 1.0]).into()),
            ("n", self.pick(3).into()),
            ("max_completion_tokens", self.one(&[0, 1, 900, 100_000]).into()),
            ("reasoning_effort", self.one(&["none", "low", "high", "max", "odd"]).into()),
            ("parallel_tool_calls", (self.pick(2) == 1).into()),
            ("user", self.one(&["u", "a@b.c", "+49 123 456"]).into()),
            ("seed", 1.into()),
            ("logit_bias", json!({"1": 2})),
            ("stream", (self.pick(2) == 1).into()),
        ];
        self.some(&mut request, members);
        request
    }

    fn chat_tool(&mut self) -> Value {
        let name = self.one(&NAMES);
        if self.pick(6) == 1 {
            let custom = self.object([("name", name.into())]);
            return self.object([("type", "custom".into()), ("custom", custom)]);
        }
        let schema = self.schema();
        let mut function = self.object([("name", name.into()), ("parameters", schema)]);
        let strict = self.pick(2) == 1;
        self.some(&mut function, [("strict", strict.into()), ("description", "d".into())]);
        self.object([("type", "function".into()), ("function", function)])
    }

    fn chat_message(&mut self) -> Value {
        match self.pick(6) {
            0 => {
                let content = self.chat_content();
                self.object([("role", "user".into()), ("content", content)])
            }
            1 => {
                let content = self.chat_content();
                let role = self.one(&["system", "developer"]).into();
                self.object([("role", role), ("content", content)])
            }
            2 | 3 => {
                let (content, calls) = (self.chat_content(), self.list(3, Self::chat_call));
                let mut message =
                    self.object([("role", "assistant".into()), ("content", content), ("tool_calls", calls)]);
                let blocks = json!([{"type": "thinking", "thinking": "t", "signature": "s"}]);
                let members = [
                    ("annotations", self.annotations()),
                    ("refusal", self.text()),
                    ("reasoning_content", self.text()),
                    ("thinking_blocks", blocks),
                ];
                self.some(&mut message, members);
                message
            }
            _ => {
                let content = self.chat_content();
                let id = self.one(&IDS).into();
                self.object([("role", "tool".into()), ("tool_call_id", id), ("content", content)])
            }
        }
    }

    fn chat_call(&mut self) -> Value {
        let (id, name, arguments) = (self.one(&IDS), self.one(&NAMES), self.one(&ARGUMENTS));
        if self.pick(8) == 1 {
            return json!({"id": id, "type": "custom", "custom": {"name": name, "input": arguments}});
        }
        let function = self.object([("name", name.into()), ("arguments", arguments.into())]);
        self.object([("id", id.into()), ("type", "function".into()), ("function", function)])
    }

    fn chat_content(&mut self) -> Value {
        match self.pick(4) {
            0 | 1 => self.text(),
            2 => Value::Null,
            _ => self.list(3, Self::chat_part),
        }
    }

    fn chat_part(&mut self) -> Value {
        let data = format!("data:{};base64,aGVsbG8=", self.one(&TYPES));
        let part = match self.pick(6) {
            0..3 => {
                let text = self.text();
                self.object([("type", "text".into()), ("text", text)])
            }
            3 => {
                let url = self.one(&["https://e.x/a.png", &data]).into();
                let url = self.object([("url", url)]);
                self.object([("type", "image_url".into()), ("image_url", url)])
            }
            4 => {
                let file = self.object([("file_data", data.into()), ("filename", "a".into())]);
                self.object([("type", "file".into()), ("file", file)])
            }
            _ => json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}),
        };
        self.cached(part)
    }

    /// What a text of OpenAI's cites.
    fn annotations(&mut self) -> Value {
        self.list(3, |tape| {
            let (start, end) = (tape.one(&[-1.0, 0.0, 2.0, 1e9]), tape.one(&[-1.0, 0.0, 1.5, 3.0, 1e300]));
            let place =
                json!({"url": "https://e.x", "title": tape.text(), "start_index": start, "end_index": end});
            match tape.pick(4) {
                0 => json!({"type": "url_citation", "url_citation": place}),
                1 => json!({"type": "file_citation", "file_id": "file-1", "filename": "a", "index": start}),
                2 => tape.wrong().unwrap_or(json!({"type": "file_path", "file_id": "cfile_1"})),
                _ => {
                    let mut flat = place;
                    flat["type"] = "url_citation".into();
                    flat
                }
            }
        })
    }

    /// What a text of Anthropic's cites.
    fn citations(&mut self) -> Value {
        self.list(3, |tape| match tape.pick(4) {
            0 => json!({"type": "web_search_result_location", "url": "https://e.x", "title": null,
                "encrypted_index": tape.one(&["", "Eo8B"]), "cited_text": tape.text()}),
            1 => json!({"type": "char_location", "document_index": tape.one(&[-1.0, 0.0, 1e300]),
                "start_char_index": 3, "end_char_index": tape.one(&[0, 9])}),
            2 => json!({"type": "search_result_location", "source": "s", "search_result_index": 0,
                "start_block_index": 0, "end_block_index": 1}),
            _ => tape.wrong().unwrap_or(json!({"type": "new_location"})),
        })
    }

    pub fn responses_request(&mut self) -> Value {
        let input = match self.pick(8) {
            7 => self.text(),
            _ => self.list(10, Self::item),
        };
        let tools = self.list(3, Self::responses_tool);
        let mut request = self.object([("model", "m".into()), ("input", input)]);
        let choice = match self.pick(5) {
            0 => json!("auto"),
            1 => json!("required"),
            2 => json!({"type": "function", "name": self.one(&NAMES)}),
            3 => json!({"type": "allowed_tools", "mode": "auto",
                "tools": [{"type": "function", "name": self.one(&NAMES)}]}),
            _ => json!({"type": "web_search"}),
        };
        let format = match self.pick(3) {
            0 => json!({"type": "text"}),
            1 => json!({"type": "json_object"}),
            _ => json!({"type": "json_schema", "name": self.one(&NAMES), "schema": self.schema()}),
        };
        let members = [
            ("instructions", self.text()),
            ("tools", tools),
            ("tool_choice", choice),
            ("text", json!({"format": format, "verbosity": "low"})),
            ("temperature", self.one(&[0.0, 1.0, 2.0]).into()),
            ("max_output_tokens", self.one(&[0, 1, 900, 100_000]).into()),
            ("reasoning", json!({"effort": self.one(&["none", "low", "high", "odd"]), "summary": "auto"})),
            ("parallel_tool_calls", (self.pick(2) == 1).into()),
            ("safety_identifier", self.one(&["u", "a@b.c"]).into()),
            ("include", json!(["reasoning.encrypted_content", "file_search_call.results"])),
            ("metadata", json!({"a": "b"})),
            ("store", (self.pick(2) == 1).into()),
            ("stream", (self.pick(2) == 1).into()),
        ];
        self.some(&mut request, members);
        request
    }

    fn responses_tool(&mut self) -> Value {
        let (name, schema) = (self.one(&NAMES), self.schema());
        let function =
            self.object([("type", "function".into()), ("name", name.into()), ("parameters", schema)]);
        match self.pick(6) {
            0..3 => function,
            3 => self.object([("type", "custom".into()), ("name", name.into())]),
            4 => self.object([
                ("type", "namespace".into()),
                ("name", name.into()),
                ("tools", json!([function])),
            ]),
            _ => json!({"type": "web_search"}),
        }
    }

    fn item(&mut self) -> Value {
        let (id, name) = (self.one(&IDS), self.one(&NAMES));
        match self.pick(10) {
            0..3 => {
                let role = self.one(&["user", "assistant", "developer"]);
                let content = match self.pick(2) {
                    0 => self.text(),
                    _ => self.list(3, Self::responses_part),
                };
                self.object([("type", "message".into()), ("role", role.into()), ("content", content)])
            }
            3 | 4 => {
                let arguments = self.one(&ARGUMENTS).into();
                let members =
                    [("type", "function_call".into()), ("call_id", id.into()), ("name", name.into())];
                let mut call = self.object(members);
                call["arguments"] = arguments;
                call
            }
            5 | 6 => {
                let output = match self.pick(2) {
                    0 => self.text(),
                    _ => self.list(2, Self::responses_part),
                };
                let kind = self.one(&["function_call_output", "custom_tool_call_output"]).into();
                self.object([("type", kind), ("call_id", id.into()), ("output", output)])
            }
            7 => json!({"type": "custom_tool_call", "call_id": id, "name": name, "input": self.text()}),
            8 => {
                let proof =
                    self.one(&["gAAA", "", "anthropic:EqoB", "anthropic-redacted:Ekq", "gemini:U0lH"]);
                let summary = self.list(2, |tape| json!({"type": "summary_text", "text": tape.text()}));
                self.object([
                    ("type", "reasoning".into()),
                    ("id", "rs_1".into()),
                    ("summary", summary),
                    ("encrypted_content", proof.into()),
                ])
            }
            _ => self.object([("type", "web_search_call".into()), ("id", "ws_1".into())]),
        }
    }

    fn responses_part(&mut self) -> Value {
        let data = format!("data:{};base64,aGVsbG8=", self.one(&TYPES));
        match self.pick(6) {
            0..3 => {
                let text = self.text();
                let kind = self.one(&["input_text", "output_text"]).into();
                let mut part = self.object([("type", kind), ("text", text)]);
                let annotations = self.annotations();
                self.some(&mut part, [("annotations", annotations)]);
                part
            }
            3 => {
                let url = self.one(&["https://e.x/a.png", &data]).into();
                self.object([("type", "input_image".into()), ("image_url", url), ("detail", "low".into())])
            }
            4 => {
                let members =
                    [("type", "input_file".into()), ("file_data", data.into()), ("filename", "a".into())];
                self.object(members)
            }
            _ => json!({"type": "refusal", "refusal": self.text()}),
        }
    }

    pub fn anthropic_request(&mut self) -> Value {
        let messages = self.list(8, Self::anthropic_message);
        let tools = self.list(3, |tape| {
            let (name, schema) = (tape.one(&NAMES), tape.schema());
            let tool = tape.object([("name", name.into()), ("input_schema", schema)]);
            tape.cached(tool)
        });
        let members = [
            ("model", "m".into()),
            ("max_tokens", self.one(&[1, 900, 100_000]).into()),
            ("messages", messages),
        ];
        let mut request = self.object(members);
        let system = match self.pick(2) {
            0 => self.text(),
            _ => self.list(2, Self::anthropic_block),
        };
        let choice = json!({"type": self.one(&["auto", "any", "none", "tool"]), "name": self.one(&NAMES),
            "disable_parallel_tool_use": self.pick(2) == 1});
        let stops = self.list(6, Self::text);
        let members = [
            ("system", system),
            ("tools", tools),
            ("tool_choice", choice),
            ("stop_sequences", stops),
            ("temperature", self.one(&[0.0, 1.0]).into()),
            ("top_k", 3.into()),
            (
                "thinking",
                json!({"type": self.one(&["enabled", "adaptive", "disabled"]), "budget_tokens": 2000}),
            ),
            ("metadata", json!({"user_id": "u"})),
            ("container", "c".into()),
            ("output_config", json!({"effort": "low"})),
        ];
        self.some(&mut request, members);
        request
    }

    fn anthropic_message(&mut self) -> Value {
        let role = self.one(&["user", "assistant", "user", "assistant", "system"]);
        let content = match self.pick(3) {
            0 => self.text(),
            _ => self.list(4, Self::anthropic_block),
        };
        self.object([("role", role.into()), ("content", content)])
    }

    fn anthropic_block(&mut self) -> Value {
        let block = match self.pick(9) {
            0 | 1 => {
                let text = self.text();
                let mut block = self.object([("type", "text".into()), ("text", text)]);
                let citations = self.citations();
                self.some(&mut block, [("citations", citations)]);
                block
            }
            2 | 3 => {
                let input = self.one(&["{}", "{\"a\":1}", "[]", "5"]).parse().unwrap();
                let (id, name) = (self.one(&IDS).into(), self.one(&NAMES).into());
                self.object([("type", "tool_use".into()), ("id", id), ("name", name), ("input", input)])
            }
            4 | 5 => {
                let (id, text) = (self.one(&IDS).into(), self.text());
                let content = match self.pick(2) {
                    0 => text,
                    _ => {
                        json!([{"type": "text", "text": text}, {"type": "tool_reference", "tool_name": "f"}])
                    }
                };
                let is_error = (self.pick(2) == 1).into();
                self.object([
                    ("type", "tool_result".into()),
                    ("tool_use_id", id),
                    ("content", content),
                    ("is_error", is_error),
                ])
            }
            6 => {
                let source = json!({"type": "base64", "media_type": self.one(&TYPES), "data": "aGVsbG8="});
                let kind = self.one(&["image", "document"]).into();
                self.object([("type", kind), ("source", source)])
            }
            7 => {
                let (text, signature) = (self.text(), self.one(&["s", ""]).into());
                self.object([("type", "thinking".into()), ("thinking", text), ("signature", signature)])
            }
            _ => json!({"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}),
        };
        self.cached(block)
    }

    pub fn gemini_request(&mut self) -> Value {
        let contents = self.list(8, Self::gemini_content);
        let tools = self.list(2, |tape| {
            let functions = tape.list(3, |tape| {
                let (name, schema) = (tape.one(&NAMES), tape.schema());
                let kind = tape.one(&["parameters", "parametersJsonSchema"]);
                tape.object([("name", name.into()), (kind, schema), ("description", "d".into())])
            });
            let mut tool = tape.object([("functionDeclarations", functions)]);
            tape.some(&mut tool, [("googleSearch", json!({}))]);
            tool
        });
        let mut request = self.object([("contents", contents)]);
        let calling = json!({"mode": self.one(&["AUTO", "ANY", "NONE", "VALIDATED"]),
            "allowedFunctionNames": self.list(2, |tape| tape.one(&NAMES).into())});
        let system = self.list(2, Self::gemini_part);
        let config = self.gemini_config();
        let members = [
            ("tools", tools),
            ("toolConfig", json!({"functionCallingConfig": calling})),
            ("system_instruction", json!({"parts": system})),
            ("generationConfig", config),
            ("safetySettings", json!([{"category": "c", "threshold": "OFF"}])),
            ("serviceTier", self.one(&["flex", "standard", "odd"]).into()),
        ];
        self.some(&mut request, members);
        request
    }

    fn gemini_config(&mut self) -> Value {
        let (stops, schema) = (self.list(7, Self::text), self.schema());
        let most = self.one(&[0, 1, 900, 100_000]).into();
        let mut config = self.object([("maxOutputTokens", most)]);
        let thinking =
            json!({"includeThoughts": self.pick(2) == 1, "thinkingBudget": self.one(&[-1, 0, 500, 99_999])});
        let members = [
            ("temperature", self.one(&[0.0, 1.0, 2.0]).into()),
            ("top_k", if self.pick(2) == 1 { json!(40.0) } else { json!("5") }),
            ("candidateCount", self.pick(3).into()),
            ("stopSequences", stops),
            ("seed", self.one(&[1, -1, 5_000_000_000_i64]).into()),
            ("responseMimeType", self.one(&["application/json", "text/plain", "text/x.enum"]).into()),
            ("responseJsonSchema", schema),
            ("thinkingConfig", thinking),
            ("mediaResolution", "MEDIA_RESOLUTION_LOW".into()),
        ];
        self.some(&mut config, members);
        config
    }

    fn gemini_content(&mut self) -> Value {
        let role = self.one(&["user", "model", "user", "model", "function"]);
        let parts = self.list(4, Self::gemini_part);
        self.object([("role", role.into()), ("parts", parts)])
    }

    fn gemini_part(&mut self) -> Value {
        let mut part = match self.pick(8) {
            0..3 => {
                let text = self.text();
                self.object([("text", text)])
            }
            3 | 4 => {
                let args = self.one(&["{}", r#"{"a":1}"#, "[]", "5"]).parse().unwrap();
                let name = self.one(&NAMES).into();
                let call = self.object([("name", name), ("args", args)]);
                self.identified("functionCall", call)
            }
            5 | 6 => {
                let said = self.text();
                let (kind, name) = (self.one(&["output", "error", "result"]), self.one(&NAMES).into());
                let response = self.object([(kind, said)]);
                let response = self.object([("name", name), ("response", response)]);
                self.identified("functionResponse", response)
            }
            _ => {
                let blob = json!({"mimeType": self.one(&TYPES), "data": "aGVsbG8="});
                let blob =
                    if self.pick(4) == 1 { json!({"mimeType": "video/mp4", "data": "aGk_"}) } else { blob };
                self.object([("inlineData", blob)])
            }
        };
        let signature = self.one(&["U0lH", "YmFydGl6YW46cHJvb2Y6cw==", ""]).into();
        let is_thought = self.pick(2) == 1;
        self.some(&mut part, [("thought", is_thought.into()), ("thoughtSignature", signature)]);
        part
    }

    fn identified(&mut self, member: &str, mut value: Value) -> Value {
        if self.pick(2) == 1 {
            value["id"] = self.one(&IDS).into();
        }
        json!({ member: value })
    }

    /// A well-formed stream: calls may take turns, in chat with several answers.
    pub fn stream(&mut self, chat: bool) -> Vec<Event<'static>> {
        let start = Event::Start { id: "id".into(), model: "m".into(), created: Some(1) };
        let mut events = vec![start];
        let choices = if chat { 1 + self.pick(2) as u32 } else { 1 };
        let mut calls = vec![Vec::new(); choices as usize];
        // How many characters each has said.
        let mut said = vec![0; choices as usize];
        for _ in 0..self.pick(24) {
            let choice = self.pick(choices as usize) as u32;
            let own: &mut Vec<Vec<&str>> = &mut calls[choice as usize];
            let text = self.one(&TEXTS).into();
            events.push(match self.pick(6) {
                0 => Event::Text { choice, text },
                1 => Event::Reasoning { choice, text },
                2 => Event::Signature { choice, signature: "proof".into() },
                3 => Event::RedactedReasoning { choice, data: "secret".into() },
                4 => {
                    let call = own.len() as u32;
                    let name = self.one(&["f", "g", "get_weather"]).into();
                    own.push(vec!["{\"a\":", "[1,\"}\\\"\"", "]", "}"]);
                    Event::ToolCall {
                        choice,
                        call,
                        id: format!("call_{call}").into(),
                        name,
                        is_free_text: false,
                    }
                }
                _ if own.is_empty() => Event::Ping,
                _ => {
                    let call = self.pick(own.len());
                    if own[call].is_empty() {
                        continue;
                    }
                    Event::Arguments { choice, call: call as u32, fragment: own[call].remove(0).into() }
                }
            });
            // Text ends the calls of a client that can't have them take turns.
            if !chat && !matches!(events.last(), Some(Event::ToolCall { .. } | Event::Arguments { .. })) {
                let said = events.pop().unwrap();
                finish_calls(0, &mut calls[0], &mut events);
                events.push(said);
            }
            let Some(Event::Text { choice, text }) = events.last() else { continue };
            let (choice, length) = (*choice, text.chars().count());
            let before = said[choice as usize];
            said[choice as usize] += length;
            if length > 0 && self.pick(3) == 0 {
                let span = before + self.pick(length)..before + length;
                let url = format!("https://e.x/{}", self.pick(3)).into();
                let citation = Citation::of(Source::Url { url, proof: None });
                let citation = Citation { title: Some("T".into()), span: Some(span), ..citation };
                events.push(Event::Citation { choice, citation });
            }
        }
        for (choice, calls) in calls.iter_mut().enumerate() {
            finish_calls(choice as u32, calls, &mut events);
        }
        let (input, output) = (self.pick(200) as u64, self.pick(200) as u64);
        let cached = input / (1 + self.pick(4) as u64);
        let tokens = Tokens { input, cached, output, cache_write: (input - cached) / 2, ..Tokens::default() };
        events.push(Event::Usage(Tokens { reasoning: output / 2, ..tokens }));
        for (choice, calls) in calls.iter().enumerate() {
            let finish = match self.pick(2) {
                _ if !calls.is_empty() => Finish::ToolCalls,
                0 => Finish::Stop,
                _ => Finish::Length,
            };
            events.push(Event::Finish { choice: choice as u32, finish });
        }
        events.push(Event::End);
        events
    }
}

fn finish_calls(choice: u32, calls: &mut [Vec<&'static str>], events: &mut Vec<Event<'static>>) {
    for (call, rest) in calls.iter_mut().enumerate() {
        for fragment in rest.drain(..) {
            events.push(Event::Arguments { choice, call: call as u32, fragment: fragment.into() });
        }
    }
}
