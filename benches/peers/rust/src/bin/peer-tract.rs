//! tract: the ONNX node with its shapes fixed before tract optimises it. One thread is all it uses.

use ifog_peers::{Case, Prepared, Probe, serve};
use tract_onnx::prelude::*;

fn main() {
    serve("tract-onnx", |case| prepare(case).map_err(Into::into));
}

fn prepare(case: &Case) -> TractResult<Prepared> {
    if case.case == "train" || case.case == "charlm" {
        return Err(TractError::msg("inference only"));
    }
    let states = if case.cell == "lstm" { 2 } else { 1 };
    let state_shape = [1, case.b, case.h];
    let mut model = tract_onnx::onnx().model_for_path(&case.model)?;
    model = model.with_input_fact(0, f32::fact([case.t, case.b, case.i]).into())?;
    for state in 1..=states {
        model = model.with_input_fact(state, f32::fact(state_shape).into())?;
    }
    let model = model.into_optimized()?.into_runnable()?;
    let x: TValue = Tensor::from_shape(&[case.t, case.b, case.i], &case.x())?.into();
    let mut state: TVec<TValue> = tvec!(Tensor::from_shape(&state_shape, &case.h0())?.into());
    if states == 2 {
        state.push(Tensor::from_shape(&state_shape, &case.c0())?.into());
    }
    let call = move |state: &[TValue]| {
        model.run(
            std::iter::once(x.clone())
                .chain(state.iter().cloned())
                .collect(),
        )
    };
    let y = call(&state)?.swap_remove(0).into_tensor();
    let y = y
        .to_plain_array_view::<f32>()?
        .iter()
        .copied()
        .collect::<Vec<_>>();
    let carries = case.carries();
    Ok(Prepared {
        probe: Probe {
            y: case.time_major(case.h, &y),
            ..Probe::default()
        },
        run: Box::new(move || {
            let results = call(&state).expect("it ran before");
            if carries {
                state = results.into_iter().skip(1).collect();
            }
        }),
    })
}
