//! Film: submitted, asked for until it is ready, fetched.

use std::time::Duration;

use http::{Method, request::Parts};

use super::{Makes, OpenAiEndpoint, Takes, fields::Fields, simple::tokens};
use crate::{
    Error, Kind, Tokens, Units, Work,
    dialect::IdMember,
    own_ids::{Place, Seal},
    payload::{Head, Resource},
    percent,
};

pub(super) const VIDEOS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-videos",
    path: "/videos",
    model: Some("sora-2"),
    takes: Takes::Both,
    makes: Makes::Media,
    keeps: &[id("id"), id("task_id"), id("remixed_from_video_id")],
    ask: submit,
};

const fn id(name: &'static str) -> IdMember {
    IdMember { name, prefix: "video_", tells_requests: false }
}

/// The longest film that a model makes of its own accord.
const LONGEST: Duration = Duration::from_secs(15);

fn submit(fields: &Fields<'_>, head: &mut Head) -> Result<Work, Error> {
    fields.require("prompt")?;
    // Whoever asks again gets, and pays for, another film.
    head.is_once = true;
    // Providers read one or the other.
    let (seconds, duration_too) = (fields.number("seconds")?, fields.number("duration")?);
    let seconds = match (seconds, duration_too) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    };
    let video = match seconds {
        Some(seconds) => duration(seconds).ok_or_else(|| {
            Error::new(Kind::InvalidRequest, "seconds: expected the length of a film").with_param("seconds")
        })?,
        None => LONGEST,
    };
    let size = match fields.text("size")? {
        None => fields.text("resolution")?,
        size => size,
    };
    let mut images = 0;
    for reference in ["input_reference", "image", "images"] {
        images += u64::from(fields.has(reference)?);
    }
    Ok(Work {
        tokens: Tokens {
            input: tokens(fields.text("prompt")?.unwrap_or_default().len()),
            ..Tokens::default()
        },
        units: Units { video, images, lines: lines(size.as_deref().unwrap_or_default()), ..Units::default() },
    })
}

/// A length that a film can have: more than nothing, and no more than an hour.
pub(super) fn duration(seconds: f64) -> Option<Duration> {
    (seconds > 0.0 && seconds <= 3_600.0).then(|| Duration::from_secs_f64(seconds))
}

/// The shorter side of `1280x720`, or the lines of `720p` and `4k`; 0 if that isn't said.
pub(super) fn lines(size: &str) -> u32 {
    let size = size.to_ascii_lowercase();
    if let Some((width, height)) = size.split_once(['x', '*']) {
        return width.parse().unwrap_or(0).min(height.parse().unwrap_or(0));
    }
    match &*size {
        "2k" => 1_440,
        "4k" => 2_160,
        size => size.strip_suffix('p').and_then(|lines| lines.parse().ok()).unwrap_or(0),
    }
}

/// What stands in a path behind `/videos/`: an id, and what is wanted of it.
pub(super) fn parts_of(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once('/') {
        Some((id, what)) => (id, Some(what)),
        None => (rest, None),
    }
}

/// How something that is kept can be asked for.
pub(super) fn methods(rest: &str) -> &'static [Method] {
    match parts_of(rest).1 {
        None => const { &[Method::GET, Method::DELETE] },
        Some("content") => const { &[Method::GET] },
        Some(_) => const { &[Method::POST] },
    }
}

/// A request for something that is kept at the place to which its id leads.
pub(super) fn kept(parts: &Parts, rest: &str, prefix: &str, body: &str) -> Result<Head, Error> {
    let (id, what) = parts_of(rest);
    let place = Place::open(id, prefix, &Seal::of(&parts.extensions)?)?;
    let mut user_at = None;
    let work = match what {
        None | Some("content") => Work::default(),
        // As long as the first one, which is said in the answer.
        Some("remix") => {
            let fields = Fields::of_json(body)?;
            fields.require("prompt")?;
            user_at = fields.span_of("user")?;
            // It is made by the same model, as long and as large as the first one.
            for other in ["model", "seconds", "duration", "size", "resolution"] {
                if fields.has(other)? {
                    let message = format!("{other}: can't be changed in a remix");
                    return Err(Error::new(Kind::InvalidRequest, message).with_param(other));
                }
            }
            Work { units: Units { video: LONGEST, ..Units::default() }, ..Work::default() }
        }
        Some(_) => return Err(Error::new(Kind::NotFound, "there is no such endpoint")),
    };
    let mut path = format!("/videos/{}", percent::segment(&place.id));
    if let Some(what) = what {
        path.extend(["/", what]);
    }
    let variant = parts.uri.query().into_iter().flat_map(|query| query.split('&'));
    if let Some(variant) = variant.into_iter().find_map(|pair| pair.strip_prefix("variant=")) {
        path.extend(["?variant=", &*percent::segment(&percent::decoded(variant))]);
    }
    let resource = Resource { method: parts.method.clone(), path: path.into(), target: Some(place.target) };
    Ok(Head {
        model: place.model,
        max_output: Some(0),
        choices: 1,
        user_at,
        is_opaque: what == Some("content"),
        is_once: what == Some("remix"),
        work: Some(work),
        resource: Some(resource),
        ..Head::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_one_of_two_lengths_counts() {
        let fields = r#"{"prompt":"x","seconds":"4","duration":60}"#;

        let work = submit(&Fields::of_json(fields).unwrap(), &mut Head::default()).unwrap();

        assert_eq!(work.units.video, Duration::from_secs(60));
    }

    #[test]
    fn the_lines_of_a_picture_are_those_of_its_shorter_side() {
        let sizes = ["1280x720", "720x1280", "1024*1792", "480p", "1080P", "4k", "", "auto", "x", "p"];

        assert_eq!(sizes.map(lines), [720, 720, 1024, 480, 1080, 2160, 0, 0, 0, 0]);
    }
}
