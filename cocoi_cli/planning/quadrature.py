"""Integrals of several functions at once, to a tolerance. Pure.

Source: the G7-K15 rule of QUADPACK (Piessens et al., 1983).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float64]

# Positive nodes of the Kronrod rule with its weights; every second node is one of the Gauss rule.
_NODES: Final = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691258401,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
)
_KRONROD: Final = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
)
_KRONROD_MIDDLE: Final = 0.209482141084727828012999174891714
_GAUSS: Final = (
    0.129484966168869693270611432679082,
    0.279705391489276667901467771423780,
    0.381830050505118944950369775488975,
)
_GAUSS_MIDDLE: Final = 0.417959183673469387755102040816327

NODES: Final = np.array([-x for x in _NODES] + [0.0] + list(_NODES[::-1]))
KRONROD: Final = np.array([*_KRONROD, _KRONROD_MIDDLE, *_KRONROD[::-1]])
GAUSS: Final = np.zeros(15)
GAUSS[1:7:2] = _GAUSS
GAUSS[7] = _GAUSS_MIDDLE
GAUSS[9:15:2] = _GAUSS[::-1]

_RULES: Final = np.stack([KRONROD, KRONROD - GAUSS], axis=1)  # value and difference in one product
MOST_ROUNDS: Final = 20  # a jump inside a panel is a millionth of it by then
MOST_PANELS: Final = 4096  # at once: a function that needs more is noise


def integrate(function: Callable[[Array], Array], edges: Array, tolerance: float) -> Array:
    """Integrals over the panels between some edges; panels that are not yet exact enough are halved.

    Args:
        function: Takes times of shape `(p,)` and gives shape `(c, p)`: c functions.
        edges: Ascending, shape `(panels + 1,)`; kinks belong here.
        tolerance: Allowed error of each integral, relative to it.

    Returns:
        Shape `(c,)`. The estimate of the error that the rule gives is far above its true error, so panels are
        halved at most a few times where functions are smooth inside them.
    """
    low, high = edges[:-1], edges[1:]
    settled: Array | float = 0.0
    left = MOST_ROUNDS
    while True:
        left -= 1
        values, errors = _panels(function, low, high)
        whole: Array = settled + values.sum(axis=1)
        allowed = tolerance * np.abs(whole) / low.size / 2
        poor = (errors > allowed[:, None]).any(axis=0)
        if not left or low.size > MOST_PANELS or not poor.any():
            return whole
        settled = settled + values[:, ~poor].sum(axis=1)
        middle = (low[poor] + high[poor]) / 2
        low, high = np.concatenate([low[poor], middle]), np.concatenate([middle, high[poor]])


def _panels(function: Callable[[Array], Array], low: Array, high: Array) -> tuple[Array, Array]:
    """Integral and estimated error, `(c, panels)` each."""
    half = (high - low) / 2
    times = ((low + high) / 2)[:, None] + half[:, None] * NODES
    values = function(times.ravel())
    results = values.reshape(len(values), low.size, NODES.size) @ _RULES
    return results[..., 0] * half, np.abs(results[..., 1]) * half
