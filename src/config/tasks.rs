//! Which kinds of tasks go to which models.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Model, problem::Problem, problem::unknown, rule::is_header};
use crate::choose::{Declared, Either, Embed, Nearest, Signs};

/// How alike a request has to be to an example, in percent, if it isn't given.
const AT_LEAST: u32 = 30;

/// The kinds of tasks of a model, and how they are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tasks {
    /// The kinds: the first one whose signs a request shows is the one that counts, and then the one with the nearest
    /// example.
    pub kinds: Vec<Task>,
    /// `provider/model` with which texts are compared with examples; if it isn't given they are by the letters of
    /// their words, which needs no model and knows nothing of meaning.
    #[serde(default)]
    pub embeddings: Option<String>,
    /// How alike a text has to be to an example, in percent: 30 if it isn't given.
    #[serde(default)]
    pub at_least: Option<u32>,
}

/// A kind of task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Task {
    /// What answers and records call it.
    pub name: String,
    /// The one of `models` that does it.
    pub model: String,
    /// Patterns, one of which is in what the user has said last; capital letters are as good as small ones.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// It has more tokens of input.
    #[serde(default)]
    pub longer_than: Option<u64>,
    /// It has fewer tokens of input.
    #[serde(default)]
    pub shorter_than: Option<u64>,
    /// Whether there is code in what the user has said last.
    #[serde(default)]
    pub code: Option<bool>,
    /// Whether tools are offered.
    #[serde(default)]
    pub tools: Option<bool>,
    /// Requests of this kind, with which others are compared that show no signs.
    #[serde(default)]
    pub examples: Vec<String>,
}

impl Task {
    fn has_signs(&self) -> bool {
        !self.patterns.is_empty()
            || self.longer_than.or(self.shorter_than).is_some()
            || self.code.or(self.tools).is_some()
    }

    fn signs(&self) -> Result<Signs, String> {
        let patterns =
            self.patterns.iter().map(|pattern| Signs::pattern(pattern)).collect::<Result<_, _>>()?;
        let Self { longer_than, shorter_than, code, tools, .. } = *self;
        Ok(Signs { patterns, longer_than, shorter_than, code, tools })
    }
}

impl Tasks {
    /// What tells the kinds apart.
    pub(super) fn classifier(&self, embedder: Arc<dyn Embed>) -> Result<Either<Declared, Nearest>, String> {
        let mut declared = Declared::default();
        let mut nearest = Nearest::new(embedder, self.at_least.unwrap_or(AT_LEAST) as f32 / 100.0);
        for task in &self.kinds {
            if task.has_signs() {
                declared = declared.task(&task.name, task.signs()?);
            }
            nearest = task.examples.iter().fold(nearest, |nearest, text| nearest.example(&task.name, text));
        }
        Ok(Either(declared, nearest))
    }
}

impl Config {
    /// What is wrong with the tasks of a model.
    pub(super) fn check_tasks(&self, name: &str, path: &str, model: &Model, problems: &mut Vec<Problem>) {
        let Some(tasks) = &model.tasks else { return };
        let path = format!("{path}.tasks");
        let mut wrong =
            |field: &str, message: String| problems.push(Problem::at(format!("{path}{field}"), message));
        if let Some(message) = tasks.embeddings.as_ref().and_then(|name| self.wrong_name(name)) {
            wrong(".embeddings", message);
        }
        if tasks.at_least.is_some_and(|percent| percent > 100) {
            wrong(".at_least", "is more than 100".to_owned());
        }
        for (index, task) in tasks.kinds.iter().enumerate() {
            let at = |field: &str| format!(".kinds[{index}]{field}");
            if !is_header(&task.name) {
                wrong(&at(".name"), "is not a name that a header can have".to_owned());
            }
            if !self.models.contains_key(&task.model) {
                let message = unknown("model", &task.model, self.models.keys().map(String::as_str));
                wrong(&at(".model"), message);
            } else if self.leads_to(&task.model, name) {
                wrong(&at(".model"), format!("`{}` leads back to `{name}`", task.model));
            }
            if !task.has_signs() && task.examples.is_empty() {
                wrong(&at(""), "has neither signs nor examples, so nothing is of this kind".to_owned());
            }
            for (number, pattern) in task.patterns.iter().enumerate() {
                if let Err(why) = Signs::pattern(pattern) {
                    wrong(&at(&format!(".patterns[{number}]")), format!("is not a pattern: {why}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::{
        Dialect, Exchange, Payload,
        auth::{Caller, VirtualKey},
        config::{Builder, EXAMPLE},
        dialect::OPENAI_CHAT,
        dispatch::Dispatch,
        labels::Labels,
        ledger::{Amounts, Ledger, MemoryLedger, Period, Quota},
        price::NanoUsd,
    };

    fn example() -> Dispatch {
        let environment = |name: &str| (name != "LOCAL_URL").then(|| format!("value-of-{name}"));
        let config = Config::read(EXAMPLE, "example.yaml", &environment).unwrap();
        Dispatch::new(Builder::default().rehearsed().table(&config).unwrap())
    }

    /// By which model's route a request goes, and what led there.
    async fn led(
        dispatch: &Dispatch,
        ledger: Option<&Arc<dyn Ledger>>,
        (model, text): (&str, &str),
        (tags, key): (&str, VirtualKey),
    ) -> (String, Option<String>) {
        let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
        let mut req = Request::post("/v1/chat/completions").header("x-bartizan-tags", tags).body(()).unwrap();
        req.extensions_mut().insert(Caller::new(key));
        let exchange = Exchange::open(&mut req);
        let (parts, ()) = req.into_parts();
        let body = body.to_string();
        let head = OPENAI_CHAT.peek(&parts, &body).unwrap();
        let payload = Payload::new(&OPENAI_CHAT, head, body.into(), exchange.clone());
        let labels = Labels::read(&parts.headers, &payload).unwrap();
        exchange.learn(|learnt| learnt.labels = labels);
        let told = dispatch.explain(ledger, Request::from_parts(parts, payload)).await.unwrap();
        (told.route.to_string(), told.rule.map(|rule| rule.to_string()))
    }

    #[tokio::test]
    async fn in_the_example_tasks_go_to_the_models_that_it_says() {
        let dispatch = example();

        for (text, expected) in [
            ("please summarize this article in two sentences", ("auto:fast", Some("summary"))),
            ("give me the short version, tl;dr", ("auto:fast", Some("summary"))),
            ("why does this fail?\n```python\nprint(1\n```", ("auto:reasoning", Some("code"))),
            ("write a function that reverses a list", ("auto:reasoning", Some("code"))),
            ("is the sentiment of this review positive or negative?", ("auto:cheap", Some("classification"))),
            ("what is the capital of Mongolia?", ("auto", None)),
        ] {
            let (route, rule) = led(&dispatch, None, ("auto", text), ("", VirtualKey::new("k"))).await;

            assert_eq!((&*route, rule.as_deref()), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn in_the_example_what_is_not_critical_goes_to_cheaper_targets_when_the_budget_is_low() {
        let (dispatch, ledger) = (example(), Arc::new(MemoryLedger::default()));
        let key = VirtualKey::new("k").quota(Quota::usd(NanoUsd::from_usd(10), Period::Month));
        let spent = Amounts::from(NanoUsd::from_usd(9));
        let ticket = ledger.reserve(&key.scopes, spent).await.unwrap();
        let ledger: Arc<dyn Ledger> = ledger;

        let before = led(&dispatch, None, ("chat", "hi"), ("", key.clone())).await;
        ledger.settle(ticket, spent);
        let after = led(&dispatch, Some(&ledger), ("chat", "hi"), ("", key.clone())).await;
        let critical = led(&dispatch, Some(&ledger), ("chat", "hi"), ("priority=critical", key)).await;

        assert_eq!(before, ("chat".to_owned(), None));
        assert_eq!(after, ("auto:cheap".to_owned(), Some("budget-is-low".to_owned())));
        assert_eq!(critical, ("chat".to_owned(), None));
    }
}
