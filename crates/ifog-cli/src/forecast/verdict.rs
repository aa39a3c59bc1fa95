//! What the figures of a forecast allow to say.

use ifog::forecast::evaluation::Evaluation;

/// In one sentence; `unlearnt` of the networks learnt nothing.
pub(super) fn verdict(evaluation: &Evaluation, unlearnt: usize) -> String {
    let network = &evaluation.network;
    let Some(skill) = evaluation.skill(network) else {
        return "The value does not change in the test rows: persistence makes no error, and nothing can beat it."
            .to_owned();
    };
    let (percent, networks) = (100.0 * skill.abs(), evaluation.each.len());
    let persists = evaluation.network == evaluation.persistence;
    let first = match evaluation.diebold_mariano {
        _ if unlearnt == networks && networks == 1 => {
            "The network learnt nothing beyond persistence, and forecasts just that".to_owned()
        }
        _ if unlearnt == networks => {
            "The networks learnt nothing beyond persistence, and forecast just that".to_owned()
        }
        _ if unlearnt > 0 && persists => format!(
            "{unlearnt} of {networks} networks learnt nothing beyond persistence, and the median of all is just that"
        ),
        None => format!(
            "The network's error is {percent:.1} % {} than that of persistence, but {} test rows are too few to tell that from \
             chance",
            if skill > 0.0 { "smaller" } else { "larger" },
            evaluation.forecasts.len()
        ),
        Some(dm) if skill > 0.0 && dm > 2.0 => format!(
            "The network beats persistence: its error is {percent:.1} % smaller, which is beyond chance"
        ),
        Some(dm) if skill < 0.0 && dm < -2.0 => {
            format!("The network is worse than persistence: its error is {percent:.1} % larger")
        }
        Some(_) => format!(
            "The network does not beat persistence: the difference of {percent:.1} % is within chance"
        ),
    };
    let second = match evaluation.autoregression {
        // What is no worse than persistence is not simpler than that.
        Some((order, ar)) if persists && ar.rmse < network.rmse => format!(
            "; AR({order}) is {:.1} % better.",
            100.0 * (1.0 - ar.rmse / network.rmse)
        ),
        Some((_, ar)) if persists && ar.rmse == network.rmse => ".".to_owned(),
        Some((order, ar)) if ar.rmse <= network.rmse => {
            format!("; AR({order}) is simpler and no worse.")
        }
        Some((order, ar)) if network.rmse > 0.0 => format!(
            "; AR({order}) is {:.1} % worse than it.",
            100.0 * (ar.rmse / network.rmse - 1.0)
        ),
        _ => ".".to_owned(),
    };
    first + &second
}

/// What is to be known of networks that learnt nothing; nothing if there are none.
pub(super) fn unlearnt(count: usize, networks: usize) -> Option<String> {
    match (count, networks) {
        (0, _) => None,
        (_, 1) => {
            Some("the network learnt nothing beyond persistence and forecasts just that".to_owned())
        }
        _ => Some(format!(
            "{count} of {networks} networks learnt nothing beyond persistence and {} just that",
            if count == 1 { "forecasts" } else { "forecast" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ifog::forecast::Forecast;
    use ifog::forecast::scores::Scores;

    fn scores(rmse: f64) -> Scores {
        Scores {
            rmse,
            mae: rmse,
            mape: None,
            direction: None,
        }
    }

    /// Five networks whose median has an RMSE beside persistence of 1.
    fn evaluation(rmse: f64, diebold_mariano: Option<f64>) -> Evaluation {
        let next = Forecast {
            value: 0.0,
            low: 0.0,
            high: 0.0,
        };
        Evaluation {
            persistence: scores(1.0),
            drift: scores(1.0),
            autoregression: Some((2, scores(0.9))),
            network: scores(rmse),
            each: vec![scores(rmse); 5],
            diebold_mariano,
            coverage: 0.8,
            forecasts: vec![next; 100],
            next,
        }
    }

    #[test]
    fn a_forecast_that_is_persistence_is_called_so() {
        let same = evaluation(1.0, None);
        for (unlearnt, begin) in [
            (
                5,
                "The networks learnt nothing beyond persistence, and forecast just that",
            ),
            (
                3,
                "3 of 5 networks learnt nothing beyond persistence, and the median",
            ),
        ] {
            let said = verdict(&same, unlearnt);
            assert!(said.starts_with(begin), "{said}");
            assert!(said.ends_with("; AR(2) is 10.0 % better."), "{said}");
        }
        let better = verdict(&evaluation(0.8, Some(3.0)), 2);
        assert!(
            better.starts_with("The network beats persistence"),
            "{better}"
        );
        let few = verdict(&evaluation(0.8, None), 0);
        assert!(few.contains("100 test rows are too few"), "{few}");
    }

    #[test]
    fn networks_that_learnt_nothing_are_counted() {
        assert_eq!(unlearnt(0, 5), None);
        let some = unlearnt(2, 5);
        assert!(some.is_some_and(|s| s.starts_with("2 of 5 networks learnt nothing")));
    }
}
