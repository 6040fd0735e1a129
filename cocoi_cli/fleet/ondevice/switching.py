"""Which version runs: switching, confirming, going back.

Theory of operation: `pending.json` says where a rollback leads (version, the one before
it, configuration). It is written before the first link moves and removed when the host
has confirmed the switch, or when a rollback has ended; each step may be repeated. Unless
the record says that the switch was `reached`, what runs may not be what the links say, so
the agent is restarted. A switch over one that was never confirmed keeps where the older
record leads: that state has served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import configurations, disk, ledger, removal, service, units, versions
from cocoi_cli.fleet.ondevice.common import Failure, progress
from cocoi_cli.fleet.ondevice.layout import UNIT

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.layout import Layout


def switch(layout: Layout, ident: str, config: str) -> dict[str, Any]:
    """Have a version run under a configuration, and wait until it is ready.

    Returns:
        `changed`: whether anything was (re)started or reloaded; `how`: `unchanged`, `started`, `reloaded` or
        `restarted`; `previous`: the version that ran before, or None.

    Raises:
        Failure: `not-staged`, `not-configured`, `start-failed`: the links stay; a rollback leads back.
    """
    versions.require(layout, ident)
    configurations.require(layout, config)
    now = where(layout)
    origin = _pending(layout)
    reached = origin is None or origin.get("reached") == [ident, config]
    if reached and (now["current"], now["config"]) == (ident, config):
        how = _keep(layout)
    else:
        goal = {"current": ident, "previous": _before(origin or now, ident), "config": config}
        how = _move(layout, goal, origin or now, reload=origin is None and _same_but_keys(layout, now, ident, config))
    return {"changed": how != "unchanged", "how": how, "previous": where(layout)["previous"]}


def _move(layout: Layout, goal: dict[str, Any], origin: dict[str, Any], *, reload: bool) -> str:
    record = {key: origin[key] for key in ("current", "previous", "config")}
    disk.write_json(layout.pending, record)
    _settle(layout, goal)
    progress("reloading the agent" if reload else "starting the agent")
    service.act(layout, "reload" if reload else "restart")
    disk.write_json(layout.pending, dict(record, reached=[goal["current"], goal["config"]]))
    return "reloaded" if reload else "restarted"


def confirm(layout: Layout, ident: str) -> list[str]:
    """Make a switch final and drop what is no longer needed; the removed paths.

    Raises:
        Failure: `not-current` if another version is.
    """
    now = where(layout)
    if now["current"] != ident:
        raise Failure("not-current", f"version `{ident}` is not the current one", id=ident, current=now["current"])
    versions.confirm(layout, ident)
    disk.remove(layout.pending)
    return prune(layout)


def undo(layout: Layout) -> dict[str, Any]:
    """Take back a switch that was not confirmed, or an install that never came to one; else change nothing."""
    if ledger.read(layout) is None:
        return {"current": None}
    goal = _pending(layout)
    if goal is None and where(layout)["current"] is not None:
        prune(layout)
        return {"current": where(layout)["current"]}
    return _go_back(layout, goal or {"current": None})


def rollback(layout: Layout, leave: str | None) -> dict[str, Any]:
    """Have the previous version run again; the one left becomes the previous one.

    Args:
        layout: The install.
        leave: The version to go away from; if another is current, nothing changes: so it may be repeated.

    Returns:
        `current`: the version that runs, or None if nothing is installed any more.

    Raises:
        Failure: `not-installed`, `no-previous`, `start-failed`.
    """
    now = where(layout)
    goal = _pending(layout)
    if goal is None:
        if now["current"] is None:
            raise Failure("not-installed", "no agent is installed")
        if leave is not None and now["current"] != leave:
            return {"current": now["current"]}
        if now["previous"] is None:
            raise Failure("no-previous", f"there is no version before `{now['current']}`", current=now["current"])
        versions.require(layout, now["previous"])
        goal = {"current": now["previous"], "previous": now["current"], "config": now["config"]}
        disk.write_json(layout.pending, goal)
    return _go_back(layout, goal)


def where(layout: Layout) -> dict[str, str | None]:
    """What the links say: `current`, `previous`, `config`."""
    return {
        "current": configurations.linked(layout.current),
        "previous": configurations.linked(layout.previous),
        "config": configurations.current(layout),
    }


def prune(layout: Layout) -> list[str]:
    """Remove the versions, wheels and configurations that no link and no pending rollback needs; their paths."""
    disk.clear_folder(layout.base)
    places = [where(layout), _pending(layout) or {}]
    keep = {place.get(key) for place in places for key in ("current", "previous")}
    configs = {place.get("config") for place in places}
    removed = versions.prune(layout, {ident for ident in keep if ident})
    return removed + configurations.prune(layout, {ident for ident in configs if ident})


def _pending(layout: Layout) -> dict[str, Any] | None:
    return disk.read_json(layout.pending)


def _before(origin: dict[str, Any], ident: str) -> str | None:
    """The version to go back to by hand later: the last that served, unless it is this one."""
    current, previous = origin.get("current"), origin.get("previous")
    found = previous if current in (None, ident) else current
    return None if found is None or found == ident else str(found)


def _same_but_keys(layout: Layout, now: dict[str, str | None], ident: str, config: str) -> bool:
    """Whether a reload is enough: only credentials differ, which the agent reads anew as it runs."""
    same = configurations.settings(layout, now["config"]) == configurations.settings(layout, config)
    return now["current"] == ident and same and not _links(layout, write=False) and service.is_active(layout)


def _keep(layout: Layout) -> str:
    if _links(layout, write=True):
        service.read_units(layout)
    if service.is_active(layout):
        return "unchanged"
    progress("starting the agent")
    service.act(layout, "start")
    return "started"


def _go_back(layout: Layout, goal: dict[str, Any]) -> dict[str, Any]:
    if goal.get("current") is None:
        removal.remove(layout)
        return {"current": None}
    _settle(layout, goal)
    progress(f"going back to {goal['current']}")
    service.act(layout, "restart")
    disk.remove(layout.pending)
    prune(layout)
    return {"current": goal["current"]}


def _settle(layout: Layout, goal: dict[str, Any]) -> None:
    """Make the links say what `goal` says, and have the manager read the unit."""
    service.keep_running(layout)
    if goal["config"] is not None:
        disk.link(layout.current_config, str(goal["config"]))
    if goal["previous"] is None:
        disk.remove(layout.previous)
    else:
        disk.link(layout.previous, "versions/" + goal["previous"])
    disk.link(layout.current, "versions/" + goal["current"])
    _links(layout, write=True)
    _advertise(layout, goal)
    service.read_units(layout)


def _links(layout: Layout, *, write: bool) -> bool:
    """Whether the manager's links to the unit differed; they are mended if `write`."""
    differed = False
    for path, target in ((layout.unit_link, layout.current / UNIT), (layout.wants_link, layout.unit_link)):
        if disk.target_of(path) == str(target):
            continue
        differed = True
        if write:
            disk.make_folder(path.parent)
            disk.link(path, str(target))
    return differed


def _advertise(layout: Layout, goal: dict[str, Any]) -> None:
    if layout.advert is None or not layout.advert.parent.is_dir():
        return
    settings = configurations.settings(layout, goal["config"])
    told = versions.manifest(layout, goal["current"])
    text = units.advertisement(
        settings.get("COCOI_ID", ""),
        int(settings.get("COCOI_PORT") or 0),
        str(told.get("version", "")),
        str(told.get("protocol", "")),
    )
    disk.write(layout.advert, text.encode())
