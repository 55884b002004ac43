use std::fmt;

use crate::{BoxFuture, Error, Exchange, Target};

/// How many numbers a text becomes.
const WIDTH: usize = 512;

/// Makes numbers of texts, so that those of texts that mean the like are near each other.
pub trait Embed: fmt::Debug + Send + Sync + 'static {
    /// What it is.
    fn name(&self) -> &str;

    /// Who reads the texts, if that is somebody else than the gateway: it isn't asked for requests that it may not
    /// get to see.
    fn target(&self) -> Option<&Target> {
        None
    }

    /// The numbers of each text. What it costs is counted on `exchange`.
    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        exchange: &'a Exchange,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>>;
}

/// Texts by the groups of letters in their words. It needs no model and no provider, and knows nothing of meaning:
/// texts are near each other that share words and parts of words.
#[derive(Clone, Copy, Debug, Default)]
pub struct HashedNgrams;

impl Embed for HashedNgrams {
    fn name(&self) -> &str {
        "hashed n-grams of letters"
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _: &'a Exchange,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        let embedded = texts.iter().map(|text| hashed(text)).collect();
        Box::pin(std::future::ready(Ok(embedded)))
    }
}

fn hashed(text: &str) -> Vec<f32> {
    let mut numbers = vec![0.0; WIDTH];
    let text = text.to_lowercase();
    for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = std::iter::once('<').chain(word.chars().take(32)).chain(['>']).collect();
        // Short words are in every text.
        let weight = (letters.len().min(8) as f32 / 8.0).powi(2);
        // A whole word says more than its parts.
        add(&mut numbers, &letters, 2.0 * weight);
        for size in 3..=4 {
            letters.windows(size).for_each(|part| add(&mut numbers, part, weight));
        }
    }
    numbers
}

fn add(numbers: &mut [f32], letters: &[char], weight: f32) {
    // FNV-1a, the same everywhere and for ever.
    let hash = letters.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, letter| {
        (hash ^ u64::from(u32::from(*letter))).wrapping_mul(0x0100_0000_01b3)
    });
    let sign = if hash >> 63 == 0 { weight } else { -weight };
    if let Some(number) = numbers.get_mut((hash >> 20) as usize % WIDTH) {
        *number += sign;
    }
}

/// How much two texts are alike: 1 if they say the same, about 0 if they have nothing in common.
pub(super) fn likeness(one: &[f32], other: &[f32]) -> f32 {
    let product = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (product(one, one) * product(other, other)).sqrt();
    if lengths > 0.0 { product(one, other) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_share_words_are_near_each_other() {
        let like = |one, other| likeness(&hashed(one), &hashed(other));

        assert!(like("summarize this text", "Summarize this text!") > 0.99);
        let near = like("summarize this article for me", "please summarise the article below");
        let far = like("summarize this article for me", "why does my loop never end");
        assert!(near > far + 0.15, "{near} {far}");
        assert_eq!(like("", "a text"), 0.0);
    }
}
