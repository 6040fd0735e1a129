"""Make the certificates of a rig's fleet, by the product's own means, as `cocoi deploy` would.

    COCOI_DATA=FOLDER python -m bench.lab.keys FLEET_FILE FOLDER

For each device, FOLDER/<device> gets `agent.crt`, `agent.key` and `hosts.crt`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cocoi_cli.fleet.inventory import load
from cocoi_cli.fleet.keys import agent_files


def main() -> None:
    """Make them."""
    inventory, folder = load(Path(sys.argv[1])), Path(sys.argv[2])
    for device in inventory.devices:
        place = folder / device.name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in agent_files(inventory, device, {}).items():
            with os.fdopen(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)


if __name__ == "__main__":
    main()
