//! Which instructions the kernels use, decided once at run time.

use core::fmt;

use crate::simd::portable::{EMULATED, PORTABLE_FUSES};

/// An instruction-set level that this machine has.
///
/// A value is the proof: there is no way to make one for a level that is absent. All levels that
/// [`Level::is_fused`] is true of give the same bits; between those, `IFOG_ISA` only changes the speed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(pub(crate) Kind);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Portable,
    ScalarFma,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Why a level cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LevelError {
    /// No level has that name.
    Unknown,
    /// The name is known, but this machine or build lacks it.
    Absent(&'static str),
}

/// The environment variable that forces a level.
#[cfg(feature = "std")]
const OVERRIDE: &str = "IFOG_ISA";

/// Every name that `IFOG_ISA` may have on some machine.
const NAMES: [&str; 5] = ["portable", "scalar-fma", "avx2", "avx512", "neon"];

impl Level {
    /// What every machine has: arrays that the compiler vectorises for its target.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// The level to use: the one named by the environment variable `IFOG_ISA` if it is set and not
    /// empty, else the best of [`Level::available`].
    ///
    /// # Errors
    /// `IFOG_ISA` names no level, or one that this machine lacks: a forced level is never replaced by
    /// another.
    pub fn detect() -> Result<Self, LevelError> {
        #[cfg(feature = "std")]
        if let Some(name) = std::env::var_os(OVERRIDE).filter(|name| !name.is_empty()) {
            return Self::named(name.to_str().unwrap_or_default());
        }
        Ok(Self::best())
    }

    /// The fastest level of this machine, whatever `IFOG_ISA` says. On one without fused multiply-add that is
    /// [`Level::PORTABLE`], whose bits are its own ([`Level::is_fused`]); those of other machines are to be had there with
    /// `scalar-fma`, slowly.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::PORTABLE)
    }

    /// The level called `name`: `portable`, `scalar-fma`, `avx2` or `avx512`. (`neon` has a name and no code yet: machines that
    /// have it use `scalar-fma`, whose arrays the compiler makes NEON of.)
    ///
    /// # Errors
    /// There is no such level, or this machine lacks it.
    pub fn named(name: &str) -> Result<Self, LevelError> {
        if let Some(level) = Self::available().find(|level| level.name() == name) {
            return Ok(level);
        }
        let known = NAMES.iter().find(|known| **known == name);
        Err(known.map_or(LevelError::Unknown, |name| LevelError::Absent(name)))
    }

    /// The levels of this machine, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        // `core` has no fused multiply-add.
        let scalar_fma = cfg!(feature = "std");
        let all = [
            (Kind::ScalarFma, scalar_fma && EMULATED),
            (Kind::Portable, true),
            (Kind::ScalarFma, scalar_fma && !EMULATED),
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx2, has_avx2()),
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx512, has_avx512()),
        ];
        all.into_iter()
            .filter(|(_, has)| *has)
            .map(|(kind, _)| Self(kind))
    }

    /// The name, as `IFOG_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            Kind::ScalarFma => "scalar-fma",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    /// Whether a multiply-add is rounded once, so that the bits are those of every other such level.
    pub fn is_fused(self) -> bool {
        self.0 != Kind::Portable || PORTABLE_FUSES
    }
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn has_avx512() -> bool {
    has_avx2()
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vl")
}

// Without `std` there is no detection: a level is there if the whole build is made for it.
#[cfg(all(target_arch = "x86_64", not(feature = "std")))]
fn has_avx2() -> bool {
    cfg!(all(target_feature = "avx2", target_feature = "fma"))
}

#[cfg(all(target_arch = "x86_64", not(feature = "std")))]
fn has_avx512() -> bool {
    has_avx2()
        && cfg!(all(
            target_feature = "avx512f",
            target_feature = "avx512dq",
            target_feature = "avx512vl"
        ))
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Level({self})")
    }
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no instruction-set level of that name")?,
            Self::Absent(name) => write!(f, "this machine or build lacks {name}")?,
        }
        f.write_str("; choose one of")?;
        for (k, level) in Level::available().enumerate() {
            write!(f, "{}{level}", if k == 0 { " " } else { ", " })?;
        }
        f.write_str(", or unset IFOG_ISA if the name came from there")
    }
}

impl core::error::Error for LevelError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn a_level_that_is_asked_for_is_the_one_that_comes() {
        for level in Level::available() {
            assert_eq!(Level::named(level.name()), Ok(level));
        }
        assert_eq!(Level::named("sse9"), Err(LevelError::Unknown));
        // A multiply-add that the C library does is the last to be chosen.
        let slowest = Level::available().next();
        assert_eq!(
            slowest,
            Some(if EMULATED && cfg!(feature = "std") {
                Level(Kind::ScalarFma)
            } else {
                Level::PORTABLE
            })
        );
        for name in NAMES {
            match Level::named(name) {
                Ok(level) => assert_eq!(level.name(), name),
                Err(error) => assert_eq!(error, LevelError::Absent(name)),
            }
        }
    }
}
