"""The devices of one simulation, and which of them are slow, dead or about to die."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.simulation.devices import Device, Luck, Port
from cocoi_cli.simulation.numbers import order
from cocoi_cli.simulation.straggling import Dying, Straggling, members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.simulation.clock import Clock


class Casualties:
    """Who is meant by "two slow devices".

    Attributes:
        times: Index of a slow device to its factor.
        dead: Indices of devices that are known to be gone.
        dying: Index of a device that dies to how it does.
    """

    def __init__(self, straggling: Straggling, names: Sequence[str], seed: int) -> None:
        """Draw them.

        Args:
            straggling: What goes wrong.
            names: Of the fleet, in order.
            seed: Of the simulation.
        """
        ranks = order(seed, len(names))
        self.times: dict[int, float] = {}
        for slow in straggling.slow:
            for index in members(slow.devices, names, ranks):
                self.times[index] = self.times.get(index, 1.0) * slow.times
        self.dead = frozenset(
            index for dead in straggling.dead for index in members(dead.devices, names, ranks, from_end=True)
        )
        self.dying: dict[int, Dying] = {}
        living = [index for index in ranks if index not in self.dead]
        for dying in straggling.dying:
            self.dying.update(dict.fromkeys(members(dying.devices, names, living, from_end=True), dying))


def make_devices(
    fleet: FleetModel, casualties: Casualties, straggling: Straggling, seed: int, layers: int, clock: Clock, port: Port
) -> dict[str, Device]:
    """The devices that the host believes to live, by name and in the order of the fleet."""
    devices: dict[str, Device] = {}
    for index, model in enumerate(fleet.devices):
        if index in casualties.dead:
            continue
        luck = Luck(model, index, seed, layers, straggling)
        luck.times = casualties.times.get(index, 1.0)
        devices[model.name] = Device(index, model, luck, clock, port)
    return devices
