//! What one core can do at most, as work to be timed: the two numbers of a roofline (Williams, Waterman &
//! Patterson 2009).
//!
//! The crate has no clock; whoever measures times these calls.

use crate::element::Element;
use crate::level::Level;
use crate::simd::Simd;

/// Fused multiply-adds on registers alone, in more independent chains than the latency of one needs. Returns the FLOPs
/// done, 2 for a multiply-add, and a value that depends on them, so that they are not left out.
pub fn multiply_add_peak<E: Element>(level: Level, rounds: usize) -> (usize, E) {
    let mut values = [E::ONE; MOST_LANES];
    E::multiply_add_chains(level, rounds, &mut values);
    let flops = 2 * CHAINS * crate::dispatch::lanes::<E>(level) * rounds;
    (flops, values[0])
}

/// Reads `data` from the first to the last element, `passes` times, as the kernels read packed weights. Returns the
/// bytes read and a value that depends on them, so that they are not left out.
///
/// Elements behind the last whole group of 8 vectors are left out.
pub fn read_stream<E: Element>(level: Level, data: &[E], passes: usize) -> (usize, E) {
    let mut sum = [E::ZERO; MOST_LANES];
    let group = READ_AHEAD * crate::dispatch::lanes::<E>(level);
    let whole = data.len() / group * group;
    E::read_passes(level, &data[..whole], passes, &mut sum);
    (whole * size_of::<E>() * passes, sum[0])
}

#[inline(always)]
pub(crate) fn multiply_add_body<S: Simd>(s: S, rounds: usize, values: &mut [S::Elem; MOST_LANES]) {
    let mut chains = [s.splat(S::Elem::ONE); CHAINS];
    let factor = s.splat(S::Elem::from_f64(0.5));
    let shift = s.splat(values[0]);
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = s.mul_add(*chain, factor, shift);
        }
    }
    let mut sum = s.splat(S::Elem::ZERO);
    for chain in chains {
        sum = s.add(sum, chain);
    }
    // SAFETY: no level has more than MOST_LANES lanes.
    unsafe { s.store(values.as_mut_ptr(), sum) };
}

#[inline(always)]
pub(crate) fn read_body<S: Simd>(
    s: S,
    data: &[S::Elem],
    passes: usize,
    sum: &mut [S::Elem; MOST_LANES],
) {
    let mut sums = [s.splat(S::Elem::ZERO); READ_AHEAD];
    for _ in 0..passes {
        for group in data.chunks_exact(READ_AHEAD * S::LANES) {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a group has READ_AHEAD · LANES elements.
                *sum = s.add(*sum, unsafe { s.load(group.as_ptr().add(v * S::LANES)) });
            }
        }
    }
    let mut total = s.splat(S::Elem::ZERO);
    for part in sums {
        total = s.add(total, part);
    }
    // SAFETY: no level has more than MOST_LANES lanes.
    unsafe { s.store(sum.as_mut_ptr(), total) };
}

/// Two fused multiply-adds a cycle with a latency of 4 or 5 cycles need 8 to 10 chains.
const CHAINS: usize = 12;
/// Vectors of a reading loop: independent sums hide the latency of the addition.
const READ_AHEAD: usize = 8;
/// Lanes of the widest level: f32 at AVX-512.
pub(crate) const MOST_LANES: usize = 16;
