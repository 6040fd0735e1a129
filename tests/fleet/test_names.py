"""Names, SSH targets and addresses as users type them."""

from __future__ import annotations

import pytest

from cocoi_cli.fleet.names import NAME, BadTargetError, SshTarget, address_fault, parse_target, suggest_name

TARGETS = [
    ("pi@192.168.1.11", SshTarget("pi", "192.168.1.11", None)),
    ("192.168.1.11", SshTarget(None, "192.168.1.11", None)),
    ("shelf", SshTarget(None, "shelf", None)),
    ("pi@raspberrypi.local:2222", SshTarget("pi", "raspberrypi.local", 2222)),
    ("me@corp.example@shelf", SshTarget("me@corp.example", "shelf", None)),
    ("pi@[fe80::1%eth0]:22", SshTarget("pi", "fe80::1%eth0", 22)),
    ("pi@fd00::2", SshTarget("pi", "fd00::2", None)),
    ("pi@[fd00::2]", SshTarget("pi", "fd00::2", None)),
    ("pi_1+test", SshTarget(None, "pi_1+test", None)),
]


@pytest.mark.parametrize(("text", "expected"), TARGETS)
def test_targets_are_taken_apart_and_put_together(text, expected):
    assert parse_target(text) == expected
    assert parse_target(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "the host is missing"),
        ("pi@", "the host is missing"),
        ("@shelf", "the user name before `@` is missing"),
        ("pi@shelf:", "the port after `:` is missing"),
        ("pi@shelf:ssh", "`ssh` is no port"),
        ("shelf:65536", "`65536` is no port"),
        ("shelf:22:22", "`22:22` is no port"),
        ("shelf:²", "`²` is no port"),
        ("-oProxyCommand=x", "`-oProxyCommand=x` is no host"),
        ("-x@shelf", "`-x` is no user name"),
        ("two words", "`two words` is no host"),
        ("ssh://pi@shelf", "`ssh://pi` is no user name"),
        ("a/b", "`a/b` is no host"),
        ("pi-*", "`pi-*` is no host"),
        ("[fe80::1", "an IPv6 address stands in brackets"),
        ("[shelf]:22", "an IPv6 address stands in brackets"),
        ("[fe80::1]22", "an IPv6 address stands in brackets"),
    ],
)
def test_what_is_no_target_is_told_why(text, cause):
    with pytest.raises(BadTargetError) as caught:
        parse_target(text)
    assert cause in caught.value.message


def test_addresses_at_which_an_agent_can_listen():
    for good in ("10.0.0.1", "127.0.0.1", "fd00::2", "fe80::1%eth0", "raspberrypi.local", "pi", "a_b.lan."):
        assert address_fault(good) is None, good
    for bad in (
        "",
        "0.0.0.0",  # noqa: S104 - refused
        "::",
        "10.0.0",
        "10.0.0.256",
        "224.0.0.1",
        "ff02::1",
        "a b",
        "a..b",
        "-a",
        "[::1]",
        "a:1",
    ):
        assert address_fault(bad) is not None, bad


def test_eight_fresh_cards_get_eight_names():
    taken: list[str] = []
    for _ in range(8):
        taken.append(suggest_name("raspberrypi", taken))
    assert taken == ["raspberrypi", *(f"raspberrypi-{number}" for number in range(2, 9))]


@pytest.mark.parametrize(
    ("hostname", "name"),
    [
        ("Shelf_1", "shelf-1"),
        ("pi.lan", "pi.lan"),
        (" --Küche.. ", "k-che"),
        ("", "device"),
        ("localhost", "device"),
        ("10.0.0.1", "device"),
        ("日本", "device"),
        ("a" * 80, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_any_host_name_becomes_a_name(hostname, name):
    assert suggest_name(hostname, ()) == name
    assert NAME.fullmatch(suggest_name(hostname, {name}))
    assert suggest_name(hostname, {name}) != name
