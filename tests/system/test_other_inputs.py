"""An input on which the model rounds worse than on the rehearsed one is computed again, not handed out."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.api import Fleet, Options
from tests.runtime.test_rehearsal import amplifier
from tests.system.processes import unexpected

pytestmark = pytest.mark.slow


def test_an_answer_over_the_tolerance_is_not_handed_out(tmp_path) -> None:
    model = amplifier(tmp_path)
    noise = np.random.default_rng(2).standard_normal((1, 3, 32, 32)).astype(np.float32)
    tame, delicate = {"x": noise}, {"x": np.float32(1) + np.float32(1e-6) * noise}
    with Fleet.embedded(5) as fleet:
        first = fleet.infer(model, tame, options=Options(k=3, check=True))
        second = fleet.infer(model, delicate, options=Options(k=3, check=True))
        third = fleet.infer(model, tame, options=Options(k=3, check=True))
    assert any(row.kind == "conv" for row in first.stages)
    assert unexpected(first.warnings) == []
    assert second.check is not None
    assert second.check.passed
    assert any("it is computed again" in text for text in second.warnings)
    assert unexpected(third.warnings) == []  # the stricter plan stays
