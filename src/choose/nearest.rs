use std::{sync::Arc, time::Duration};

use tokio::sync::OnceCell;

use super::{Classify, Embed, Facts, embed::likeness};
use crate::{BoxFuture, price::Input};

/// How long a request waits to be classified.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tasks by examples: the task of the example that is most like what the user has said last.
#[derive(Debug)]
pub struct Nearest {
    embedder: Arc<dyn Embed>,
    at_least: f32,
    examples: Vec<(Arc<str>, Box<str>)>,
    /// The numbers of the examples, asked for with the first request.
    known: OnceCell<Vec<Vec<f32>>>,
}

impl Nearest {
    /// Compares by `embedder`, and takes for no task what is less than `at_least` like any example, from 0 to 1.
    pub fn new(embedder: Arc<dyn Embed>, at_least: f32) -> Self {
        Self { embedder, at_least, examples: Vec::new(), known: OnceCell::new() }
    }

    /// Adds an example of a task.
    #[must_use]
    pub fn example(mut self, task: &str, text: &str) -> Self {
        self.examples.push((task.into(), text.into()));
        self
    }

    /// How many tokens the embedder reads to compare a text.
    fn tokens(&self, text: &str) -> u64 {
        let tokens = |text: &str| Input::of(text.as_bytes()).likely();
        let is_first = self.known.get().is_none();
        let examples = self.examples.iter().filter(|_| is_first).map(|(_, text)| tokens(text));
        examples.fold(tokens(text), u64::saturating_add)
    }

    fn may_ask(&self, text: &str, facts: &Facts<'_>) -> bool {
        let may_be_asked =
            |target| facts.may_be_read_by(target) && facts.may_be_paid(target, self.tokens(text));
        self.embedder.target().is_none_or(may_be_asked)
    }

    async fn find(&self, facts: &Facts<'_>) -> Option<Arc<str>> {
        let text = facts.text();
        if text.trim().is_empty() || !self.may_ask(text, facts) {
            return None;
        }
        let known = self.known.get_or_try_init(|| async {
            let texts: Vec<&str> = self.examples.iter().map(|(_, text)| &**text).collect();
            self.embedder.embed(&texts, facts.exchange()).await
        });
        let asked = [text];
        let found = async {
            Ok::<_, crate::Error>((known.await?, self.embedder.embed(&asked, facts.exchange()).await?))
        };
        let (known, asked) = match tokio::time::timeout(PATIENCE, found).await {
            Ok(Ok(found)) => found,
            failed => {
                let why = failed.map(|found| found.map(|_| ()));
                tracing::warn!(embedder = self.embedder.name(), ?why, "a request can't be classified");
                return None;
            }
        };
        let asked = asked.first()?;
        let likenesses = known.iter().map(|example| likeness(example, asked)).zip(&self.examples);
        let (likeness, (task, _)) = likenesses.max_by(|one, other| one.0.total_cmp(&other.0))?;
        (likeness >= self.at_least).then(|| task.clone())
    }
}

impl Classify for Nearest {
    fn classify<'a>(&'a self, facts: &'a Facts<'_>) -> BoxFuture<'a, Option<Arc<str>>> {
        Box::pin(self.find(facts))
    }

    fn undecided(&self, facts: &Facts<'_>) -> Option<String> {
        let (text, target) = (facts.text(), self.embedder.target()?);
        if text.trim().is_empty() {
            return None;
        }
        Some(match facts.keeps_from(target, self.tokens(text)) {
            Some(why) => format!("`{target}` is not asked what kind of task it is, so it is of none: {why}"),
            None => format!(
                "`{target}` is asked what kind of task it is, but not for an explanation: the request may go elsewhere"
            ),
        })
    }

    fn is_paid(&self) -> bool {
        self.embedder.target().is_some()
    }
}

/// Classifiers that are asked one after the other, until one knows.
#[derive(Debug)]
pub struct Either<A, B>(pub A, pub B);

impl<A: Classify, B: Classify> Classify for Either<A, B> {
    fn classify<'a>(&'a self, facts: &'a Facts<'_>) -> BoxFuture<'a, Option<Arc<str>>> {
        Box::pin(async move {
            match self.0.classify(facts).await {
                Some(task) => Some(task),
                None => self.1.classify(facts).await,
            }
        })
    }

    fn undecided(&self, facts: &Facts<'_>) -> Option<String> {
        self.0.undecided(facts).or_else(|| self.1.undecided(facts))
    }

    fn is_paid(&self) -> bool {
        self.0.is_paid() || self.1.is_paid()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{Error, Exchange, Kind, Payload, choose::HashedNgrams, dialect::OPENAI_CHAT, payload::Head};

    async fn task(nearest: &Nearest, text: &str) -> Option<String> {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), body.into(), Exchange::default());
        let headers = HeaderMap::new();
        let found = nearest.classify(&Facts::new(&payload, &headers)).await;
        found.map(|name| name.to_string())
    }

    fn with_examples(embedder: impl Embed) -> Nearest {
        Nearest::new(Arc::new(embedder), 0.3)
            .example("summary", "summarize this text")
            .example("summary", "give me a short summary of the article")
            .example("code", "write a function that sorts a list in python")
            .example("code", "fix the bug in this code")
            .example("classification", "classify the sentiment of this review as positive or negative")
    }

    #[tokio::test]
    async fn the_task_of_the_nearest_example_is_it() {
        let nearest = with_examples(HashedNgrams);

        // The last one shares "of" with an example, and nothing else.
        for (text, expected) in [
            ("please write a python function that reverses a list", Some("code")),
            ("a summary of this article, short", Some("summary")),
            ("is the sentiment of this review negative?", Some("classification")),
            ("what is the capital of Mongolia", None),
            ("", None),
        ] {
            assert_eq!(task(&nearest, text).await.as_deref(), expected, "{text}");
        }
    }

    #[derive(Debug)]
    struct Away;

    impl Embed for Away {
        fn name(&self) -> &str {
            "nobody"
        }

        fn embed<'a>(
            &'a self,
            _: &'a [&'a str],
            _: &'a Exchange,
        ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
            Box::pin(async { Err(Error::new(Kind::Unreachable, "nobody is there")) })
        }
    }

    #[tokio::test]
    async fn where_nobody_can_be_asked_it_is_no_task() {
        assert_eq!(task(&with_examples(Away), "summarize this text").await, None);
    }
}
