use std::sync::LazyLock;

use aho_corasick::packed::Searcher;

use crate::target::ModelFacts;

/// The most tokens of an image, at the finest of the usual resolutions.
const IMAGE: u64 = 5_000;
/// An image as it usually is.
const USUAL_IMAGE: u64 = 1_000;
/// What providers write around a request, most of it around tools.
const AROUND: u64 = 1_000;
/// Shorter strings are not looked at for images.
const SHORTEST_MEDIUM: usize = 256;
/// Longer ones are no addresses.
const LONGEST_ADDRESS: usize = 8 << 10;
/// What a model reads at most of which nothing is known.
const CONTEXT: u64 = 200_000;

/// What a request asks a model to read, as far as its bytes tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// The most tokens of all that isn't an image.
    text: u64,
    /// About as many as it probably has, images among them.
    likely: u64,
    images: u64,
    /// The most tokens of what may be sound or film.
    media: u64,
    /// Whether the model reads what is kept elsewhere.
    is_open: bool,
    /// Whether something is to stay in a cache for longer than usual.
    keeps_long: bool,
}

/// Without any of these there is nothing in a request but text. The first two are times to keep something,
/// the next ones letters and digits that somebody has taken the trouble to hide.
const SIGNS: [&str; 12] = [
    r#""1h""#,
    r#""12h""#,
    r"\u003",
    r"\u004",
    r"\u005",
    r"\u006",
    r"\u007",
    r#"url""#,
    r#""file"#,
    r#"data""#,
    r#"bytes""#,
    r#"Uri""#,
];
const TIMES: usize = 2;

/// Looks for all of them in one go. A processor that can't do that (all of today's can) makes the most of each
/// request.
static FINDER: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(SIGNS));

/// Whether something is kept for long, and whether there may be anything but text.
fn signs(body: &[u8]) -> (bool, bool) {
    let Some(finder) = &*FINDER else { return (true, true) };
    let (mut keeps_long, mut has_media) = (false, false);
    for sign in finder.find_iter(body) {
        match sign.pattern().as_usize() {
            ..TIMES => keeps_long = true,
            _ => has_media = true,
        }
        if keeps_long && has_media {
            break;
        }
    }
    (keeps_long, has_media)
}

impl Input {
    /// Looks through the bytes of a request.
    ///
    /// ```
    /// use bartizan::{price::Input, target::ModelFacts};
    ///
    /// let latin = Input::of(br#"{"prompt":"a word or two"}"#);
    /// let chinese = Input::of(r#"{"prompt":"四個漢字"}"#.as_bytes());
    ///
    /// assert_eq!(latin.most(&ModelFacts::default(), false), 1_017);
    /// assert_eq!(chinese.most(&ModelFacts::default(), false), 1_022);
    /// ```
    pub fn of(body: &[u8]) -> Self {
        let (keeps_long, has_media) = signs(body);
        let mut input = Self { keeps_long, ..Self::default() };
        // Counted with the rest at first, which is quicker than to leave them out.
        let mut text = Letters::of(body);
        let (mut has_address, mut has_document) = (false, false);
        let values = has_media.then(|| Values::of(body));
        for (name, value) in values.into_iter().flatten() {
            match name {
                b"file_id" | b"fileId" | b"file_url" | b"fileUri" | b"file_uri" => input.is_open = true,
                b"document_url" | b"video_url" | b"audio_url" => input.is_open = true,
                b"file_data" | b"data" if value.starts_with(b"http") => input.is_open = true,
                b"type" => has_document = has_document || is_document(value),
                b"ttl" => input.keeps_long |= value.contains(&b'\\'),
                _ if is_image(name, value) => {
                    input.images += 1;
                    text = text.without(Letters::of(value));
                    has_address = has_address || value.starts_with(b"http");
                }
                b"data" if value.len() >= SHORTEST_MEDIUM => input.media += Letters::of(value).most_tokens(),
                name if is_hidden(name) => (input.is_open, input.keeps_long) = (true, true),
                _ => {}
            }
        }
        // An address doesn't tell whose it is, and of a document that is read elsewhere there may be any number
        // of pages.
        input.is_open = input.is_open || has_address && has_document;
        input.text = AROUND + text.most_tokens();
        input.likely = text.likely_tokens() + USUAL_IMAGE * input.images;
        input
    }

    /// Whether something is to stay in a cache for longer than usual.
    pub(crate) fn keeps_long(&self) -> bool {
        self.keeps_long
    }

    /// The most tokens of it that may be sound.
    pub(super) fn media(&self) -> u64 {
        self.media
    }

    /// About how many tokens it has: a quarter of its bytes, or a third of those of other scripts.
    pub(crate) fn likely(&self) -> u64 {
        self.likely
    }

    /// The most tokens that a model takes it for; as much as the model reads if it `reads_more` than
    /// what is here.
    pub fn most(&self, facts: &ModelFacts, reads_more: bool) -> u64 {
        let here = self.text.saturating_add(self.images.saturating_mul(IMAGE));
        let most =
            if reads_more || self.is_open { facts.max_input.unwrap_or(here.max(CONTEXT)) } else { here };
        most.min(facts.max_input.unwrap_or(u64::MAX))
    }
}

/// So many bytes are counted by counters that are as small, and so side by side.
const BLOCK: usize = 192;

/// What a text is made of, in bytes.
#[derive(Clone, Copy)]
struct Letters {
    all: usize,
    /// Small letters and spaces.
    of_words: usize,
    /// Parts of letters beyond ASCII.
    foreign: usize,
}

impl Letters {
    fn of(text: &[u8]) -> Self {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut letters = Self { all: text.len(), of_words: 0, foreign: 0 };
        blocks.iter().for_each(|block| letters.count(block));
        letters.count(rest);
        letters
    }

    #[inline]
    fn count(&mut self, block: &[u8]) {
        let (mut of_words, mut foreign) = (0_u8, 0_u8);
        for byte in block {
            of_words += u8::from(matches!(byte, b'a'..=b'z' | b' '));
            foreign += u8::from(!byte.is_ascii());
        }
        self.of_words += usize::from(of_words);
        self.foreign += usize::from(foreign);
    }

    fn without(self, part: Self) -> Self {
        Self {
            all: self.all - part.all,
            of_words: self.of_words - part.of_words,
            foreign: self.foreign - part.foreign,
        }
    }

    /// No token is shorter than a byte, and none of words and the space between them shorter than two.
    fn most_tokens(self) -> u64 {
        (self.all - self.of_words / 2) as u64
    }

    fn likely_tokens(self) -> u64 {
        ((self.all - self.foreign).div_ceil(4) + self.foreign.div_ceil(3)) as u64
    }
}

/// Whether a name has letters of ASCII in it that are written as escapes: no writer of JSON has to.
fn is_hidden(name: &[u8]) -> bool {
    let is_letter = |escape: &[u8]| matches!(escape, [b'\\', b'u', b'0', b'0', b'4'..=b'7', _]);
    name.contains(&b'\\') && name.windows(6).any(is_letter)
}

/// Whether a string is an image, or tells where one is.
fn is_image(name: &[u8], text: &[u8]) -> bool {
    match name {
        // An escape may stand for any letter.
        b"url" | b"image_url" if text.len() <= LONGEST_ADDRESS => {
            [&b"http"[..], b"\\", b"data:image/"].iter().any(|start| text.starts_with(start))
        }
        b"url" | b"image_url" => text.starts_with(b"data:image/") && is_base64(after_comma(text)),
        b"data" | b"bytes" => text.len() >= SHORTEST_MEDIUM && begins_image(text) && is_base64(text),
        _ => false,
    }
}

/// What an address has for content: `data:image/png;base64,…`.
fn after_comma(address: &[u8]) -> &[u8] {
    memchr::memchr(b',', address).map_or(address, |comma| &address[comma + 1..])
}

/// Whether there are only characters of Base64 in a JSON string, which may have line ends and escaped slashes.
fn is_base64(text: &[u8]) -> bool {
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\');
    // Without a way out in the middle of a block, so that many bytes are looked at at once.
    text.chunks(BLOCK).all(|block| block.iter().fold(true, |is_all, byte| is_all & is_part(byte)))
}

/// Whether something of this type may have many pages or last long; one with an escape may be any.
fn is_document(kind: &[u8]) -> bool {
    matches!(kind, b"document" | b"document_url" | b"video" | b"video_url" | b"audio_url")
        || kind.contains(&b'\\')
}

/// Whether what is in Base64 begins like a JPEG, PNG, GIF or WebP.
fn begins_image(text: &[u8]) -> bool {
    let is_webp = || text.starts_with(b"UklGR") && text.get(10..15) == Some(b"XRUJQ");
    let others: [&[u8]; 3] = [b"/9j/", b"iVBORw0KGgo", b"R0lGOD"];
    others.iter().any(|beginning| text.starts_with(beginning)) || is_webp()
}

/// The strings of a JSON text that are values, each with the name that comes before it.
pub(crate) fn values(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Values::of(json)
}

struct Values<'a> {
    rest: &'a [u8],
    name: &'a [u8],
}

impl<'a> Values<'a> {
    fn of(json: &'a [u8]) -> Self {
        Self { rest: json, name: b"" }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = memchr::memchr(b'"', self.rest)? + 1;
            let length = length(&self.rest[start..])?;
            let text = &self.rest[start..start + length];
            self.rest = &self.rest[start + length + 1..];
            if !self.rest.trim_ascii_start().starts_with(b":") {
                return Some((self.name, text));
            }
            self.name = text;
        }
    }
}

/// Where a string ends that has begun.
fn length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(body: &str) -> u64 {
        Input::of(body.as_bytes()).most(&ModelFacts::default(), false) - AROUND
    }

    fn jpeg(length: usize) -> String {
        format!("/9j/{}", "4AAQSkZJRgABAQ".repeat(length / 14))
    }

    #[test]
    fn no_script_has_more_tokens_than_are_reckoned_with() {
        // More tokens than the tokenizers of providers make of these.
        for (text, tokens) in [
            ("你好，世界。今天天氣很好", 16),
            ("สวัสดีชาวโลก", 36),
            ("🎉🎉🎉🎉", 12),
            ("314159265358979323846264338327950288", 36),
            ("SGVsbG8gd29ybGQhIEhvdyBhcmUgeW91Pw", 27),
        ] {
            let reckoned = most(&format!("\"{text}\""));

            assert!(reckoned >= tokens, "{text}: {reckoned}");
        }
        assert!(most(&"the quick brown fox ".repeat(100)) <= 1_010);
    }

    #[test]
    fn an_image_counts_as_one_and_not_by_its_bytes() {
        let (small, large) = (jpeg(1_000), jpeg(400_000));
        for form in [
            r#"{"image_url":{"url":"data:image/jpeg;base64,IMAGE"}}"#,
            r#"{"type":"base64","media_type":"image/jpeg","data":"IMAGE"}"#,
            r#"{"image":{"format":"jpeg","source":{"bytes":"IMAGE"}}}"#,
        ] {
            let [small, large] = [&small, &large].map(|image| most(&form.replace("IMAGE", image)));

            assert_eq!(small, large, "{form}");
            assert!((5_000..5_100).contains(&large), "{form}: {large}");
        }
        let elsewhere = most(r#"{"image_url":{"url":"https://a.example/b.png"}}"#);
        assert!((5_000..5_100).contains(&elsewhere), "{elsewhere}");
    }

    #[test]
    fn text_that_begins_like_an_image_is_text() {
        assert!(most(&format!(r#"{{"content":"{}"}}"#, jpeg(100_000))) > 70_000);
        assert!(most(&format!(r#"{{"data":"JVBERi0xLjQK{}"}}"#, jpeg(100_000))) > 70_000);
        let words = "9 words of a document ".repeat(5_000);
        for text in [
            format!(r#"{{"type":"text","data":"/9j/{words}"}}"#),
            format!(r#"{{"url":"https://a.example/{words}"}}"#),
            format!(r#"{{"url":"data:image/png,{words}"}}"#),
            format!(r#"{{"url":"data:image/png;base64,{words}"}}"#),
        ] {
            assert!(most(&text) > 50_000, "{}", &text[..40]);
        }
        assert!(most(&format!(r#"{{"url":"data:image/png;base64,{}"}}"#, jpeg(100_000))) < 2 * IMAGE);
    }

    #[test]
    fn what_is_kept_elsewhere_may_fill_the_model() {
        let mut facts = ModelFacts::default();
        let file = Input::of(br#"{"type":"file","file":{"file_id":"file-1"}}"#);
        assert_eq!(file.most(&facts, false), CONTEXT);

        facts.max_input = Some(128_000);

        assert_eq!(file.most(&facts, false), 128_000);
        assert_eq!(Input::of(b"{}").most(&facts, true), 128_000);
        assert_eq!(Input::of(&[b'9'; 200_000]).most(&facts, false), 128_000);
    }

    #[test]
    fn a_document_at_an_address_may_fill_the_model() {
        let most = |body: &str| Input::of(body.as_bytes()).most(&ModelFacts::default(), false);
        for body in [
            r#"{"type":"document","source":{"type":"url","url":"https://a.example/b.pdf"}}"#,
            r#"{"source":{"url":"https://a.example/b.pdf","type":"url"},"type":"document"}"#,
            r#"{"source":{"url":"https://a.example/b.pdf","type":"url"},"type":"docum\u0065nt"}"#,
            r#"{"type":"input_file","file_url":"https://a.example/b.pdf"}"#,
            r#"{"type":"file","file":{"file_data":"https://a.example/b.pdf"}}"#,
            r#"{"type":"document_url","document_url":"https://a.example/b.pdf"}"#,
            r#"{"type":"video_url","video_url":{"url":"https://a.example/b.mp4"}}"#,
        ] {
            assert_eq!(most(body), CONTEXT, "{body}");
        }
        let image = r#"{"type":"image","source":{"type":"url","url":"https://a.example/b.png"}}"#;
        let inside = r#"[{"type":"document","source":{"type":"base64","data":"JVBERi0xLjQK"}}]"#;

        assert!(most(image) < 7_000 && most(inside) < 2_000);
    }

    #[test]
    fn what_is_likely_is_never_more_than_the_most() {
        let texts = [
            String::new(),
            "漢字".repeat(500),
            "a b ".repeat(500),
            "{\"data\":\"".to_owned() + &jpeg(9_000) + "\"}",
        ];
        for text in texts {
            assert!(Input::of(text.as_bytes()).likely() <= most(&text).max(1), "{}", text.len());
        }
        assert_eq!(Input::of(&[b'x'; 400]).likely(), 100);
    }

    #[test]
    fn what_is_written_in_escapes_hides_nothing() {
        let most = |body: &str| Input::of(body.as_bytes()).most(&ModelFacts::default(), false);

        assert_eq!(most(r#"{"file":{"f\u0069le_id":"file-1"}}"#), CONTEXT);
        assert_eq!(most(r#"{"document_\u0075rl":"https://a.example/b.pdf"}"#), CONTEXT);
        assert!(most(r#"{"url":"\u0068ttps://a.example/b.png"}"#) > IMAGE);
        assert!(Input::of(br#"{"cache_control":{"ttl":"\u0031h"}}"#).keeps_long());
        assert!(most(r#"{"properties":{"gr\u00f6\u00dfe":"\u0067"}}"#) < 2_000);
    }

    #[test]
    fn letters_are_counted_however_many_there_are() {
        for length in [0, 1, 254, 255, 256, 100_000] {
            let words = Letters::of(&vec![b'a'; length]);
            let foreign = Letters::of(&vec![0xe4; length]);

            assert_eq!((words.all, words.of_words, words.foreign), (length, length, 0));
            assert_eq!((foreign.of_words, foreign.foreign), (0, length));
        }
    }

    #[test]
    fn half_a_json_text_does_no_harm() {
        let whole = r#"{"tools":[{"a":"b\"\\"}],"data":"x","url":"http://"}"#;
        for end in 0..whole.len() {
            assert!(most(&whole[..end]) <= most(whole) + IMAGE, "{end}");
        }
        assert_eq!(most("\"\\"), 2);
    }
}
