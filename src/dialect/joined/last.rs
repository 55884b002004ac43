use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Join, read, unreadable};
use crate::{Error, Kind, dialect::text::Str};

/// The events of an image, or of sound or its text, the last of which says all that came before in pieces.
#[derive(Default)]
pub(super) struct Last(Option<Box<RawValue>>);

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    r#type: Str<'a>,
}

impl Join for Last {
    fn event(&mut self, _: &[u8], data: &[u8]) -> Result<usize, Error> {
        let Named { r#type } = serde_json::from_slice(data).map_err(unreadable)?;
        if !r#type.ends_with(".done") && !r#type.ends_with(".completed") {
            return Ok(0);
        }
        self.0 = Some(read(data)?);
        Ok(data.len())
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, Error> {
        let ended = || Error::new(Kind::Upstream, "the provider's stream ended before its answer did");
        Ok(self.0.ok_or_else(ended)?.get().into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Joined;
    use crate::body::sse;

    #[test]
    fn the_last_event_is_the_answer() {
        let mut joined = Joined::of_any("openai-transcriptions").unwrap();
        for data in [
            r#"{"type":"transcript.text.delta","delta":"He"}"#,
            r#"{"type":"transcript.text.done","text":"Hello"}"#,
        ] {
            let event = sse::Event { raw: Default::default(), name: Default::default(), data: data.into() };
            joined.event(&event).unwrap();
        }

        assert_eq!(joined.so_far().unwrap(), br#"{"type":"transcript.text.done","text":"Hello"}"#);
        assert!(Joined::of_any("openai-images").unwrap().so_far().is_err());
    }
}
