use super::wire::conversation;

/// What clients ask for, and what the proxy may cost more than the bare one.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    model: &'static str,
    bytes: usize,
    /// Milliseconds between two events; whole answers without.
    pub pace: Option<u32>,
    /// The figure to reach: CPU time over that of the bare proxy.
    pub target: Option<f64>,
}

const WHOLE: Scenario = Scenario { name: "", model: "chat", bytes: 1_000, pace: None, target: None };

/// What a request or an event costs.
pub const ALL: [Scenario; 6] = [
    Scenario { name: "1 kB passed through", target: Some(1.35), ..WHOLE },
    Scenario { name: "10 kB passed through", bytes: 10_000, ..WHOLE },
    Scenario { name: "100 kB passed through", bytes: 100_000, target: Some(2.2), ..WHOLE },
    Scenario { name: "1 kB translated", model: "claude", target: Some(1.8), ..WHOLE },
    Scenario { name: "event passed through", pace: Some(50), target: Some(1.3), ..WHOLE },
    Scenario { name: "event translated", model: "claude", pace: Some(50), ..WHOLE },
];

/// What records are told of.
pub const RECORDED: [Scenario; 2] = [ALL[0], ALL[1]];

/// What an open stream costs.
pub const OPEN: [Scenario; 2] = [
    Scenario { name: "open stream passed through", pace: Some(1000), ..WHOLE },
    Scenario { name: "open stream translated", model: "claude", pace: Some(1000), ..WHOLE },
];

/// The key of the clients.
pub const KEY: &str = "vk-engineering-0123456789";

impl Scenario {
    /// The whole request, as OpenAI's Python SDK writes it.
    pub fn request(&self) -> Vec<u8> {
        let body = conversation(self.model, self.bytes, self.pace.is_some());
        let accept = match self.pace {
            Some(pace) => format!("text/event-stream;pace={pace}"),
            None => "application/json".to_owned(),
        };
        let mut request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\naccept: {accept}\r\n\
             accept-encoding: gzip, deflate\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             user-agent: OpenAI/Python 2.8.0\r\nx-stainless-lang: python\r\nx-stainless-retry-count: 0\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        request
    }
}

/// A configuration with everything on. What a file of budgets can do has a bench of its own, `ledger`.
pub fn config(upstream: std::net::SocketAddr, records: &str, content: bool) -> String {
    let budget = "{ usd: 1000000, per: month }";
    format!(
        r#"
server: {{ listen: "127.0.0.1:0", workers: 1 }}
store: memory
providers:
  openai: {{ kind: openai, api_key: sk-0123456789abcdef, base_url: "http://{upstream}/v1" }}
  anthropic: {{ kind: anthropic, api_key: sk-ant-0123456789abcdef, base_url: "http://{upstream}" }}
models:
  chat: {{ targets: [ {{ use: openai/gpt-4o-mini }} ] }}
  claude: {{ targets: [ {{ use: anthropic/claude-sonnet-4-5 }} ] }}
gateway: {{ budget: {budget} }}
teams:
  engineering: {{ budget: {budget} }}
keys:
  - {{ name: engineering-main, key: {KEY}, team: engineering, allow: ["openai/*", chat, claude],
      limits: {{ requests: 1000000000/second }}, budget: {budget}, log_content: {content} }}
log: {{ records: {records} }}
"#
    )
}
