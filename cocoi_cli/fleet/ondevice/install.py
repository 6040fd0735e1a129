"""The device's side of deploy, rollback and uninstall: one operation per run.

Every operation may be repeated, and none harms by being cut off: see `disk`, `switching`
and `removal` for how. Operations that change something keep each other out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import (
    configurations,
    disk,
    ledger,
    removal,
    service,
    switching,
    trial,
    versions,
    wheels,
)
from cocoi_cli.fleet.ondevice.common import Failure
from cocoi_cli.fleet.ondevice.layout import USER, layout_of

if TYPE_CHECKING:
    from typing import BinaryIO

    from cocoi_cli.fleet.ondevice.layout import Layout


def main(request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """Do `request["op"]` for the install of `request["mode"]` below `request["root"]`.

    Raises:
        Failure: The operation's own; `busy`; `disk-full`, `read-only`, `disk` for a refusal of the file system;
            `damaged` for a record that cannot be read.
    """
    os.umask(0o022)  # the agent's user must be able to read what root installs
    layout = layout_of(str(request["mode"]), str(request.get("root", "")))
    try:
        return _do(str(request["op"]), layout, request, payload)
    except OSError as error:
        raise disk.failure_of(error) from error


def _do(op: str, layout: Layout, request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    if op == "inspect":
        return inspect(layout)
    action = _ACTIONS.get(op)
    if action is None:
        raise Failure("bad-request", f"there is no operation `{op}`", op=op)
    with ledger.alone(layout, float(request.get("wait_s", ledger.WAIT_S))):
        return action(layout, request, payload)


def inspect(layout: Layout) -> dict[str, Any]:
    """What is installed; changes nothing, and works where nothing is."""
    found = switching.where(layout)
    return {
        "mode": layout.mode,
        "current": found["current"],
        "previous": found["previous"],
        "config": found["config"],
        "pending": disk.present(layout.pending),
        "versions": versions.listed(layout),
        "wheels": wheels.held(layout),
        "unit": service.state(layout),
        "linger": service.has_linger(layout),
        "leftovers": removal.leftovers(layout),
    }


def _receive(layout: Layout, request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    _begin(layout)
    return {"received": wheels.receive(layout, request["files"], payload)}


def _stage(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    _begin(layout)
    return {"changed": versions.stage(layout, request)}


def _try(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    return trial.run(layout, str(request["id"]))


def _configure(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    _begin(layout)
    changed, ident = configurations.configure(layout, request["files"])
    return {"changed": changed, "config": ident}


def _switch(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    return switching.switch(layout, str(request["id"]), str(request["config"]))


def _confirm(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    return {"removed": switching.confirm(layout, str(request["id"]))}


def _rollback(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    return switching.undo(layout) if request.get("undo") else switching.rollback(layout, request.get("leave"))


def _act(layout: Layout, request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    if not disk.present(layout.unit_link):
        raise Failure("not-installed", "no agent is installed")
    service.act(layout, str(request["op"]))
    return {"active": True}


def _stop(layout: Layout, _request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    service.stop(layout)
    return {"active": False}


def _remove(layout: Layout, _request: dict[str, Any], _payload: BinaryIO) -> dict[str, Any]:
    return {"removed": removal.remove(layout)}


def _begin(layout: Layout) -> None:
    ledger.clear(layout)
    ledger.begin(layout)
    if layout.mode == USER:
        service.keep_running(layout)


_ACTIONS = {
    "receive": _receive,
    "stage": _stage,
    "try": _try,
    "configure": _configure,
    "switch": _switch,
    "confirm": _confirm,
    "rollback": _rollback,
    "restart": _act,
    "reload": _act,
    "start": _act,
    "stop": _stop,
    "remove": _remove,
}
