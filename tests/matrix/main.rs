//! Every dialect as the client's and every dialect as the provider's, whole, as a stream, and whole where the
//! provider only streams: what is asked arrives by the rules of the provider, and what is answered comes back.

mod citations;
mod corners;
mod gateway;
mod losses;
mod readme;
mod talk;
mod wire;

#[path = "../rules/mod.rs"]
mod rules;

use bartizan::Kind;
use gateway::{Act, Got, ask, ask_for_stream, target};
use talk::{Answer, Call, Finish, Question, Turn, weather};
use wire::{ALL, PROOFS, Wire};

/// The first rows of the table in the README; the others are about losses.
const FEATURES: [&str; 9] = [
    "text, system prompts",
    "stop reasons, usage",
    "tools",
    "parallel tools",
    "images",
    "structured output",
    "thinking",
    "proofs of thoughts over several turns",
    "errors, also inside of streams",
];

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    client: &'static dyn Wire,
    provider: &'static dyn Wire,
    /// What the client asks for.
    stream: bool,
    /// What the provider is asked for.
    streams: bool,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match (self.stream, self.streams) {
            (false, false) => "whole",
            (false, true) => "whole of a stream",
            (true, _) => "a stream",
        };
        write!(f, "{} to {}, {how}", self.client.name(), self.provider.name())
    }
}

fn cells() -> impl Iterator<Item = Cell> {
    ALL.into_iter().flat_map(|client| {
        ALL.into_iter().flat_map(move |provider| {
            [(false, false), (false, true), (true, true)].map(|(stream, streams)| Cell {
                client,
                provider,
                stream,
                streams,
            })
        })
    })
}

impl Cell {
    async fn send(&self, body: &serde_json::Value, act: Act) -> Got {
        let (path, target) = (self.client.path(self.stream), target(self.provider.model()));
        if self.streams && !self.stream {
            return ask_for_stream(path, body, self.provider.dialect(), target, act).await;
        }
        ask(path, body, self.provider.dialect(), target, act).await
    }

    fn act(&self, answer: &Answer, proof: &str) -> Act {
        match self.streams {
            true => Act::Stream(self.provider.stream(answer, proof)),
            false => Act::Answer(self.provider.answer(answer, proof)),
        }
    }

    /// The whole answer that the client has in the end.
    fn whole(&self, got: &Got) -> serde_json::Value {
        assert_eq!(got.status, 200, "{self}: {:?}", got.body);
        if self.stream { self.client.collect(got.text()) } else { got.json() }
    }

    /// Asks and answers; what is asked has to arrive, and what is answered has to come back.
    async fn talk(&self, question: &Question, answer: &Answer) {
        let body = self.client.ask(question, self.stream);
        let got = self.send(&body, self.act(answer, PROOFS[0])).await;
        let whole = self.whole(&got);

        let asked = got.asked.as_ref().unwrap();
        assert_eq!(self.provider.understand(asked), *question, "{self}: {asked:#}");
        // Google is asked by the path.
        assert!(asked["stream"] == self.streams || asked["stream"].is_null(), "{self}: {asked:#}");
        assert_eq!(self.client.read(&whole), *answer, "{self}: {whole:#}");
        assert_eq!(got.tokens, answer.tokens, "{self}");
        assert!(got.lost.is_empty() && got.lost_header().is_empty(), "{self}: {:?}", got.lost);
    }
}

/// A question after a call and its result.
fn called(calls: Vec<Call>) -> Question {
    let results = calls.iter().map(|call| format!("sunny in {}", call.arguments["city"])).collect();
    let said = Turn::Assistant { text: "I'll look.".into(), calls };
    let mut question = Question { has_tool: true, ..Question::new("How is the weather?") };
    question.turns.extend([said, Turn::Results(results)]);
    question
}

#[test]
fn the_readme_says_what_works() {
    assert_eq!(readme::rows()[..FEATURES.len()], FEATURES);
    for (feature, provider) in
        FEATURES.into_iter().flat_map(|feature| ALL.map(|provider| (feature, provider)))
    {
        let works = provider.has_proofs() || !feature.starts_with("proofs");
        assert_eq!(readme::says(feature, provider.name()), if works { "yes" } else { "–" }, "{feature}");
    }
}

#[tokio::test]
async fn text() {
    for cell in cells() {
        cell.talk(
            &Question::new("Hi, \"you\"\nthere \u{1F600}"),
            &Answer::new("Hello \"there\"\n\u{1F600}!"),
        )
        .await;
    }
}

#[tokio::test]
async fn why_an_answer_ended() {
    for cell in cells() {
        for finish in [Finish::Stop, Finish::Length, Finish::Refused] {
            cell.talk(&Question::new("Hi"), &Answer { finish, ..Answer::new("Hello there") }).await;
        }
    }
}

#[tokio::test]
async fn tools() {
    for cell in cells() {
        cell.talk(&called(vec![weather("Oslo")]), &Answer::calling(vec![weather("Bergen")])).await;
    }
}

/// C35
#[tokio::test]
async fn parallel_tools() {
    let calls = || vec![weather("Oslo"), weather("Bergen"), weather("Oslo")];
    for cell in cells() {
        cell.talk(&called(calls()), &Answer::calling(calls())).await;
    }
}

#[tokio::test]
async fn images() {
    let mut question = Question::new("What is this?");
    question.turns[0] = Turn::User { text: "What is this?".into(), has_picture: true };
    for cell in cells() {
        cell.talk(&question, &Answer::new("A dot.")).await;
    }
}

#[tokio::test]
async fn schemas() {
    let question = Question { has_schema: true, ..Question::new("Where?") };
    for cell in cells() {
        cell.talk(&question, &Answer::new(r#"{"city": "Oslo"}"#)).await;
    }
}

/// C57, C58
#[tokio::test]
async fn schemas_for_a_model_that_only_knows_tools() {
    let question = Question { has_schema: true, ..Question::new("Where?") };
    let provider = ALL[2];
    for (client, stream) in ALL.into_iter().flat_map(|client| [(client, false), (client, true)]) {
        if client.name() == provider.name() {
            continue;
        }
        let cell = Cell { client, provider, stream, streams: stream };
        let answer = r#"{"city":"Oslo"}"#;
        let body = client.ask(&question, stream);
        let facts = bartizan::target::ModelFacts::new([], ["native_structured_output"]);
        let plain = target(provider.model()).facts(facts);
        let asked =
            ask(client.path(stream), &body, provider.dialect(), plain.clone(), Act::Refuse(400, "".into()));
        let asked = asked.await.asked.unwrap();
        let tool = asked["tools"][0]["name"].as_str().unwrap().to_owned();
        let said = Answer::calling(vec![Call { name: tool, arguments: answer.parse().unwrap() }]);

        let act = cell.act(&said, "");
        let got = ask(client.path(stream), &body, provider.dialect(), plain, act).await;

        let heard = client.read(&cell.whole(&got));
        assert_eq!((&*heard.text, heard.finish), (answer, Finish::Stop), "{cell}");
        assert!(heard.calls.is_empty(), "{cell}");
    }
}

#[tokio::test]
async fn thinking() {
    let question = Question { thinks: true, ..Question::new("Why?") };
    for cell in cells() {
        let answer = Answer { reasoning: "Let me think.".into(), ..Answer::new("Because.") };
        cell.talk(&question, &answer).await;
    }
}

/// C66, C71, C73
#[tokio::test]
async fn proofs_of_thoughts_over_several_turns() {
    for cell in cells() {
        let question = Question { thinks: true, has_tool: true, ..Question::new("How is the weather?") };
        let mut body = cell.client.ask(&question, cell.stream);
        for (proof, city) in PROOFS.into_iter().zip(["Oslo", "Bergen"]) {
            let calls = vec![weather(city), weather("Bodø")];
            let answer = Answer { reasoning: format!("{city}, then Bodø."), ..Answer::calling(calls) };
            let got = cell.send(&body, cell.act(&answer, proof)).await;
            let whole = cell.whole(&got);
            assert_eq!(cell.client.read(&whole), answer, "{cell}: {whole:#}");
            body = cell.client.go_on(body, &whole, &["sunny", "windy"]);
        }

        let got = cell.send(&body, cell.act(&Answer::new("Fine."), "")).await;

        let asked = got.asked.unwrap();
        let understood = cell.provider.understand(&asked);
        let turn = |city| {
            let calls = vec![weather(city), weather("Bodø")];
            [
                Turn::Assistant { text: String::new(), calls },
                Turn::Results(vec!["sunny".into(), "windy".into()]),
            ]
        };
        assert_eq!(understood.turns[1..], [turn("Oslo"), turn("Bergen")].concat(), "{cell}: {asked:#}");
        for proof in PROOFS {
            let count = asked.to_string().matches(proof).count();
            let is_there = if cell.provider.has_proofs() { count > 0 } else { count == 0 };
            assert!(is_there, "{cell}: {asked:#}");
        }
    }
}

/// C119
#[tokio::test]
async fn errors() {
    for cell in cells() {
        for kind in [Kind::RateLimited, Kind::InvalidRequest, Kind::ContextTooLong, Kind::Overloaded] {
            let (status, body) = cell.provider.refuse(kind);
            let question = cell.client.ask(&Question::new("Hi"), cell.stream);

            let got = cell.send(&question, Act::Refuse(status, body)).await;

            let expected = match kind {
                // Google has one class for both.
                Kind::ContextTooLong if cell.client.name() == "Gemini" => Kind::InvalidRequest,
                kind => kind,
            };
            let refused = cell.client.refused(got.status.as_u16(), &got.json());
            assert_eq!(refused, expected, "{cell}: {:?}", got.body);
            assert_eq!(got.headers["retry-after"], "7", "{cell}");
        }
    }
}

/// C94, C95, C96
#[tokio::test]
async fn errors_in_the_place_of_an_answer() {
    for cell in cells() {
        let question = cell.client.ask(&Question::new("Hi"), cell.stream);
        let act = match cell.streams {
            true => Act::Stream(cell.provider.failing_stream("")),
            false => Act::Answer(cell.provider.failure()),
        };

        let got = cell.send(&question, act).await;

        let status = got.status.as_u16();
        assert!(status >= 500, "{cell}: {status} {:?}", got.body);
        let kind = cell.client.refused(status, &got.json());
        assert!([Kind::Overloaded, Kind::Upstream].contains(&kind), "{cell}: {:?}", got.body);
    }
}

/// C92, C93, C129
#[tokio::test]
async fn errors_in_the_middle_of_a_stream() {
    for cell in cells().filter(|cell| cell.streams) {
        let question = cell.client.ask(&Question::new("Hi"), cell.stream);
        let failing = cell.provider.failing_stream("Hello there");
        let broken = cell.provider.stream(&Answer::new("Hello there"), "");
        let cut = broken.find("there").unwrap() + 12;
        let broken = broken[..cut + broken[cut..].find("\n\n").or(broken[cut..].find("\r\n\r\n")).unwrap()]
            .to_owned()
            + "\n\n";

        for stream in [failing, broken] {
            let got = cell.send(&question, Act::Stream(stream)).await;

            if !cell.stream {
                // Nothing has been sent yet.
                let kind = cell.client.refused(got.status.as_u16(), &got.json());
                assert!([Kind::Overloaded, Kind::Upstream].contains(&kind), "{cell}: {:?}", got.body);
                continue;
            }
            assert_eq!(got.status, 200, "{cell}");
            assert_eq!(cell.client.failed(got.text()), "Hello there", "{cell}: {}", got.text());
        }
    }
}
