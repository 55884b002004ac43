use std::{env, fs, path::Path};

use serde::Deserialize;
use serde_saphyr::{DefaultMessageFormatter, Error as YamlError, MessageFormatter, Options, options};

use super::{
    Config,
    excerpt::excerpt,
    interpolate::{Filled, Filler},
    problem::{ConfigError, Place, Problem, unknown},
};

impl Config {
    /// Reads a YAML or JSON file, puts in variables of the environment, and checks what it says.
    ///
    /// # Errors
    ///
    /// The file can't be read, is malformed, has a field that doesn't exist or a value that doesn't
    /// fit (the first one is reported), or contradicts itself (all problems are reported).
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("the file can't be read: {error}");
                return Err(ConfigError { file, problems: vec![Problem { place: Place::File, message }] });
            }
        };
        Self::read(&text, &file, &|name| env::var(name).ok())
    }

    /// Like [`from_file`](Self::from_file), from a text.
    ///
    /// # Errors
    ///
    /// Those of [`from_file`](Self::from_file).
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::read(text, "configuration", &|name| env::var(name).ok())
    }

    /// Like [`from_file`](Self::from_file), from a text, with `file` as its name in errors and the
    /// values of variables from `lookup`.
    ///
    /// # Errors
    ///
    /// Those of [`from_file`](Self::from_file).
    pub fn read(
        text: &str,
        file: &str,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let filler = Filler::new(lookup);
        let problems = match parse(text, &filler) {
            Ok(config) => match config.check() {
                problems if problems.is_empty() => return Ok(config),
                problems => problems,
            },
            Err(error) => vec![problem(&error, text)],
        };
        let filled = filler.filled.borrow();
        let without_values = |problem| without_values(problem, &filled);
        Err(ConfigError {
            file: file.to_owned(),
            problems: problems.into_iter().map(without_values).collect(),
        })
    }
}

fn parse(text: &str, filler: &Filler<'_>) -> Result<Config, YamlError> {
    if is_blank(text) {
        return Ok(Config::default());
    }
    let options: Options = options! { with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        Config::deserialize(Filled::new(yaml, filler))
    })
}

/// An empty file is a configuration that says nothing, not a `null`.
fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'))
}

fn problem(error: &YamlError, text: &str) -> Problem {
    let mut message = message(error);
    let place = match error.location() {
        Some(location) => place(text, location.line(), location.column()),
        None => Place::File,
    };
    let is_syntax = matches!(error.without_snippet(), YamlError::ExternalMessage { .. });
    if is_syntax && matches!(&place, Place::Text { excerpt, .. } if excerpt.contains(" ${")) {
        message.push_str("; between `{` and `}` a variable needs quotes: \"${NAME}\"");
    }
    Problem { place, message }
}

/// What went wrong, in our words. The parser's own messages quote values, so only what can't hold a
/// value is taken from them.
pub(super) fn message(error: &YamlError) -> String {
    match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            unknown("field", field, expected.iter().copied())
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            // The address of a store in the wrong place, which may have a password.
            let shown = if variant.contains("://") { "***" } else { variant };
            unknown("value", shown, expected.iter().copied())
        }
        YamlError::SerdeMissingField { field, .. } => format!("the field `{field}` is missing"),
        YamlError::SerdeInvalidType { expected, .. }
        | YamlError::SerdeInvalidValue { expected, .. }
        | YamlError::SerdeInvalidLength { expected, .. } => format!("expected {}", in_plain_words(expected)),
        YamlError::Unexpected { expected, .. } => format!("expected {}", in_plain_words(expected)),
        YamlError::Message { msg, .. } => match msg.strip_prefix("expected ") {
            Some(expected) => format!("expected {}", in_plain_words(expected)),
            None => msg.clone(),
        },
        YamlError::MultipleDocuments { .. } => {
            "a second document begins here, and there can be only one".to_owned()
        }
        other => DefaultMessageFormatter.format_message(other).trim_end_matches('.').to_owned(),
    }
}

/// What the parser expects, in the words of someone who writes a file.
fn in_plain_words(expected: &str) -> &str {
    match expected {
        "sequence start" | "a sequence" => "a list such as [a, b]",
        "mapping start" | "a map" => "fields such as { name: value }",
        "string scalar" => "a text",
        "a nonzero usize" | "a nonzero u32" | "a nonzero u64" => "a whole number, at least 1",
        other => other.strip_prefix("struct ").map_or(other, |_| "fields such as { name: value }"),
    }
}

fn place(text: &str, line: u64, column: u64) -> Place {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1).max(1));
    let (excerpt, caret) = excerpt(text, line.saturating_sub(1), column);
    Place::Text { line, column, excerpt, caret }
}

/// Takes out of a message what came from the environment.
fn without_values(mut problem: Problem, filled: &[(String, String)]) -> Problem {
    for (written, value) in filled.iter().filter(|(_, value)| value.len() > 3) {
        problem.message = problem.message.replace(value.as_str(), written);
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::{EXAMPLE, Records, RetryOn, Size, Store, UnknownPrice, Written},
        ledger::Period,
        price::NanoUsd,
    };

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "OPENAI_API_KEY" => "sk-from-the-environment",
            "VK_ENGINEERING" => "vk-0123456789abcdef",
            "WORKERS" => "4",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::read(text, "gateway.yaml", &lookup)
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn yaml_becomes_values() {
        let text = r#"
            server: { listen: 127.0.0.1:8080, max_body: 64KiB, workers: "${WORKERS}", strict: "${STRICT:-true}" }
            log: { records: { file: records.jsonl } }
            providers:
              openai: { kind: openai, api_key: "${OPENAI_API_KEY}" }
              other: { kind: openai, api_key: os.environ/OPENAI_API_KEY, prices: { big: { input: 0.15, output: "0.6" } } }
            models:
              chat:
                targets: [ { use: openai/gpt-4o-mini } ]
                retry: { on: [429, connect], attempts: 3, backoff: 200ms..5s }
                timeouts: { connect: 2s, total: 10m }
            unknown_price: { ceiling: { input: 1, output: 2.5 } }
            keys:
              - { name: main, key: "${VK_ENGINEERING}", budget: { usd: 12.50, per: month }, limits: { requests: 600/minute } }
        "#;

        let config = read(text).unwrap();

        assert_eq!(*config.server.max_body, Size(65_536));
        assert_eq!(config.server.workers.map(usize::from), Some(4));
        assert!(config.server.strict);
        assert_eq!(*config.log.records, [Records::File("records.jsonl".into())]);
        let key = |name: &str| config.providers[name].api_key.as_ref().unwrap().expose();
        assert_eq!(key("openai"), "sk-from-the-environment");
        assert_eq!(key("other"), "sk-from-the-environment");
        assert_eq!(*config.providers["other"].prices["big"].input.unwrap(), NanoUsd(150_000_000));
        assert_eq!(*config.providers["other"].prices["big"].output.unwrap(), NanoUsd(600_000_000));
        let chat = &config.models["chat"];
        assert_eq!(chat.targets[0].parts(), Some(("openai", "gpt-4o-mini")));
        assert_eq!(chat.retry.on()[1], RetryOn::Connect);
        assert_eq!(chat.retry.backoff().most, Duration::from_secs(5));
        assert_eq!(chat.timeouts.connect(), Duration::from_secs(2));
        assert!(
            matches!(config.unknown_price, UnknownPrice::Ceiling(ceiling) if *ceiling.output == NanoUsd(2_500_000_000))
        );
        assert_eq!(config.keys[0].budget.first().map(|budget| *budget.per), Some(Period::Month));
        assert_eq!(*config.keys[0].budget[0].usd.unwrap(), NanoUsd(12_500_000_000));
        assert_eq!(config.keys[0].limits.requests[0].to_string(), "600/minute");
    }

    #[test]
    fn budgets_are_kept_in_a_file_unless_it_says_otherwise() {
        let store = |text: &str| read(&format!("auth: open\n{text}")).unwrap().store;

        assert_eq!(store(""), Store::Sqlite("bartizan.db".into()));
        assert_eq!(
            store("store: { sqlite: /var/lib/budgets.db }"),
            Store::Sqlite("/var/lib/budgets.db".into())
        );
        assert_eq!(store("store: memory"), Store::Memory);
        assert!(error("store: memroy").contains("did you mean `memory`?"), "{}", error("store: memroy"));
    }

    #[test]
    fn the_example_can_be_read() {
        let environment = |name: &str| (name != "LOCAL_URL").then(|| format!("value-of-{name}"));

        let config = Config::read(EXAMPLE, "example.yaml", &environment).unwrap();

        assert_eq!(config.providers["local"].base_url.as_deref(), Some("http://127.0.0.1:9000/v1"));
        assert_eq!(config.models["chat"].targets.len(), 2);
        assert!(config.models["chat"].retry.on().contains(&RetryOn::Timeout));
        assert_eq!(
            config.models["chat"].timeouts.or(&config.defaults.timeouts).total(),
            Duration::from_secs(600)
        );
        assert_eq!(*config.teams["engineering"].budget[0].usd.unwrap(), NanoUsd::from_usd(200));
        assert_eq!(config.keys[0].key.as_ref().unwrap().expose(), "value-of-VK_ENGINEERING");
        assert_eq!(config.keys[0].allow.as_ref().unwrap().len(), 2);
    }

    #[test]
    fn json_becomes_the_same_values() {
        let json = r#"{ "auth": "open", "server": { "max_in_flight": 5 }, "providers": { "d": { "kind": "demo" } },
            "gateway": { "budget": { "usd": 0.1, "per": "day" } } }"#;
        let yaml = "auth: open\nserver:\n  max_in_flight: 5\nproviders:\n  d:\n    kind: demo\n\
            gateway:\n  budget:\n    usd: 0.1\n    per: day\n";

        assert_eq!(read(json).unwrap(), read(yaml).unwrap());
    }

    #[test]
    fn an_unknown_field_is_an_error_with_its_place_and_a_suggestion() {
        let text = "auth: open\nproviders:\n  openai: { kind: openai, api_key: \"${OPENAI_API_KEY}\" }\n\
            models:\n  chat:\n    targets: [ { use: openai/x } ]\n    timeuots: { idle: 5s }\n";

        assert_eq!(
            error(text),
            "gateway.yaml:7:5: unknown field `timeuots`, did you mean `timeouts`?\n \
             7 |     timeuots: { idle: 5s }\n   |     ^"
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_that_says_what_does() {
        for (text, expected) in [
            ("auth: opne", "gateway.yaml:1:7: unknown value `opne`, did you mean `open`?"),
            ("auth: open\nserver: { header_timeout: 5x }", "2:27: expected a duration such as 200ms"),
            (
                "models:\n  a:\n    retry:\n      on:\n        - 429\n        - conect",
                "6:11: expected a status",
            ),
            ("server: { workers: 0 }", "1:11: expected a whole number, at least 1"),
            ("server: 5", "1:9: expected fields such as { name: value }"),
            ("server: { workers: many }", "1:20: expected a whole number, at least 1"),
            ("server: { strict: maybe }", "1:19: expected a boolean"),
            ("models: { chat: { targets: 5 } }", "1:28: expected a list such as [a, b]"),
            ("providers: { openai: { api_key: x } }", "the field `kind` is missing"),
            ("gateway: { budget: { usd: -1, per: day } }", "1:27: expected an amount of dollars"),
            ("gateway: { budget: { usd: 1, per: fortnight } }", "expected one of second, minute"),
            ("keys: [ { name: a, expires: tomorrow } ]", "expected a time such as 2027-01-31T00:00:00Z"),
            ("auth: open\nauth: keys", "gateway.yaml:2:1: "),
            ("auth: open\n---\nauth: open", "3:1: a second document begins here"),
            ("providers: { a: { kind: openai, api_key: ${X} } }", "needs quotes: \"${NAME}\""),
            ("log: { records: { fiel: x } }", "unknown value `fiel`, did you mean `file`?"),
            ("server: [", "gateway.yaml:"),
            ("auth: ${MODE:-opne}", "1:7: expected "),
        ] {
            assert!(error(text).contains(expected), "{text}\n{}", error(text));
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let text = "providers:\n  openai:\n    kind: openai\n    api_key: ${ABSENT_KEY}\n";

        assert!(
            error(text).starts_with("gateway.yaml:4:14: the environment variable ABSENT_KEY is not set\n")
        );
        assert!(
            error(&text.replace("T_KEY}", "T_KEY:?ask the operator}")).contains("not set: ask the operator")
        );
    }

    #[test]
    fn secrets_are_in_no_error_and_in_no_debug_output() {
        let texts = [
            "server: { workers: \"${OPENAI_API_KEY}\" }",
            "auth: ${OPENAI_API_KEY}",
            "server: { max_body: \"${OPENAI_API_KEY}\" }",
            "providers: { a: { kind: openai, api_key: \"sk-from-the-environment\", kidn: 1 } }",
            "keys: [ { name: a, key: sk-from-the-environment, x: 1 } ]",
            "{ \"keys\": [ { \"name\": \"a\", \"key\": \"sk-from-the-environment\", \"x\": 1 } ] }",
            "keys: [ { name: a, key: 0123456789abcdef, team: \"${OPENAI_API_KEY}\" } ]",
            "providers: { a: { kind: demo, headers: { authorization: Bearer sk-from-the-environment, x: [] } } }",
            "providers: { a: { kind: demo, headers: { x-any: sk-from-the-environment, x: [] } } }",
            "keys:\n  - name: a\n    key: [ sk-from-the-environment ]\n",
            "store: redis://:sk-from-the-environment@h",
        ];

        for text in texts {
            let error = read(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("sk-from"), "{error}");
        }
        let error = read("auth: open\nmodels: 5 # anything").unwrap_err();
        assert!(error.to_string().contains("anything"));
        assert_eq!(error.without_excerpts(), "gateway.yaml:2:9: expected fields such as { name: value }");
        let config =
            read("auth: open\nproviders: { a: { kind: openai, api_key: \"${OPENAI_API_KEY}\" } }").unwrap();
        assert!(!format!("{config:?}").contains("sk-from"));
        assert!(!serde_json::to_string(&config).unwrap().contains("sk-from"));
    }

    #[test]
    fn an_empty_file_says_nothing() {
        let error = error("# nothing yet\n\n");

        assert!(error.contains("keys"), "{error}");
        assert_eq!(parse("", &Filler::new(&lookup)).unwrap(), Config::default());
        assert_eq!(Config::default().server.header_timeout, Written::new(Duration::from_secs(10)));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_with_its_name() {
        let error = Config::from_file(Path::new("no/such/file.yaml")).unwrap_err();

        assert!(error.to_string().starts_with("no/such/file.yaml: the file can't be read"));
    }
}
