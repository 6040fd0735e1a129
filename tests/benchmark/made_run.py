"""A benchmark with fixed figures."""

from __future__ import annotations

from cocoi_cli.benchmark.records import ModelFacts, Run, Sample, Settings

ROWS = ("auto", "uncoded", "round-robin", "dask")
SCENARIOS = ("none", "dead-1")
HOST = {
    "processor": "Plain processor",
    "cores": 2,
    "clock_mhz": None,
    "load": 0.5,
    "system": "Linux-6",
    "python": "3.11.7",
    "packages": {"cocoi": "1.0", "numpy": "2.4"},
}


def settings(**changes):
    fields = {
        "models": (ModelFacts("net", "ab" * 32, "stop.png", {"image": (1, 3, 8, 8)}),),
        "rows": ROWS,
        "scenarios": SCENARIOS,
        "fleet": "embedded",
        "devices": ("agent-1", "agent-2"),
        "seed": 1,
        "inferences": 6,
        "warm_up": 2,
        "transport": "f16",
        "tolerance": None,
        "n": None,
        "k": None,
        "host_kernels": "thread",
    }
    return Settings(**fields | changes)


def sample(repetition, latency_s, **changes):
    usual = {
        "bytes_out": 1_500_000,
        "bytes_in": 640_000,
        "host_cpu_s": 0.012,
        "used": 20,
        "late": 2,
        "cancelled": 1,
        "living": 2,
        "max_rel_error": 4.6e-4,
        "top1_equal": True,
        "stages_s": {"conv1": 0.02},
    }
    return Sample(repetition, latency_s, **usual | changes)


def made_run(repetitions=6):
    run = Run(
        settings(),
        "2026-01-02T03:04:05+00:00",
        "cocoi bench net.onnx --embedded 2",
        {"host": HOST, "devices": {"pi-1": {"throttled": True}, "pi-2": {"throttled": False}}, "load_at_end": 1.5},
        [],
        {"net/none": (), "net/dead-1": (("kill", "agent-2"),)},
        complete=True,
    )
    for scenario, times in (("none", 1.0), ("dead-1", 2.0)):
        for row, base in (("auto", 0.05), ("uncoded", 0.1), ("round-robin", 0.2)):
            cell = run.cell("net", scenario, row)
            cell.transport, cell.plan = ("f32" if row == "uncoded" else "f16"), f"plan of {row}"
            cell.samples += [sample(each, times * base * (1 + each / 10)) for each in range(repetitions)]
        run.cell("net", scenario, "dask").absent = "dask.distributed is not installed"
    if repetitions < 5:
        return run
    dead = run.cell("net", "dead-1", "auto")
    dead.samples[3] = sample(
        3, None, error="cannot-decode", max_rel_error=None, top1_equal=None, faults=(("kill", "x"),)
    )
    dead.samples[4] = sample(4, 0.14, top1_equal=False, max_rel_error=0.3, living=1, note="agent-1")
    return run
