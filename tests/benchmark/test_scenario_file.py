from __future__ import annotations

import pytest

from cocoi_cli.benchmark.errors import BadScenarioFileError
from cocoi_cli.benchmark.scenario_file import read_scenarios
from cocoi_cli.benchmark.scenarios import SEED_PLACE, Step
from cocoi_cli.model.inputs import NoSuchFileError

GOOD = """
[kitchen]
text = "one device behind a wall, another dies"
before = [
  { word = "loss", devices = 1, arguments = [2.5] },
  { word = "delay", devices = "all", arguments = ["trace", "{seed}"] },
  { word = "delay", arguments = ["exp", "0.5"] },
  { word = "delay", arguments = ["exp", 0.5, "{seed}"] },
  { word = "lie", devices = 1, arguments = ["flip"] },
]
during = [{ word = "kill", devices = ["pi-3", "pi-4"], at = 0.5 }, { word = "freeze", devices = 2 }]

[quiet]
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "scenarios.toml"
        path.write_text(text)
        return str(path)

    return write


def test_reads_numbers_names_and_all(write):
    found = read_scenarios(write(GOOD))
    assert list(found) == ["kitchen", "quiet"]
    kitchen = found["kitchen"]
    assert kitchen.text == "one device behind a wall, another dies"
    assert kitchen.before == (
        Step("loss", 1, ("2.5",)),
        Step("delay", None, ("trace", SEED_PLACE)),
        Step("delay", None, ("exp", "0.5")),
        Step("delay", None, ("exp", "0.5", SEED_PLACE)),
        Step("lie", 1, ("flip",)),
    )
    assert kitchen.during == (Step("kill", ("pi-3", "pi-4"), (), 0.5), Step("freeze", 2))
    assert (found["quiet"].text, found["quiet"].words) == ("quiet", frozenset())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a", "not TOML: "),
        ("", "it has no scenario"),
        ("a = 3", "`a`: found 3, expected an object"),
        ("[a]\nbefor = []", "`a.befor`: no such key; known are `before`, `during`, `text`"),
        ("[paper]", "`paper`: the name stands for a group of scenarios"),
        ("[a]\ntext = 4", "`a.text`: found 4, expected text"),
        ("[a]\nbefore = 3", "`a.before`: found 3, expected a list"),
        ("[a]\nbefore = [{}]", "`a.before[0].word`: it is absent, expected `slow` or `freeze`"),
        ('[a]\nbefore = [{word = "explode"}]', 'found "explode", expected `slow` or'),
        ('[a]\nbefore = [{word = "slow"}]', "`a.before[0].arguments`: found none, expected a factor from 1 to 1000"),
        ('[a]\nbefore = [{word = "slow", arguments = ["fast"]}]', "found fast, expected a factor from 1 to 1000"),
        ('[a]\nbefore = [{word = "loss", arguments = [101]}]', "found 101, expected a percentage from 0 to 100"),
        ('[a]\nbefore = [{word = "kill", arguments = [1]}]', "found 1, expected none"),
        ('[a]\nbefore = [{word = "delay", arguments = ["exp"]}]', "found exp, expected `exp MEAN` or `trace SEED`"),
        ('[a]\nbefore = [{word = "delay", arguments = ["trace", "x"]}]', "expected `exp MEAN` or `trace SEED`"),
        ('[a]\nbefore = [{word = "lie", arguments = [2]}]', "found 2, expected a part from 0 to 1"),
        ('[a]\nbefore = [{word = "kill", devices = 0}]', "expected `a number above zero` or `all`"),
        ('[a]\nbefore = [{word = "kill", devices = "some"}]', "expected `a number above zero` or `all`"),
        ('[a]\nbefore = [{word = "kill", at = 0.5}]', "`a.before[0].at`: no such key"),
        ('[a]\nduring = [{word = "kill", at = 2}]', "`a.during[0].at`: found 2, expected a part from 0 to 1"),
    ],
)
def test_says_what_is_wrong_and_where(write, text, complaint):
    path = write(text)
    with pytest.raises(BadScenarioFileError) as caught:
        read_scenarios(path)
    assert caught.value.message.startswith(f"scenario file `{path}`: ")
    assert complaint in caught.value.message


def test_an_absent_file_is_said_to_be_absent(tmp_path):
    with pytest.raises(NoSuchFileError):
        read_scenarios(str(tmp_path / "none.toml"))
