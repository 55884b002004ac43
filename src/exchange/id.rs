use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Names one request; unique among all gateways, and in the order of time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 36]);

impl RequestId {
    pub(super) fn new(now: SystemTime) -> Self {
        static SEED: LazyLock<u64> =
            LazyLock::new(|| getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()) << 32));
        static COUNT: AtomicU64 = AtomicU64::new(0);

        let micros = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut id = *b"req_00000000000000000000000000000000";
        hex(micros, &mut id[4..20]);
        hex(SEED.wrapping_add(count), &mut id[20..]);
        Self(id)
    }

    /// The text of the name: `req_` and 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn hex(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::Exchange;

    #[test]
    fn ids_differ_and_have_one_form() {
        let (one, two) = (Exchange::default(), Exchange::default());

        assert_ne!(one.id(), two.id());
        assert_eq!(one.id().as_str().len(), 36);
        assert!(one.id().as_str().starts_with("req_"));
    }
}
