"""How much tensor memory the agent may hold: counted before it is taken.

On a Raspberry Pi the kernel does not hold a service to its memory limit, so the
agent does.
"""

from __future__ import annotations


class Budget:
    """Bytes reserved for tensors, all hosts together.

    Attributes:
        limit: Most bytes at once.
        reserved: Bytes reserved now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0

    def reserve(self, size: int) -> str | None:
        """Reserve `size` bytes; or, where they do not fit, return the reason in a sentence."""
        if self.reserved + size > self.limit:
            return f"{size} bytes do not fit: {self.reserved} of {self.limit} are taken"
        self.reserved += size
        return None

    def release(self, size: int) -> None:
        """Give reserved bytes back."""
        self.reserved -= size
