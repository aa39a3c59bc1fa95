//! Plain loops, compiled for a level.
//!
//! A loop over slices becomes vector code of what every processor of the target has, which on x86-64 is SSE2. Here the same loop is
//! compiled for the level as well. Its bits do not change: the compiler neither reorders nor fuses operations on floats.

use crate::level::{Kind, Level};

/// Loops that [`Level::vectorize`] runs: an optimiser's update, say, in which each element is on its own.
pub trait Vectorize {
    /// What comes out.
    type Output;

    /// Runs them. To be marked `#[inline(always)]`, like what it calls: else it is a call, to code without the instructions of the level.
    fn run(self) -> Self::Output;
}

impl Level {
    /// Runs plain loops as vector code of this level.
    ///
    /// ```
    /// use ifog_kernels::{Level, Vectorize};
    ///
    /// struct Scale<'a>(&'a mut [f32], f32);
    ///
    /// impl Vectorize for Scale<'_> {
    ///     type Output = ();
    ///     #[inline(always)]
    ///     fn run(self) {
    ///         self.0.iter_mut().for_each(|value| *value *= self.1);
    ///     }
    /// }
    ///
    /// let mut values = [1.0; 100];
    /// Level::best().vectorize(Scale(&mut values, 3.0));
    /// assert_eq!(values, [3.0; 100]);
    /// ```
    pub fn vectorize<W: Vectorize>(self, work: W) -> W::Output {
        match self.0 {
            Kind::Portable | Kind::ScalarFma => work.run(),
            // SAFETY: a level is the proof that the machine has it.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<W: Vectorize>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn avx512<W: Vectorize>(work: W) -> W::Output {
    work.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    struct Products<'a>(&'a mut [f32]);

    impl Vectorize for Products<'_> {
        type Output = bool;

        #[inline(always)]
        fn run(self) -> bool {
            for (k, value) in self.0.iter_mut().enumerate() {
                *value = *value * 1.1 + 0.3 / (1.0 + k as f32);
            }
            self.0
                .iter()
                .fold(true, |all, value| all & value.is_finite())
        }
    }

    #[test]
    fn bits_are_those_of_every_level() {
        let values: Vec<f32> = (0..77).map(|k| 0.37 * k as f32 - 11.0).collect();
        let of = |level: Level| {
            let mut values = values.clone();
            assert!(level.vectorize(Products(&mut values)));
            values
        };
        let plain = of(Level::PORTABLE);
        assert!(Level::available().all(|level| of(level) == plain));
    }
}
