"""The code families by name: every module of `cocoi_cli.codes.families` is one.

A family module has `SCHEME`, its name on the command line; `make(n, k, *, gain_limit)`,
which returns a `Code` or raises a `UsageError`; and `default_pieces(agents)`, the k it
wants for that many agents. It may have `AXIS`, `STRIPS`, `TRANSPORT`, `EAGER`, `RATELESS` and `PATIENT`, its
`Traits`; and `make` a parameter `filters` if it mixes output channels, with
`default_filters(k, layer)`, how many groups of them it wants. A new code is one
new file there, a short one: what follows from its generator is in `generator_code.py`,
what codes have in common in `linear_code.py`.
"""

from __future__ import annotations

import inspect
import pkgutil
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from cocoi_cli.codes import families
from cocoi_cli.codes.code import Traits
from cocoi_cli.codes.errors import BadCodeError, UnknownSchemeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.codes.code import Code
    from cocoi_cli.codes.filter_cost import LayerSize


class _MakeMixed(Protocol):
    def __call__(self, n: int, k: int, *, gain_limit: float, filters: int) -> Code: ...


class Family(Protocol):
    """What a module of `cocoi_cli.codes.families` offers."""

    SCHEME: str

    def make(self, n: int, k: int, *, gain_limit: float) -> Code:
        """Make the code with these parameters."""
        ...

    def default_pieces(self, agents: int) -> int:
        """The k this family wants for so many agents."""
        ...


def schemes() -> tuple[str, ...]:
    """Names of all code families, in alphabetical order."""
    return tuple(sorted(_families()))


def make_code(scheme: str, n: int, k: int, *, gain_limit: float, filters: int = 1) -> Code:
    """Make a code of the named family.

    Args:
        scheme: Name of the family, as on the command line.
        n: Shares.
        k: Pieces.
        gain_limit: Largest noise gain to decode with; it belongs to the transport type.
        filters: Groups of output channels to mix, for a family that does.

    Raises:
        UnknownSchemeError: If no family has this name.
        UsageError: If the family has no such code, or refuses it.
    """
    make = _family(scheme).make
    if _mixes_filters(scheme):
        code: Code = cast("_MakeMixed", make)(n, k, gain_limit=gain_limit, filters=filters)
        return code
    if filters != 1:
        raise BadCodeError(scheme, n, k, "its code does not mix output channels")
    return make(n, k, gain_limit=gain_limit)


def traits(scheme: str) -> Traits:
    """How the named family wants its stages cut and sent.

    Raises:
        UnknownSchemeError: If no family has this name.
    """
    family = _family(scheme)
    usual = Traits()
    return Traits(
        axis=getattr(family, "AXIS", usual.axis),
        strips=getattr(family, "STRIPS", usual.strips),
        transport=getattr(family, "TRANSPORT", usual.transport),
        eager=getattr(family, "EAGER", usual.eager),
        rateless=getattr(family, "RATELESS", usual.rateless),
        patient=getattr(family, "PATIENT", usual.patient),
    )


def default_pieces(scheme: str, agents: int) -> int:
    """The k that the named family wants for so many agents.

    Raises:
        UnknownSchemeError: If no family has this name.
    """
    return _family(scheme).default_pieces(agents)


def default_filters(scheme: str, k: int, layer: LayerSize) -> int:
    """Into how many groups the named family wants the filters of a layer mixed; 1 where it leaves them alone.

    Raises:
        UnknownSchemeError: If no family has this name.
    """
    choose: Callable[[int, LayerSize], int] | None = getattr(_family(scheme), "default_filters", None)
    return 1 if choose is None else choose(k, layer)


def _family(scheme: str) -> Family:
    family = _families().get(scheme)
    if family is None:
        raise UnknownSchemeError(scheme, schemes())
    return family


@lru_cache(maxsize=64)
def _mixes_filters(scheme: str) -> bool:
    return "filters" in inspect.signature(_family(scheme).make).parameters


@lru_cache(maxsize=1)
def _families() -> MappingProxyType[str, Family]:
    names = [module.name for module in pkgutil.iter_modules(families.__path__)]
    modules = [cast("Family", import_module(f"{families.__name__}.{name}")) for name in names]
    return MappingProxyType({module.SCHEME: module for module in modules})
