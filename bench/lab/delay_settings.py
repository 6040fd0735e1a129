"""The file in which delayline.c is told what each direction of each link is like.

One record for each queue: delay in microseconds, lost packets of a million, and two
counters of the program's own. Queues 2i and 2i+1 are the directions of link i: away from
the device, and towards it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

SETTING: Final = struct.Struct("=IIII")  # as `struct setting` in delayline.c
_OURS: Final = struct.Struct("=II")  # the part that is written from here


@dataclass(frozen=True, slots=True)
class Counted:
    """What a queue has seen: packets, bursts counting as one, and how many of them were lost."""

    packets: int
    lost: int


def queues(link: int) -> tuple[int, int]:
    """The queues of a link: from the device, to the device."""
    return 2 * link, 2 * link + 1


def make_file(path: Path, links: int) -> None:
    """Make it for so many links, all without delay and loss."""
    path.write_bytes(bytes(SETTING.size * 2 * links))


def write_setting(path: Path, link: int, delay_us: int, loss: float) -> None:
    """Set both directions of a link, in force from the next packet on.

    Args:
        path: The file.
        link: Its number.
        delay_us: Microseconds.
        loss: Percent.
    """
    with path.open("r+b") as file:
        for queue in queues(link):
            file.seek(SETTING.size * queue)
            file.write(_OURS.pack(delay_us, round(loss * 10_000)))


def read_counted(path: Path, link: int) -> tuple[Counted, Counted]:
    """What both directions of a link have seen."""
    data = path.read_bytes()
    found = [Counted(*SETTING.unpack_from(data, SETTING.size * queue)[2:]) for queue in queues(link)]
    return found[0], found[1]
