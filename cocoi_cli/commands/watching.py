"""From what happens on devices to what is shown of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.views.device_progress import DeviceProgress


def stages_of(progress: DeviceProgress) -> Callable[[str, str], None]:
    """Shows every stage that the work on a device begins; its result is left to the caller."""

    def told(device: str, stage: str) -> None:
        if stage == "failed":
            progress.failed(device, "")
        elif stage != "done":
            progress.stage(device, stage)

    return told
