// oneDNN's recurrent primitives called directly (API of version 2), weights once in the layout that they ask for.
// A worker of run.py.

#include <cmath>
#include <cstring>
#include <unordered_map>

#include <oneapi/dnnl/dnnl.hpp>

#include "serve.hpp"

using namespace dnnl;
using Arguments = std::unordered_map<int, memory>;

static const engine cpu(engine::kind::cpu, 0);
static stream queue(cpu);

static memory filled(const memory::desc &desc, const Values &values) {
    memory result(desc, cpu);
    if (desc.get_size() != values.size() * sizeof(float)) throw std::runtime_error("a buffer of another size");
    std::memcpy(result.get_data_handle(), values.data(), desc.get_size());
    return result;
}

static void clear(memory &of) { std::memset(of.get_data_handle(), 0, of.get_desc().get_size()); }

static memory cleared(const memory::desc &desc) {
    memory result(desc, cpu);
    clear(result);
    return result;
}

static memory in_layout(memory from, const memory::desc &desc) {
    if (from.get_desc() == desc) return from;
    memory to(desc, cpu);
    reorder(from, to).execute(queue, from, to);
    queue.wait();
    return to;
}

static Values values_of(const memory &of) {
    const auto *begin = static_cast<const float *>(of.get_data_handle());
    return Values(begin, begin + of.get_desc().get_size() / sizeof(float));
}

static double norm(const Values &values, size_t count) {
    double square = 0;
    for (size_t k = 0; k < count; k++) square += static_cast<double>(values[k]) * values[k];
    return std::sqrt(square);
}

static memory::desc plain(const memory::dims &dims, memory::format_tag tag) {
    return {dims, memory::data_type::f32, tag};
}

// The case's buffers in plain layouts, and everything that does not depend on the primitive's type.
struct Layer {
    using tag = memory::format_tag;
    const Case &c;
    const bool lstm = c.cell == "lstm", training = c.kind == "train";
    const int biases = c.cell == "gru-after" ? 4 : c.gates();
    const prop_kind kind = training ? prop_kind::forward_training : prop_kind::forward_inference;
    const rnn_direction direction = rnn_direction::unidirectional_left2right;
    const memory::desc x = plain({c.t, c.b, c.i}, tag::tnc), y = plain({c.t, c.b, c.h}, tag::tnc);
    const memory::desc state = plain({1, 1, c.b, c.h}, tag::ldnc);
    const memory::desc w_plain = plain({1, 1, c.i, c.gates(), c.h}, tag::ldigo);
    const memory::desc u_plain = plain({1, 1, c.h, c.gates(), c.h}, tag::ldigo);
    const memory::desc w = plain({1, 1, c.i, c.gates(), c.h}, tag::any);
    const memory::desc u = plain({1, 1, c.h, c.gates(), c.h}, tag::any);
    const memory::desc bias = plain({1, 1, biases, c.h}, tag::ldgo);

    // Where PyTorch keeps the gate that oneDNN has at this place: the GRU's are z, r, n there.
    int gate_of_torch(int gate) const { return c.gates() == 3 && gate < 2 ? 1 - gate : gate; }

    // [G·H, rows] of PyTorch as [rows, G, H].
    memory weights(uint32_t stream, int rows, const memory::desc &desc) const {
        const Values torch = uniform(static_cast<size_t>(c.gates()) * c.h * rows, stream, c.scale());
        Values ours(torch.size());
        for (int row = 0; row < rows; row++)
            for (int gate = 0; gate < c.gates(); gate++)
                for (int unit = 0; unit < c.h; unit++)
                    ours[(static_cast<size_t>(row) * c.gates() + gate) * c.h + unit] =
                        torch[(static_cast<size_t>(gate_of_torch(gate)) * c.h + unit) * rows + row];
        return filled(desc, ours);
    }

    // The sum of PyTorch's two, but for the hidden bias of n in a GRU that resets after.
    memory summed_biases() const {
        const Values ih = uniform(c.gates() * c.h, 4, c.scale()), hh = uniform(c.gates() * c.h, 5, c.scale());
        Values ours(biases * c.h);
        for (int gate = 0; gate < c.gates(); gate++)
            for (int unit = 0; unit < c.h; unit++) {
                const int theirs = gate_of_torch(gate) * c.h + unit;
                const bool apart = biases == 4 && !lstm && gate == 2;
                ours[gate * c.h + unit] = ih[theirs] + (apart ? 0 : hh[theirs]);
                if (apart) ours[3 * c.h + unit] = hh[theirs];
            }
        return filled(bias, ours);
    }

    template <class Forward, class Backward>
    Prepared build(const typename Forward::desc &forward_desc, const typename Backward::desc &backward_desc) const {
        const typename Forward::primitive_desc forward(forward_desc, cpu);
        const size_t states = static_cast<size_t>(c.b) * c.h;
        Arguments into = {
            {DNNL_ARG_SRC_LAYER, filled(x, uniform(static_cast<size_t>(c.t) * c.b * c.i, 1, 1))},
            {DNNL_ARG_SRC_ITER, filled(state, uniform(states, 6, 0.5f))},
            {DNNL_ARG_WEIGHTS_LAYER, in_layout(weights(2, c.i, w_plain), forward.weights_layer_desc())},
            {DNNL_ARG_WEIGHTS_ITER, in_layout(weights(3, c.h, u_plain), forward.weights_iter_desc())},
            {DNNL_ARG_BIAS, summed_biases()},
            {DNNL_ARG_DST_LAYER, cleared(y)},
            {DNNL_ARG_DST_ITER, cleared(state)},
        };
        if (lstm) {
            into[DNNL_ARG_SRC_ITER_C] = filled(state, uniform(states, 7, 0.5f));
            into[DNNL_ARG_DST_ITER_C] = cleared(state);
        }
        const Forward run_forward(forward);
        if (!training) return inference(run_forward, into);

        into[DNNL_ARG_WORKSPACE] = memory(forward.workspace_desc(), cpu);
        const typename Backward::primitive_desc backward(backward_desc, cpu, forward);
        Arguments back = into;
        back[DNNL_ARG_WEIGHTS_LAYER] = in_layout(weights(2, c.i, w_plain), backward.weights_layer_desc());
        back[DNNL_ARG_WEIGHTS_ITER] = in_layout(weights(3, c.h, u_plain), backward.weights_iter_desc());
        back[DNNL_ARG_DIFF_SRC_LAYER] = cleared(x);
        back[DNNL_ARG_DIFF_SRC_ITER] = cleared(state);
        back[DNNL_ARG_DIFF_WEIGHTS_LAYER] = cleared(backward.diff_weights_layer_desc());
        back[DNNL_ARG_DIFF_WEIGHTS_ITER] = cleared(backward.diff_weights_iter_desc());
        back[DNNL_ARG_DIFF_BIAS] = cleared(bias);
        back[DNNL_ARG_DIFF_DST_LAYER] = filled(y, uniform(static_cast<size_t>(c.t) * c.b * c.h, 8, 1));
        back[DNNL_ARG_DIFF_DST_ITER] = cleared(state);
        if (lstm) {
            back[DNNL_ARG_DIFF_SRC_ITER_C] = cleared(state);
            back[DNNL_ARG_DIFF_DST_ITER_C] = cleared(state);
        }
        return pass(run_forward, Backward(backward), into, back);
    }

    Prepared inference(const primitive &forward, const Arguments &into) const {
        forward.execute(queue, into);
        queue.wait();
        const std::string probe = "\"y\": " + places(values_of(into.at(DNNL_ARG_DST_LAYER)));
        Arguments swapped = into;
        if (c.kind == "step") {
            std::swap(swapped[DNNL_ARG_SRC_ITER], swapped[DNNL_ARG_DST_ITER]);
            if (lstm) std::swap(swapped[DNNL_ARG_SRC_ITER_C], swapped[DNNL_ARG_DST_ITER_C]);
        }
        bool turn = false;
        return {[=]() mutable {
                    forward.execute(queue, turn ? swapped : into);
                    queue.wait();
                    turn = !turn;
                },
                probe};
    }

    Prepared pass(const primitive &forward, const primitive &backward, const Arguments &into, Arguments &back) const {
        auto run = [=]() mutable {
            forward.execute(queue, into);
            // oneDNN adds to these.
            for (int sum : {DNNL_ARG_DIFF_WEIGHTS_LAYER, DNNL_ARG_DIFF_WEIGHTS_ITER, DNNL_ARG_DIFF_BIAS})
                clear(back.at(sum));
            backward.execute(queue, back);
            queue.wait();
        };
        run();
        const Values dw = values_of(in_layout(back[DNNL_ARG_DIFF_WEIGHTS_LAYER], w_plain));
        const Values du = values_of(in_layout(back[DNNL_ARG_DIFF_WEIGHTS_ITER], u_plain));
        const Values db = values_of(back[DNNL_ARG_DIFF_BIAS]), dh = values_of(back[DNNL_ARG_DIFF_SRC_ITER]);
        std::vector<double> norms = {norm(dw, dw.size()), norm(du, du.size()),
                                     norm(db, static_cast<size_t>(c.gates()) * c.h), norm(dh, dh.size())};
        if (lstm) {
            const Values dc = values_of(back[DNNL_ARG_DIFF_SRC_ITER_C]);
            norms.push_back(norm(dc, dc.size()));
        }
        return {run, "\"dx\": " + places(values_of(back[DNNL_ARG_DIFF_SRC_LAYER])) + ", \"norms\": " + list(norms)};
    }
};

static Prepared prepare(const Case &c) {
    if (c.kind == "charlm") throw Refused("primitives only");
    const Layer l{c};
    const auto back = prop_kind::backward;
    const auto d = l.direction;
    if (c.cell == "lstm")
        return l.build<lstm_forward, lstm_backward>(
            {l.kind, d, l.x, l.state, l.state, l.w, l.u, l.bias, l.y, l.state, l.state},
            {back, d, l.x, l.state, l.state, l.w, l.u, l.bias, l.y, l.state, l.state, //
             l.x, l.state, l.state, l.w, l.u, l.bias, l.y, l.state, l.state});
    if (c.cell == "rnn")
        return l.build<vanilla_rnn_forward, vanilla_rnn_backward>(
            {l.kind, algorithm::eltwise_tanh, d, l.x, l.state, l.w, l.u, l.bias, l.y, l.state},
            {back, algorithm::eltwise_tanh, d, l.x, l.state, l.w, l.u, l.bias, l.y, l.state, //
             l.x, l.state, l.w, l.u, l.bias, l.y, l.state});
    if (c.cell == "gru")
        return l.build<gru_forward, gru_backward>({l.kind, d, l.x, l.state, l.w, l.u, l.bias, l.y, l.state},
                                                  {back, d, l.x, l.state, l.w, l.u, l.bias, l.y, l.state, //
                                                   l.x, l.state, l.w, l.u, l.bias, l.y, l.state});
    return l.build<lbr_gru_forward, lbr_gru_backward>({l.kind, d, l.x, l.state, l.w, l.u, l.bias, l.y, l.state},
                                                      {back, d, l.x, l.state, l.w, l.u, l.bias, l.y, l.state, //
                                                       l.x, l.state, l.w, l.u, l.bias, l.y, l.state});
}

int main() {
    const auto *version = dnnl_version();
    const auto number = [](int part) { return std::to_string(part); };
    return serve("oneDNN " + number(version->major) + "." + number(version->minor) + "." + number(version->patch), prepare);
}
