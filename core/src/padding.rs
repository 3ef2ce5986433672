//! Buckets that hide a payload's exact length (SPEC section 4.1).

/// The padded length for `len` bytes, the 0x80 included: multiples of 32 up to 256, Padmé above.
pub(crate) const fn bucket(len: usize) -> usize {
    if len <= 256 {
        return len.next_multiple_of(32);
    }
    // Padmé: as many significant bits as the exponent needs, hence at most 12 % more.
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    len.next_multiple_of(1 << (exponent - significant))
}

/// The length of the data before the padding, if the padding is the one that [`bucket`] asks for.
pub(crate) fn unpadded_len(padded: &[u8]) -> Option<usize> {
    let marker = padded.iter().rposition(|&byte| byte != 0)?;
    (padded.get(marker) == Some(&0x80) && bucket(marker + 1) == padded.len()).then_some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_specifications() {
        for (len, padded) in [(1, 32), (32, 32), (33, 64), (255, 256), (256, 256), (257, 272), (1000, 1024), (1025, 1088), (100_000, 100_352)] {
            assert_eq!(bucket(len), padded, "bucket({len})");
        }
    }

    #[test]
    fn only_the_canonical_padding_is_removed() {
        let mut data = [0_u8; 32];
        data[5] = 0x80;
        assert_eq!(unpadded_len(&data), Some(5));
        assert_eq!(unpadded_len(&data[..31]), None, "not a bucket");
        data[5] = 0x81;
        assert_eq!(unpadded_len(&data), None, "no marker");
        assert_eq!(unpadded_len(&[0; 32]), None, "only zeros");
        assert_eq!(unpadded_len(&[]), None);
        let mut larger = [0_u8; 64];
        larger[5] = 0x80;
        assert_eq!(unpadded_len(&larger), None, "a larger bucket than needed");
    }
}
