//! [`object!`]: structs read from JSON objects in one pass, borrowing, and keeping the members they
//! don't know where that is asked for.

use serde_json::value::RawValue;

use crate::dialect::text::Str;

/// The members of an object that its struct does not name.
pub(crate) type Unknown<'a> = Vec<(Str<'a>, &'a RawValue)>;

/// Defines a struct whose members are all optional, null being the same as missing. Members that are
/// not listed are kept in the field after `..` if there is one, and skipped otherwise. A member that
/// stands twice is an error: others may read the other one. Other names of a member follow its first one
/// behind a `|`; a function that reads a member by what is known of the object so far follows its type behind a `=`.
///
/// A derived `#[serde(flatten)]` would copy every value it does not know, and can't keep raw JSON.
macro_rules! object {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$note:meta])* $member:literal $(| $alias:literal)* $field:ident: $kind:ty $(= $read:path)?,)* $(..$unknown:ident)? }
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
                pub(crate) $unknown: $crate::dialect::object::Unknown<'a>,
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
                                $($member $(| $alias)* => {
                                    if object.$field.is_some() {
                                        return Err(serde::de::Error::duplicate_field($member));
                                    }
                                    object.$field = object!(@value members object $($read)?);
                                })*
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
    (@value $members:ident $object:ident) => {
        $members.next_value()?
    };
    (@value $members:ident $object:ident $read:path) => {
        $read(&$object, &mut $members)?
    };
    (@unknown $members:ident $member:ident $object:ident) => {
        { $members.next_value::<serde::de::IgnoredAny>()?; }
    };
    (@unknown $members:ident $member:ident $object:ident $unknown:ident) => {
        { $object.$unknown.push(($member, $members.next_value()?)); }
    };
}

pub(crate) use object;
