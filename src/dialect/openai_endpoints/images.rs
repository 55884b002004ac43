//! Images: made of a text, or of other images.

use super::{Makes, OpenAiEndpoint, Takes, fields::Fields, simple::tokens};
use crate::{Error, Tokens, Units, Work, payload::Head};

pub(super) const GENERATIONS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-images",
    path: "/images/generations",
    model: Some("dall-e-2"),
    takes: Takes::Json,
    makes: Makes::Media,
    keeps: &[],
    ask: generate,
};

pub(super) const EDITS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-image-edits",
    path: "/images/edits",
    model: Some("gpt-image-1.5"),
    takes: Takes::Both,
    makes: Makes::Media,
    keeps: &[],
    ask: edit,
};

/// An image of 1024 × 1024 of high quality is 4,160 tokens, one of 1536 × 1024 is 6,240.
const PIXELS_OF_A_TOKEN: u64 = 248;
/// The largest of the usual sizes: what `auto` may come to.
const USUAL_PIXELS: u64 = 1536 * 1024;
/// Each image that is shown before it is finished.
const TOKENS_OF_A_PARTIAL_IMAGE: u64 = 100;
/// More than an image that is read with high fidelity comes to.
const TOKENS_OF_AN_INPUT: u64 = 8_000;

fn generate(fields: &Fields<'_>, head: &mut Head) -> Result<Work, Error> {
    fields.require("prompt")?;
    make(fields, head, fields.size(), 0)
}

fn edit(fields: &Fields<'_>, head: &mut Head) -> Result<Work, Error> {
    fields.require("prompt")?;
    let prompt = fields.text("prompt")?.unwrap_or_default().len();
    let files = fields.files("image")?.chain(fields.files("mask")?).count() as u64;
    // As JSON they are references or data in a list.
    let mut listed = 0;
    for name in ["image", "images", "mask"] {
        listed += fields.raw(name)?.map_or(0, items);
    }
    make(fields, head, prompt, files + listed)
}

/// How many things are in a value; one that is no list is one thing.
fn items(json: &str) -> u64 {
    let items = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(json);
    items.map_or(1, |items| items.len() as u64)
}

fn make(fields: &Fields<'_>, head: &mut Head, text: usize, read: u64) -> Result<Work, Error> {
    head.stream = fields.flag("stream")?;
    let count = fields.whole("n")?.unwrap_or(1).max(1);
    let partial = fields.whole("partial_images")?.unwrap_or(0).saturating_mul(TOKENS_OF_A_PARTIAL_IMAGE);
    let (size, quality) = (fields.text("size")?, fields.text("quality")?);
    let each = size_in_tokens(size.as_deref(), quality.as_deref()).saturating_add(partial);
    let (seen, made) = (read.saturating_mul(TOKENS_OF_AN_INPUT), count.saturating_mul(each));
    Ok(Work {
        tokens: Tokens { input: tokens(text).saturating_add(seen), output: made, ..Tokens::default() },
        units: Units { media_input: seen, media_output: made, images: count, ..Units::default() },
    })
}

/// The most tokens of one image.
fn size_in_tokens(size: Option<&str>, quality: Option<&str>) -> u64 {
    let sides = size.and_then(|size| size.split_once(['x', '*']));
    let pixels = sides
        .and_then(|(width, height)| Some(width.parse::<u64>().ok()?.saturating_mul(height.parse().ok()?)));
    let tokens = pixels.unwrap_or(USUAL_PIXELS).div_ceil(PIXELS_OF_A_TOKEN);
    match quality {
        Some("low") => tokens.div_ceil(15),
        Some("medium") => tokens.div_ceil(4),
        _ => tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_comes_to_more_tokens_than_are_reckoned_with() {
        // What OpenAI lists for 1024x1024, 1024x1536 and 1536x1024.
        let listed =
            [("low", [272, 408, 400]), ("medium", [1_056, 1_584, 1_568]), ("high", [4_160, 6_240, 6_208])];
        for (quality, counts) in listed {
            for (size, tokens) in ["1024x1024", "1024x1536", "1536x1024"].into_iter().zip(counts) {
                let reckoned = size_in_tokens(Some(size), Some(quality));

                assert!((tokens..tokens + tokens / 10).contains(&reckoned), "{size} {quality}: {reckoned}");
            }
        }
        assert_eq!(size_in_tokens(None, None), size_in_tokens(Some("auto"), Some("high")));
    }
}
