"""JAX on XLA's CPU back end, jitted: the input product of all steps at once, then a scan over the steps."""

import jax
import jax.numpy as jnp
from serve import serve

from cases import Numbers, places, uniform


def lstm(state, a, u, _b):
    h, c = state
    i, f, g, o = jnp.split(a + h @ u, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(state, a, u, _b):
    (h,) = state
    width = h.shape[-1]
    r, z = jnp.split(jax.nn.sigmoid(a[:, : 2 * width] + h @ u[:, : 2 * width]), 2, -1)
    n = jnp.tanh(a[:, 2 * width :] + (r * h) @ u[:, 2 * width :])
    return (n + z * (h - n),)


def gru_after(state, a, u, b):
    (h,) = state
    (ar, az, an), (ur, uz, un) = jnp.split(a, 3, -1), jnp.split(h @ u + b, 3, -1)
    r, z = jax.nn.sigmoid(ar + ur), jax.nn.sigmoid(az + uz)
    n = jnp.tanh(an + r * un)
    return (n + z * (h - n),)


def rnn(state, a, u, _b):
    return (jnp.tanh(a + state[0] @ u),)


CELLS = {"lstm": lstm, "gru": gru, "gru-after": gru_after, "rnn": rnn}


def sequence(cell, parameters, x, state):
    """All hidden states, and the last state."""
    w, u, b_ih, b_hh = parameters
    # Only the GRU that resets after keeps its hidden bias apart.
    a = x @ w + (b_ih if cell == "gru-after" else b_ih + b_hh)

    def step(state, a):
        state = CELLS[cell](state, a, u, b_hh)
        return state, state[0]

    last, y = jax.lax.scan(step, state, a)
    return y, last


def prepare(case, _model):
    if case.case == "charlm":
        return char_lm(case)
    numbers = Numbers(case)
    parameters = tuple(map(jnp.asarray, (numbers.w.T, numbers.u.T, numbers.b_ih, numbers.b_hh)))
    x, state = jnp.asarray(numbers.x), tuple(jnp.asarray(state[0]) for state in numbers.states)
    if case.case == "train":
        return train(case, parameters, x, state, jnp.asarray(numbers.dy))
    forward = jax.jit(lambda parameters, x, state: sequence(case.cell, parameters, x, state))

    def run():
        nonlocal state
        y, last = jax.block_until_ready(forward(parameters, x, state))
        if case.case == "step":
            state = last
        return y

    return run, {"y": places(run())}


def train(case, parameters, x, state, dy):
    def weighted(parameters, x, state):
        return jnp.vdot(sequence(case.cell, parameters, x, state)[0], dy)

    gradient = jax.jit(jax.grad(weighted, argnums=(0, 1, 2)))

    def run():
        return jax.block_until_ready(gradient(parameters, x, state))

    (w, u, b, _), dx, states = run()
    return run, {"dx": places(dx), "norms": [float(jnp.linalg.norm(of.ravel())) for of in (w, u, b, *states)]}


def char_lm(case):
    """One-hot, two layers, linear, softmax cross-entropy, clipped by global norm, Adam; the state is carried."""
    h, vocabulary = case.H, case.I

    def layer(width):
        shapes = ((width, 4 * h), (h, 4 * h), (4 * h,), (4 * h,))
        return tuple(jnp.asarray(uniform(shape, stream, h**-0.5)) for stream, shape in enumerate(shapes, 2))

    decoder = (jnp.asarray(uniform((h, vocabulary), 6, h**-0.5)), jnp.zeros(vocabulary))
    parameters = (layer(vocabulary), layer(h), decoder)
    text = jnp.asarray(((uniform((case.T + 1, case.B), 9) + 1) / 2 * vocabulary).astype("int32"))

    def loss(parameters, states):
        lower, upper, (w, b) = parameters
        y, first = sequence("lstm", lower, jax.nn.one_hot(text[:-1], vocabulary), states[0])
        y, second = sequence("lstm", upper, y, states[1])
        logarithms = jax.nn.log_softmax(y @ w + b)
        return -jnp.mean(jnp.take_along_axis(logarithms, text[1:, :, None], -1)), (first, second)

    @jax.jit
    def step(parameters, mean, square, number, states):
        gradients, states = jax.grad(loss, has_aux=True)(parameters, states)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradients)))
        gradients = jax.tree.map(lambda g: g * jnp.minimum(1, 5 / norm), gradients)
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradients)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, gradients)
        number += 1
        of_mean, of_square = 1 - 0.9**number, 1 - 0.999**number

        def adam(p, m, v):
            return p - 2e-3 * (m / of_mean) / (jnp.sqrt(v / of_square) + 1e-8)

        return jax.tree.map(adam, parameters, mean, square), mean, square, number, states

    zero = jax.tree.map(jnp.zeros_like, parameters)
    state = (jnp.zeros((case.B, h)), jnp.zeros((case.B, h)))
    everything = (parameters, zero, zero, jnp.float32(0), (state, state))

    def run():
        nonlocal everything
        everything = jax.block_until_ready(step(*everything))

    run()
    return run, {}


serve(f"jax {jax.__version__}", prepare)
