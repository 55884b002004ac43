//! `object!`: structs read from JSON objects that keep the members they don't know.
//!
//! serde's `flatten` would copy everything and can't hold raw JSON; this reads in one pass and borrows.

/// Defines a struct whose members are all optional and whose unknown members are kept in order.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident<$a:lifetime> { $($wire:literal $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub(crate) struct $name<$a> {
            $(pub(crate) $field: Option<$type>,)*
            /// Members that are not documented, with their values.
            pub(crate) unknown: Vec<(Str<$a>, &$a RawValue)>,
        }

        impl<'de: $a, $a> Deserialize<'de> for $name<$a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;

                impl<'de> Visitor<'de> for Members {
                    type Value = $name<'de>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut object = $name::default();
                        while let Some(key) = map.next_key::<Str<'de>>()? {
                            match &*key {
                                $($wire => {
                                    if object.$field.is_some() {
                                        return Err(A::Error::duplicate_field($wire));
                                    }
                                    object.$field = map.next_value()?;
                                })*
                                _ => {
                                    let value = map.next_value()?;
                                    object.unknown.push((key, value));
                                }
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Members)
            }
        }
    };
}

pub(super) use object;
