//! Which conversation a request belongs to, as far as a provider's cache is concerned.

use sha2::{Digest, Sha256};

use super::candidate::short;
use crate::{
    Payload,
    preset::{Object, items},
};

/// Less is not kept in any provider's cache: 1,024 tokens.
const LEAST: usize = 4_096;

/// Its session, or the beginning of what is said: all before the first turn of the assistant. `None` where neither
/// tells conversations apart, or there is too little to be kept in a cache.
pub(super) fn conversation(route: &str, payload: &Payload) -> Option<u64> {
    let begun = || Sha256::new_with_prefix(route.as_bytes()).chain_update([0]);
    let session = payload.exchange().learn(|learnt| learnt.labels.session.clone());
    if let Some(session) = session {
        return Some(short(begun().chain_update(session.as_bytes())));
    }
    if payload.source().len() < LEAST {
        return None;
    }
    let text = std::str::from_utf8(payload.source()).ok()?;
    let body = Object::read(text.trim_ascii())?;
    let mut length = 0;
    let mut digest = begun();
    let mut add = |text: &str| {
        length += text.len();
        digest.update(text.as_bytes());
    };
    ["system", "systemInstruction", "instructions", "tools"]
        .iter()
        .filter_map(|name| body.get(name))
        .for_each(&mut add);
    let turns = ["messages", "contents", "input"].iter().find_map(|name| body.get(name))?;
    for turn in items(turns) {
        add(turn);
        if Object::read(turn).and_then(|turn| turn.text("role")).is_some_and(|role| role == "user") {
            break;
        }
    }
    (length >= LEAST).then(|| short(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, dialect::OPENAI_CHAT, payload::Head};

    fn of(turns: &[(&str, &str)], session: Option<&str>) -> Option<u64> {
        let turns: Vec<_> =
            turns.iter().map(|(role, text)| format!(r#"{{"role":"{role}","content":"{text}"}}"#)).collect();
        let body = format!(r#"{{"model":"m","n":{},"messages":[{}]}}"#, turns.len(), turns.join(","));
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), body.into(), Exchange::default());
        payload.exchange().learn(|learnt| learnt.labels.session = session.map(Into::into));
        conversation("chat", &payload)
    }

    #[test]
    fn a_conversation_that_goes_on_is_the_same_and_another_one_is_not() {
        let system = "s".repeat(LEAST);
        let first = of(&[("system", &system), ("user", "a")], None);

        assert!(first.is_some());
        assert_eq!(of(&[("system", &system), ("user", "a"), ("assistant", "b"), ("user", "c")], None), first);
        assert_ne!(of(&[("system", &system), ("user", "b")], None), first);
        assert_eq!(of(&[("system", "short"), ("user", "a")], None), None);
    }

    #[test]
    fn a_session_goes_before_what_is_said() {
        assert!(of(&[], Some("one")).is_some());
        assert_eq!(of(&[("user", "a")], Some("one")), of(&[("user", "b")], Some("one")));
        assert_ne!(of(&[], Some("one")), of(&[], Some("two")));
    }
}
