use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderValue};
use serde::{Serialize, Serializer};

/// Where a request stands in a trace, by the header `traceparent` of
/// [W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace: u128,
    /// The span that asks.
    pub span: u64,
    /// Whether whoever asks records the trace.
    pub is_sampled: bool,
}

impl TraceParent {
    /// What the headers of a request say; `None` if they don't, or not in the form of the standard.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let text = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may say more behind what this one knows.
        let is_known = match hex(version, 2)? {
            0 => parts.next().is_none(),
            version => version != 0xff,
        };
        let (trace, span) = (hex(trace, 32)?, hex(span, 16)? as u64);
        let is_sampled = hex(flags, 2)? & 1 == 1;
        (is_known && trace != 0 && span != 0).then_some(Self { trace, span, is_sampled })
    }
}

impl TraceParent {
    /// A span of the gateway's own: in the trace of whoever asks, which says whether it is recorded, or in a new one,
    /// of which such a share is.
    pub(crate) fn below(parent: Option<Self>, share: Share) -> Self {
        match parent {
            Some(parent) => parent.child(),
            None => {
                let span = random();
                let low = random();
                let trace = u128::from(random()) << 64 | u128::from(low);
                // As OpenTelemetry samples by the id of a trace.
                Self { trace, span, is_sampled: low >> 1 < share.0 }
            }
        }
    }

    /// Another span in the same trace.
    pub(crate) fn child(self) -> Self {
        Self { span: random(), ..self }
    }

    /// The span of an attempt, when this one is that of its request: any two attempts have two.
    pub(crate) fn attempt(self, index: usize) -> Self {
        Self { span: mixed(self.span ^ (index as u64 + 1).wrapping_mul(STEP)).max(1), ..self }
    }

    pub(crate) fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

/// What the tracing systems before this one say beside the [`TraceParent`], by the header
/// [`tracestate`](https://www.w3.org/TR/trace-context/#tracestate-header); `None` if that is nothing, or more than the
/// standard asks to be passed on.
pub(crate) fn trace_state(headers: &HeaderMap) -> Option<Box<str>> {
    const LONGEST: usize = 512;
    let mut state = String::new();
    for value in headers.get_all("tracestate") {
        let value = value.to_str().ok()?.trim();
        let separator = if state.is_empty() || value.is_empty() { "" } else { "," };
        if state.len() + separator.len() + value.len() > LONGEST {
            return None;
        }
        state.push_str(separator);
        state.push_str(value);
    }
    (!state.is_empty()).then(|| state.into())
}

/// Which share of traces is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(u64);

impl Share {
    /// From 0, none, to 1, all.
    pub(crate) fn new(share: f64) -> Self {
        // One more than the largest number of 63 bits.
        Self((share.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64)
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that don't come again, and can't be told before by those who don't know the seed.
fn random() -> u64 {
    static SEED: LazyLock<u64> =
        LazyLock::new(|| getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32));
    static COUNT: AtomicU64 = AtomicU64::new(0);

    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    mixed(SEED.wrapping_add(count.wrapping_mul(STEP))).max(1)
}

/// The finalizer of SplitMix64, which makes one number of each.
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// A number of so many hexadecimal digits, in lower case as the standard wants them.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && is_plain).then(|| u128::from_str_radix(text, 16).ok())?
}

/// As it stands in the header.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

/// Serializes as the id of the trace alone, 32 hexadecimal digits.
impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.trace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_if_it_is_of_the_form_of_the_standard() {
        let read = |text: &str| {
            TraceParent::of(&HeaderMap::from_iter([("traceparent".parse().unwrap(), text.parse().unwrap())]))
        };
        let plain = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

        let known = read(plain).unwrap();

        assert_eq!(
            (known.span, known.is_sampled, known.to_string()),
            (0xb7ad_6b71_6920_3331, true, plain.into())
        );
        assert_eq!(serde_json::to_string(&known).unwrap(), "\"0af7651916cd43dd8448eb211c80319c\"");
        assert_eq!(read(&plain.replacen("00", "cc", 1)), Some(known));
        assert_eq!(read(&format!("{}-more", plain.replacen("00", "cc", 1))), Some(known));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_others_say_of_a_trace_is_one_list_and_not_without_end() {
        let read = |values: &[&str]| {
            let header = |value: &&str| ("tracestate".parse().unwrap(), value.parse().unwrap());
            trace_state(&values.iter().map(header).collect())
        };

        assert_eq!(read(&["a=1, b=2", "", "c=3"]).as_deref(), Some("a=1, b=2,c=3"));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[""]), None);
        assert!(read(&[&"a".repeat(512)]).is_some());
        assert_eq!(read(&["b=2", &"a".repeat(509)]), None);
    }

    #[test]
    fn a_span_of_the_gateway_is_in_the_trace_of_whoever_asks() {
        let parent = TraceParent { trace: 7, span: 8, is_sampled: true };

        let below = TraceParent::below(Some(parent), Share::new(0.0));

        assert_eq!((below.trace, below.is_sampled), (7, true));
        let spans = [
            parent,
            below,
            below.attempt(0),
            below.attempt(1),
            TraceParent::below(Some(parent), Share::new(0.0)),
        ];
        let different: std::collections::HashSet<_> = spans.iter().map(|span| span.span).collect();
        assert_eq!(different.len(), spans.len());
    }

    #[test]
    fn of_new_traces_such_a_share_is_recorded() {
        let sampled =
            |share| (0..10_000).filter(|_| TraceParent::below(None, Share::new(share)).is_sampled).count();

        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((2_000..3_000).contains(&sampled(0.25)), "{}", sampled(0.25));
    }
}
