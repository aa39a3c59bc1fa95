//! RTen: the ONNX node, weights packed at loading.

use std::sync::Arc;

use ifog_peers::{Case, Prepared, Probe, Refusal, serve};
use rten::{ModelOptions, RunOptions, ThreadPool, Value, ValueOrView};

fn main() {
    let threads = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(1);
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    serve("rten", move |case| prepare(case, &pool));
}

fn prepare(case: &Case, pool: &Arc<ThreadPool>) -> Result<Prepared, Refusal> {
    if case.case == "train" || case.case == "charlm" {
        return Err("inference only".into());
    }
    let model = ModelOptions::with_all_ops()
        .prepack_weights(true)
        .load_file(&case.model)?;
    let x = Value::from_shape(&[case.t, case.b, case.i], case.x())?;
    let state_shape = [1, case.b, case.h];
    let mut state = vec![Value::from_shape(&state_shape, case.h0())?];
    if case.cell == "lstm" {
        state.push(Value::from_shape(&state_shape, case.c0())?);
    }
    let ids = |names: &[&str]| {
        names
            .iter()
            .map(|name| model.node_id(name))
            .collect::<Result<Vec<_>, _>>()
    };
    let inputs = ids(&["x", "h0", "c0"][..1 + state.len()])?;
    let outputs = ids(&["y", "hn", "cn"][..1 + state.len()])?;
    let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
    let call = move |state: &[Value]| {
        let values: Vec<(_, ValueOrView)> = inputs
            .iter()
            .copied()
            .zip(std::iter::once(&x).chain(state).map(Into::into))
            .collect();
        model.run(values, &outputs, Some(options.clone()))
    };
    let y: Vec<f32> = call(&state)?
        .swap_remove(0)
        .into_tensor::<f32>()
        .ok_or("y is not f32")?
        .into_data();
    let carries = case.carries();
    Ok(Prepared {
        probe: Probe {
            y: case.time_major(case.h, &y),
            ..Probe::default()
        },
        run: Box::new(move || {
            let mut results = call(&state).expect("it ran before");
            if carries {
                state = results.split_off(1);
            }
        }),
    })
}
