//! [`exact::read`](read): members of requests that are named exactly, because others may not care for case.
//!
//! Some readers of JSON, that of Go among them, take `Model` for `model`. Who asks for one model beside
//! the other would be checked for the first one and get the second one; such a request is refused.

use std::{cmp::Ordering, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, de,
    de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor, value::CowStrDeserializer},
};

use super::{json, text::Str};
use crate::Error;

/// Reads a shallow struct of a request, whose members are written as it says or not at all.
///
/// # Errors
///
/// Besides those of [`json::read`], a member that differs from one of the struct's in case only.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Error> {
    json::read::<Exact<T>>(body).map(|exact| exact.0)
}

/// Whether `name` is taken for `known` by those who don't care for case, and isn't it.
pub(crate) fn is_like(name: &str, known: &str) -> bool {
    match name.len().cmp(&known.len()) {
        Ordering::Less => false,
        Ordering::Equal => name != known && name.eq_ignore_ascii_case(known),
        // The two letters beyond ASCII of which one in ASCII is the other case are longer.
        Ordering::Greater if name.is_ascii() => false,
        Ordering::Greater => {
            let folded = |letter: char| match letter {
                'ſ' => 's',
                '\u{212a}' => 'k',
                letter => letter.to_ascii_lowercase(),
            };
            name.chars().map(folded).eq(known.chars().map(folded))
        }
    }
}

/// What is said of a member named almost like `known`.
pub(crate) fn misspelt(known: &str) -> String {
    format!("misspelt field `{known}`: upper and lower case count")
}

struct Exact<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Struct(deserializer)).map(Exact)
    }
}

/// Reads a struct, and looks at the names of its members on the way.
struct Struct<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Struct<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Members { visitor, fields, of: PhantomData })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Members<'de, V> {
    visitor: V,
    fields: &'static [&'static str],
    of: PhantomData<&'de ()>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Members<'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Named { members, fields: self.fields })
    }
}

struct Named<A> {
    members: A,
    fields: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Named<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.members.next_key::<Str<'de>>()? else { return Ok(None) };
        if let Some(known) = self.fields.iter().find(|known| is_like(&name, known)) {
            return Err(de::Error::custom(misspelt(known)));
        }
        let name: CowStrDeserializer<'_, A::Error> = name.0.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialects;

    #[derive(Debug, Deserialize)]
    struct Shallow {
        model: String,
        #[serde(rename = "maxTokens", alias = "max_tokens")]
        max_tokens: Option<u64>,
        #[serde(rename = "stream")]
        _stream: Option<bool>,
    }

    #[test]
    fn a_member_that_others_may_take_for_a_known_one_is_refused() {
        for (member, param) in [
            ("Model", "model"),
            ("MODEL", "model"),
            ("\\u004dodel", "model"),
            ("ſtream", "stream"),
            ("maxtokenſ", "maxTokens"),
            ("maxto\u{212a}ens", "maxTokens"),
            ("Max_tokens", "max_tokens"),
        ] {
            for body in [
                format!(r#"{{"model":"cheap","{member}":"dear"}}"#),
                format!(r#"{{"{member}":"dear","model":"cheap"}}"#),
            ] {
                let error = read::<Shallow>(&body).unwrap_err();

                assert_eq!(error.param(), Some(param), "{body}");
                assert!(error.message().contains("upper and lower case count"), "{error}");
                assert!(!error.message().contains("dear"), "{error}");
            }
        }
    }

    #[test]
    fn every_dialect_reads_its_requests_like_that() {
        for (path, field) in [
            ("/v1/chat/completions", "model"),
            ("/v1/chat/completions", "models"),
            ("/v1/responses", "stream"),
            ("/v1/completions", "n"),
            ("/v1/messages", "max_tokens"),
            ("/v1/messages/count_tokens", "model"),
            ("/v1/embeddings", "model"),
            ("/v1beta/models/m:generateContent", "generationConfig"),
            ("/v1/images/generations", "n"),
            ("/v1/rerank", "documents"),
        ] {
            let (parts, ()) = http::Request::post(path).body(()).unwrap().into_parts();
            let known = r#""model":"m","max_tokens":1,"prompt":"p","query":"q","messages":[],"documents":[]"#;
            let body = format!(r#"{{"{}":null,{known}}}"#, field.to_uppercase());
            let dialect = Dialects::default().detect(&parts).unwrap();

            let error = dialect.peek(&parts, &body).unwrap_err();

            assert_eq!(error.param(), Some(field), "{path}: {error}");
        }
    }

    #[test]
    fn other_members_are_as_before() {
        let body =
            r#"{"Modell":1,"mödel":2,"mode":3,"messages":[{"Model":4}],"m\u006fdel":"m","max_tokens":5}"#;

        let shallow: Shallow = read(body).unwrap();

        assert_eq!((&*shallow.model, shallow.max_tokens), ("m", Some(5)));
        let doubled = read::<Shallow>(r#"{"model":"m","model":"m"}"#).unwrap_err();
        assert_eq!(doubled.param(), Some("model"));
        assert_eq!(
            read::<Shallow>(r#"{"model":"m","maxTokens":"x"}"#).unwrap_err().param(),
            Some("maxTokens")
        );
        assert_eq!(read::<Shallow>("[]").unwrap_err().message(), "the body is not a JSON object");
    }
}
