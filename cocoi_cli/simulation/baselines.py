"""What the unmodified model takes in one place: the lines that every plan is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.model.weights import FLOAT
from cocoi_cli.simulation.costs import local_seconds, summed
from cocoi_cli.simulation.devices import Luck
from cocoi_cli.simulation.shelf import Casualties
from cocoi_cli.simulation.straggling import NONE, Straggling

if TYPE_CHECKING:
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.simulation.shapes import LocalShape

__all__ = ["local_seconds", "single_device"]


def single_device(
    model: LocalShape,
    fleet: FleetModel,
    straggling: Straggling = NONE,
    *,
    picture_bytes: int = 0,
    answer_bytes: int = FLOAT,
    seed: int = 1,
    inferences: int = 200,
) -> dict[str, tuple[float, ...]]:
    """Latencies of the unmodified model on each device that lives, in seconds; picture and answer travel.

    What is not a convolution is counted at the host's speed, for a profile has no other.

    Args:
        model: The whole model, from `waves.whole_model`.
        fleet: Devices and host.
        straggling: What goes wrong. Dying devices are left out: nothing would come from them.
        picture_bytes: Sent.
        answer_bytes: Received.
        seed: Of everything that is drawn.
        inferences: How many.
    """
    casualties = Casualties(straggling, [device.name for device in fleet.devices], seed)
    found: dict[str, tuple[float, ...]] = {}
    for index, device in enumerate(fleet.devices):
        if index in casualties.dead or index in casualties.dying:
            continue
        luck = Luck(device, index, seed, max(len(model.slices), 1), straggling)
        luck.times = casualties.times.get(index, 1.0)
        phases = [summed(device, (each,)) for each in model.slices]
        beside = device.rtt_s + device.send.mean(picture_bytes) + device.receive.mean(answer_bytes)
        beside += (device.task_s + model.passes / fleet.host.pass_bytes_per_s) * luck.times
        latencies = []
        for number in range(inferences):
            luck.begin(number)
            latencies.append(beside + luck.whole_model(phases))
        found[device.name] = tuple(latencies)
    return found
