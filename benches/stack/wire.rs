//! What clients ask and providers answer, in the sizes that are measured.

use bytes::Bytes;
use serde_json::json;

/// What people and models write: line ends, quotes, code, a tool's output, letters beyond ASCII.
const TEXTS: [&str; 5] = [
    "Can you look at why the nightly import fails? The log only says \"connection reset by peer\" and then \
     stops.\n\nIt worked on Tuesday; since then we have upgraded the database and moved the job to the new \
     cluster. Nothing else has changed, as far as I know.",
    "There are two likely causes:\n\n1. The pool keeps connections open for longer than the server's \
     `idle_timeout` (60 s by default).\n2. The network policy of the new cluster drops idle connections \
     silently.\n\nYou can tell them apart by looking at `pg_stat_activity` while the job waits.",
    "```python\nasync def fetch(session, url):\n    async with session.get(url, timeout=30) as response:\n        \
     if response.status != 200:\n            raise RuntimeError(f\"unexpected status {response.status}\")\n        \
     return await response.json()\n```\n\nThe timeout is per request, so \"connection reset\" is not retried.",
    "Übrigens läuft der gleiche Code auf dem alten Rechner einwandfrei – dort steht allerdings \
     `tcp_keepalive_time = 120` in der Konfiguration. Könnte das der Grund sein? 🤔",
    "{\"rows\": [{\"pid\": 4711, \"state\": \"idle\", \"wait_event\": \"ClientRead\"}, {\"pid\": 4712, \
     \"state\": \"active\", \"wait_event\": null}], \"took_ms\": 12}",
];

/// A request of a client of OpenAI with exactly so many bytes: a system message, then user and
/// assistant in turns, each with up to 1,000 bytes of [`TEXTS`].
pub fn conversation(model: &str, bytes: usize, stream: bool) -> Bytes {
    let mut messages = vec![json!({"role": "system", "content": "You are a patient engineer on call."})];
    let mut texts = TEXTS.iter().cycle();
    loop {
        let role = if messages.len() % 2 == 1 { "user" } else { "assistant" };
        let mut content = String::new();
        while content.len() < 600 {
            content.push_str(texts.next().copied().unwrap_or_default());
            content.push('\n');
        }
        messages.push(json!({"role": role, "content": content}));
        let whole = request(model, stream, &messages);
        if whole.len() < bytes {
            continue;
        }
        // The last message is cut to fit, its last bytes are plain.
        let mut spare = whole.len() - bytes;
        while let Some(last) = content.pop() {
            let size = json!(last.to_string()).to_string().len() - 2;
            if size > spare {
                content.push_str(&"x".repeat(size - spare));
                break;
            }
            spare -= size;
        }
        if let Some(message) = messages.last_mut() {
            message["content"] = content.into();
        }
        return request(model, stream, &messages);
    }
}

fn request(model: &str, stream: bool, messages: &[serde_json::Value]) -> Bytes {
    let messages = serde_json::Value::from(messages);
    let stream = if stream { r#","stream":true"# } else { "" };
    format!(r#"{{"model":"{model}","messages":{messages},"max_tokens":400,"temperature":0.7{stream}}}"#)
        .into()
}

/// A whole answer of OpenAI, 1.1 kB.
pub const OPENAI_ANSWER: &str = r#"{
  "id": "chatcmpl-DFnKq3V0mWcZr8yTt1sPbXe4hLd2a",
  "object": "chat.completion",
  "created": 1772656915,
  "model": "gpt-4o-mini-2024-07-18",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "The pool hands out connections that the server has already closed.\n\nSet `max_lifetime` to 50 s, below the server's 60 s, and have the pool test a connection before it lends it (`pre_ping=True`). If the error still shows up, it is the network policy: look for \"conntrack\" entries that expire, and turn TCP keep-alive on.",
        "refusal": null,
        "annotations": []
      },
      "logprobs": null,
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 241,
    "completion_tokens": 73,
    "total_tokens": 314,
    "prompt_tokens_details": {
      "cached_tokens": 0,
      "audio_tokens": 0
    },
    "completion_tokens_details": {
      "reasoning_tokens": 0,
      "audio_tokens": 0,
      "accepted_prediction_tokens": 0,
      "rejected_prediction_tokens": 0
    }
  },
  "service_tier": "default",
  "system_fingerprint": "fp_8bda4d3a2c"
}"#;

/// A whole answer of Anthropic, with the same text.
pub const ANTHROPIC_ANSWER: &str = r#"{"model":"claude-sonnet-4-5-20250929","id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[{"type":"text","text":"The pool hands out connections that the server has already closed.\n\nSet `max_lifetime` to 50 s, below the server's 60 s, and have the pool test a connection before it lends it (`pre_ping=True`). If the error still shows up, it is the network policy: look for \"conntrack\" entries that expire, and turn TCP keep-alive on."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":251,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":76,"service_tier":"standard"}}"#;
