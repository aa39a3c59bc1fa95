//! The backward pass of my cell against its forward pass.

use ifog_gradcheck::Check;

/// `(tanh(w x + b) − y)² / 2` at x = 0.7, y = 0.2.
fn loss(p: &[f64]) -> f64 {
    0.5 * ((p[0] * 0.7 + p[1]).tanh() - 0.2).powi(2)
}

fn backward(p: &[f64]) -> Vec<f64> {
    let h = (p[0] * 0.7 + p[1]).tanh();
    let da = (h - 0.2) * (1.0 - h * h);
    vec![da * 0.7, da]
}

#[test]
fn backward_is_the_gradient_of_loss() {
    let theta = [0.5, -0.3]; // weights, inputs and initial state in one vector
    Check::new(loss)
        .named(&[("w", 0..1), ("b", 1..2)]) // a scale and a row for each tensor
        .run(&theta, &backward(&theta))
        .expect("the check is well posed")
        .assert(); // panics with the report
}
