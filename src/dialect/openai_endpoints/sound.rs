//! How long a recording may be, by its bytes.

use std::time::Duration;

/// The lowest rate at which speech is usually recorded: 8 kilobits in a second.
const BYTES_OF_A_SECOND: u64 = 1_000;
/// No recording is taken for longer than its bytes suffice for and this, whatever it says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that a recording may be: as its header says where that is to be believed, or as long as its
/// bytes suffice for.
pub(super) fn longest(file: &[u8]) -> Duration {
    let lasts = |rate: u64| Duration::from_millis((file.len() as u64).saturating_mul(1_000) / rate + 1);
    if let Some(rate) = rate_of_wav(file) {
        return lasts(rate);
    }
    // Silence takes next to no bytes in these.
    let said = of_flac(file).or_else(|| of_ogg(file)).unwrap_or_default();
    lasts(BYTES_OF_A_SECOND).max(said.min(LONGEST))
}

/// The bytes of a second of a WAV that isn't compressed: samples, channels and bits are what a decoder
/// goes by, and not the rate that stands beside them.
fn rate_of_wav(file: &[u8]) -> Option<u64> {
    let format = format_of_wav(file)?;
    let short = |at: usize| Some(u64::from(u16::from_le_bytes(format.get(at..at + 2)?.try_into().ok()?)));
    let coding = match short(0)? {
        // The coding stands further behind.
        0xfffe => short(24)?,
        coding => coding,
    };
    let samples = u64::from(u32::from_le_bytes(format.get(4..8)?.try_into().ok()?));
    let (channels, bits) = (short(2)?, short(14)?);
    // Whole numbers, floats, and the two ways of telephones.
    let is_plain = matches!(coding, 1 | 3 | 6 | 7);
    let is_usual = (4_000..=192_000).contains(&samples)
        && (1..=8).contains(&channels)
        && matches!(bits, 8 | 16 | 24 | 32 | 64);
    (is_plain && is_usual).then(|| samples * channels * bits / 8)
}

/// What stands in the part of a WAV that describes its format.
fn format_of_wav(file: &[u8]) -> Option<&[u8]> {
    /// Others may come before it.
    const MOST_PARTS: usize = 16;

    let mut rest = file.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    for _ in 0..MOST_PARTS {
        let length = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        if rest.starts_with(b"fmt ") {
            return rest.get(8..)?.get(..length);
        }
        // Parts begin at even places.
        rest = rest.get(8..)?.get(length.checked_add(length % 2)?..)?;
    }
    None
}

/// How long a FLAC says that it is.
fn of_flac(file: &[u8]) -> Option<Duration> {
    let described = file.strip_prefix(b"fLaC")?.get(4 + 10..4 + 18)?;
    let bits = u64::from_be_bytes(described.try_into().ok()?);
    // 20 bits of samples in a second, 3 of channels, 5 of bits, 36 of samples.
    seconds(bits & ((1 << 36) - 1), bits >> 44)
}

/// How long an Ogg says that it is on its last page.
fn of_ogg(file: &[u8]) -> Option<Duration> {
    let head = file.strip_prefix(b"OggS")?.get(24..)?;
    let rate = match head {
        _ if head.starts_with(b"OpusHead") => 48_000,
        _ if head.starts_with(b"\x01vorbis") => u32::from_le_bytes(head.get(12..16)?.try_into().ok()?).into(),
        _ => return None,
    };
    let last = memchr::memmem::rfind(file, b"OggS")?;
    let samples = file.get(last + 6..last + 14)?;
    seconds(u64::from_le_bytes(samples.try_into().ok()?), rate)
}

fn seconds(samples: u64, rate: u64) -> Option<Duration> {
    samples.checked_div(rate).map(|seconds| Duration::from_secs(seconds.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16,000 samples in a second, one channel, 16 bits.
    fn wav(bytes: usize) -> Vec<u8> {
        let mut wav =
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
        wav.resize(44 + bytes, 0);
        wav
    }

    #[test]
    fn a_wav_is_as_long_as_its_samples_last() {
        let mut wav = wav(64_000);
        assert_eq!(longest(&wav).as_secs(), 2);

        // What stands in it as the rate of its bytes is not what it is played at.
        wav[28..32].copy_from_slice(&1_000_000_u32.to_le_bytes());
        assert_eq!(longest(&wav).as_secs(), 2);

        wav.splice(12..12, *b"JUNK\x03\0\0\0abc\0");
        assert_eq!(longest(&wav).as_secs(), 2);
    }

    #[test]
    fn a_header_that_cannot_be_right_is_none() {
        for (at, value) in [(20, 0x55), (22, 0), (22, 200), (34, 0), (34, 7)] {
            let mut wav = wav(64_000);
            wav[at] = value;
            assert_eq!(longest(&wav).as_secs(), 64, "{at}");
        }
        let mut fast = wav(64_000);
        fast[24..28].fill(0xff);
        assert_eq!(longest(&fast).as_secs(), 64);
        let mut endless = b"RIFF\0\0\0\0WAVEJUNK\xff\xff\xff\xff".to_vec();
        endless.resize(64_000, 0);
        assert_eq!(longest(&endless).as_secs(), 64);
        assert_eq!(longest(b"RIFF").as_secs(), 0);
    }

    #[test]
    fn what_is_compressed_lasts_as_long_as_its_bytes_suffice_for() {
        assert_eq!(longest(&[0; 64_000]).as_secs(), 64);
    }

    #[test]
    fn silence_is_as_long_as_it_says() {
        // 16,000 samples in a second, 57,600,000 of them.
        let bits: u64 = 16_000 << 44 | 57_600_000;
        let flac = [&b"fLaC\0\0\0\x22"[..], &[0; 10], &bits.to_be_bytes(), &[0; 16]].concat();
        let page = |samples: u64| [&b"OggS\0\0"[..], &samples.to_le_bytes(), &[0; 14]].concat();
        let opus = [page(0), b"OpusHead".to_vec(), page(48_000 * 600)].concat();
        let absurd = [page(0), b"OpusHead".to_vec(), page(u64::MAX)].concat();

        assert_eq!(longest(&flac).as_secs(), 3_601);
        assert_eq!(longest(&opus).as_secs(), 601);
        assert_eq!(longest(&absurd), LONGEST);
    }
}
