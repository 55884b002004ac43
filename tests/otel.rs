//! What the program `examples/proxy` tells a collector of OpenTelemetry.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod process;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    trace::v1::{Span, span::SpanKind},
};
use process::{KEY, PROVIDER_KEY, Proxy, chat, eventually, exchange, head};
use prost::Message;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The path of a message, its head and its body.
type Sent = (String, String, Vec<u8>);

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector {
    messages: Arc<Mutex<Vec<Sent>>>,
    address: String,
}

impl Collector {
    /// Answers each message, after a while, with this status.
    fn start(status: &'static str, after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let this = Self { address, ..Self::default() };
        let kept = this.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (kept, socket) = (kept.clone(), socket.unwrap());
                thread::spawn(move || while kept.serve(&socket, status, after).is_some() {});
            }
        });
        this
    }

    fn serve(&self, mut socket: &std::net::TcpStream, status: &str, after: Duration) -> Option<()> {
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.to_lowercase();
        let length = length.split_once("content-length: ")?.1.split_once("\r\n")?.0.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        self.messages.lock().unwrap().push((path, head, body));
        thread::sleep(after);
        write!(socket, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()
    }

    fn read<M: Message + Default>(&self, path: &str) -> Vec<M> {
        let messages = self.messages.lock().unwrap();
        let of_path = messages.iter().filter(|(at, ..)| at == path);
        of_path.map(|(_, _, body)| M::decode(&**body).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let messages = self.read::<ExportTraceServiceRequest>("/v1/traces");
        let resources = messages.into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    fn metrics(&self) -> Vec<Metric> {
        let messages = self.read::<ExportMetricsServiceRequest>("/v1/metrics");
        let resources = messages.into_iter().flat_map(|message| message.resource_metrics);
        resources.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics).collect()
    }

    /// Everything that was sent, as text.
    fn text(&self) -> String {
        let messages = self.messages.lock().unwrap();
        messages.iter().map(|(_, _, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

fn config(collector: &str, provider: &str, otel: &str) -> String {
    format!(
        "otel: {{ endpoint: 'http://{collector}', headers: {{ x-collector-key: a-secret-of-the-collector }}, {otel} }}\n\
         providers:\n  broken: {{ kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1' }}\n  \
         good: {{ kind: openai-compatible, base_url: '{provider}', api_key: {PROVIDER_KEY}, \
         prices: {{ m: {{ input: 1000, output: 2000 }} }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: broken/m }}, {{ use: good/m }} ], retry: {{ attempts: 1 }} }} }}\n\
         unknown_price: allow\nteams: {{ engineering: {{}} }}\n\
         keys: [ {{ name: app, key: {KEY}, team: engineering, allow: [ '*' ] }} ]\n"
    )
}

/// A provider that keeps the heads of what it is asked.
fn provider() -> (String, Arc<Mutex<Vec<String>>>) {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = heads.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, kept) = (socket.unwrap(), kept.clone());
            thread::spawn(move || {
                let asked = head(&mut socket);
                let length = asked.to_lowercase();
                let length = length.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
                socket.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
                kept.lock().unwrap().push(asked);
                let body = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"the answer of the model"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":40}}}"#;
                let _ = write!(
                    socket,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
            });
        }
    });
    (url, heads)
}

fn with(request: &str, headers: &str) -> String {
    request.replacen("\r\n", &format!("\r\n{headers}"), 1)
}

fn ask(proxy: &Proxy, headers: &str) -> u16 {
    exchange(proxy.connect(), with(&chat("chat", false, "the question of the client"), headers)).status
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{key}: {other:?}"),
    }
}

fn text_of<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    text(&span.attributes, key)
}

fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(number) => Some(*number),
        other => panic!("{key}: {other:?}"),
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(collector: &Collector, number: usize) -> Vec<Span> {
    let all = || Some(collector.spans()).filter(|spans| spans.len() >= number);
    eventually(Duration::from_secs(20), all).unwrap_or_else(|| panic!("{:?}", collector.spans()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[test]
fn a_request_is_a_span_below_that_of_the_client_and_above_those_of_its_attempts() {
    let collector = Collector::start("200 OK", Duration::ZERO);
    let (url, heads) = provider();
    let proxy = Proxy::start(&config(&collector.address, &url, ""));
    let begun = now();

    let parent =
        format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=1\r\nx-bartizan-session: s-1\r\n");
    assert_eq!(ask(&proxy, &parent), 200);

    let spans = spans(&collector, 3);
    let [request, first, second] = &spans[..] else { panic!("{spans:?}") };
    for span in &spans {
        assert_eq!((hex(&span.trace_id), &*span.trace_state), (TRACE.to_owned(), "vendor=1"));
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        assert!(begun <= start && start <= end && end <= now(), "{span:?}");
        assert!(request.start_time_unix_nano <= start && end <= request.end_time_unix_nano, "{span:?}");
        assert_eq!(text(&span.attributes, "gen_ai.operation.name"), Some("chat"));
    }
    assert_eq!((request.kind(), hex(&request.parent_span_id)), (SpanKind::Server, PARENT.to_owned()));
    assert_eq!(request.name, "chat chat");
    assert_eq!(text(&request.attributes, "gen_ai.request.model"), Some("chat"));
    assert_eq!(text(&request.attributes, "gen_ai.response.model"), Some("m"));
    assert_eq!(text(&request.attributes, "gen_ai.conversation.id"), Some("s-1"));
    assert_eq!(text(&request.attributes, "bartizan.key"), Some("app"));
    assert_eq!(text(&request.attributes, "bartizan.team"), Some("engineering"));
    assert_eq!(number(&request.attributes, "http.response.status_code"), Some(200));
    assert!(value(&request.attributes, "gen_ai.usage.input_tokens").is_none());
    assert!(request.status.is_none());

    assert_eq!((first.kind(), &first.parent_span_id), (SpanKind::Client, &request.span_id));
    assert_eq!(text(&first.attributes, "error.type"), Some("unreachable"));
    assert_eq!(text(&first.attributes, "server.address"), Some("127.0.0.1"));
    assert_eq!(number(&first.attributes, "server.port"), Some(9));
    assert_eq!(first.status.as_ref().unwrap().code, 2);

    assert_eq!((second.kind(), &second.parent_span_id), (SpanKind::Client, &request.span_id));
    assert_eq!(second.name, "chat m");
    assert_eq!(text(&second.attributes, "gen_ai.provider.name"), Some("good"));
    assert_eq!(text(&second.attributes, "gen_ai.response.model"), Some("m"));
    assert_eq!(text(&first.attributes, "gen_ai.response.model"), None);
    assert_eq!(number(&second.attributes, "gen_ai.usage.input_tokens"), Some(100));
    assert_eq!(number(&second.attributes, "gen_ai.usage.output_tokens"), Some(20));
    assert_eq!(number(&second.attributes, "gen_ai.usage.cache_read.input_tokens"), Some(40));
    assert!(matches!(
        value(&second.attributes, "gen_ai.response.finish_reasons"),
        Some(Value::ArrayValue(_))
    ));
    assert!(text(&second.attributes, "error.type").is_none() && second.status.is_none());

    let asked = heads.lock().unwrap().pop().unwrap();
    let traceparent = format!("traceparent: 00-{TRACE}-{}-01\r\n", hex(&second.span_id));
    assert!(asked.contains(&traceparent) && asked.contains("tracestate: vendor=1\r\n"), "{asked}");
    let told = collector.read::<ExportTraceServiceRequest>("/v1/traces");
    let schema = "https://opentelemetry.io/schemas/1.41.0";
    for spans in told.iter().flat_map(|message| &message.resource_spans) {
        assert_eq!((&*spans.schema_url, &*spans.scope_spans[0].schema_url), (schema, schema));
    }
    let sent = collector.messages.lock().unwrap();
    assert!(sent.iter().all(|(_, head, _)| head.contains("x-collector-key: a-secret-of-the-collector")));
}

#[test]
fn a_copy_is_a_span_below_that_of_its_original() {
    let collector = Collector::start("200 OK", Duration::ZERO);
    let (url, _) = provider();
    let text = config(&collector.address, &url, "");
    let text =
        text.replace("retry: { attempts: 1 } }", "retry: { attempts: 1 }, mirror: { use: good/other } }");
    let proxy = Proxy::start(&text);

    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=1\r\n");
    assert_eq!(ask(&proxy, &parent), 200);

    let spans = spans(&collector, 5);
    assert!(spans.iter().all(|span| span.trace_state == "vendor=1"), "{spans:?}");
    let of = |kind: SpanKind| spans.iter().filter(move |span| span.kind() == kind);
    let (original, copy) = (of(SpanKind::Server).next().unwrap(), of(SpanKind::Internal).next().unwrap());
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:?}");
    assert_eq!(copy.parent_span_id, original.span_id);
    let id = text_of(original, "bartizan.request.id");
    assert_eq!((text_of(copy, "bartizan.mirrors"), text_of(original, "bartizan.mirrors")), (id, None));
    let below: Vec<_> = of(SpanKind::Client).filter(|span| span.parent_span_id == copy.span_id).collect();
    assert_eq!(below.len(), 1, "{spans:?}");
    assert_eq!(text_of(below[0], "gen_ai.request.model"), Some("other"));
}

#[test]
fn a_trace_begins_here_where_the_client_names_none_and_only_such_a_share_is_recorded() {
    let collector = Collector::start("200 OK", Duration::ZERO);
    let (url, heads) = provider();
    let proxy = Proxy::start(&config(&collector.address, &url, "sample: 0"));

    assert_eq!(ask(&proxy, ""), 200);
    assert_eq!(ask(&proxy, "traceparent: 00-nonsense-01\r\ntracestate: vendor=1\r\n"), 200);
    assert_eq!(ask(&proxy, &format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n")), 200);
    assert_eq!(ask(&proxy, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")), 200);

    // Only what the client wants to be recorded.
    let spans = spans(&collector, 3);
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let heads = heads.lock().unwrap();
    let told: Vec<_> = heads
        .iter()
        .map(|head| head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap().to_owned())
        .collect();
    assert!(told[..3].iter().all(|told| told.ends_with("-00")), "{told:?}");
    assert!(!told[0].contains(TRACE) && told[0][..35] != told[1][..35], "{told:?}");
    assert!(told[2].contains(TRACE) && told[3].ends_with("-01"), "{told:?}");
    assert!(!heads[1].contains("tracestate"), "{}", heads[1]);
}

#[test]
fn measurements_and_logs_are_told_too_and_all_of_it_at_the_end() {
    let collector = Collector::start("200 OK", Duration::ZERO);
    let (url, _) = provider();
    let mut proxy = Proxy::start(&config(&collector.address, &url, "logs: true, service: my-gateway"));
    for _ in 0..3 {
        assert_eq!(ask(&proxy, ""), 200);
    }

    proxy.signal("TERM");
    assert!(proxy.ended(Duration::from_secs(20)).unwrap().success());

    let metrics = collector.metrics();
    let points = |name: &str| {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        match metric.data.as_ref().unwrap() {
            Data::Histogram(histogram) => (metric.unit.clone(), histogram.data_points.clone()),
            other => panic!("{other:?}"),
        }
    };
    let (unit, durations) = points("gen_ai.client.operation.duration");
    assert_eq!((&*unit, durations.len()), ("s", 2));
    let failed = durations.iter().find(|point| text(&point.attributes, "error.type").is_some()).unwrap();
    assert_eq!((failed.count, failed.explicit_bounds.len(), failed.bucket_counts.len()), (3, 14, 15));
    let (unit, tokens) = points("gen_ai.client.token.usage");
    let of = |kind| {
        tokens.iter().find(|point| text(&point.attributes, "gen_ai.token.type") == Some(kind)).unwrap()
    };
    assert_eq!((&*unit, of("input").sum, of("output").sum), ("{token}", Some(300.0), Some(60.0)));
    assert_eq!(text(&of("input").attributes, "gen_ai.request.model"), Some("m"));

    let logs = collector.read::<ExportLogsServiceRequest>("/v1/logs");
    let resource = logs[0].resource_logs[0].resource.clone().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), Some("my-gateway"));
    let lines: Vec<_> = logs.iter().flat_map(|it| &it.resource_logs[0].scope_logs[0].log_records).collect();
    assert_eq!(lines.len(), 3);
    let Some(Value::StringValue(body)) = &lines[0].body.as_ref().unwrap().value else { panic!("{lines:?}") };
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["model"], &body["attempts"][1]["target"]), (&"chat".into(), &"good/m".into()));
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.span_id == lines[0].span_id && span.trace_id == lines[0].trace_id));
}

#[test]
fn no_key_and_nothing_of_what_was_said_is_told_unless_it_is_allowed() {
    for (content, key_allows) in [(true, true), (true, false), (false, true)] {
        let collector = Collector::start("200 OK", Duration::ZERO);
        let (url, _) = provider();
        let text = config(&collector.address, &url, &format!("logs: true, content: {content}"));
        let text = text.replace("allow: [ '*' ]", &format!("allow: [ '*' ], log_content: {key_allows}"));
        let mut proxy = Proxy::start(&text);

        assert_eq!(ask(&proxy, ""), 200);
        proxy.signal("TERM");
        assert!(proxy.ended(Duration::from_secs(20)).unwrap().success());

        let told = collector.text();
        assert_eq!(collector.spans().len(), 3);
        for said in ["the question of the client", "the answer of the model"] {
            assert_eq!(told.contains(said), content && key_allows, "{said}: {content} {key_allows}");
        }
        for secret in [KEY, PROVIDER_KEY, "a-secret-of-the-collector"] {
            assert!(!told.contains(secret), "{secret}");
        }
        if content && key_allows {
            let answering = &collector.spans()[2].attributes;
            let input = self::text(answering, "gen_ai.input.messages").unwrap();
            assert!(input.contains(r#""role":"user""#), "{input}");
            assert_eq!(self::text(answering, "gen_ai.response.id"), Some("c"));
        }
    }
}

#[test]
fn a_collector_that_is_away_or_slow_costs_requests_nothing() {
    let slow = Collector::start("200 OK", Duration::from_secs(60));
    let away = Collector { address: "127.0.0.1:9".to_owned(), ..Collector::default() };
    let refusing = Collector::start("503 Service Unavailable", Duration::ZERO);
    for (collector, is_lost_soon) in [(slow, false), (away, true), (refusing, true)] {
        let (url, _) = provider();
        let mut proxy = Proxy::start(&config(&collector.address, &url, ""));

        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(ask(&proxy, ""), 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

        let lost = || {
            let shown = exchange(proxy.connect(), "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").body;
            let lost = shown
                .lines()
                .find(|line| line.starts_with(r#"bartizan_records_lost_total{to="otlp-traces"}"#))?;
            (!lost.ends_with(" 0")).then_some(())
        };
        assert!(!is_lost_soon || eventually(Duration::from_secs(20), lost).is_some());
        proxy.signal("TERM");
        assert!(proxy.ended(Duration::from_secs(25)).unwrap().success());
    }
}
