//! The fields of a request, whether it is JSON or a form.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::form::{self, Part};
use crate::{
    Error, Kind,
    dialect::{exact, json, text::Str},
    payload::{Head, ModelForm},
};

/// The fields of a request and the bytes in which they stand.
pub(super) struct Fields<'a> {
    body: &'a [u8],
    all: All<'a>,
}

enum All<'a> {
    Json(Members<'a>),
    Form(Vec<Part<'a>>),
}

/// The value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Json(&'a str),
    Text(&'a str),
}

fn wrong(name: &str, expected: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{name}: expected {expected}")).with_param(name)
}

impl<'a> Fields<'a> {
    pub(super) fn of_json(body: &'a str) -> Result<Self, Error> {
        Ok(Self { body: body.as_bytes(), all: All::Json(json::read(body)?) })
    }

    pub(super) fn of_form(body: &'a [u8], boundary: &str) -> Result<Self, Error> {
        Ok(Self { body, all: All::Form(form::parts(body, boundary)?) })
    }

    /// The size of the whole request, in bytes.
    pub(super) fn size(&self) -> usize {
        self.body.len()
    }

    /// A field that may stand there once, as what is no file; `null` is as good as none.
    fn get(&self, name: &str) -> Result<Option<Value<'a>>, Error> {
        self.check(name)?;
        let value = match &self.all {
            All::Json(members) => members.get(name).map(|raw| Value::Json(raw.get())),
            All::Form(parts) => match Self::part(parts, name)? {
                Some(part) => Some(Value::Text(self.text_at(part)?)),
                None => None,
            },
        };
        Ok(value.filter(|value| !matches!(value, Value::Json("null"))))
    }

    /// Refuses a field that others may take for the one with this name.
    fn check(&self, name: &str) -> Result<(), Error> {
        let is_like = |field: &str| exact::is_like(field.strip_suffix("[]").unwrap_or(field), name);
        let is_misspelt = match &self.all {
            All::Json(members) => members.0.iter().any(|(field, _)| is_like(field)),
            All::Form(parts) => parts.iter().any(|part| is_like(part.name)),
        };
        if !is_misspelt {
            return Ok(());
        }
        let message = format!("{name}: {}", exact::misspelt(name));
        Err(Error::new(Kind::InvalidRequest, message).with_param(name))
    }

    fn part<'p>(parts: &'p [Part<'a>], name: &str) -> Result<Option<&'p Part<'a>>, Error> {
        let mut named = parts.iter().filter(|part| part.name == name);
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err(wrong(name, "one value")),
            (Some(part), None) if part.is_file => Err(wrong(name, "a text and not a file")),
            (part, _) => Ok(part),
        }
    }

    fn text_at(&self, part: &Part<'a>) -> Result<&'a str, Error> {
        std::str::from_utf8(&self.body[part.at.clone()]).map_err(|_| wrong(part.name, "UTF-8"))
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Error> {
        match self.get(name)? {
            Some(Value::Json(raw)) => match serde_json::from_str::<Str<'a>>(raw) {
                Ok(text) => Ok(Some(text.0)),
                Err(_) => Err(wrong(name, "a string")),
            },
            Some(Value::Text(text)) => Ok(Some(text.into())),
            None => Ok(None),
        }
    }

    /// A number that isn't negative, as such or in a text.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Error> {
        let text = match self.get(name)? {
            Some(Value::Json(raw)) => raw.trim_matches('"'),
            Some(Value::Text(text)) => text,
            None => return Ok(None),
        };
        let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
        number.map(Some).ok_or_else(|| wrong(name, "a number"))
    }

    /// A whole number.
    pub(super) fn whole(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.number(name)? {
            Some(number) if number.fract() == 0.0 => Ok(Some(number as u64)),
            Some(_) => Err(wrong(name, "a whole number")),
            None => Ok(None),
        }
    }

    /// True or false; false if there is nothing.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name)? {
            Some(Value::Json("true") | Value::Text("true" | "True" | "1")) => Ok(true),
            Some(Value::Json("false") | Value::Text("false" | "False" | "0" | "")) | None => Ok(false),
            Some(_) => Err(wrong(name, "a boolean")),
        }
    }

    /// The contents of the files in a field, or in the one with `[]` behind its name, as SDKs write lists.
    pub(super) fn files(&self, name: &str) -> Result<impl Iterator<Item = &'a [u8]>, Error> {
        self.check(name)?;
        let parts = match &self.all {
            All::Json(_) => &[][..],
            All::Form(parts) => parts,
        };
        let is_named =
            move |part: &&Part<'a>| part.name == name || part.name.strip_suffix("[]") == Some(name);
        Ok(parts.iter().filter(is_named).map(|part| &self.body[part.at.clone()]))
    }

    /// The value of a JSON member as it is written.
    pub(super) fn raw(&self, name: &str) -> Result<Option<&'a str>, Error> {
        self.check(name)?;
        Ok(match &self.all {
            All::Json(members) => members.get(name).map(RawValue::get),
            All::Form(_) => None,
        })
    }

    /// Where the value of a field stands.
    pub(super) fn span_of(&self, name: &str) -> Result<Option<Range<usize>>, Error> {
        self.check(name)?;
        Ok(match &self.all {
            All::Json(members) => members.get(name).map(|raw| self.span(raw.get())),
            All::Form(parts) => Self::part(parts, name)?.map(|part| part.at.clone()),
        })
    }

    /// Makes sure that a field is there.
    pub(super) fn require(&self, name: &str) -> Result<(), Error> {
        if self.has(name)? { Ok(()) } else { Err(missing(name)) }
    }

    /// Whether a field is there.
    pub(super) fn has(&self, name: &str) -> Result<bool, Error> {
        self.check(name)?;
        Ok(match &self.all {
            All::Json(members) => members.get(name).is_some(),
            All::Form(parts) => parts.iter().any(|part| part.name == name),
        })
    }

    /// Reads the model's name into `head`, or `default` where there is none.
    pub(super) fn model(&self, default: Option<&str>, head: &mut Head) -> Result<(), Error> {
        self.check("model")?;
        match &self.all {
            All::Json(members) => match (members.get("model"), default) {
                (Some(raw), _) => {
                    head.model = json::model(raw)?;
                    head.model_at = Some(self.span(raw.get()));
                }
                (None, Some(default)) => {
                    head.model = default.into();
                    head.model_at = Some(self.beginning());
                    head.model_form = ModelForm::Member;
                }
                (None, None) => return Err(missing("model")),
            },
            All::Form(parts) => {
                let part = Self::part(parts, "model")?.ok_or_else(|| missing("model"))?;
                let model = self.text_at(part)?;
                if model.is_empty() || model.len() > 256 {
                    return Err(wrong("model", "a name"));
                }
                (head.model, head.model_at) = (model.into(), Some(part.at.clone()));
                head.model_form = ModelForm::Raw;
            }
        }
        Ok(())
    }

    fn span(&self, raw: &str) -> Range<usize> {
        let start = raw.as_ptr() as usize - self.body.as_ptr() as usize;
        start..start + raw.len()
    }

    /// Behind the bracket that opens the object.
    fn beginning(&self) -> Range<usize> {
        let at = memchr::memchr(b'{', self.body).map_or(0, |at| at + 1);
        at..at
    }
}

fn missing(name: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{name}: missing field")).with_param(name)
}

/// The members of a JSON object; one that stands twice is an error.
struct Members<'a>(Vec<(Str<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members(Vec::new());
                while let Some((name, value)) = map.next_entry::<Str<'de>, &'de RawValue>()? {
                    if members.get(&name).is_some() {
                        return Err(A::Error::custom("a field stands twice"));
                    }
                    // So that nobody makes this slow.
                    if members.0.len() == 256 {
                        return Err(A::Error::custom("more than 256 fields"));
                    }
                    members.0.push((name, value));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, content: &str) -> String {
        let field = |name: &str, content: &str| {
            format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
        };
        [field("model", "cheap"), field(name, content), "--b--".into()].concat()
    }

    #[test]
    fn a_field_that_others_may_take_for_the_one_that_is_read_is_refused() {
        let read = |fields: &Fields<'_>| {
            fields.model(None, &mut Head::default())?;
            fields.whole("n")?;
            fields.raw("images")?;
            fields.has("seconds")?;
            fields.files("mask").map(|_| ())
        };
        for (name, param) in
            [("Model", "model"), ("N", "n"), ("Images", "images"), ("secondſ", "seconds"), ("Mask", "mask")]
        {
            let json = format!(r#"{{"model":"cheap","{name}":"9"}}"#);
            let form = form(name, "9");

            for fields in [Fields::of_json(&json), Fields::of_form(form.as_bytes(), "b")] {
                assert_eq!(read(&fields.unwrap()).unwrap_err().param(), Some(param));
            }
        }
        assert!(read(&Fields::of_json(r#"{"model":"cheap","returnDocuments":true}"#).unwrap()).is_ok());
    }

    #[test]
    fn a_file_in_a_list_is_named_exactly_too() {
        let form = form("Image[]", "png");
        let fields = Fields::of_form(form.as_bytes(), "b").unwrap();

        assert_eq!(fields.files("image").map(|_| ()).unwrap_err().param(), Some("image"));
    }
}
