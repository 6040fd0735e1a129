"""Ansible inventories as files: INI and YAML, every complaint with its line."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import yaml  # type: ignore[import-untyped]

from cocoi_cli.fleet.ansible import ALL, UNGROUPED, AnsibleInventory, Value
from cocoi_cli.fleet.proposals import BadImportError
from cocoi_cli.model.inputs import in_sentence

if TYPE_CHECKING:
    from pathlib import Path

_SECTION: Final = re.compile(r"\[([^\[\]:\s]+)(?::(\w+))?\]\s*([#;].*)?")
_PARTS: Final = ("hosts", "children", "vars")


def read_ini(text: str, path: Path) -> AnsibleInventory:
    """Read an inventory of the INI form.

    Raises:
        BadImportError: At the first line that is not understood.
    """
    inventory = AnsibleInventory(path)
    group, kind = UNGROUPED, "hosts"
    variables_for: dict[str, int] = {}
    declared = {ALL, UNGROUPED}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if stripped.startswith("[") and (section := _SECTION.fullmatch(stripped)):
            group, kind = section.group(1), section.group(2) or "hosts"
            if kind not in _PARTS:
                raise inventory.bad(number, f"`[{group}:{kind}]` is no section; there are `:children` and `:vars`")
            if kind == "vars":
                variables_for.setdefault(group, number)
            else:
                declared.add(group)
                inventory.group(group)
            continue
        if stripped.startswith("[") and "]" not in stripped:
            raise inventory.bad(number, f"`{stripped}` is no section: `]` is missing")
        words = _words(inventory, stripped, number)
        if kind == "hosts":
            _host_line(inventory, group, words, number)
        elif kind == "vars":
            name, equals, value = stripped.partition("=")
            if not equals:
                raise inventory.bad(number, f"`{stripped}` is no variable: `=` is missing")
            inventory.set_variable(group, name.strip(), Value(_unquoted(value), number))
        elif len(words) == 1:
            inventory.add_child(group, words[0], number)
        else:
            raise inventory.bad(number, f"`{stripped}` is no name of a group")
    for name, number in variables_for.items():
        if name not in declared:
            raise inventory.bad(number, f"`[{name}:vars]` is for a group that is not there")
    return inventory


def read_yaml(text: str, path: Path) -> AnsibleInventory:
    """Read an inventory of the YAML form; nothing in it is executed or constructed.

    Raises:
        BadImportError: At the first line that is not understood.
    """
    inventory = AnsibleInventory(path)
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise inventory.bad(0, "it is empty")
        walk = _YamlWalk(inventory, loader)
        for name, node in walk.items(root, "the inventory"):
            walk.group(name.text, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        cause = in_sentence(error.problem or error.context or "it cannot be read")
        line = min(mark.line + 1, len(text.splitlines())) if mark else 0
        raise BadImportError(path, line, f"it is no YAML: {cause}") from None
    except yaml.YAMLError as error:
        raise BadImportError(path, 0, f"it is no YAML: {in_sentence(str(error).splitlines()[0])}") from None
    except RecursionError:
        raise BadImportError(path, 0, "it is nested too deeply") from None
    finally:
        loader.dispose()
    return inventory


class _YamlWalk:
    """Reads composed nodes, because those know their lines."""

    def __init__(self, inventory: AnsibleInventory, loader: Any) -> None:  # noqa: ANN401 - yaml has no types
        self._inventory = inventory
        self._loader = loader
        self._open: list[Any] = []

    def group(self, name: str, node: Any) -> None:  # noqa: ANN401 - as above
        self._inventory.group(name)
        if _is_null(node):
            return
        if any(node is each for each in self._open):
            raise self._inventory.bad(_line(node), f"group `{name}` contains itself")
        self._open.append(node)
        for part, inner in self.items(node, f"group `{name}`"):
            if part.text not in _PARTS:
                known = ", ".join(f"`{each}`" for each in _PARTS)
                raise self._inventory.bad(part.line, f"group `{name}` has `{part.text}`; a group has {known}")
            if not _is_null(inner):
                self._part(name, part.text, inner)
        self._open.pop()

    def _part(self, group: str, part: str, node: Any) -> None:  # noqa: ANN401 - as above
        for name, inner in self.items(node, f"`{part}` of group `{group}`"):
            if part == "children":
                self._inventory.add_child(group, name.text, name.line)
                self.group(name.text, inner)
            elif part == "hosts":
                self._inventory.add_hosts(group, name.text, self._variables(name.text, inner), name.line)
            elif isinstance(inner, yaml.ScalarNode):
                self._inventory.set_variable(group, name.text, Value(inner.value, _line(inner)))

    def _variables(self, host: str, node: Any) -> dict[str, Value]:  # noqa: ANN401 - as above
        if _is_null(node):
            return {}
        items = self.items(node, f"host `{host}`")
        # Lists and tables are values too, of variables that say nothing about ssh.
        return {name.text: Value(each.value, _line(each)) for name, each in items if isinstance(each, yaml.ScalarNode)}

    def items(self, node: Any, what: str) -> list[tuple[Value, Any]]:  # noqa: ANN401 - as above
        """Keys and values of a table, with what it merges in (`<<`)."""
        if not isinstance(node, yaml.MappingNode):
            raise self._inventory.bad(_line(node), f"{what} is a table, not {_kind(node)}")
        self._loader.flatten_mapping(node)
        found = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._inventory.bad(_line(key), f"a key of {what} is a name, not {_kind(key)}")
            found.append((Value(key.value, _line(key)), value))
        return found


def _host_line(inventory: AnsibleInventory, group: str, words: list[str], number: int) -> None:
    variables = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise inventory.bad(number, f"`{word}` is no variable: `=` is missing")
        variables[name] = Value(value, number)
    if not words or "=" in words[0]:
        raise inventory.bad(number, "the line begins with no host")
    inventory.add_hosts(group, words[0], variables, number)


def _words(inventory: AnsibleInventory, line: str, number: int) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise inventory.bad(number, in_sentence(str(error))) from None


def _unquoted(value: str) -> str:
    value = value.strip()
    quoted = re.fullmatch(r"""(['"])(.*?)\1\s*(#.*)?""", value)
    return quoted.group(2) if quoted else value.split(" #")[0].strip()


def _line(node: Any) -> int:  # noqa: ANN401 - yaml has no types
    return int(node.start_mark.line) + 1


def _is_null(node: Any) -> bool:  # noqa: ANN401 - yaml has no types
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _kind(node: Any) -> str:  # noqa: ANN401 - yaml has no types
    if isinstance(node, yaml.ScalarNode):
        return f"`{node.value}`"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a table"
