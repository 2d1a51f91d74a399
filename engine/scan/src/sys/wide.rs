//! Loops over rows of numbers, compiled for the widest vectors that the processor has.

/// Does `work` with what this processor has beyond its architecture's least: loops in it are compiled for wider vectors.
/// Only what is inlined into `work` gains, so it and what it calls are to be marked `#[inline(always)]`.
#[inline]
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has what the function is compiled for, as was asked right before; avx512f is part of
            // both.
            return unsafe { with_avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    /// What each compilation makes of the same loop.
    #[test]
    fn wider_vectors_change_no_result() {
        let row: Vec<u64> = (0..100_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let work = || -> Vec<u64> {
            row.iter().map(|number| number.rotate_left(13) ^ number.wrapping_mul(number | 1) >> 7).collect()
        };
        let expected = work();
        assert_eq!(wide(work), expected);
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            assert_eq!(unsafe { with_avx2(work) }, expected);
        }
    }
}
