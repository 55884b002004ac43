use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::{Classify, Facts};
use crate::BoxFuture;

/// How large a compiled pattern may be.
const LARGEST: usize = 256 << 10;

/// Tasks by signs that are declared for them: the first one that shows all of its signs.
#[derive(Debug, Default)]
pub struct Declared(Vec<(Arc<str>, Signs)>);

/// By what a task is known; what is not set doesn't matter.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Signs {
    /// What the user has said last matches one of them.
    pub patterns: Vec<Regex>,
    /// The request has more tokens of input.
    pub longer_than: Option<u64>,
    /// It has fewer.
    pub shorter_than: Option<u64>,
    /// Whether there is code in what the user has said last.
    pub code: Option<bool>,
    /// Whether tools are offered.
    pub tools: Option<bool>,
}

impl Signs {
    /// Reads a pattern, which doesn't tell capital letters from small ones.
    ///
    /// # Errors
    ///
    /// If it is none, or a very large one; the message says why.
    pub fn pattern(text: &str) -> Result<Regex, String> {
        let read = RegexBuilder::new(text).case_insensitive(true).size_limit(LARGEST).build();
        read.map_err(|error| error.to_string().lines().last().unwrap_or_default().replace("error: ", ""))
    }

    fn are_shown_by(&self, facts: &Facts<'_>) -> bool {
        let is = |sign: Option<bool>, shown: &dyn Fn() -> bool| sign.is_none_or(|sign| sign == shown());
        // What is quicker to find out comes first.
        self.longer_than.is_none_or(|most| facts.tokens() > most)
            && self.shorter_than.is_none_or(|least| facts.tokens() < least)
            && is(self.tools, &|| !facts.tools().is_empty())
            && is(self.code, &|| has_code(facts.text()))
            && (self.patterns.is_empty()
                || self.patterns.iter().any(|pattern| pattern.is_match(facts.text())))
    }
}

impl Declared {
    /// Adds a task.
    #[must_use]
    pub fn task(mut self, name: &str, signs: Signs) -> Self {
        self.0.push((name.into(), signs));
        self
    }
}

impl Classify for Declared {
    fn classify<'a>(&'a self, facts: &'a Facts<'_>) -> BoxFuture<'a, Option<Arc<str>>> {
        let found = self.0.iter().find(|(_, signs)| signs.are_shown_by(facts)).map(|(name, _)| name.clone());
        Box::pin(std::future::ready(found))
    }
}

/// Whether a text has code in it: a fence of Markdown, or two lines that hardly anything but code has.
fn has_code(text: &str) -> bool {
    const BEGINS: [&str; 14] = [
        "def ",
        "fn ",
        "pub fn ",
        "class ",
        "import ",
        "from ",
        "#include",
        "func ",
        "function ",
        "const ",
        "let ",
        "var ",
        "return ",
        "SELECT ",
    ];
    let is_code = |line: &&str| {
        let line = line.trim();
        let ends = [";", "{", "}", "):", "=>"].iter().any(|end| line.ends_with(end));
        let begins = BEGINS.iter().any(|begin| line.starts_with(begin));
        ends || begins && line.contains(['(', '=', '<', ':', '*', '"', '\''])
    };
    text.contains("```") || text.lines().filter(is_code).nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{Exchange, Payload, dialect::OPENAI_CHAT, payload::Head};

    async fn task(declared: &Declared, text: &str, tools: &str) -> Option<String> {
        let text = serde_json::Value::from(text);
        let body = format!(r#"{{"tools":[{tools}],"messages":[{{"role":"user","content":{text}}}]}}"#);
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), body.into(), Exchange::default());
        let headers = HeaderMap::new();
        let found = declared.classify(&Facts::new(&payload, &headers)).await;
        found.map(|name| name.to_string())
    }

    #[tokio::test]
    async fn the_first_task_that_shows_all_its_signs_is_it() {
        let pattern = |text| vec![Signs::pattern(text).unwrap()];
        let declared = Declared::default()
            .task("agent", Signs { tools: Some(true), ..Signs::default() })
            .task("code", Signs { code: Some(true), ..Signs::default() })
            .task(
                "summary",
                Signs { patterns: pattern(r"\bsumm|tl;?dr"), longer_than: Some(50), ..Signs::default() },
            )
            .task("short", Signs { shorter_than: Some(20), tools: Some(false), ..Signs::default() });
        let long = format!("Summarize: {}", "words and words ".repeat(40));

        for (text, tools, expected) in [
            ("hi", r#"{"name":"search"}"#, Some("agent")),
            ("What does this do?\n```\nx\n```", "", Some("code")),
            ("fix it:\ndef f(x):\n    return x + 1;", "", Some("code")),
            (&*long, "", Some("summary")),
            ("hi", "", Some("short")),
            (&*"Tell me a story. ".repeat(20), "", None),
        ] {
            assert_eq!(task(&declared, text, tools).await.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_the_reason() {
        assert!(Signs::pattern("(").unwrap_err().contains("unclosed group"));
        assert!(Signs::pattern("((a{100}){100}){100}").is_err());
    }
}
