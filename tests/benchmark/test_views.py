from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from cocoi_cli.benchmark.statistics import Ratio
from cocoi_cli.benchmark.summary import summarise
from cocoi_cli.planning.plan import ConvPlan, Plan, SegmentPlan
from cocoi_cli.views import bench_words as words
from cocoi_cli.views.bench import absences, conditions_lines, figures_table, legend, ratio_tables, remarks
from cocoi_cli.views.bench_markdown import bench_markdown
from cocoi_cli.views.bench_progress import LiveBench
from tests.benchmark import made_run as made

GOLDEN = Path(__file__).parent / "golden.md"

RATIOS = """\
net                none     dead-1
auto         62.5  0.50  120  0.50
uncoded       125  1.00  250  1.00
round-robin    123 each   245 each
dask                  -          -
"""
FIGURES = """\
none          p50  p95             ratio  out    in   cpu  waste  error
auto         62.5    -  0.50 (0.50-0.50)  1.5  0.64  12.0    2+1  5e-04
uncoded       125    -  1.00 (1.00-1.00)  1.5  0.64  12.0    2+1  5e-04
round-robin   123    -                 -  1.5  0.64  12.0    2+1  5e-04
"""


def text(table):
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def test_ratios_stand_side_by_side_per_scenario():
    (table,) = ratio_tables(summarise(made.made_run()), "net")
    assert text(table) == RATIOS


def test_figures_of_a_scenario():
    assert text(figures_table(summarise(made.made_run()), "net", "none")) == FIGURES


def test_tables_fit_80_columns_with_long_names_and_tails():
    run = made.made_run(500)
    for cell in run.cells:
        cell.model = "a-model-with-a-very-long-name-of-its-own"
        cell.row = "uncoded-forgetful" if cell.row == "auto" else cell.row
        cell.scenario = f"{cell.scenario}-in-a-long-kitchen"
        cell.samples[:] = [
            made.sample(each.repetition, 99.9, bytes_out=10**9, host_cpu_s=12.345) for each in cell.samples
        ]
    summaries = summarise(run)
    tables = [*ratio_tables(summaries, run.cells[0].model)]
    tables += [figures_table(summaries, run.cells[0].model, cell.scenario) for cell in run.cells]
    for table in tables:
        assert max(len(line) for line in text(table).splitlines()) <= 80
        assert "…" not in text(table).split("\n", 1)[1]


def test_many_scenarios_take_several_tables():
    run = made.made_run()
    for number in range(7):
        run.cell("net", f"s{number}", "auto").samples.append(made.sample(0, 0.1))
    assert len(ratio_tables(summarise(run), "net")) == 3


def test_says_what_is_missing():
    summaries = summarise(made.made_run())
    assert remarks(summaries) == ["auto in dead-1 on net: 5 of 6 answered"]
    assert "p95 needs 20 inferences per cell, p99 500" in legend(summaries)
    assert "p99 needs 500 inferences per cell" in legend(summarise(made.made_run(21)))
    assert any(line.startswith("!: the largest class") for line in legend(summaries))


def test_the_reason_stands_under_a_table_without_figures():
    run = made.made_run()
    assert absences(summarise(run), "net") == ["dask is not measured: dask.distributed is not installed", ""]
    assert absences(summarise(run), "other") == []
    run.cell("net", "dead-1", "dask").absent = "faults do not reach its workers, which are processes of this machine"
    assert absences(summarise(run), "net") == [
        "dask is not measured in none: dask.distributed is not installed",
        "dask is not measured in dead-1: faults do not reach its workers, which are",
        "  processes of this machine",
        "",
    ]


def test_says_when_there_are_too_few_for_an_interval():
    run = made.made_run(6)
    for cell in run.cells:
        del cell.samples[3:]
    said = legend(summarise(run))
    assert "3 per cell are too few for an interval: `--inferences 30` gives one" in said
    assert said[0] == "ms, and ratio of medians to `uncoded` in the same run;"
    assert max(map(len, said)) <= 80
    assert max(map(len, legend(summarise(made.made_run())))) <= 80


def test_says_why_there_are_no_ratios():
    run = made.made_run()
    run.cells[:] = [cell for cell in run.cells if cell.row != "uncoded"]
    assert legend(summarise(run))[0] == "ms; no ratio without figures of `uncoded`;"


def test_nothing_is_explained_where_nothing_was_measured():
    run = made.made_run()
    for cell in run.cells:
        cell.samples.clear()
    assert legend(summarise(run)) == []


def test_the_machine_and_the_moment_stand_in_two_lines():
    assert conditions_lines(made.made_run()) == (
        "Plain processor, 2 cores, load 0.5 at the start",
        "seed 1, 2026-01-02T03:04:05+00:00",
    )


def test_the_document_is_the_golden_one():
    assert bench_markdown(made.made_run()) == GOLDEN.read_text("utf-8")


def test_a_run_that_was_cut_off_says_so():
    run = made.made_run()
    run.complete = False
    assert "**The run was cut off: some cells have fewer.**" in bench_markdown(run)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "-"), (0.00921, "9.21"), (0.084, "84.0"), (1.247, "1247"), (0.0999, "99.9")]
)
def test_milliseconds_have_three_digits(seconds, shown):
    assert words.milliseconds(seconds) == shown


def test_a_ratio_from_few_pairs_has_no_interval():
    assert words.interval(Ratio(0.5, None, None, 3)) == "0.50"
    assert words.interval(Ratio(0.5, 0.4, 0.6, 30)) == "0.50 (0.40-0.60)"
    assert words.interval(None) == "-"


def layer(name, scheme="coded", n=10, k=8):
    return ConvPlan(name, scheme, n, k, 2, 4, "f16", "")


def test_a_plan_in_a_few_words():
    local = Plan("auto", 0, 0, "f16", (layer("a", "local", 0, 0),))
    assert words.plan_words(local) == "unmodified model"
    coded = Plan("coded", 10, 8, "f16", (layer("a"), layer("b", "local", 0, 0), layer("c")))
    assert words.plan_words(coded) == "2 of 3 layers coded (10,8)"
    segment = SegmentPlan("a..b", ("a", "b"), "x", "y", 20, 10, "f16", "")
    layers = (layer("a", "fused", 0, 0), layer("b", "fused", 0, 0), layer("c"), layer("d", "uncoded", 10, 10))
    fused = Plan("auto", 10, 8, "f16", layers, (segment,))
    assert words.plan_words(fused) == "1 segment fused, 2 of 2 layers coded (10,8), uncoded (10,10)"


def test_the_bar_has_one_line_at_80_columns():
    terminal = Console(width=80, color_system=None)
    bar = LiveBench(terminal)
    bar.total(10_000)
    bar.at("a-model-with-a-very-long-name", "a-long-scenario-of-mine", "uncoded-forgetful, warming up")
    bar.done(9_999)
    (line,) = text(bar._bar.get_renderable()).splitlines()
    assert line.startswith("a-model-with-a-v, a-long-scena: uncoded-forge…")
    assert "9999/10000" in line
