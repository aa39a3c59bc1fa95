//! One step a call, the state carried: how an audio plug-in or a server runs a cell.

use alloc::sync::Arc;
use core::ops::Deref;

use crate::buffer::AlignedVec;
use crate::cell::Cell;
use crate::cells::forward::{Forward, Init, Phase, Work};
use crate::cells::step::Stream;
use crate::element::Element;
use crate::input::TokenTable;
use crate::matrix::ShapeError;
use crate::packed::PackedCell;
use crate::parallel::Shared;
#[cfg(feature = "std")]
use crate::{packed::GateMatrix, team::Team};
#[cfg(feature = "std")]
use std::{time::Instant, vec};

/// A stream through a cell: its state, on weights that any number of streams share.
///
/// A call of [`Stepper::step`], or of [`Stepper::step_token`], has the bits of one step of [`PackedCell::infer`]. It allocates
/// nothing and does not panic; without a [`Team`](crate::Team) it takes no lock, makes no system call and waits for nobody. With
/// one it rouses the helpers that sleep, by a system call, waits for those that have begun their part, and would pass on a panic of
/// theirs.
///
/// [`PackedCell::stepper`] borrows the cell; [`PackedCell::stepper_of`] shares it by an [`Arc`], for a struct that owns both.
///
/// ```
/// use ifog_kernels::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shape = Shape::new(Cell::Lstm, 1, 16)?;
/// let mut cell = PackedCell::new(Level::detect()?, shape, Uses { dense_input: true, backward: false })?;
/// cell.pack(shape.split(&vec![0.1f32; shape.param_len()])?);
///
/// let (mut left, mut right) = (cell.stepper()?, cell.stepper()?);
/// let mut h = [0.0; 16];
/// left.step(&[0.5], &mut h)?;
/// right.step(&[-0.5], &mut h)?;
/// assert_ne!(left.state(), right.state());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stepper<'a, E> {
    cell: Lent<'a, PackedCell<E>>,
    /// H in whole vectors, which is how wide the states are.
    width: usize,
    /// `[2, width]`: h and the one before it change places at each step.
    h: AlignedVec<E>,
    /// Which half of `h` is the state.
    now: usize,
    /// `[width]`, LSTM only.
    c: AlignedVec<E>,
    /// r ⊙ h, `[width]`; GRU reset-before only.
    rh: AlignedVec<E>,
    /// x W + b, a row in panel order; reset-after only.
    xw: AlignedVec<E>,
    /// And the parts of a step.
    #[cfg(feature = "std")]
    team: Option<(Lent<'a, Team>, usize)>,
}

impl<E: Element> PackedCell<E> {
    /// A stream in the zero state.
    ///
    /// # Errors
    /// The state would not fit in memory.
    pub fn stepper(&self) -> Result<Stepper<'_, E>, ShapeError> {
        Stepper::new(Lent::Borrowed(self))
    }

    /// The same with a share in the cell, so that it can live beside or longer than the caller's.
    ///
    /// # Errors
    /// As [`PackedCell::stepper`].
    pub fn stepper_of(cell: &Arc<Self>) -> Result<Stepper<'static, E>, ShapeError> {
        Stepper::new(Lent::Shared(Arc::clone(cell)))
    }
}

/// What others may use as well.
#[derive(Debug)]
enum Lent<'a, T> {
    Borrowed(&'a T),
    Shared(Arc<T>),
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(it) => it,
            Self::Shared(it) => it,
        }
    }
}

impl<T> Clone for Lent<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(it) => Self::Borrowed(it),
            Self::Shared(it) => Self::Shared(Arc::clone(it)),
        }
    }
}

impl<'a, E: Element> Stepper<'a, E> {
    fn new(cell: Lent<'a, PackedCell<E>>) -> Result<Self, ShapeError> {
        let width = cell.hidden_in_vectors();
        let zeros = |len| AlignedVec::zeros(len, "the state of a stream");
        let only = |kind, len| zeros(if cell.shape().cell() == kind { len } else { 0 });
        Ok(Stepper {
            width,
            h: zeros(2 * width)?,
            now: 0,
            c: only(Cell::Lstm, width)?,
            rh: only(Cell::Gru, width)?,
            xw: only(Cell::GruAfter, cell.u.row_len())?,
            cell,
            #[cfg(feature = "std")]
            team: None,
        })
    }
}

#[cfg(feature = "std")]
impl<'a, E: Element> Stepper<'a, E> {
    /// The same stream, whose steps the threads of a team share where that is faster. Same bits.
    ///
    /// How far away another core is, no two machines agree on: it is tried, on copies of the stream, unless the weights are so few or so
    /// many that one knows. That takes a millisecond or two, and some more if the helpers have only just been started; a stream whose team
    /// is stepping for others meanwhile goes alone.
    #[must_use]
    pub fn with_team(self, team: &'a Team) -> Self {
        self.joined(Lent::Borrowed(team))
    }

    /// The same with a share in the team.
    #[must_use]
    pub fn with_team_of(self, team: &Arc<Team>) -> Self {
        self.joined(Lent::Shared(Arc::clone(team)))
    }

    fn joined(self, team: Lent<'a, Team>) -> Self {
        let cell = &self.cell;
        let panels = cell.steps(1, 1, cell.u.weights()).panels;
        let bytes = cell.u.bytes() + cell.w.as_ref().map_or(0, GateMatrix::bytes);
        let parts = team.threads().min(panels);
        let alone = Self { team: None, ..self };
        let shared = Self {
            team: Some((team, parts)),
            ..alone.clone()
        };
        let gains = || bytes > LARGE || (bytes > SMALL && gains(&alone, &shared));
        match parts > 1 && gains() {
            true => shared,
            false => alone,
        }
    }

    /// Nanoseconds of some steps.
    fn trial(&mut self, x: &[E], out: &mut [E]) -> u128 {
        let start = Instant::now();
        for _ in 0..TRIAL {
            match self.cell.w {
                Some(_) => self.advance(x, out),
                // A token's row looks like the bias.
                None => {
                    let row = Init::Bias(self.cell.bias.as_ptr());
                    self.advance_generally(&[], Some(row));
                }
            }
        }
        start.elapsed().as_nanos()
    }
}

/// Whether steps that a team shares are the faster ones, by a trial of both.
#[cfg(feature = "std")]
fn gains<E: Element>(alone: &Stepper<'_, E>, shared: &Stepper<'_, E>) -> bool {
    let Some((team, _)) = &shared.team else {
        return false;
    };
    if !team.rally() {
        return false;
    }
    let mut streams = [alone.clone(), shared.clone()];
    let shape = alone.cell.shape();
    let (x, mut out) = (vec![E::ZERO; shape.input()], vec![E::ZERO; shape.hidden()]);
    let mut best = [u128::MAX; 2];
    for _ in 0..TRIALS {
        for (stream, best) in streams.iter_mut().zip(&mut best) {
            *best = stream.trial(&x, &mut out).min(*best);
        }
    }
    // By more than trials differ.
    best[1] + best[1] / 16 < best[0]
}

/// Steps of a trial, and how often both are tried: a millisecond for the largest.
#[cfg(feature = "std")]
const TRIAL: usize = 8;
#[cfg(feature = "std")]
const TRIALS: usize = 8;
/// Bytes of weights up to which a step is shorter than the way to another core, and from which it is worth it wherever that is.
#[cfg(feature = "std")]
const SMALL: usize = 64 << 10;
#[cfg(feature = "std")]
const LARGE: usize = 768 << 10;

impl<E: Element> Stepper<'_, E> {
    /// One step: x `[I]` in, h' `[H]` out.
    ///
    /// # Errors
    /// A slice has another length, or the cell was made without [`Uses::dense_input`](crate::Uses::dense_input); the state is
    /// as it was.
    #[inline]
    pub fn step(&mut self, x: &[E], out: &mut [E]) -> Result<(), ShapeError> {
        let shape = self.cell.shape();
        shape.check("x", x.len(), shape.input())?;
        shape.check("out", out.len(), shape.hidden())?;
        if self.cell.w.is_none() {
            return Err(ShapeError::NoDenseInput);
        }
        self.advance(x, out);
        Ok(())
    }

    /// One step for a token: row `token` of `table` takes the place of x W + b.
    ///
    /// # Errors
    /// `out` has another length than H, the table is for a cell of another level or shape, or the token is outside it; the
    /// state is as it was.
    pub fn step_token(
        &mut self,
        table: &TokenTable<E>,
        token: u32,
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        let cell = &*self.cell;
        cell.shape()
            .check("out", out.len(), cell.shape().hidden())?;
        if !cell.reads(table) {
            return Err(ShapeError::OtherTable);
        }
        let vocabulary = table.vocabulary();
        if token as usize >= vocabulary {
            return Err(ShapeError::Token { token, vocabulary });
        }
        let row = Init::Table {
            table: table.rows.as_ptr(),
            stride: cell.u.row_len(),
            ids: &raw const token,
        };
        self.advance_generally(&[], Some(row));
        out.copy_from_slice(self.h());
        Ok(())
    }

    /// The state: h `[H]`, and c `[H]` of an LSTM.
    pub fn state(&self) -> (&[E], &[E]) {
        (self.h(), &self.c[..self.memory_len()])
    }

    /// Takes up a state that [`Stepper::state`] gave.
    ///
    /// # Errors
    /// A slice has another length; the state is as it was.
    pub fn set_state(&mut self, h: &[E], c: &[E]) -> Result<(), ShapeError> {
        let shape = self.cell.shape();
        shape.check("h", h.len(), shape.hidden())?;
        shape.check("c", c.len(), self.memory_len())?;
        self.h[self.now * self.width..][..h.len()].copy_from_slice(h);
        self.c[..c.len()].copy_from_slice(c);
        Ok(())
    }

    /// Back to the zero state.
    pub fn reset(&mut self) {
        self.h.fill(E::ZERO);
        self.c.fill(E::ZERO);
    }

    fn h(&self) -> &[E] {
        &self.h[self.now * self.width..][..self.cell.shape().hidden()]
    }

    /// Elements of c.
    fn memory_len(&self) -> usize {
        self.cell.shape().hidden().min(self.c.len())
    }

    /// x has I elements, `out` H.
    #[inline(always)]
    fn advance(&mut self, x: &[E], out: &mut [E]) {
        #[cfg(feature = "std")]
        if self.team.is_some() {
            self.advance_generally(x, None);
            return out.copy_from_slice(self.h());
        }
        let (h_before, h) = self.states();
        let cell = &*self.cell;
        let Some(w) = &cell.w else {
            unreachable!("`step` has looked for W");
        };
        let stream = Stream {
            hidden: self.width,
            x: x.as_ptr(),
            h_before,
            h,
            out: out.as_mut_ptr(),
            units: out.len(),
            c: self.c.as_mut_ptr(),
            rh: self.rh.as_mut_ptr(),
            xw: self.xw.as_mut_ptr(),
            bias: cell.bias.as_ptr(),
            bias_hidden: cell.bias_hidden.as_ptr(),
            turn: self.now,
        };
        let run = match cell.shape().cell() {
            Cell::Rnn => E::rnn_step,
            Cell::Lstm if cell.in_pairs(true, 1) => E::lstm_pairs_step,
            Cell::Lstm => E::lstm_step,
            Cell::Gru => E::gru_step,
            Cell::GruAfter if cell.in_pairs(true, 1) => E::gru_after_pairs_step,
            Cell::GruAfter => E::gru_after_step,
        };
        // SAFETY: `x` has I elements, and the buffers were made for the cell.
        unsafe { run(cell.level(), &stream, w, &cell.u) };
        self.now = 1 - self.now;
    }

    /// By the general kernels, the units in parts where there is a team. `row` is x W + b; without it, x has I elements, and the
    /// cell has W.
    #[inline(never)]
    fn advance_generally(&mut self, x: &[E], row: Option<Init<E>>) {
        let (h0, h) = self.states();
        let cell = &*self.cell;
        #[cfg(feature = "std")]
        let parts = self.team.as_ref().map_or(1, |(_, parts)| *parts);
        #[cfg(not(feature = "std"))]
        let parts = 1;
        let args = Forward {
            hidden: self.width,
            x: x.as_ptr(),
            x_stride: x.len(),
            h0,
            h,
            c: self.c.as_mut_ptr(),
            rh: self.rh.as_mut_ptr(),
            init: row.unwrap_or(Init::Bias(cell.bias.as_ptr())),
            turn: self.now,
            ..cell.forward_args(1)
        };
        let ahead = row.is_none() && !self.xw.is_empty();
        let ahead = ahead.then(|| (self.xw.as_mut_ptr(), self.xw.len()));
        let phases: &[Phase] = match cell.phases() {
            1 => &[Phase::All],
            _ => &[Phase::First, Phase::Second],
        };
        // SAFETY: each part below has panels of its own.
        let shared = unsafe { Shared::new((args, ahead)) };
        for &phase in phases {
            let work = |part| {
                if part >= parts {
                    return;
                }
                let (mut args, ahead) = *shared.inner();
                let work = Work {
                    steps: 0..1,
                    rows: 0..1,
                    share: (part, parts),
                    phase,
                };
                // SAFETY: x W + b is a row of a table, or `x` has I elements; the buffers were made for the cell; this part
                // fills and reads its own panels of x W + b.
                unsafe {
                    if let Some((base, stride)) = ahead {
                        cell.input_product(&args, base, 0..1, &work);
                        args.init = Init::Rows { base, stride };
                    }
                    cell.run_forward(&args, work);
                }
            };
            #[cfg(feature = "std")]
            if let Some((team, _)) = &self.team {
                team.run(&work);
                continue;
            }
            work(0);
        }
        self.now = 1 - self.now;
    }

    /// The state, and where the next one goes.
    fn states(&mut self) -> (*const E, *mut E) {
        let halves = self.h.as_mut_ptr();
        let half = |index: usize| halves.wrapping_add(index * self.width);
        (half(self.now), half(1 - self.now))
    }
}
