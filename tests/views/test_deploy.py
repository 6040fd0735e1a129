from __future__ import annotations

import io

from rich.console import Console

from cocoi_cli.fleet.deployed import Deployed
from cocoi_cli.views.deploy import deploy_table, deployed_document, summary

DONE = Deployed(
    "system",
    "0.1.0-0123456789ab",
    None,
    ("sent 8 wheels (43.8 MB)", "made version 0.1.0-0123456789ab", "switched to 0.1.0-0123456789ab"),
    (),
    41.25,
    None,
)
SAME = Deployed("system", "0.1.0-0123456789ab", None, (), (), 3.5, None)


def shown(*, dry_run: bool) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(deploy_table({"raspberrypi-10": DONE, "pi": SAME}, dry_run=dry_run))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_fits_and_says_what_was_done():
    text = shown(dry_run=False)
    assert max(map(len, text.splitlines())) <= 80
    assert "unchanged" in text
    assert "41.25 s" in text


def test_a_dry_run_has_no_times():
    text = shown(dry_run=True)
    assert "41.25" not in text
    assert "nothing" in text


def test_one_line_sums_up():
    results = {"a": DONE, "b": SAME}
    assert summary(results, 3, dry_run=False) == "3 devices: 1 changed, 1 unchanged, 1 failed"
    assert summary(results, 2, dry_run=True) == "1 device of 2 would change"


def test_the_document_has_the_steps():
    document = deployed_document(DONE)
    assert document["changed"] is True
    assert len(document["steps"]) == 3
