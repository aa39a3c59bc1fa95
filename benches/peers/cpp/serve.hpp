// What a worker of run.py in C++ needs: the case that it is asked for, the numbers that everybody computes with, the clock
// and the protocol, as in rust/src/lib.rs.

#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using Values = std::vector<float>;

// One case of the grid; read from a request by the names of its fields.
struct Case {
    std::string kind, cell;
    int t, b, i, h;

    explicit Case(const std::string &request)
        : kind(text(request, "case")), cell(text(request, "cell")), t(number(request, "T")), b(number(request, "B")),
          i(number(request, "I")), h(number(request, "H")) {}

    float scale() const { return 1 / std::sqrt(static_cast<float>(h)); }
    int gates() const { return cell == "lstm" ? 4 : cell == "rnn" ? 1 : 3; }

    static std::string after(const std::string &request, const std::string &field) {
        const std::string key = "\"" + field + "\": ";
        const auto place = request.find(key);
        if (place == std::string::npos) throw std::runtime_error("no field " + field);
        return request.substr(place + key.size());
    }
    static std::string text(const std::string &request, const std::string &field) {
        const std::string rest = after(request, field);
        return rest.substr(1, rest.find('"', 1) - 1);
    }
    static int number(const std::string &request, const std::string &field) {
        return std::atoi(after(request, field).c_str());
    }
};

// Values in [-scale, scale) by C. Wellons' lowbias32 of position and stream.
inline Values uniform(size_t count, uint32_t stream, float scale) {
    Values values(count);
    for (size_t position = 0; position < count; position++) {
        uint32_t x = static_cast<uint32_t>(position) + stream * 0x9e3779b9u;
        x = (x ^ x >> 16) * 0x7feb352du;
        x = (x ^ x >> 15) * 0x846ca68bu;
        x ^= x >> 16;
        values[position] = (static_cast<float>(x >> 8) / (1 << 23) - 1.0f) * scale;
    }
    return values;
}

// A case ready to be timed, and what it computed, as JSON.
struct Prepared {
    std::function<void()> run;
    std::string probe;
};

inline std::string list(const std::vector<double> &values) {
    std::string text;
    char number[32];
    for (double value : values) {
        std::snprintf(number, sizeof number, "%s%.9g", text.empty() ? "" : ", ", value);
        text += number;
    }
    return "[" + text + "]";
}

// 64 places of a contiguous [T, B, width].
inline std::string places(const Values &values) {
    std::vector<double> shown;
    for (size_t k = 0; k < 64; k++) shown.push_back(values[k * (values.size() - 1) / 63]);
    return list(shown);
}

// Milliseconds of a call: median and least over samples of at least 10 ms, for about `seconds`.
inline std::pair<double, double> measure(double seconds, const std::function<void()> &run) {
    using clock = std::chrono::steady_clock;
    const auto since = [](clock::time_point begin) { return std::chrono::duration<double>(clock::now() - begin).count(); };
    const auto sample = [&](long calls) {
        const auto begin = clock::now();
        for (long call = 0; call < calls; call++) run();
        return since(begin);
    };
    const auto begin = clock::now();
    long calls = 1;
    std::vector<double> samples = {sample(calls)};
    while (samples[0] < 0.01) samples[0] = sample(calls *= 2);
    while (since(begin) < seconds) samples.push_back(sample(calls));
    std::sort(samples.begin(), samples.end());
    return {samples[samples.size() / 2] / calls * 1e3, samples[0] / calls * 1e3};
}

// A case that the library does not offer; the text says why.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Answers requests until there are no more.
inline int serve(const std::string &version, const std::function<Prepared(const Case &)> &prepare) {
    std::printf("{\"version\": \"%s\"}\n", version.c_str());
    std::fflush(stdout);
    Prepared prepared;
    for (std::string request; std::getline(std::cin, request); std::fflush(stdout)) {
        if (Case::text(request, "do") == "measure") {
            const auto [ms, least] = measure(std::atof(Case::after(request, "seconds").c_str()), prepared.run);
            std::printf("{\"ms\": %.9g, \"ms_min\": %.9g}\n", ms, least);
            continue;
        }
        try {
            prepared = prepare(Case(request));
            std::printf("{\"probe\": {%s}}\n", prepared.probe.c_str());
        } catch (const Refused &refused) {
            std::printf("{\"skip\": \"%s\"}\n", refused.what());
        }
    }
    return 0;
}
