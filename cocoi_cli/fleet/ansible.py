"""Hosts, groups and variables of an Ansible inventory, whatever form it was read from. Pure.

Of the variables only those count that say where ssh goes. A host's own win over those of
its groups, and those of a group over those of the groups that contain it.

Source: Ansible's documentation, "How to build your inventory".
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet.names import BadTargetError, SshTarget, is_ip, parse_target
from cocoi_cli.fleet.proposals import BadImportError, Proposal, UnknownGroupError

if TYPE_CHECKING:
    from pathlib import Path

ALL: Final = "all"
UNGROUPED: Final = "ungrouped"

MOST_HOSTS: Final = 1000
"""More than that is a mistyped range, not a shelf of devices."""

_SSH: Final = {"ssh", "smart", "paramiko", "paramiko_ssh", "libssh", "ansible.netcommon.libssh"}
_RANGE: Final = re.compile(r"\[([^\[\]]*)\]")
_HOST: Final = ("ansible_host", "ansible_ssh_host")
_USER: Final = ("ansible_user", "ansible_ssh_user")
_PORT: Final = ("ansible_port", "ansible_ssh_port")


@dataclass(frozen=True, slots=True)
class Value:
    """A variable's value and the line that gives it."""

    text: str
    line: int


@dataclass(slots=True)
class _Group:
    hosts: dict[str, int] = field(default_factory=dict)
    children: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)


class AnsibleInventory:
    """Groups as they are read, line by line; `proposals` answers at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._groups: dict[str, _Group] = {}
        self._hosts: dict[str, dict[str, Value]] = {}

    def group(self, name: str) -> None:
        """There is a group of this name."""
        self._groups.setdefault(name, _Group())

    def add_hosts(self, group: str, pattern: str, variables: dict[str, Value], line: int) -> None:
        """Put the hosts of a pattern, such as `pi[01:08].lan:2222`, into a group."""
        self.group(group)
        bare, colon, port = pattern.rpartition(":")
        if colon and port.isdigit() and not is_ip(pattern):
            pattern, variables = bare, {"ansible_port": Value(port, line)} | variables
        for name in self._expanded(pattern, line):
            if len(self._hosts) >= MOST_HOSTS:
                raise self.bad(line, f"there are more than {MOST_HOSTS} hosts")
            self._groups[group].hosts.setdefault(name, line)
            self._hosts.setdefault(name, {}).update(variables)

    def add_child(self, group: str, child: str, line: int) -> None:
        """A group contains another, which may be told of later."""
        self.group(group)
        self._groups[group].children.setdefault(child, line)

    def set_variable(self, group: str, name: str, value: Value) -> None:
        """Give a variable to all hosts of a group, which may be told of later."""
        self.group(group)
        self._groups[group].variables[name] = value

    def proposals(self, group: str | None) -> list[Proposal]:
        """The hosts of a group, or all, in the order of the file.

        Raises:
            UnknownGroupError: If there is no such group.
            BadImportError: If groups contain each other or one that is not there, or a host is no SSH target.
        """
        for name in self._groups:
            self._check_children(name, ())
        wanted = set(self._hosts) if group in {None, ALL} else self._hosts_of(group or ALL)
        chosen = [name for name in self._hosts if name in wanted]
        if not chosen:
            raise self.bad(0, "it names no host" if group is None else f"group `{group}` has no host")
        return [self._proposal(name) for name in chosen]

    def bad(self, line: int, cause: str) -> BadImportError:
        """A complaint about a line."""
        return BadImportError(self._path, line, cause)

    def _check_children(self, name: str, above: tuple[str, ...]) -> None:
        for child, line in self._groups[name].children.items():
            if child not in self._groups:
                raise self.bad(line, f"group `{name}` contains group `{child}`, which is not there")
            if child in {*above, name}:
                raise self.bad(line, f"group `{child}` contains itself")
            self._check_children(child, (*above, name))

    def _hosts_of(self, group: str) -> set[str]:
        if group == UNGROUPED and group not in self._groups:
            return set()
        if group not in self._groups:
            raise UnknownGroupError(self._path, group, self._groups)
        found = set(self._groups[group].hosts)
        for child in self._groups[group].children:
            found |= self._hosts_of(child)
        return found

    def _proposal(self, name: str) -> Proposal:
        variables = self._variables(name)
        line = next(group.hosts[name] for group in self._groups.values() if name in group.hosts)
        connection = variables.get("ansible_connection", Value("ssh", line))
        if connection.text not in _SSH:
            raise self.bad(connection.line, f"host `{name}` is reached by `{connection.text}`, not by SSH")
        user, host, port = (self._first(variables, keys) for keys in (_USER, _HOST, _PORT))
        host = host or Value(name, line)
        if port is not None and not (port.text.isascii() and port.text.isdigit()):
            raise self.bad(port.line, f"`{port.text}` is no port")
        target = SshTarget(user.text if user else None, host.text, int(port.text) if port else None)
        try:
            parse_target(str(target))
        except BadTargetError as error:
            raise self.bad(host.line, error.message) from None
        return Proposal(None if is_ip(name) else name, str(target), line)

    def _variables(self, name: str) -> dict[str, Value]:
        above = {group for group in self._groups if name in self._hosts_of(group)} | ({ALL} & set(self._groups))
        merged: dict[str, Value] = {}
        for group in sorted(above, key=lambda each: (self._depth(each), each)):
            merged |= self._groups[group].variables
        return merged | self._hosts[name]

    def _depth(self, name: str) -> int:
        parents = [each for each, group in self._groups.items() if name in group.children]
        return 0 if name == ALL else 1 + max((self._depth(each) for each in parents), default=0)

    def _first(self, variables: dict[str, Value], keys: tuple[str, ...]) -> Value | None:
        value = next((variables[key] for key in keys if key in variables), None)
        if value is not None and "{{" in value.text:
            raise self.bad(value.line, f"`{value.text}` is a template, which only Ansible can fill in")
        return value

    def _expanded(self, pattern: str, line: int) -> list[str]:
        """The names of a pattern with ranges: `[01:08]`, `[a:f]`, `[0:30:10]`."""
        found = _RANGE.search(pattern)
        if found is None:
            return [pattern]
        head, tail = pattern[: found.start()], pattern[found.end() :]
        items = self._range(found.group(1), pattern, line)
        return [head + item + rest for item in items for rest in self._expanded(tail, line)]

    def _range(self, text: str, pattern: str, line: int) -> list[str]:
        parts = text.split(":")
        fault = self.bad(line, f"`[{text}]` in `{pattern}` is no range such as `[01:08]` or `[a:f]`")
        if len(parts) not in {2, 3} or not all(parts[1:]) or (len(parts) == 3 and not parts[2].isdigit()):
            raise fault
        first, last = parts[0] or "0", parts[1]
        step = int(parts[2]) if len(parts) == 3 else 1
        if first.isdigit() and last.isdigit() and len(first) <= 9 and len(last) <= 9:
            if len(first) > 1 and first.startswith("0") and len(first) != len(last):
                raise fault
            width = len(first) if first.startswith("0") else 0
            numbers = range(int(first), int(last) + 1, step or 1)
            if len(numbers) > MOST_HOSTS:
                raise self.bad(line, f"`[{text}]` in `{pattern}` is more than {MOST_HOSTS} hosts")
            items = [str(number).zfill(width) for number in numbers]
        elif len(first) == len(last) == 1 and first in string.ascii_letters and last in string.ascii_letters:
            items = [chr(code) for code in range(ord(first), ord(last) + 1, step or 1) if chr(code).isalpha()]
        else:
            raise fault
        if not items or not step:
            raise fault
        return items
