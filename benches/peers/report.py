"""results.jsonl as a table in Markdown and as a chart."""

import json
from itertools import groupby
from pathlib import Path

from cases import IFOG, KINDS

TITLES = {
    "infer": "Inference of a sequence in one call, ms",
    "train": "Forward and backward pass, ms",
    "step": "One time step a call, one row, µs",
    "infer_b1": "Sequence of one row in one call, µs a time step",
    "charlm": "Training a character model of two layers, thousand characters/s",
}

LIBRARIES = ("pytorch", "onednn", "openvino", "onnxruntime", "jax", "rten", "tract", "candle", "burn", "rust-lstm", "rtneural")


def write(folder):
    """Writes results.md and results.svg beside results.jsonl; returns their paths."""
    # Of several measurements of the same, the last one counts.
    rows = {}
    for line in (folder / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows[*group(row), name(row), row["rival"]] = row
    cases = {}
    for (kind, threads, case, rival), row in rows.items():
        cases.setdefault((kind, threads, case), {})[rival] = row
    ordered = sorted(cases.values(), key=lambda of: group(any_row(of)))
    groups = [(key, list(members)) for key, members in groupby(ordered, key=lambda of: group(any_row(of)))]
    table, chart = folder / "results.md", folder / "results.svg"
    table.write_text(markdown(groups, list(rows.values())))
    draw(groups, chart)
    return table, chart


def group(row):
    return KINDS.index(row["case"]), row["threads"]


def any_row(of_case):
    return next(iter(of_case.values()))


def name(row):
    widths = f"H={row['H']}" if row["I"] == row["H"] else f"I={row['I']} H={row['H']}"
    return f"{row['case']} {row['cell']} B={row['B']} T={row['T']} {widths}"


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def markdown(groups, rows):
    machines = sorted({f"{row['cpu']}, Linux {row['kernel']}, {row['date']}" for row in rows})
    versions = list(dict.fromkeys(f"{row['rival']}: {row['version']}" for row in rows))
    lines = ["# ifog and other libraries", "", *machines, "", ", ".join(versions), ""]
    lines += [
        "In parentheses: share of the machine's limit, as `ifog bench` measures it in the same run. Bold: the fastest. The",
        "last column is the speed of ifog over that of the fastest rival; ≈: the rounds of the two overlap. †: computes",
        "something else than the first rival (see the log), and is not compared.",
        "",
    ]
    for (kind, threads), cases in groups:
        rivals = list(dict.fromkeys(rival for case in cases for rival in case))
        rivals.sort(key=lambda rival: rival != IFOG)
        lines += [f"## {TITLES[KINDS[kind]]}; {threads} thread{'s' * (threads > 1)}", ""]
        lines += ["| case | limit | " + " | ".join(rivals) + " | ifog : best rival |"]
        lines += ["|---|---|" + "---|" * (len(rivals) + 1)]
        lines += [table_row(case, rivals) for case in cases] + [""]
    return "\n".join(lines)


def table_row(case, rivals):
    one = any_row(case)
    compared = {rival: row for rival, row in case.items() if agrees(row)}
    best = min(compared, key=lambda rival: compared[rival]["ms"], default=None)
    limit = one["roofline_ms"]
    cells = [name(one).partition(" ")[2], shown(one, limit) if limit else ""]
    for rival in rivals:
        if rival not in case:
            cells.append("")
            continue
        row = case[rival]
        text = shown(row, row["ms"])
        if limit:
            text += f" ({limit / row['ms']:.2f})"
        cells.append(f"**{text}**" if rival == best else text if agrees(row) else f"{text} †")
    return "| " + " | ".join(cells + [ratio(compared)]) + " |"


def agrees(row):
    return not row["difference"] or row["difference"]["ok"]


def ratio(compared):
    """Speed of ifog over the fastest rival's."""
    others = [row for rival, row in compared.items() if rival != IFOG]
    if IFOG not in compared or not others:
        return ""
    mine, best = compared[IFOG], min(others, key=lambda row: row["ms"])
    overlap = min(mine["ms_rounds"]) <= max(best["ms_rounds"]) and min(best["ms_rounds"]) <= max(mine["ms_rounds"])
    return f"{best['ms'] / mine['ms']:.2f} {best['rival']}" + " ≈" * overlap


def sentence(case, rows):
    """A case in a line: who is fast."""
    rows = sorted((case | row for row in rows if agrees(row)), key=lambda row: row["ms"])
    others = [row for row in rows if row["rival"] != IFOG]
    mine = [row for row in rows if row["rival"] == IFOG]
    unit = {"step": "µs", "infer_b1": "µs a step", "charlm": "thousand characters/s"}.get(case["case"], "ms")
    figures = ", ".join(f"{row['rival']} {shown(row, row['ms'])}" for row in [*mine, *others[:3]])
    ratio = f"; ifog {others[0]['ms'] / mine[0]['ms']:.2f} × {others[0]['rival']}" if mine and others else ""
    return f"{name(case)}: {figures} {unit}{ratio}"


def shown(row, ms):
    """A time in the unit of the row's table."""
    match row["case"]:
        case "step":
            return f"{ms * 1e3:.3g}"
        case "infer_b1":
            return f"{ms * 1e3 / row['T']:.3g}"
        case "charlm":
            return f"{row['B'] * row['T'] / ms:.3g}"
    return f"{ms:.4g}"


def draw(groups, path):
    """GFLOP/s over the cases, a panel a table, the machine's limit as the line above."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "ifog", "font.size": 8}
    from matplotlib import pyplot

    widest = max(len(cases) for _, cases in groups)
    figure, panels = pyplot.subplots(
        len(groups), figsize=(3 + 0.4 * widest, 3.4 * len(groups)), squeeze=False, layout="constrained"
    )
    everybody = list(dict.fromkeys(rival for _, cases in groups for case in cases for rival in case if rival != IFOG))
    for panel, ((kind, threads), cases) in zip(panels[:, 0], groups):
        places = range(len(cases))
        flops = [any_row(case)["gflops"] * any_row(case)["ms"] for case in cases]
        limits = [of / any_row(case)["roofline_ms"] if any_row(case)["roofline_ms"] else None for of, case in zip(flops, cases)]
        if all(limits):
            panel.plot(places, limits, color="0.5", linewidth=2, label="the machine's limit")
        for rival in [IFOG, *everybody]:
            points = [(place, case[rival]["gflops"]) for place, case in zip(places, cases) if rival in case]
            if not points:
                continue
            color, marker = style(rival)
            line = {"linewidth": 2, "zorder": 3} if rival == IFOG else {"linewidth": 0.6, "markersize": 4}
            panel.plot(*zip(*points), color=color, marker=marker, label=rival, **line)
        labels = [name(any_row(case)).split(" ", 1)[1].replace(" H", "\nH").replace(" I", "\nI") for case in cases]
        panel.set_xticks(places, labels, rotation=90)
        panel.set_ylim(bottom=0)
        panel.set_ylabel("GFLOP/s")
        panel.set_title(f"{TITLES[KINDS[kind]].rpartition(',')[0]}; {threads} thread{'s' * (threads > 1)}", loc="left")
        panel.grid(axis="y", linewidth=0.3)
        panel.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def style(rival):
    """Color and marker, the same in every chart; variants of a library share its color."""
    if rival == IFOG:
        return "black", "o"
    library = next((k for k, library in enumerate(LIBRARIES) if rival.startswith(library)), len(LIBRARIES))
    return f"C{library % 10}", "s" if rival in LIBRARIES else "^" if rival.endswith(("cell", "ndarray")) else "v"
