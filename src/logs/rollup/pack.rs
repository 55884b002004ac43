use super::super::Histogram;

/// Each bucket and its number, seven bits a byte. Two of them, one behind the other, are the sum of both.
pub(in crate::logs) fn pack(histogram: &Histogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (bucket, mut number) in histogram.buckets() {
        bytes.push(bucket);
        while number > 0x7f {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes
}

/// Adds what was packed.
pub(in crate::logs) fn unpack(bytes: &[u8], histogram: &mut Histogram) {
    let mut bytes = bytes.iter();
    while let Some(bucket) = bytes.next() {
        let (mut number, mut shift) = (0, 0);
        for byte in bytes.by_ref() {
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            shift += 7;
            if *byte < 0x80 {
                break;
            }
        }
        histogram.add(*bucket, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_added_up_when_it_is_unpacked() {
        let mut histogram = Histogram::default();
        for (bucket, number) in [(0, 1), (7, 127), (8, 128), (255, 1 << 40)] {
            histogram.add(bucket, number);
        }

        let (packed, mut twice) = (pack(&histogram), histogram.clone());
        unpack(&packed, &mut twice);
        let mut behind = Histogram::default();
        unpack(&[&packed[..], &packed[..]].concat(), &mut behind);

        histogram.merge(&histogram.clone());
        assert_eq!((&twice, &behind), (&histogram, &histogram));
    }
}
