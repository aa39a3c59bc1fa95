//! Bugs planted in the backward pass, one at a time: the gradient check has to catch each.
//!
//! `RUSTFLAGS="--cfg ifog_planted" cargo test -p ifog-kernels --test planted`
#![cfg(ifog_planted)]

mod gradients;
mod problem;

use ifog_kernels::{Bug, Cell, Level, plant};
use problem::{Feed, Problem, Sizes};

/// One test, because the planted bug is a property of the whole process.
#[test]
fn every_planted_bug_is_caught() {
    plant(None);
    for (cell, feed) in combinations() {
        report(cell, feed).assert();
    }
    for bug in Bug::ALL {
        plant(Some(bug));
        let caught: Vec<String> = combinations()
            .filter_map(|(cell, feed)| {
                let report = report(cell, feed);
                let worst = report.worst();
                (!report.ok()).then(|| {
                    format!(
                        "{cell} {feed:?}: d{} off by {:.0e}",
                        worst.name, worst.max_error
                    )
                })
            })
            .collect();
        println!("{bug:?}: {}", caught.join("; "));
        assert!(!caught.is_empty(), "{bug:?} went unnoticed");
    }
    plant(None);
    for (cell, feed) in combinations() {
        report(cell, feed).assert();
    }
}

fn combinations() -> impl Iterator<Item = (Cell, Feed)> {
    Cell::ALL
        .into_iter()
        .flat_map(|cell| [Feed::Dense, Feed::OneHot].map(|feed| (cell, feed)))
}

fn report(cell: Cell, feed: Feed) -> ifog_gradcheck::Report {
    let sizes = Sizes {
        cell,
        steps: 5,
        batch: 3,
        input: 4,
        hidden: 7,
        seed: 11,
    };
    gradients::check(&Problem::random(sizes, feed), Level::best(), &[0, 2, 5], 20)
}
