use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::dialect::text::Str;

/// The members of a JSON object as they stand in a text; values are not looked into.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(Vec<Member<'a>>);

/// A member of an object: slices of the text it stands in.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    pub(super) name: Str<'a>,
    /// The name as it is written, with quotes.
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

impl<'a> Object<'a> {
    /// The object that `json` is; `None` if it is something else.
    pub fn read(json: &'a str) -> Option<Self> {
        json.starts_with('{').then(|| serde_json::from_str(json).ok())?
    }

    /// The value of a member as it is written.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|member| *member.name == *name).map(|member| member.value)
    }

    /// The text of a member that is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Str<'a>>(self.get(name)?).ok().map(|text| text.0)
    }

    /// The members that are strings, with their names.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, Cow<'a, str>)> {
        let text = |value: &'a str| serde_json::from_str::<Str<'a>>(value).ok();
        self.0.iter().filter_map(move |member| Some((&*member.name, text(member.value)?.0)))
    }

    /// The objects in a member that is an array; other things in it are left out.
    pub fn objects(&self, name: &str) -> Vec<Object<'a>> {
        self.get(name).map(items).unwrap_or_default().into_iter().filter_map(Self::read).collect()
    }

    /// The object without some of its members.
    pub(crate) fn without(&self, names: &[&str]) -> String {
        let members = self.0.iter().filter(|member| !names.contains(&&*member.name));
        let members: Vec<_> = members.map(|member| format!("{}:{}", member.key, member.value)).collect();
        format!("{{{}}}", members.join(","))
    }

    /// All members as they are written, with their names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|member| (&*member.name, member.value))
    }

    pub(super) fn members(&self) -> &[Member<'a>] {
        &self.0
    }
}

/// The items of an array as they are written.
pub(crate) fn items(json: &str) -> Vec<&str> {
    serde_json::from_str::<Vec<&RawValue>>(json).unwrap_or_default().into_iter().map(RawValue::get).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<Member<'de>>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(key) = map.next_key::<&RawValue>()? {
                    let name = serde_json::from_str(key.get()).map_err(serde::de::Error::custom)?;
                    let value = map.next_value::<&RawValue>()?.get();
                    members.push(Member { name, key: key.get(), value });
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let text = r#"{ "a" : [ {"b":1}, 7 ], "\u0063": "d\n" }"#;

        let object = Object::read(text).unwrap();

        assert_eq!(object.get("a"), Some(r#"[ {"b":1}, 7 ]"#));
        assert_eq!(object.objects("a")[0].get("b"), Some("1"));
        assert_eq!(object.objects("a").len(), 1);
        assert_eq!(object.text("c").as_deref(), Some("d\n"));
        assert_eq!(object.text("a"), None);
        assert_eq!(object.members()[1].key, r#""\u0063""#);
        assert!(Object::read("[]").is_none() && Object::read("").is_none());
    }
}
