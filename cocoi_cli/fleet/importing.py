"""Devices that other files already name: Ansible inventories, and the aliases of an ssh configuration.

What such a file proposes is contacted and added like anything that is typed.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from cocoi_cli.fleet.ansible_files import read_ini, read_yaml
from cocoi_cli.fleet.names import BadTargetError, is_ip, parse_target
from cocoi_cli.fleet.proposals import BadImportError, Proposal, UnknownGroupError
from cocoi_cli.model.inputs import in_sentence, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["ini", "yaml", "ssh"]

_LARGEST: Final = 4 << 20
_DEEPEST: Final = 16  # as ssh itself follows Include
_SSH_LINE: Final = re.compile(r"\s*(host|match|include)(\s*=\s*|\s+)\S", re.IGNORECASE)
_KEYWORD: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+)(.*)")
_SKIPPED: Final = re.compile(r"[*?!]")


def read_text(path: Path) -> str:
    """The text of a file to import.

    Raises:
        BadImportError: If it cannot be read, is far too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadImportError(path, 0, reason(error)) from error
    if len(data) > _LARGEST:
        raise BadImportError(path, 0, f"it has more than {_LARGEST >> 20} MB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadImportError(path, data.count(b"\n", 0, error.start) + 1, "it is no text in UTF-8") from None
    if "\0" in text:
        raise BadImportError(path, text[: text.index("\0")].count("\n") + 1, "it is no text")
    return text


def kind_of(text: str, path: Path) -> Kind:
    """What a file is, by its name's end and else by its first lines that say something."""
    if path.suffix.lower() in {".yml", ".yaml", ".json"}:
        return "yaml"
    if path.suffix.lower() in {".ini", ".cfg"}:
        return "ini"
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;"]
    if any(_SSH_LINE.match(line) for line in lines) and not any(line.lstrip().startswith("[") for line in lines):
        return "ssh"
    first = lines[0].strip() if lines else ""
    return "yaml" if first == "---" or first.endswith(":") or first.startswith(("{", "%YAML")) else "ini"


def proposals(path: Path, group: str | None) -> list[Proposal]:
    """The devices that a file proposes, in its order.

    Args:
        path: An Ansible inventory (INI or YAML) or an ssh configuration.
        group: Group of the inventory, or pattern of aliases such as `pi-*`; None for all.

    Raises:
        BadImportError: At the first line that is not understood, or if nothing is proposed.
        UnknownGroupError: If the file has no such group.
    """
    text = read_text(path)
    match kind_of(text, path):
        case "ini":
            return read_ini(text, path).proposals(group)
        case "yaml":
            return read_yaml(text, path).proposals(group)
        case "ssh":
            return _aliases(text, path, group)


def _aliases(text: str, path: Path, group: str | None) -> list[Proposal]:
    found: dict[str, Proposal] = {}
    for proposal in _ssh_hosts(text, path, 0):
        found.setdefault(proposal.ssh, proposal)
    if not found:
        raise BadImportError(path, 0, "it has no `Host` without a wildcard")
    if group is None:
        return list(found.values())
    chosen = [each for alias, each in found.items() if fnmatch.fnmatchcase(alias, group)]
    if not chosen:
        raise UnknownGroupError(path, group, list(found))
    return chosen


def _ssh_hosts(text: str, path: Path, depth: int) -> Iterator[Proposal]:
    """Aliases of one file and of those that it includes; what they mean is left to ssh."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _KEYWORD.fullmatch(stripped)
        if found is None:
            raise BadImportError(path, number, f"`{stripped}` is no line of an ssh configuration")
        keyword = found.group(1).lower()
        if keyword not in {"host", "include"}:
            continue
        try:
            words = shlex.split(found.group(2), comments=True)
        except ValueError as error:
            raise BadImportError(path, number, in_sentence(str(error))) from None
        for word in words:
            if keyword == "include":
                if depth >= _DEEPEST:
                    raise BadImportError(path, number, f"`Include` is nested more than {_DEEPEST} deep")
                for each in _included(path, word):
                    yield from _ssh_hosts(read_text(each), each, depth + 1)
            elif not _SKIPPED.search(word):
                yield _alias(path, number, word)


def _alias(path: Path, line: int, alias: str) -> Proposal:
    try:
        parse_target(alias)
    except BadTargetError as error:
        raise BadImportError(path, line, error.message) from None
    return Proposal(None if is_ip(alias) else alias, alias, line)


def _included(path: Path, pattern: str) -> list[Path]:
    """Files of an Include, which are as ssh has it relative to the folder of the user's configuration."""
    named = Path(pattern).expanduser()
    if not named.is_absolute():
        named = path.resolve().parent / named
    return sorted(each for each in Path(named.anchor).glob(str(named.relative_to(named.anchor))) if each.is_file())
