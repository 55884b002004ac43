//! The forms of the wire that serde does not derive without buffering: objects that keep the members
//! they don't know, and members that are either text or something else.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::value::RawValue;

use crate::dialect::text::Str;

/// The members of an object that its struct does not name.
pub(crate) type Unknown<'a> = Vec<(Str<'a>, &'a RawValue)>;

/// Defines a struct whose members are all optional, null being the same as missing. Members that are
/// not listed are kept in the field `unknown` if it is asked for, and skipped otherwise.
///
/// A derived `#[serde(flatten)]` would copy every value it does not know, and can't keep raw JSON.
macro_rules! object {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$note:meta])* $member:literal $field:ident: $kind:ty,)* $(..$unknown:ident)? }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default, serde::Serialize)]
        pub(crate) struct $name<'a> {
            $(
                $(#[$note])*
                #[serde(rename = $member, skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$kind>,
            )*
            $(
                #[serde(skip)]
                pub(crate) $unknown: $crate::dialect::openai_chat::object::Unknown<'a>,
            )?
        }

        impl<'de: 'a, 'a> serde::Deserialize<'de> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;

                impl<'de> serde::de::Visitor<'de> for Members {
                    type Value = $name<'de>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A>(self, mut members: A) -> Result<Self::Value, A::Error>
                    where
                        A: serde::de::MapAccess<'de>,
                    {
                        let mut object = $name::default();
                        while let Some(member) = members.next_key::<$crate::dialect::text::Str<'de>>()? {
                            match &*member {
                                $($member => object.$field = members.next_value()?,)*
                                _ => object!(@unknown members member object $($unknown)?),
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Members)
            }
        }
    };
    (@unknown $members:ident $member:ident $object:ident) => {
        { $members.next_value::<serde::de::IgnoredAny>()?; }
    };
    (@unknown $members:ident $member:ident $object:ident $unknown:ident) => {
        { $object.$unknown.push(($member, $members.next_value()?)); }
    };
}

pub(crate) use object;

/// Text where something else may stand as well.
#[derive(Debug)]
pub(crate) enum TextOr<'a, T> {
    /// Null, where the member must not be missing.
    Null,
    /// Text.
    Text(Str<'a>),
    /// Something else.
    Other(T),
}

impl<'a, T> From<&'a str> for TextOr<'a, T> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<T: Serialize> Serialize for TextOr<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => text.serialize(serializer),
            Self::Other(other) => other.serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<'de, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an array or an object, as is documented")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOr::Text(text.to_owned().into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(TextOr::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items)).map(TextOr::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(TextOr::Other)
    }
}
