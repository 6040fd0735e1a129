"""From a stage and its plan to the work that the coordinator drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.codes.families.fcdcc import FilterCode
from cocoi_cli.model.network import FusedStage
from cocoi_cli.planning.plan import SegmentPlan
from cocoi_cli.runtime.filter_work import FilterWork
from cocoi_cli.runtime.loading import code_of
from cocoi_cli.runtime.tile_work import TileWork
from cocoi_cli.runtime.work import StageWork

if TYPE_CHECKING:
    from cocoi_cli.model.network import ConvStage
    from cocoi_cli.planning.plan import ConvPlan
    from cocoi_cli.runtime.blocks import Blocks
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.works import DistributedStage


def begin_work(
    stage: ConvStage | FusedStage,
    plan: ConvPlan | SegmentPlan,
    x: AnyArray,
    blocks: Blocks,
    *,
    keep_input: bool = False,
) -> DistributedStage:
    """Prepare a stage for its input.

    Args:
        stage: What to compute.
        plan: The decision for it.
        x: `stage.input_shape`, float32 or float16; borrowed until the stage is done.
        blocks: Where the memory of strips comes from and goes back to.
        keep_input: Whether shares may be asked for after the stage is over.
    """
    if isinstance(stage, FusedStage):
        assert isinstance(plan, SegmentPlan)  # noqa: S101 - fused stages are made from segments
        tiles = TileWork(stage, plan, x, blocks)
        tiles.keeps_input = keep_input
        return tiles
    assert not isinstance(plan, SegmentPlan)  # noqa: S101 - conv stages are made from layers
    code = code_of(plan)
    work: StageWork
    if isinstance(code, FilterCode):
        work = FilterWork(stage, plan, code, x, blocks)
    else:
        work = StageWork(stage, plan, code, x, blocks)
    work.keeps_input = keep_input
    return work
