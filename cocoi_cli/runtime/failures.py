"""Why an inference that may not fall back on the host comes to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import DecodeError, FleetError

if TYPE_CHECKING:
    from cocoi_cli.runtime.events import RequestFailed


class NoAgentsError(FleetError):
    """No agent answers, and the host may not step in."""

    code: ClassVar[str] = "no-agents"

    def __init__(self, needed: int) -> None:
        super().__init__(f"no agent answers; this plan needs {needed}", answering=0, needed=needed)


class CannotDecodeError(DecodeError):
    """Fewer agents than pieces are left, and the host may not step in."""

    code: ClassVar[str] = "cannot-decode"

    def __init__(self, answering: int, needed: int) -> None:
        noun = "agent answers" if answering == 1 else "agents answer"
        super().__init__(f"{answering} {noun}; decoding needs {needed}", answering=answering, needed=needed)


class DeadlineError(DecodeError):
    """The deadline passed before enough answers came, and the host may not step in."""

    code: ClassVar[str] = "deadline"

    def __init__(self, deadline_s: float, answering: int, needed: int) -> None:
        super().__init__(
            f"the deadline of {deadline_s:g} s passed with answers from {answering} agents; each strip needs {needed}",
            deadline_s=deadline_s,
            answering=answering,
            needed=needed,
        )


def verdict(failed: RequestFailed, living: int, deadline_s: float) -> NoAgentsError | DeadlineError | CannotDecodeError:
    """The error that a failed request ends with.

    Args:
        failed: What the session found.
        living: Agents that are there by now; more may have been lost since.
        deadline_s: Of the request.
    """
    answering = failed.answering if failed.overdue else living
    if min(answering, failed.answering) == 0:
        return NoAgentsError(failed.needed)
    if failed.overdue:
        return DeadlineError(deadline_s, answering, failed.needed)
    return CannotDecodeError(answering, failed.needed)
