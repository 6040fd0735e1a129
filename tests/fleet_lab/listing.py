"""What is on a device's disk, and how two looks at it differ."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

Listing = dict[str, str]
"""Path on the device → type, mode, owner and content."""

OUTSIDE = ("proc", "sys", "run", "tmp", "dev")
"""Not on the disk at all."""

# What a device changes by itself, found by comparing idle devices before and after power cycles and logins.
RESTLESS = re.compile(
    r"var/log(/.*)?"
    r"|var/tmp/systemd-private-(?!.*cocoi).*"  # folders of running services; the name holds the boot
    r"|var/lib/systemd/(random-seed|timers/.*|timesync/.*|catalog/.*)"
    r"|etc/(resolv\.conf|hostname|hosts)"  # written anew at every power cycle by whoever plays the hardware
    r"|home/[^/]+/\.(bash_history|sudo_as_admin_successful)"  # the shell's and sudo's own, of whoever logs in
    r"|var/lib/sudo/lectured(/.*)?"
)


def look(root: Path) -> Listing:
    """List a device's disk by what the host sees of it: nothing runs on the device, nothing is disturbed."""
    return {name: _describe(path) for name, path in _walk(root) if not RESTLESS.fullmatch(name)}


def difference(before: Listing, after: Listing) -> list[str]:
    """One line per path that came, went or changed."""
    lines = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            lines.append(f"/{name}: {was or 'absent'} -> {now or 'absent'}")
    return lines


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, files in os.walk(root):
        place = Path(folder).relative_to(root)
        if place == Path():
            folders[:] = [name for name in folders if name not in OUTSIDE]
        for name in (*folders, *files):
            yield str(place / name), Path(folder, name)


def _describe(path: Path) -> str:
    try:
        status = path.lstat()
        head = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
        if path.is_symlink():
            return f"{head} -> {path.readlink()}"
        if stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                return f"{head} {status.st_size} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except FileNotFoundError:
        return "vanished"
    return head
