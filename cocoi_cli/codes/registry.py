"""The code families by name: every module of `cocoi_cli.codes.families` is one.

A family module has `SCHEME`, its name on the command line; `make(n, k, *, gain_limit)`,
which returns a `Code` or raises a `UsageError`; and `default_pieces(agents)`, the k it
wants for that many agents. A new code is one new file there.
"""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from cocoi_cli.codes import families
from cocoi_cli.codes.errors import UnknownSchemeError

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Code


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


def make_code(scheme: str, n: int, k: int, *, gain_limit: float) -> Code:
    """Make a code of the named family.

    Args:
        scheme: Name of the family, as on the command line.
        n: Shares.
        k: Pieces.
        gain_limit: Largest noise gain to decode with; it belongs to the transport type.

    Raises:
        UnknownSchemeError: If no family has this name.
        UsageError: If the family has no such code, or refuses it.
    """
    return _family(scheme).make(n, k, gain_limit=gain_limit)


def default_pieces(scheme: str, agents: int) -> int:
    """The k that the named family wants for so many agents.

    Raises:
        UnknownSchemeError: If no family has this name.
    """
    return _family(scheme).default_pieces(agents)


def _family(scheme: str) -> Family:
    family = _families().get(scheme)
    if family is None:
        raise UnknownSchemeError(scheme, schemes())
    return family


@lru_cache(maxsize=1)
def _families() -> MappingProxyType[str, Family]:
    names = [module.name for module in pkgutil.iter_modules(families.__path__)]
    modules = [cast("Family", import_module(f"{families.__name__}.{name}")) for name in names]
    return MappingProxyType({module.SCHEME: module for module in modules})
