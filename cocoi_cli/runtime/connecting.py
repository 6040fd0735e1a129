"""Opening links: all of them or none for an embedded fleet, those that answer for a deployed one."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import socket
import threading
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_agent.transport import TrustError, host_context
from cocoi_cli.errors import ConfigurationError
from cocoi_cli.runtime.codewords import Patience
from cocoi_cli.runtime.link import tcp
from cocoi_cli.runtime.link_errors import HUNG_UP, LinkError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from cocoi_cli.runtime.addresses import AgentAddress
    from cocoi_cli.runtime.link import AgentLink
    from cocoi_cli.runtime.trust import Identity

CONNECT_S: Final = 3.0  # from the name to the greeting; a device that needs longer would be a straggler anyway
# A handshake takes a Pi a few hundredths of a second; a second leaves room for one that is busy.
HURRY: Final = Patience(3.0, 1.0)


class BadKeysError(ConfigurationError):
    """The certificate or the key of this host is unfit."""

    code: ClassVar[str] = "bad-keys"

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"cannot use this host's certificate and key, `{path}`: {cause}", path=path, cause=cause)


async def open_all(links: Sequence[AgentLink], addresses: Sequence[AgentAddress], identity: Identity | None) -> None:
    """Open every link.

    Raises:
        LinkError: The first that does not open; the caller closes the others.
        BadKeysError: This host has no usable key.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for link, address in zip(links, addresses, strict=True):
                context = context_for(address, identity)
                group.create_task(link.open(where(address), tcp(address.host, address.port, context)))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def open_living(
    links: Sequence[AgentLink],
    addresses: Sequence[AgentAddress],
    identity: Identity | None,
    *,
    within_s: float = CONNECT_S,
    patience: Patience | None = None,
) -> dict[str, LinkError]:
    """Open the links of those agents that answer, all at once; one that does not delays nobody.

    Args:
        links: Links that are not open.
        addresses: Of their agents, in the same order.
        identity: What this host shows; None where no agent has a certificate.
        within_s: Time for name, connection, handshake and greeting of one agent.
        patience: How long the rest is waited for when half of the agents are open, by the time that took them;
            None to give each its full time.

    Returns:
        Agent to why it cannot be used; links of all others are open.

    Raises:
        BadKeysError: This host has no usable key.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    tasks = {
        loop.create_task(_open_one(link, address, identity, within_s)): address
        for link, address in zip(links, addresses, strict=True)
    }
    limit, pending = math.inf, set(tasks)
    try:
        while pending and (left := limit - (loop.time() - start)) > 0:
            timeout = left if left < math.inf else None
            _, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            opened = sum(task.done() and task.result() is None for task in tasks)
            if patience is not None and limit == math.inf and 2 * opened >= len(links):
                limit = patience.limit(loop.time() - start)
    finally:
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    outcomes = [
        LinkError(address.id, where(address), f"no answer within {limit:.2g} s") if task.cancelled() else task.result()
        for task, address in tasks.items()
    ]
    unfit = [error for error in outcomes if isinstance(error, BadKeysError)]
    if unfit:
        raise unfit[0]
    return {error.agent: error for error in outcomes if isinstance(error, LinkError)}


async def _open_one(
    link: AgentLink, address: AgentAddress, identity: Identity | None, within_s: float
) -> LinkError | BadKeysError | None:
    """Open a link, or say why it cannot be."""
    try:
        context = context_for(address, identity)
    except (BadKeysError, LinkError) as error:
        return error
    try:
        async with asyncio.timeout(within_s):
            host = await _resolve(address)
            await link.open(where(address), tcp(host, address.port, context, timeout_s=within_s))
        if context is None and link.welcome.agent != address.id:
            # With a certificate it is the right device, whatever it calls itself.
            cause = f"agent `{link.welcome.agent}` answers there"
            await link.aclose()
            return LinkError(address.id, where(address), cause, kind="refused")
    except TimeoutError:
        return LinkError(address.id, where(address), f"no answer within {within_s:g} s")
    except LinkError as error:
        if error.cause == HUNG_UP and context is not None:
            cause = f"{HUNG_UP}, as an agent does that does not know this host's certificate"
            return LinkError(address.id, where(address), cause, kind=error.kind)
        return error
    return None


def where(address: AgentAddress) -> str:
    """An agent's address in messages."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def context_for(address: AgentAddress, identity: Identity | None) -> ssl.SSLContext | None:
    """The TLS context for one agent; None where it has no certificate to show.

    Raises:
        BadKeysError: This host has no usable key.
        LinkError: The agent's certificate cannot be read.
    """
    if address.certificate is None:
        return None
    if identity is None:
        raise BadKeysError(str(address.certificate), "the fleet has certificates of agents, and none of this host")
    try:
        return host_context(identity.certificate, identity.key, address.certificate)
    except TrustError as error:
        if error.path != str(address.certificate):
            raise BadKeysError(error.path, error.reason) from error
        cause = f"its certificate `{error.path}` cannot be used: {error.reason}"
        raise LinkError(address.id, where(address), cause, kind="refused") from error


async def _resolve(address: AgentAddress) -> str:
    """The address behind a name, found by a thread of its own.

    The loop's threads are few, and the system may look for the name of an absent device for many
    seconds: neither the other devices nor the end of this process are to wait for that.
    """
    host = address.host
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return host
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def settle(result: str | OSError) -> None:
        if found.done():
            return
        if isinstance(result, str):
            found.set_result(result)
        else:
            text = result.strerror or str(result)
            found.set_exception(LinkError(address.id, where(address), text[:1].lower() + text[1:]))

    def look_up() -> None:
        result: str | OSError
        try:
            answers = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
            # An agent listens on one address, in a home or a laboratory that of IPv4.
            result = str(min(answers, key=lambda answer: answer[0] != socket.AF_INET)[4][0])
        except OSError as error:
            result = error
        except UnicodeError:  # a label that is empty or too long
            result = OSError(0, "this cannot be a name of a device")
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=look_up, name=f"name of {address.id}", daemon=True).start()
    return await found
