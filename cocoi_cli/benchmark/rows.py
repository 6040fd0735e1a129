"""The rows of the benchmark: what each scheme's name stands for there. Pure.

Rows that others published travel as those define it: whole float32 tensors. Ours travel as asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from cocoi_cli.benchmark.errors import UnknownRowError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

BASELINE: Final = "uncoded"
"""The row that every ratio is to: whole float32 pieces, no code, dead agents remembered."""

DASK: Final = "dask"

WHOLE: Final = 1  # strips per piece: none are cut

Kind = Literal["scheme", "device", "round-robin", "dask"]


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run the model.

    Attributes:
        name: On the command line and in tables.
        kind: Who runs it: the engine by a scheme, the engine on one device, each device in turn, or dask.
        scheme: The engine's scheme; empty for other kinds.
        transport: What the row fixes; None: as asked for.
        strips: Strips per piece that the row fixes; None: by rule.
        forget: Whether each inference begins without what is known of the agents.
        takes_k: Whether `--k` is meant for it.
        text: What it is, in a few words.
    """

    name: str
    kind: Kind
    scheme: str
    text: str
    transport: str | None = None
    strips: int | None = None
    forget: bool = False
    takes_k: bool = False

    @property
    def is_throughput(self) -> bool:
        """Whether the row's figure is seconds per picture of many, not the latency of one."""
        return self.kind == "round-robin"


_ALL = (
    Row("auto", "scheme", "auto", "what the planner decides"),
    Row("coded", "scheme", "coded", "systematic code over strips", takes_k=True),
    Row(BASELINE, "scheme", "uncoded", "whole float32 pieces, dead agents remembered", "f32", WHOLE),
    Row("uncoded-forgetful", "scheme", "uncoded", "the same, knowing nothing each time", "f32", WHOLE, forget=True),
    Row("replication", "scheme", "replication", "each piece on two agents"),
    Row("lt", "scheme", "lt", "LT code, sums of random pieces"),
    Row("cocoi", "scheme", "cocoi", "CoCoI as published, whole float32 pieces", "f32", WHOLE, takes_k=True),
    Row("fcdcc", "scheme", "fcdcc", "FCDCC, coded inputs and coded filters"),
    Row("hedged", "scheme", "hedged", "tiles without a code, late ones twice"),
    Row("local", "scheme", "local", "the unmodified model on the coordinator"),
    Row("device", "device", "", "the unmodified model on the best single device"),
    Row("round-robin", "round-robin", "", "whole pictures on all devices in turn"),
    Row(DASK, DASK, "coded", "the coded shares as tasks of dask.distributed", takes_k=True),
)
ROWS: Final[Mapping[str, Row]] = MappingProxyType({row.name: row for row in _ALL})
"""Every row by name."""

_UNASKED: Final = frozenset({"round-robin", DASK})  # what needs more time or another package is asked for by name


def choose_rows(names: Sequence[str] | None, schemes: Collection[str]) -> tuple[Row, ...]:
    """The rows of these names, each once, in order; None for all that are usual.

    Args:
        names: As typed.
        schemes: What the engine knows, `auto` and `local` included.

    Raises:
        UnknownRowError: If there is none of a name, or the engine lacks its scheme.
    """
    able = {name: row for name, row in ROWS.items() if row.kind != "scheme" or row.scheme in schemes}
    if names is None:
        return tuple(row for name, row in able.items() if name not in _UNASKED)
    found: dict[str, Row] = {}
    for name in names:
        if name not in able:
            raise UnknownRowError(name, tuple(able))
        found[name] = able[name]
    return tuple(found.values())
