//! The same-bits contract: the exact results depend neither on the level, nor on the threads, nor on the other rows of the
//! batch, nor on how a sequence is cut into calls.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod problem;

use ifog_kernels::{Cell, Element, Level, Threads};
use problem::{Feed, Problem, Setup, Sizes, Trained, assert_same_bits, cases, sizes};
use proptest::prelude::*;

/// Levels that a machine of this architecture may have; those that are absent are named, not passed over in silence.
const FUSED: [&str; 3] = ["scalar-fma", "avx2", "avx512"];

const FEEDS: [Feed; 3] = [Feed::Dense, Feed::OneHot, Feed::Embedding];

/// Runs a generic check in f32, and for one seed in four in f64.
macro_rules! in_either_precision {
    ($check:ident, $sizes:expr) => {
        if $sizes.seed % 4 == 0 {
            $check::<f64>($sizes)
        } else {
            $check::<f32>($sizes)
        }
    };
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn every_fused_level_gives_the_same_bits(sizes in sizes()) {
        in_either_precision!(levels_agree, sizes);
    }

    #[test]
    fn however_the_sequence_is_cut(sizes in sizes()) {
        in_either_precision!(cuts_agree, sizes);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn tokens_are_vectors(sizes in sizes()) {
        in_either_precision!(tokens_agree, sizes);
    }

    /// Within 4·ε·⌈log₂ 2(I+H)⌉ of the fused levels, a step at a time: I + H products are rounded once more each.
    #[test]
    fn the_portable_level_is_near(sizes in sizes()) {
        portable_is_near(Sizes { steps: 1, ..sizes });
        portable_is_near(Sizes { steps: 1, input: 7 * sizes.input, hidden: 7 * sizes.hidden, ..sizes });
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_row_does_not_see_its_batch(sizes in sizes()) {
        in_either_precision!(rows_agree, Sizes { batch: 17, ..sizes });
    }
}

/// Larger than the networks above: of these weights the next panel is fetched while one is multiplied.
#[test]
fn weights_that_do_not_stay_in_l2() {
    for cell in Cell::ALL {
        levels_agree::<f32>(Sizes {
            cell,
            steps: 2,
            batch: 33,
            input: 288,
            hidden: 290,
            seed: 1,
        });
    }
}

/// Panels that are cut: of x W and h U together, and of the two products of a GRU that resets behind its product, in BPTT. AVX-512 cuts elsewhere than AVX2,
/// and scalar code not at all, and a single row is never cut.
#[test]
fn panels_that_do_not_stay_in_l2() {
    let sizes = |cell, batch, input, hidden| Sizes {
        cell,
        steps: 2,
        batch,
        input,
        hidden,
        seed: 1,
    };
    levels_agree::<f32>(sizes(Cell::Rnn, 33, 3300, 1000));
    levels_agree::<f32>(sizes(Cell::GruAfter, 9, 8, 1450));
}

/// x W + b is computed for a chunk of steps at a time, of 160 to 660 rows here and half as many in f64, and BPTT goes back some 512
/// rows before it makes weight gradients of them: each window is several of either.
#[test]
fn chunks_of_inputs() {
    for cell in Cell::ALL {
        let sizes = Sizes {
            cell,
            steps: 140,
            batch: 8,
            input: 24,
            hidden: 100,
            // The fastest level of a machine that has 2, 3 or 4.
            seed: 0xB04,
        };
        levels_agree::<f32>(sizes);
        cuts_agree::<f32>(sizes);
        cuts_agree::<f64>(sizes);
    }
}

fn levels_agree<E: Element>(sizes: Sizes) {
    let problem = Problem::random(sizes, feed(sizes));
    let run = |level| {
        let setup = Setup::<E>::new(&problem, level, Threads::SINGLE);
        (setup.infer(&setup.whole()), setup.train(&setup.whole()))
    };
    let levels = fused_levels();
    let Some((first, others)) = levels.split_first() else {
        return;
    };
    let (states, trained) = run(*first);
    for level in others {
        let (other_states, other) = run(*level);
        let what = (E::NAME, level, first, sizes);
        assert_same_bits(&other_states.named(), &states.named(), &what);
        assert_same_bits(&other.named(), &trained.named(), &what);
    }
}

fn cuts_agree<E: Element>(sizes: Sizes) {
    let problem = Problem::random(sizes, feed(sizes));
    let setup = Setup::<E>::new(&problem, any_level(sizes.seed), Threads::SINGLE);
    let whole = setup.train(&setup.whole());
    let steps: Vec<usize> = (0..=sizes.steps).collect();
    for cuts in [
        steps,
        problem.random_cuts(sizes.seed),
        setup.whole().to_vec(),
    ] {
        let what = (E::NAME, &cuts, sizes);
        assert_same_bits(&setup.infer(&cuts).named(), &whole.states.named(), &what);
        assert_same_bits(&setup.train(&cuts).named(), &whole.named(), &what);
    }
}

fn tokens_agree<E: Element>(sizes: Sizes) {
    let level = any_level(sizes.seed);
    for feed in [Feed::OneHot, Feed::Embedding] {
        let problem = Problem::random(sizes, feed);
        let tokens = Setup::<E>::new(&problem, level, Threads::SINGLE);
        let dense = Setup::<E>::new(&problem.dense(), level, Threads::SINGLE);
        let what = (E::NAME, level, feed, sizes);
        let states = (tokens.infer(&tokens.whole()), dense.infer(&dense.whole()));
        assert_same_bits(&states.0.named(), &states.1.named(), &what);
        let (tokens, dense) = (tokens.train(&tokens.whole()), dense.train(&dense.whole()));
        // dx exists for vectors only; dW is the table's gradient unless one-hot; an RNN has no gates to keep.
        let common = |trained: &Trained<E>| -> Vec<(&'static str, Vec<E>)> {
            let kept = trained.named().into_iter().filter(|(name, _)| match *name {
                "dx" => false,
                "dW" => feed == Feed::OneHot,
                "gates" => sizes.cell != Cell::Rnn,
                _ => true,
            });
            kept.map(|(name, values)| (name, values.to_vec())).collect()
        };
        let (tokens, dense) = (common(&tokens), common(&dense));
        assert_same_bits(&borrow(&tokens), &borrow(&dense), &what);
    }
}

fn rows_agree<E: Element>(sizes: Sizes) {
    let level = any_level(sizes.seed);
    let problem = Problem::random(sizes, feed(sizes));
    let all = Setup::<E>::new(&problem, level, Threads::SINGLE);
    let (all_states, all) = (all.infer(&all.whole()), all.train(&all.whole()));
    for row in 0..sizes.batch {
        let one = Setup::<E>::new(&problem.row(row), level, Threads::SINGLE);
        let (states, one) = (one.infer(&one.whole()), one.train(&one.whole()));
        let what = (E::NAME, level, row, sizes);
        assert_same_bits(
            &borrow(&rows_of(&states.named(), &problem, 0, 1)),
            &borrow(&rows_of(&all_states.named(), &problem, row, sizes.batch)),
            &what,
        );
        assert_same_bits(
            &borrow(&rows_of(&one.named(), &problem, 0, 1)),
            &borrow(&rows_of(&all.named(), &problem, row, sizes.batch)),
            &what,
        );
    }
}

/// One row of the batch out of every result but the gradients of the parameters, which are sums over the rows.
fn rows_of<E: Element>(
    named: &[(&'static str, &[E])],
    problem: &Problem,
    row: usize,
    batch: usize,
) -> Vec<(&'static str, Vec<E>)> {
    let own = named
        .iter()
        .filter(|(name, _)| !["dW", "dU", "db"].contains(name));
    own.map(|(name, values)| {
        let width = match *name {
            "dx" => problem.shape.input(),
            "gates" | "dA" => problem.shape.bias_len(),
            _ => problem.shape.hidden(),
        };
        let rows = values.chunks_exact(width).skip(row).step_by(batch);
        (*name, rows.flatten().copied().collect())
    })
    .collect()
}

fn portable_is_near(sizes: Sizes) {
    let problem = Problem::random(sizes, Feed::Dense);
    let run = |level| {
        let setup = Setup::<f32>::new(&problem, level, Threads::SINGLE);
        setup.infer(&setup.whole())
    };
    let Some(fused) = fused_levels().pop() else {
        return;
    };
    let (portable, fused) = (run(Level::PORTABLE), run(fused));
    let terms = 2.0 * (sizes.input + sizes.hidden) as f32;
    let bound = 4.0 * f32::EPSILON * terms.log2().ceil();
    for ((name, portable), (_, fused)) in portable.named().iter().zip(fused.named()) {
        for (a, b) in portable.iter().zip(fused) {
            // h lies within [−1, 1]; c may be larger, and its rounding with it.
            assert!(
                (a - b).abs() <= bound * b.abs().max(1.0),
                "{name}: {a:e} {b:e} {sizes:?}"
            );
        }
    }
}

#[test]
fn the_levels_of_this_machine() {
    for name in FUSED {
        if Level::named(name).is_err() {
            println!("{name} is not compared: this machine lacks it");
        }
    }
    // Without `std` there is no scalar FMA, and a build for a bare target has nothing to compare.
    assert!(!fused_levels().is_empty() || cfg!(not(feature = "std")));
}

/// Threads: at sizes that are worth more than one, by rows and by units.
#[cfg(feature = "rayon")]
mod threads {
    use rayon::ThreadPoolBuilder;

    use super::*;

    proptest! {
        #![proptest_config(cases(48))]

        #[test]
        fn rows_dealt_to_threads(
            sizes in sizes(),
            steps in 12..=16_usize,
            batch in 1..=12_usize,
            hidden in 160..=224_usize,
        ) {
            in_either_precision!(pools_agree, Sizes { steps, batch, hidden, ..sizes });
        }
    }

    /// Fewer rows than threads and a megabyte of weights: the threads share the units of each step. With 20 threads
    /// there are more of them than panels. On AVX-512 the last panel is a narrow one. The long windows are several chunks of
    /// x W + b, which for two rows are of at most 60 steps.
    #[test]
    fn units_dealt_to_threads() {
        for (cell, hidden) in [
            (Cell::Lstm, 277),
            (Cell::Gru, 293),
            (Cell::GruAfter, 291),
            (Cell::Rnn, 529),
        ] {
            for batch in [1, 2] {
                for (steps, seed) in [(9, 0), (9, 1), (9, 2), (130, 1)] {
                    let sizes = Sizes {
                        cell,
                        steps,
                        batch,
                        input: 40,
                        hidden,
                        seed,
                    };
                    agree::<f32>(sizes, feed(sizes), &[2, 3, 20]);
                    agree::<f64>(sizes, feed(sizes), &[3]);
                }
            }
        }
    }

    /// Two panels of units and up, which a single row meets in pairs: with all units, with some of them for each thread, and of a
    /// batch with a row for each.
    #[test]
    fn rows_and_units_of_pairs_of_panels_dealt_to_threads() {
        for (cell, hidden) in [
            (Cell::Lstm, 24),
            (Cell::Lstm, 64),
            (Cell::Lstm, 120),
            (Cell::GruAfter, 100),
        ] {
            for (batch, input) in [(1, 40), (2, 40), (3, 3), (8, 16)] {
                let sizes = Sizes {
                    cell,
                    steps: 100,
                    batch,
                    input,
                    hidden,
                    seed: 1,
                };
                agree::<f32>(sizes, feed(sizes), &[2, 3, 8]);
            }
        }
    }

    /// Enough rows that the gradient of a token table is worth dealing out, and more rows than KC.
    #[test]
    fn columns_dealt_to_threads() {
        let sizes = Sizes {
            cell: Cell::Lstm,
            steps: 64,
            batch: 16,
            input: 20,
            hidden: 512,
            seed: 1,
        };
        agree::<f32>(sizes, Feed::OneHot, &[2, 3]);
    }

    fn pools_agree<E: Element>(sizes: Sizes) {
        agree::<E>(sizes, feed(sizes), &[2, 3]);
    }

    fn agree<E: Element>(sizes: Sizes, feed: Feed, pools: &[usize]) {
        let problem = Problem::random(sizes, feed);
        let run = |threads: Threads| {
            let setup = Setup::<E>::new(&problem, Level::best(), threads);
            let cuts = problem.one_cut(sizes.seed);
            (
                setup.infer(&cuts),
                setup.train(&cuts),
                setup.train(&setup.whole()),
            )
        };
        let single = run(Threads::SINGLE);
        for count in pools {
            let pool = ThreadPoolBuilder::new()
                .num_threads(*count)
                .build()
                .unwrap();
            let pooled = pool.install(|| {
                assert_eq!(Threads::current().count(), *count);
                run(Threads::current())
            });
            let what = (E::NAME, count, feed, sizes);
            assert_same_bits(&pooled.0.named(), &single.0.named(), &what);
            assert_same_bits(&pooled.1.named(), &single.1.named(), &what);
            assert_same_bits(&pooled.2.named(), &single.2.named(), &what);
        }
    }
}

fn fused_levels() -> Vec<Level> {
    Level::available()
        .filter(|level| level.is_fused())
        .collect()
}

fn any_level(seed: u64) -> Level {
    let levels: Vec<_> = Level::available().collect();
    levels[(seed >> 8) as usize % levels.len()]
}

fn feed(sizes: Sizes) -> Feed {
    FEEDS[(sizes.seed / 4) as usize % FEEDS.len()]
}

fn borrow<'a, E>(owned: &'a [(&'static str, Vec<E>)]) -> Vec<(&'static str, &'a [E])> {
    owned
        .iter()
        .map(|(name, values)| (*name, values.as_slice()))
        .collect()
}
