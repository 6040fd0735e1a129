"""Names of classes: lists in the forms people keep them in."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from cocoi_cli.errors import ConfigurationError

# WordNet ids before ImageNet's names: `n01440764 tench, Tinca tinca`.
_SYNSET = re.compile(r"n\d{8}\s+(?=\S)")
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t ]\s*(\S.*)")
# Keys under which a JSON document or Ultralytics' metadata keep the list.
KEYS = ("labels", "names", "classes", "categories", "id2label")


class BadLabelsError(ConfigurationError):
    """A list of labels is unreadable, or does not fit the model."""

    code: ClassVar[str] = "bad-labels"

    def __init__(self, source: str, found: str, **details: object) -> None:
        super().__init__(f"labels of {source}: {found}", source=source, found=found, **details)


def parse(text: str, source: str) -> tuple[str, ...]:
    """Read labels from text: JSON, a Python literal, or one label per line.

    JSON may be a list, an object from index to label or from label to index, or an
    object that has one of these under `labels`, `names`, `classes`, `categories` or
    `id2label`. WordNet ids and running numbers in front of the labels are left out. In
    text an empty line ends the list: what follows is a remark (PASCAL VOC's has one).

    Args:
        text: The content.
        source: Where it came from, for messages.

    Raises:
        BadLabelsError: If nothing can be made of it, or indices have gaps.
    """
    stripped = text.strip().removeprefix("\ufeff")
    if not stripped:
        raise BadLabelsError(source, "there are none")
    if stripped[0] in "[{":
        return from_value(_literal(stripped, source), source)
    lines = [line.strip() for line in stripped.splitlines()]
    return tuple(_without_ids(lines[: lines.index("")] if "" in lines else lines, source))


def from_value(value: object, source: str) -> tuple[str, ...]:
    """Read labels from a decoded JSON value; forms and errors as in `parse`."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in KEYS if key in value), None)
        if isinstance(inner, Mapping | Sequence) and not isinstance(inner, str):
            return from_value(inner, source)
        value = _by_index(value, source)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadLabelsError(source, "expected a list, or an object from index to label")
    return tuple(_without_ids([_text(each, source) for each in value], source))


def _literal(text: str, source: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        try:
            # Ultralytics writes the text of a Python dict; literal_eval runs no code.
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found = f"line {error.lineno} is neither JSON nor a Python literal: {error.msg.lower()}"
            raise BadLabelsError(source, found) from error


def _by_index(table: Mapping[object, object], source: str) -> list[object]:
    if table and all(isinstance(value, int) for value in table.values()):
        table = {value: key for key, value in table.items()}
    try:
        numbered = {int(str(key)): value for key, value in table.items()}
    except ValueError as error:
        raise BadLabelsError(source, "expected an object from index to label") from error
    missing = next((index for index in range(len(numbered)) if index not in numbered), None)
    if missing is not None:
        raise BadLabelsError(source, f"index {missing} is missing among {len(numbered)}")
    return [numbered[index] for index in range(len(numbered))]


def _text(value: object, source: str) -> str:
    # Keras keeps `[id, name]` pairs.
    if isinstance(value, list | tuple) and value and isinstance(value[-1], str):
        value = value[-1]
    if not isinstance(value, str):
        raise BadLabelsError(source, f"`{value!r}` is no text")
    return value.strip()


def _without_ids(lines: list[str], source: str) -> list[str]:
    for number, line in enumerate(lines, start=1):
        if not line:
            raise BadLabelsError(source, f"label {number} of {len(lines)} is empty")
    if all(_SYNSET.match(line) for line in lines):
        return [_SYNSET.sub("", line, count=1) for line in lines]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if all(match is not None and int(match[1]) == index for index, match in enumerate(matches)):
        return [match[2] for match in matches if match is not None]
    return lines
