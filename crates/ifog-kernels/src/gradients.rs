//! What is made of the gate gradients dA of some steps: dW, dU, db and dX.
//!
//! ```text
//! dW += Σ x dA        dU += Σ h dA        db += Σ dA        dX = dA Wᵀ
//! ```
//!
//! In parts that write disjoint memory: of the weights each has some columns or rows of the results, of dX some rows.

use core::ops::Range;

use crate::cell::{Cell, ParamsMut};
use crate::cells::backward::Backward;
use crate::element::Element;
use crate::input::Input;
use crate::level::Level;
use crate::matrix::MatMut;
use crate::outer::{self, Left, Outer, Reduce, ones};
use crate::pack::Packed;
use crate::packed::PackedCell;
use crate::planted::{Bug, planted};
use crate::product::Multiply;
use crate::scatter;
use crate::split;
use crate::tape::Tape;
use crate::tile::Rows;

/// The products of one backward pass, over the whole window.
#[derive(Clone, Copy)]
pub(crate) struct Gradients<'a, E> {
    level: Level,
    /// One pass over dA for W, U and b.
    outer: Outer<E>,
    /// The tokens, and the gradient of their table.
    tokens: Option<(Outer<E>, *const u32, *mut E)>,
    /// Wᵀ, and dX with the length of its rows.
    dx: Option<(&'a Packed<E>, *mut E, usize)>,
    /// That of the first part, and how far apart they are.
    scratch: (*mut E, usize),
}

impl<'a, E: Element> Gradients<'a, E> {
    /// The gate gradients are those of `args`; `scratch` is that of so many threads.
    ///
    /// # Panics
    /// `scratch` is too short.
    pub(crate) fn new(
        cell: &'a PackedCell<E>,
        args: &Backward<E>,
        (input, tape): (&Input<'_, E>, &Tape<E>),
        grads: &mut ParamsMut<'_, E>,
        dx: Option<&mut MatMut<'_, E>>,
        (scratch, threads): (&mut [E], usize),
    ) -> Self {
        let shape = cell.shape();
        let (h, columns, width) = (shape.hidden(), shape.columns(), args.width);
        let left = |base: *const E, row_stride, m, range: (usize, usize), out: *mut E| Left {
            base,
            row_stride,
            m,
            columns: range,
            out,
            out_stride: columns,
        };
        let (w, u, b) = (
            grads.w.as_mut_ptr(),
            grads.u.as_mut_ptr(),
            grads.b.as_mut_ptr(),
        );
        let x = match input {
            Input::Dense(x) => {
                let (data, stride) = (x.data.as_ptr(), x.row_stride);
                Some(left(data, stride, shape.input(), (0, columns), w))
            }
            Input::Tokens { .. } => None,
        };
        let slot = usize::from(planted(Bug::StateAfterTheStep));
        let h_before = args.h.wrapping_add(slot * args.batch * h);
        let factor = |base, range: (usize, usize), to| left(base, h, h, range, u.wrapping_add(to));
        let (first, second, cuts) = match shape.cell() {
            Cell::Rnn | Cell::Lstm => (factor(h_before, (0, columns), 0), None, [columns; 3]),
            Cell::Gru => {
                let rh = match planted(Bug::GruResetAfter) {
                    true => h_before,
                    false => tape.rh.as_ptr(),
                };
                let candidate = factor(rh, (2 * h, 3 * h), 2 * h);
                let cuts = [2 * h, 3 * h, 3 * h];
                (factor(h_before, (0, 2 * h), 0), Some(candidate), cuts)
            }
            Cell::GruAfter => {
                // dq, behind the other gates, is the gradient of h U_n + b_hn.
                let q = match planted(Bug::GruAfterHiddenWeights) {
                    true => (2 * h, 3 * h),
                    false => (3 * h, 4 * h),
                };
                let candidate = factor(h_before, q, 2 * h);
                let cuts = [2 * h, 3 * h, 4 * h];
                (factor(h_before, (0, 2 * h), 0), Some(candidate), cuts)
            }
        };
        let outer = Outer {
            reduce: Reduce {
                steps: args.steps,
                batch: args.batch,
            },
            lefts: [x, Some(first), second, Some(ones(width, b))],
            right: args.gates,
            right_stride: width,
            cuts,
        };
        let tokens = match input {
            Input::Dense(_) => None,
            Input::Tokens { ids, .. } => {
                let cuts = [columns; 3];
                Some((Outer { cuts, ..outer }, ids.as_ptr(), w))
            }
        };
        let each = scratch.len() / threads;
        outer.check_scratch(each);
        let back = cell.back.as_ref().and_then(|back| back.w.as_ref());
        Self {
            level: cell.level(),
            outer,
            tokens,
            dx: dx
                .zip(back)
                .map(|(dx, w)| (&w.packed, dx.data.as_mut_ptr(), dx.row_stride)),
            scratch: (scratch.as_mut_ptr(), each),
        }
    }

    /// Into how many parts the products of so many steps are cut where one thread has made dA.
    pub(crate) fn parts(&self, steps: usize, threads: usize) -> usize {
        let rows = steps * self.outer.reduce.batch;
        let of_dx = self
            .dx
            .map_or(0, |(w, ..)| 2 * (w.k * w.layout.units) as u64);
        let flops = rows as u64 * (self.outer.flops_of_a_row(self.level) + of_dx);
        let lefts = self.outer.lefts.iter().flatten();
        // A part of dA, and all on its left.
        let bytes = rows * (self.outer.n() / threads + lefts.map(|left| left.m).sum::<usize>());
        split::parts_worth(flops as f64, (bytes * size_of::<E>()) as f64, threads)
    }

    /// Adds the part of dW, dU and db that the steps make.
    ///
    /// # Safety
    /// The pointers that it was made of are valid, and dA of these steps is there; nobody else works on this part, nor writes dA; of
    /// parts there are as many as threads at most.
    pub(crate) unsafe fn weights(&self, steps: Range<usize>, (part, parts): (usize, usize)) {
        let (scratch, each) = self.scratch;
        // SAFETY: passed on from the caller; the steps are of the window.
        unsafe {
            if let Some((table, ids, out)) = self.tokens {
                let ids = ids.add(steps.start * table.reduce.batch);
                let table = table.of_steps(steps.clone());
                scatter::part(self.level, &table, ids, out, (part, parts));
            }
            let scratch = scratch.add(part * each);
            outer::part(
                self.level,
                &self.outer.of_steps(steps),
                scratch,
                (part, parts),
            );
        }
    }

    /// dX, if it is wanted, of some rows of the steps.
    ///
    /// # Safety
    /// The pointers that it was made of are valid, and dA of these rows is there; nobody else works on them.
    pub(crate) unsafe fn inputs(&self, steps: Range<usize>, rows: Range<usize>) {
        let Some((w, dx, dx_stride)) = self.dx else {
            return;
        };
        let batch = self.outer.reduce.batch;
        let (first, count) = (steps.start * batch + rows.start, rows.len());
        let stride = match planted(Bug::InputGradientOfTheFirstStep) {
            true => 0,
            false => self.outer.right_stride,
        };
        let gates = self.outer.right.wrapping_add(first * stride);
        let dx = dx.wrapping_add(first * dx_stride);
        let product = Multiply {
            left: Rows::of_steps(gates, count, batch, stride),
            out: Rows::of_steps(dx, count, batch, dx_stride),
            bias: core::ptr::null(),
        };
        let (rows, panels) = (0..steps.len() * count, 0..w.layout.panels());
        // SAFETY: passed on from the caller.
        unsafe { E::product(self.level, w, &product, rows, panels) };
    }
}
