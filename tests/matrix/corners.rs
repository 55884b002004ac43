//! Corner cases that need the whole way.

use serde_json::{Value, json};

use crate::{
    gateway::{Act, ask, ask_for_stream, target},
    talk::{Answer, Question},
    wire::ALL,
};

/// C127
#[tokio::test]
async fn options_of_streams_go_with_streams_only() {
    let chat = ALL[0];
    let mut question = chat.ask(&Question::new("Hi"), false);
    question["stream_options"] = json!({"include_usage": true});
    for provider in &ALL[1..] {
        let answer = Act::Answer(provider.answer(&Answer::new("Hi"), ""));

        let got =
            ask(chat.path(false), &question, provider.dialect(), target(provider.model()), answer).await;

        assert_eq!(chat.read(&got.json()).text, "Hi");
        assert_eq!(got.asked.unwrap().get("stream_options"), None);
    }
}

/// C134
#[tokio::test]
async fn an_answer_names_the_model_that_gave_it() {
    let name = |answer: &Value| answer.get("model").or(answer.get("modelVersion")).cloned();
    for (client, provider) in ALL.into_iter().flat_map(|client| ALL.map(|provider| (client, provider))) {
        let question = client.ask(&Question::new("Hi"), false);
        let answer = provider.answer(&Answer::new("Hi"), "");
        let model = name(&answer);

        let got = ask(
            client.path(false),
            &question,
            provider.dialect(),
            target(provider.model()),
            Act::Answer(answer),
        )
        .await;

        assert!(model.is_some());
        assert_eq!(name(&got.json()), model, "{} to {}", client.name(), provider.name());
    }
}

/// C129
#[tokio::test]
async fn what_passes_keeps_its_own_members_where_only_the_stream_is_the_gateways_wish() {
    for (said, sent) in [("", r#""stream":true,"#), (r#""stream":false,"#, r#""stream":true,"#)] {
        let body = format!(r#"{{{said}"model":"m","messages":[],"enable_thinking":true}}"#);
        let body: Value = serde_json::from_str(&body).unwrap();
        let answer = Act::Stream(ALL[0].stream(&Answer::new("Hi"), ""));

        let got = ask_for_stream(ALL[0].path(false), &body, ALL[0].dialect(), target("m"), answer).await;

        let asked = format!(
            r#"{{{sent}"stream_options":{{"include_usage":true}},"model":"m","messages":[],"enable_thinking":true}}"#
        );
        assert_eq!(got.asked, Some(serde_json::from_str(&asked).unwrap()));
        assert_eq!(got.headers["content-type"], "application/json");
        assert_eq!(ALL[0].read(&got.json()), Answer::new("Hi"));
    }
}

/// C129
#[tokio::test]
async fn a_whole_answer_to_a_stream_that_was_the_gateways_wish_stays_whole() {
    for (client, provider) in ALL.into_iter().flat_map(|client| ALL.map(|provider| (client, provider))) {
        let question = client.ask(&Question::new("Hi"), false);
        let act = Act::Answer(provider.answer(&Answer::new("Hello"), ""));
        let target = target(provider.model());

        let got = ask_for_stream(client.path(false), &question, provider.dialect(), target, act).await;

        assert_eq!(
            client.read(&got.json()),
            Answer::new("Hello"),
            "{} to {}",
            client.name(),
            provider.name()
        );
    }
}

/// C98
#[tokio::test]
async fn a_whole_answer_to_the_question_for_a_stream_becomes_one() {
    for (client, provider) in ALL.into_iter().flat_map(|client| ALL.map(|provider| (client, provider))) {
        let question = client.ask(&Question::new("Hi"), true);
        let said = Answer { reasoning: "Hm.".into(), ..Answer::new("Hello there") };
        let answer = Act::Answer(provider.answer(&said, "U0lH"));

        let got =
            ask(client.path(true), &question, provider.dialect(), target(provider.model()), answer).await;

        assert_eq!(got.status, 200, "{} to {}: {:?}", client.name(), provider.name(), got.body);
        let whole = client.collect(got.text());
        assert_eq!(client.read(&whole), said, "{} to {}", client.name(), provider.name());
        assert_eq!(got.tokens, said.tokens, "{} to {}", client.name(), provider.name());
    }
}
