// RTNeural's layers of fixed size, one call a time step as an audio plug-in makes it: with Eigen, or xsimd if RTNEURAL_USE_XSIMD.
// A worker of run.py.

#include <cstring>
#include <memory>

#if RTNEURAL_USE_XSIMD
#include <xsimd/xsimd.hpp>
#else
#include <Eigen/Dense>
#endif

#include "serve.hpp"

// Its layers begin at zero and have no way to begin elsewhere, as every case here does.
#include <RTNeural/config.h>
#define private public
#include <RTNeural/gru/gru.h>
#include <RTNeural/lstm/lstm.h>
#undef private

// [G·H, rows] of PyTorch as [rows][G·H], with the gates in the order that `gates` lists.
static std::vector<Values> transposed(const Case &c, uint32_t stream, int rows, const std::vector<int> &gates) {
    const Values torch = uniform(static_cast<size_t>(c.gates()) * c.h * rows, stream, c.scale());
    std::vector<Values> ours(rows, Values(static_cast<size_t>(c.gates()) * c.h));
    for (int row = 0; row < rows; row++)
        for (size_t gate = 0; gate < gates.size(); gate++)
            for (int unit = 0; unit < c.h; unit++)
                ours[row][gate * c.h + unit] = torch[(static_cast<size_t>(gates[gate]) * c.h + unit) * rows + row];
    return ours;
}

template <int H>
static void load(const Case &c, RTNeural::LSTMLayerT<float, H, H> &layer) {
    const std::vector<int> as_torch = {0, 1, 2, 3};
    layer.setWVals(transposed(c, 2, H, as_torch));
    layer.setUVals(transposed(c, 3, H, as_torch));
    Values bias = uniform(4 * H, 4, c.scale());
    const Values recurrent = uniform(4 * H, 5, c.scale());
    for (int k = 0; k < 4 * H; k++) bias[k] += recurrent[k];
    layer.setBVals(bias);
}

template <int H>
static void load(const Case &c, RTNeural::GRULayerT<float, H, H> &layer) {
    const std::vector<int> z_r_n = {1, 0, 2};
    layer.setWVals(transposed(c, 2, H, z_r_n));
    layer.setUVals(transposed(c, 3, H, z_r_n));
    std::vector<Values> biases = {uniform(3 * H, 4, c.scale()), uniform(3 * H, 5, c.scale())};
    for (Values &bias : biases) std::swap_ranges(bias.begin(), bias.begin() + H, bias.begin() + H);
    layer.setBVals(biases);
}

// What the two back ends keep their vectors in.
#if RTNEURAL_USE_XSIMD
template <int H>
using Vector = xsimd::simd_type<float>[(H + xsimd::simd_type<float>::size - 1) / xsimd::simd_type<float>::size];

template <class To>
static void fill(To &to, const Values &values) {
    std::memcpy(&to, values.data(), values.size() * sizeof(float));
}

template <int H>
static const float *outputs(const Vector<H> &of) {
    return reinterpret_cast<const float *>(&of);
}

template <int H>
static void start(RTNeural::LSTMLayerT<float, H, H> &layer, const Values &h, const Values &c) {
    fill(layer.outs, h);
    fill(layer.ct, c);
}

template <int H>
static void start(RTNeural::GRULayerT<float, H, H> &layer, const Values &h, const Values &) {
    fill(layer.outs, h);
}
#else
template <int H>
using Vector = Eigen::Matrix<float, H, 1>;

template <class To>
static void fill(To &to, const Values &values) {
    for (size_t k = 0; k < values.size(); k++) to(k) = values[k];
}

template <int H, class Of>
static const float *outputs(const Of &of) {
    return of.data();
}

template <int H>
static void start(RTNeural::LSTMLayerT<float, H, H> &layer, const Values &h, const Values &c) {
    for (int k = 0; k < H; k++) layer.extendedInHt1Vec(H + k) = h[k];
    fill(layer.cVec, c);
}

template <int H>
static void start(RTNeural::GRULayerT<float, H, H> &layer, const Values &h, const Values &) {
    for (int k = 0; k < H; k++) layer.extendedHt1(k) = h[k];
}
#endif

// Called once for each time step: RTNeural has no sequences.
template <class Layer, int H>
static Prepared build(const Case &c) {
    struct Run {
        Layer layer;
        alignas(64) Vector<H> x[256];
    };
    const auto of = std::make_shared<Run>();
    if (c.t > 256 || c.b != 1 || c.i != H) throw Refused("one row, a square layer and 256 steps at most");
    load<H>(c, of->layer);
    const Values x = uniform(static_cast<size_t>(c.t) * H, 1, 1);
    for (int t = 0; t < c.t; t++) fill(of->x[t], Values(x.begin() + t * H, x.begin() + (t + 1) * H));
    const Values h0 = uniform(H, 6, 0.5f), c0 = uniform(H, 7, 0.5f);
    of->layer.reset();
    start<H>(of->layer, h0, c0);
    Values y;
    for (int t = 0; t < c.t; t++) {
        of->layer.forward(of->x[t]);
        const float *h = outputs<H>(of->layer.outs);
        y.insert(y.end(), h, h + H);
    }
    const auto step = [of]() { of->layer.forward(of->x[0]); };
    const auto sequence = [of, h0, c0, t_max = c.t]() {
        start<H>(of->layer, h0, c0);
        for (int t = 0; t < t_max; t++) of->layer.forward(of->x[t]);
    };
    const std::string probe = "\"y\": " + places(y);
    return c.kind == "step" ? Prepared{step, probe} : Prepared{sequence, probe};
}

template <int H>
using Lstm = RTNeural::LSTMLayerT<float, H, H>;
template <int H>
using Gru = RTNeural::GRULayerT<float, H, H>;

static Prepared prepare(const Case &c) {
    if (c.kind != "step" && c.kind != "infer_b1") throw Refused("it has time steps of one row alone");
    if (c.cell == "lstm") switch (c.h) {
        case 8: return build<Lstm<8>, 8>(c);
        case 16: return build<Lstm<16>, 16>(c);
        case 32: return build<Lstm<32>, 32>(c);
        case 64: return build<Lstm<64>, 64>(c);
        case 128: return build<Lstm<128>, 128>(c);
        case 256: return build<Lstm<256>, 256>(c);
        }
    if (c.cell == "gru-after") switch (c.h) {
        case 64: return build<Gru<64>, 64>(c);
        case 256: return build<Gru<256>, 256>(c);
        }
    throw Refused("a cell or size that was not compiled");
}

int main() { return serve("RTNeural 1fb1f07", prepare); }
