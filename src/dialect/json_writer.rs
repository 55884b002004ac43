//! [`write`]: JSON for providers, clients and records, texts by the run.
//!
//! serde_json looks at each byte of a text by itself, which is a quarter of what it costs to translate a
//! conversation. Everything else is written as it does, and so are the values that it keeps as they came.

use bytes::BufMut;
use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};
use serde_json::Error;

/// How serde_json's [`RawValue`](serde_json::value::RawValue) makes itself known.
const RAW: &str = "$serde_json::private::RawValue";

/// Writes `value`, whose maps have texts for keys.
pub(crate) fn write<W: BufMut>(out: &mut W, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    value.serialize(Writer { out, is_raw: false })
}

/// What can't fail: a value that is made of structs, texts and numbers.
pub(crate) fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(1 << 10);
    match write(&mut json, value) {
        Ok(()) => json,
        Err(_) => Vec::new(),
    }
}

struct Writer<'w, W> {
    out: &'w mut W,
    /// Whether a text is JSON already.
    is_raw: bool,
}

impl<'w, W: BufMut> Writer<'w, W> {
    fn plain(self, json: &str) -> Result<(), Error> {
        self.out.put_slice(json.as_bytes());
        Ok(())
    }

    fn number(self, number: impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(self.out.writer(), &number)
    }

    fn begin(self, start: &[u8], end: &'static [u8]) -> Members<'w, W> {
        self.out.put_slice(start);
        Members { out: self.out, end, is_first: true, is_raw: false }
    }

    fn begin_variant(self, variant: &str, start: &[u8], end: &'static [u8]) -> Members<'w, W> {
        self.out.put_slice(b"{");
        put_text(self.out, variant);
        self.begin(start, end)
    }
}

impl<'w, W: BufMut> Serializer for Writer<'w, W> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'w, W>;
    type SerializeTuple = Members<'w, W>;
    type SerializeTupleStruct = Members<'w, W>;
    type SerializeTupleVariant = Members<'w, W>;
    type SerializeMap = Members<'w, W>;
    type SerializeStruct = Members<'w, W>;
    type SerializeStructVariant = Members<'w, W>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.plain(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.number(value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        match self.is_raw {
            true => self.out.put_slice(value.as_bytes()),
            false => put_text(self.out, value),
        }
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.plain("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.plain("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.plain("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, value: &T) -> Result<(), Error>
    where
        T: Serialize + ?Sized,
    {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error>
    where
        T: Serialize + ?Sized,
    {
        let mut members = self.begin(b"{", b"}");
        members.member(variant, value)?;
        members.finish()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'w, W>, Error> {
        Ok(self.begin(b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'w, W>, Error> {
        Ok(self.begin(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'w, W>, Error> {
        Ok(self.begin(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'w, W>, Error> {
        Ok(self.begin_variant(variant, b":[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'w, W>, Error> {
        Ok(self.begin(b"{", b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members<'w, W>, Error> {
        match name {
            RAW => Ok(Members { is_raw: true, ..self.begin(b"", b"") }),
            _ => Ok(self.begin(b"{", b"}")),
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'w, W>, Error> {
        Ok(self.begin_variant(variant, b":{", b"}}"))
    }
}

/// What is between brackets or braces.
struct Members<'w, W> {
    out: &'w mut W,
    end: &'static [u8],
    is_first: bool,
    is_raw: bool,
}

impl<W: BufMut> Members<'_, W> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_first) {
            self.out.put_slice(b",");
        }
        value.serialize(Writer { out: self.out, is_raw: false })
    }

    /// A member whose name is known to need no escapes.
    fn member<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if !self.is_raw {
            self.out.put_slice(if std::mem::take(&mut self.is_first) { b"\"" } else { b",\"" });
            self.out.put_slice(name.as_bytes());
            self.out.put_slice(b"\":");
        }
        value.serialize(Writer { out: self.out, is_raw: self.is_raw })
    }

    fn finish(self) -> Result<(), Error> {
        self.out.put_slice(self.end);
        Ok(())
    }
}

macro_rules! items {
    ($($kind:ident $item:ident),*) => {$(
        impl<W: BufMut> $kind for Members<'_, W> {
            type Ok = ();
            type Error = Error;

            fn $item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.item(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        }
    )*};
}

items!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! members {
    ($($kind:ident),*) => {$(
        impl<W: BufMut> $kind for Members<'_, W> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T>(&mut self, name: &'static str, value: &T) -> Result<(), Error>
            where
                T: Serialize + ?Sized,
            {
                self.member(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        }
    )*};
}

members!(SerializeStruct, SerializeStructVariant);

impl<W: BufMut> SerializeMap for Members<'_, W> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.item(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.put_slice(b":");
        value.serialize(Writer { out: self.out, is_raw: false })
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

fn put_text(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (run, escaped) = rest.split_at(run_length(rest));
        out.put_slice(run);
        let Some((byte, after)) = escaped.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.put_slice(&[b'\\', *byte]),
            b'\n' => out.put_slice(b"\\n"),
            b'\t' => out.put_slice(b"\\t"),
            b'\r' => out.put_slice(b"\\r"),
            0x08 => out.put_slice(b"\\b"),
            0x0c => out.put_slice(b"\\f"),
            control => out.put_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = after;
    }
    out.put_u8(b'"');
}

/// How many bytes stand in JSON as they are.
fn run_length(text: &[u8]) -> usize {
    let (words, tail) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return 8 * index + marks.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &&u8| **byte >= b' ' && !matches!(**byte, b'"' | b'\\');
    8 * words.len() + tail.iter().take_while(is_plain).count()
}

/// The highest bit of the first of eight bytes that has to be escaped; those behind it may be marked wrongly.
///
/// A byte of zero borrows from its highest bit when one is subtracted, and so does one below 32 when that is.
fn marks(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;

    let is_zero = |bytes: u64| bytes.wrapping_sub(EACH) & !bytes;
    let is_control = word.wrapping_sub(EACH * 0x20) & !word;
    let is_quote = is_zero(word ^ (EACH * u64::from(b'"')));
    let is_backslash = is_zero(word ^ (EACH * u64::from(b'\\')));
    (is_control | is_quote | is_backslash) & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{json, value::RawValue};

    use super::*;

    fn written(value: &(impl Serialize + ?Sized)) -> String {
        let mut out = Vec::new();
        write(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[derive(Serialize)]
    enum Kinds<'a> {
        Unit,
        New(&'a str),
        Tuple(u8, i64),
        #[serde(rename_all = "camelCase")]
        Struct {
            some_text: Option<&'a str>,
            none: Option<u8>,
        },
        Raw(&'a RawValue),
    }

    #[derive(Serialize)]
    struct All<'a> {
        kinds: Vec<Kinds<'a>>,
        numbers: (u64, i64, f64, f64, f32, f64),
        map: BTreeMap<&'a str, char>,
        raw: &'a RawValue,
        raws: Vec<Option<&'a RawValue>>,
        #[serde(flatten)]
        more: Tagged<'a>,
        empty: [u8; 0],
        unit: (),
    }

    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged<'a> {
        Text { text: &'a str, is: bool },
    }

    /// What stands for raw values is serde_json's own, and might change with it.
    #[test]
    fn every_kind_of_value_is_written_as_serde_json_does() {
        let raw: &RawValue = serde_json::from_str(r#"{"b": 1.0, "a" :"\u0041\n"}"#).unwrap();
        let kinds = vec![
            Kinds::Unit,
            Kinds::New("a\"b"),
            Kinds::Tuple(1, -2),
            Kinds::Struct { some_text: Some("é"), none: None },
            Kinds::Raw(raw),
        ];
        let all = All {
            kinds,
            numbers: (u64::MAX, i64::MIN, 1.0, 1e-9, 0.1, f64::NAN),
            map: [("a\\", '"'), ("b", 'b')].into(),
            raw,
            raws: vec![None, Some(raw)],
            more: Tagged::Text { text: "", is: true },
            empty: [],
            unit: (),
        };

        assert_eq!(written(&all), serde_json::to_string(&all).unwrap());
        assert!(written(&all).contains(raw.get()));
    }

    #[test]
    fn what_has_to_be_escaped_is_wherever_it_stands() {
        for at in 0..40 {
            for byte in 0..=0x7f {
                let text = format!("{}{}{}", "a".repeat(at), char::from(byte), "ü".repeat(40 - at));

                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_is_written_as_serde_json_does(text in "[a-zü\"\\\\\n\r\t\u{1}€ 🙂]{0,80}") {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(written(&json!({ "text": text })), json!({ "text": text }).to_string());
        }
    }
}
