//! A deserializer around another one that puts variables of the environment into every scalar.
//!
//! It stands between the parser and the types, so that quoting, comments and line numbers are the
//! parser's business, and a value can't change the shape of the document. Keys of maps stay as they
//! are. When a value from the environment doesn't fit, the error says so without the value.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, EnumAccess, Expected, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::variables::{self, Lookup};

/// Fills in variables, and remembers what it has filled in.
pub(super) struct Filler<'a> {
    lookup: Lookup<'a>,
    /// What was written, and what stands there now.
    pub(super) filled: RefCell<Vec<(String, String)>>,
}

impl<'a> Filler<'a> {
    pub(super) fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup, filled: RefCell::default() }
    }

    fn fill<E: de::Error>(&self, text: &str) -> Result<Option<String>, E> {
        let filled = variables::fill(text, self.lookup).map_err(E::custom)?;
        if let Some(value) = &filled {
            self.filled.borrow_mut().push((text.to_owned(), value.clone()));
        }
        Ok(filled)
    }
}

/// Wraps a deserializer, a visitor, a seed or an access to what is inside a value.
pub(super) struct Filled<'f, T> {
    pub(super) inner: T,
    pub(super) filler: &'f Filler<'f>,
}

impl<'f, T> Filled<'f, T> {
    pub(super) fn new(inner: T, filler: &'f Filler<'f>) -> Self {
        Self { inner, filler }
    }
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*),)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* Filled::new(visitor, self.filler))
        }
    )*};
}

/// Asks for text, since `${WORKERS:-4}` is text until it is filled in.
macro_rules! through_text {
    ($($scalar:ident: $($method:ident)*,)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let visitor = ParseScalar { visitor, scalar: Scalar::$scalar };
            self.inner.deserialize_str(Filled::new(visitor, self.filler))
        }
    )*)*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Filled<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any(), deserialize_char(), deserialize_str(), deserialize_string(), deserialize_bytes(),
        deserialize_byte_buf(), deserialize_option(), deserialize_unit(), deserialize_seq(),
        deserialize_map(), deserialize_identifier(), deserialize_ignored_any(),
        deserialize_unit_struct(name: &'static str), deserialize_newtype_struct(name: &'static str),
        deserialize_tuple(len: usize), deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    through_text! {
        Bool: deserialize_bool,
        Unsigned: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64,
        Signed: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64,
        Float: deserialize_f32 deserialize_f64,
    }
}

#[derive(Clone, Copy)]
enum Scalar {
    Bool,
    Unsigned,
    Signed,
    Float,
}

/// Gives a visitor that waits for a number, or for true or false, what a text says.
struct ParseScalar<V> {
    visitor: V,
    scalar: Scalar,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for ParseScalar<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<V::Value, E> {
        let expected: &dyn Expected = &self.visitor;
        let wrong = E::custom(format_args!("expected {expected}"));
        match self.scalar {
            Scalar::Bool => self.visitor.visit_bool(text.parse().map_err(|_| wrong)?),
            Scalar::Unsigned => self.visitor.visit_u64(text.parse().map_err(|_| wrong)?),
            Scalar::Signed => self.visitor.visit_i64(text.parse().map_err(|_| wrong)?),
            Scalar::Float => self.visitor.visit_f64(text.parse().map_err(|_| wrong)?),
        }
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Filled<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<V::Value, E> {
        let Some(value) = self.filler.fill(text)? else {
            return self.inner.visit_str(text);
        };
        let expected = (&self.inner as &dyn Expected).to_string();
        let unfit = |_: E| E::custom(format_args!("expected {expected}, which the value of `{text}` is not"));
        self.inner.visit_string(value).map_err(unfit)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<V::Value, E> {
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<V::Value, E> {
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<V::Value, E> {
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<V::Value, E> {
        self.inner.visit_f64(value)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Filled::new(value, self.filler))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Filled::new(value, self.filler))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Filled::new(items, self.filler))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Filled::new(entries, self.filler))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Filled::new(variant, self.filler))
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Filled<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(Filled::new(value, self.filler))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Filled<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, item: T) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_element_seed(Filled::new(item, self.filler))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Filled<'_, A> {
    type Error = A::Error;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, key: T) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_key_seed(key)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, value: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Filled::new(value, self.filler))
    }
}

impl<'de, 'f, A: EnumAccess<'de>> EnumAccess<'de> for Filled<'f, A> {
    type Error = A::Error;
    type Variant = Filled<'f, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, name: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let (name, content) = self.inner.variant_seed(Filled::new(name, self.filler))?;
        Ok((name, Filled::new(content, self.filler)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Filled<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, value: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Filled::new(value, self.filler))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Filled::new(visitor, self.filler))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Filled::new(visitor, self.filler))
    }
}
