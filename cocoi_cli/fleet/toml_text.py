"""Statements of a TOML text and their lines, and edits that leave every other line alone. Pure.

Neither tomllib nor tomlkit says in which line a value stands, and tomlkit counts the
comment above a table to the table before it, so that removing one table takes the next
one's comment along. Here a text is cut into statements, the shortest runs of lines that
are TOML by themselves, which gives both. tomlkit writes values, keeps what stands beside
them, and does the whole edit where a table is not written in lines of its own.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomlkit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Tree = dict[str, Any]
Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One header, or one key with its value.

    Attributes:
        first: Index of its first line, from 0.
        end: Index of the line after its last.
        header: Keys of the table that is open there.
        keys: Every key path that it mentions, as seen from the whole document.
        is_header: Whether it opens a table.
    """

    first: int
    end: int
    header: Keys
    keys: tuple[Keys, ...]
    is_header: bool

    def is_within(self, keys: Keys) -> bool:
        """Whether it speaks of the value at `keys` and of nothing beside it."""
        return any(path[: len(keys)] == keys for path in self.keys) and all(
            path[: len(keys)] == keys[: len(path)] for path in self.keys
        )


def statements(text: str) -> list[Statement]:
    """Cut a text that tomllib accepts into its statements; blank lines and comments belong to none."""
    lines = _lines(text)
    found: list[Statement] = []
    header: Keys = ()
    first = 0
    while first < len(lines):
        if not lines[first].strip() or _is_comment(lines[first]):
            first += 1
            continue
        end, tree = _whole(lines, first)
        is_header = lines[first].lstrip().startswith("[")
        if is_header:
            header = _header(tree)
            keys: tuple[Keys, ...] = tuple(header[:depth] for depth in range(1, len(header) + 1))
        else:
            keys = tuple((*header, *path) for path in _paths(tree))
        found.append(Statement(first, end, header, keys, is_header))
        first = end
    return found


def line_numbers(text: str) -> dict[Keys, int]:
    """For each key path the line, from 1, of its header or else of its first mention."""
    mentions: dict[Keys, int] = {}
    headers: dict[Keys, int] = {}
    for statement in statements(text):
        if statement.is_header:
            headers.setdefault(statement.header, statement.first + 1)
        for keys in statement.keys:
            mentions.setdefault(keys, statement.first + 1)
    return mentions | headers


def with_table(text: str, keys: Keys, values: Mapping[str, object]) -> str:
    """Append the table `keys`, which must not be there."""
    head = ".".join(tomlkit.key(key).as_string() for key in keys)
    body = "".join(_line(key, value) for key, value in values.items())
    before = f"{text.rstrip()}\n\n" if text.strip() else ""
    return _checked(text, f"{before}[{head}]\n{body}", keys, dict(values))


def without_table(text: str, keys: Keys) -> str:
    """Remove the table `keys` with the comments within it and those right above it."""
    lines = _lines(text)
    parsed = statements(text)
    gone: set[int] = set()
    closes_gap = True
    for index, statement in enumerate(parsed):
        if not statement.is_within(keys):
            continue
        following = parsed[index + 1] if index + 1 < len(parsed) else None
        if following is None:
            limit = len(lines)
        else:
            limit = following.first if following.is_within(keys) else _comments_start(lines, following.first)
        start = _comments_start(lines, statement.first)
        end = _comments_end(lines, statement.end, limit)
        if start - 1 not in gone:
            closes_gap = start == 0 or not lines[start - 1].strip()
        if closes_gap:
            end = _blanks_end(lines, end, limit)  # one gap is left where there were two
        gone.update(range(start, end))
    return _checked(text, _without(lines, gone), keys, None)


def with_value(text: str, keys: Keys, value: object) -> str:
    """Set one value of a table that is there, or drop the value where `value` is None."""
    table = tomllib.loads(text)
    for key in keys[:-1]:
        table = table[key]
    wanted = {key: each for key, each in table.items() if key != keys[-1]}
    if value is None:
        edited = _dropped(text, keys)
    else:
        wanted[keys[-1]] = value
        edited = _replaced(text, keys, value)
    return _checked(text, edited, keys[:-1], wanted)


def _dropped(text: str, keys: Keys) -> str:
    gone: set[int] = set()
    for statement in statements(text):
        if statement.is_within(keys):
            gone.update(range(statement.first, statement.end))
    return _without(_lines(text), gone)


def _replaced(text: str, keys: Keys, value: object) -> str:
    lines = _lines(text)
    parsed = statements(text)
    for each in parsed:
        if not each.is_header and keys in each.keys:
            statement = tomlkit.parse("".join(lines[each.first : each.end]))
            _put(statement, keys[len(each.header) :], value)
            lines[each.first : each.end] = [tomlkit.dumps(statement)]
            return "".join(lines)
    inside = [each for each in parsed if each.header == keys[:-1]]
    if not inside:
        return text  # not a table in lines of its own
    before = "".join(lines[: inside[-1].end])
    gap = "" if before.endswith("\n") else "\n"
    return f"{before}{gap}{_line(keys[-1], value)}{''.join(lines[inside[-1].end :])}"


def _lines(text: str) -> list[str]:
    """Lines with their ends; TOML knows no other end than LF and CRLF, unlike `str.splitlines`."""
    return [line for line in text.replace("\n", "\n\0").split("\0") if line]


def _line(key: str, value: object) -> str:
    return f"{tomlkit.key(key).as_string()} = {tomlkit.item(value).as_string()}\n"


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _whole(lines: list[str], first: int) -> tuple[int, Tree]:
    """The shortest run of lines from `first` that is TOML by itself: where it ends, and what it says."""
    for end in range(first + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("".join(lines[first:end]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), {}  # the caller's text is no TOML


def _header(tree: Tree) -> Keys:
    path: list[str] = []
    inner: Any = tree
    while inner:
        key, inner = next(iter(inner.items()))
        path.append(key)
        inner = inner[0] if isinstance(inner, list) else inner  # `[[ ]]`, an array of tables
    return tuple(path)


def _paths(tree: Tree, above: Keys = ()) -> Iterator[Keys]:
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


def _comments_start(lines: list[str], first: int) -> int:
    """Where the comments begin that touch a statement from above; those that begin the file are about the file."""
    start = first
    while start and _is_comment(lines[start - 1]):
        start -= 1
    return start or first


def _comments_end(lines: list[str], end: int, limit: int) -> int:
    """Where the comments end that touch a statement from below."""
    while end < limit and _is_comment(lines[end]):
        end += 1
    return end


def _blanks_end(lines: list[str], end: int, limit: int) -> int:
    while end < limit and not lines[end].strip():
        end += 1
    return end


def _without(lines: list[str], gone: set[int]) -> str:
    text = "".join(line for index, line in enumerate(lines) if index not in gone).rstrip()
    return f"{text}\n" if text else ""


def _put(document: Any, keys: Keys, value: object) -> None:  # noqa: ANN401 - tomlkit's containers share no type
    for key in keys[:-1]:
        document = document[key]
    document[keys[-1]] = value


def _checked(text: str, edited: str, keys: Keys, value: Tree | None) -> str:
    """The edited text if it says what it should; else the same edit by tomlkit, which knows every form of table."""
    wanted = parent = tomllib.loads(text)
    for key in keys[:-1]:
        parent = parent.setdefault(key, {})
    if value is None:
        parent.pop(keys[-1], None)
    else:
        parent[keys[-1]] = value
    try:
        if _without_empty(tomllib.loads(edited)) == _without_empty(wanted):
            return edited
    except tomllib.TOMLDecodeError:
        pass
    return _by_tomlkit(text, keys, value)


def _without_empty(tree: Tree) -> Tree:
    """Without its empty tables: the last of several tables takes their common parent along."""
    return {key: value for key, value in tree.items() if value != {}}


def _by_tomlkit(text: str, keys: Keys, value: Tree | None) -> str:
    document = tomlkit.parse(text)
    parent: Any = document
    for key in keys[:-1]:
        if key not in parent:
            parent[key] = tomlkit.table(is_super_table=True)
        parent = parent[key]
    table = parent.get(keys[-1])
    if value is None:
        del parent[keys[-1]]
    elif table is None:
        parent[keys[-1]] = value
    else:
        for key in [key for key in table if key not in value]:
            del table[key]
        for key in [key for key in value if table.get(key) != value[key]]:
            table[key] = value[key]
    return tomlkit.dumps(document)
