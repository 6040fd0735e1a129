"""Identities: private keys are private, certificates last, and only the pinned one is trusted."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from cryptography import x509

from cocoi_agent.transport import agent_context, host_context, serve
from cocoi_cli.runtime.link import AgentLink, tcp
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.trust import make_identity
from tests.runtime.carriers import worker


class Silent:
    def answered(self, link, answer, tensors) -> None:
        raise AssertionError("nothing was asked")

    def lost(self, link, cause) -> None:
        raise AssertionError("never was connected")


def test_the_private_key_is_readable_by_its_owner_only(tmp_path) -> None:
    identity = make_identity(tmp_path, "host")
    assert stat.S_IMODE(identity.key.stat().st_mode) == 0o600


def test_the_certificate_is_valid_whatever_the_clock_of_a_pi_says(tmp_path) -> None:
    certificate = x509.load_pem_x509_certificate(make_identity(tmp_path, "pi").certificate.read_bytes())
    assert certificate.not_valid_before_utc.year <= 2000
    assert certificate.not_valid_after_utc.year >= 2099


@pytest.mark.parametrize("culprit", ["agent", "host"])
def test_a_certificate_that_is_not_the_pinned_one_is_refused(tmp_path: Path, culprit: str) -> None:
    """Either side may be the impostor; a refused client notices only when its hello stays unanswered."""
    host, agent, stranger = (make_identity(tmp_path, name) for name in ("host", "agent", "stranger"))
    served = stranger if culprit == "agent" else agent
    asking = stranger if culprit == "host" else host

    async def main() -> None:
        one = worker("agent")
        server = await serve(
            "127.0.0.1",
            0,
            ssl_context=agent_context(served.certificate, served.key, host.certificate),
            on_connect=one.on_connect,
            on_message=one.on_message,
            on_lost=one.on_lost,
        )
        try:
            link = AgentLink("agent", Silent())
            context = host_context(asking.certificate, asking.key, agent.certificate)
            with pytest.raises(LinkError, match=f"cannot use agent `agent` at 127.0.0.1:{server.port}"):
                await link.open(f"127.0.0.1:{server.port}", tcp("127.0.0.1", server.port, context))
            assert not link.is_open
        finally:
            one.close()
            await server.aclose()

    asyncio.run(main())
