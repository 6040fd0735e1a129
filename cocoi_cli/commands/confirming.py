"""Questions that yes or no answers, and what happens where nobody can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import UsageError

if TYPE_CHECKING:
    from cocoi_cli.console import Console


class ConfirmationNeededError(UsageError):
    """A question stands in the way and there is no terminal to ask on."""

    code: ClassVar[str] = "confirmation-needed"

    def __init__(self, question: str) -> None:
        super().__init__(f"nobody can be asked here: {question}", question=question)


def confirmed(console: Console, question: str, *, yes: bool) -> bool:
    """Whether the user agrees.

    Args:
        console: Where to ask.
        question: One line, ends with a question mark.
        yes: Whether everything was agreed to beforehand.

    Raises:
        ConfirmationNeededError: If it was not and nobody can be asked.
    """
    if yes:
        return True
    if not console.interactive:
        raise ConfirmationNeededError(question)
    return console.confirm(question)
