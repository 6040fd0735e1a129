from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from cocoi_cli.planning.profile import (
    Compute,
    Condition,
    Convolution,
    DeviceProfile,
    Link,
    Port,
    Profile,
    Round,
    Samples,
    invalid_reasons,
    quantile,
    quantiles,
)
from cocoi_cli.planning.profile_file import BadProfileError, from_json, to_json

COOL = Condition("before", 48.5, (), (), "ondemand", 600_000_000)
ROUND = Round((0.0005, 0.00061), Samples(1 << 20, (0.0101, 0.0102)), Samples(1 << 20, (0.0111,)))
CONVOLUTION = Convolution(3, 64, 64, 56, 7, Samples(28_901_376, (0.0031, 0.0029, 0.0094)))
COMPUTE = Compute(
    "1.31.1", (CONVOLUTION,), 2, {"copy": Samples(3211264, (0.001,))}, {"chacha20-seal": Samples(262144, (0.004,))}
)
DEVICE = DeviceProfile(
    made="2026-11-21T12:00:00+00:00",
    machine_id="0" * 32,
    facts={"model": "Raspberry Pi 4 Model B", "cores": 4, "power_save": False, "speed_mbit": None},
    conditions=(COOL, replace(COOL, when="after", since_boot=None)),
    clock_offset_s=-1.5,
    clock_uncertainty_s=0.0003,
    link=Link("direct", (ROUND, ROUND)),
    compute=COMPUTE,
)
PROFILE = Profile("6f1c2a90b3d44e17", "2026-11-21T12:00:00+00:00", "0.1.0", {"pi-1": DEVICE})
PORT = Port(4, Samples(4 << 20, (0.04, 0.05)), Samples(4 << 20, (0.06,)))
BARE = replace(DEVICE, machine_id=None, link=None, compute=None, clock_offset_s=None, clock_uncertainty_s=None)


@pytest.mark.parametrize(
    "profile",
    [PROFILE, replace(PROFILE, devices={"b": BARE, "a": DEVICE}), replace(PROFILE, devices={}, port=PORT)],
)
def test_a_profile_survives_being_written_and_read(profile):
    assert from_json(to_json(profile), "profile.json") == profile


def test_the_document_says_what_people_look_for():
    device = json.loads(to_json(PROFILE))["devices"]["pi-1"]
    assert device["valid"] is True
    assert device["link"]["summary"]["rtt_s"]["p50"] == pytest.approx(0.000555)
    assert device["compute"]["flops_per_s"] == round(28_901_376 * 3 / 0.0154)


@pytest.mark.parametrize(
    ("older", "newer", "kept"), [(4, 2, 4), (4, 4, "newer"), (None, 1, 1), (3, None, 3), (2, 5, 5)]
)
def test_the_port_is_known_best_where_most_devices_filled_it(older, newer, kept):
    before, after = (
        replace(PROFILE, port=None if devices is None else replace(PORT, devices=devices, up=Samples(size, (0.1,))))
        for devices, size in ((older, 1), (newer, 2))
    )
    port = before.updated(after).port
    assert port == after.port if kept == "newer" else port.devices == kept
    assert before.updated(replace(after, fleet="another")).port == after.port


def test_what_a_newer_cocoi_adds_is_ignored():
    document = json.loads(to_json(PROFILE))
    document["devices"]["pi-1"]["link"]["future"] = document["future"] = 1
    assert from_json(json.dumps(document), "p") == PROFILE


DELETE = object()


@pytest.mark.parametrize(
    ("place", "value", "field", "words"),
    [
        (["kind"], "other", "kind", "a profile has `cocoi-profile` here"),
        (["schema"], 2, "schema", "2 is not the version that is read here, 1"),
        (["schema"], DELETE, "schema", "None is not the version"),
        (["fleet"], 3, "fleet", "found 3, expected text"),
        (["made"], DELETE, "made", "it is absent, expected text"),
        (["devices"], [], "devices", "found a list, expected an object"),
        (["devices", "pi-1"], 1, "devices.pi-1", "found 1, expected an object"),
        (["devices", "pi-1", "made"], None, "devices.pi-1.made", "it is absent"),
        (["devices", "pi-1", "machine_id"], 5, "devices.pi-1.machine_id", "expected text"),
        (["devices", "pi-1", "facts", "cores"], 1.5, "devices.pi-1.facts.cores", "expected text, a whole number"),
        (["devices", "pi-1", "facts", "cores"], [], "devices.pi-1.facts.cores", "found a list"),
        (["devices", "pi-1", "conditions"], {}, "devices.pi-1.conditions", "found an object, expected a list"),
        (
            ["devices", "pi-1", "conditions", 1, "when"],
            "later",
            "devices.pi-1.conditions[1].when",
            "`before` or `during`",
        ),
        (["devices", "pi-1", "conditions", 0, "throttled"], DELETE, "devices.pi-1.conditions[0].throttled", "absent"),
        (["devices", "pi-1", "clock_offset_s"], True, "devices.pi-1.clock_offset_s", "expected a number"),
        (["devices", "pi-1", "link", "through"], "wire", "devices.pi-1.link.through", "`direct` or `ssh`"),
        (["devices", "pi-1", "link", "rounds"], DELETE, "devices.pi-1.link.rounds", "it is absent, expected a list"),
        (["devices", "pi-1", "link", "rounds", 1, "rtt_s", 1], 0, "devices.pi-1.link.rounds[1].rtt_s[1]", "above zero"),
        (
            ["devices", "pi-1", "link", "rounds", 0, "rtt_s", 0],
            -1.0,
            "devices.pi-1.link.rounds[0].rtt_s[0]",
            "above zero",
        ),
        (["devices", "pi-1", "link", "rounds", 0, "rtt_s", 0], "1", "devices.pi-1.link.rounds[0].rtt_s[0]", "a number"),
        (
            ["devices", "pi-1", "link", "rounds", 0, "up", "size"],
            0,
            "devices.pi-1.link.rounds[0].up.size",
            "above zero",
        ),
        (
            ["devices", "pi-1", "link", "rounds", 0, "up", "size"],
            -4,
            "devices.pi-1.link.rounds[0].up.size",
            "zero or above",
        ),
        (["devices", "pi-1", "link", "rounds", 0, "up", "size"], 1.5, "devices.pi-1.link.rounds[0].up.size", "whole"),
        (["devices", "pi-1", "compute", "runtime"], DELETE, "devices.pi-1.compute.runtime", "expected text"),
        (["devices", "pi-1", "compute", "skipped"], -1, "devices.pi-1.compute.skipped", "zero or above"),
        (
            ["devices", "pi-1", "compute", "convolutions", 0, "rows"],
            True,
            "devices.pi-1.compute.convolutions[0].rows",
            "whole",
        ),
        (
            ["devices", "pi-1", "compute", "passes", "copy", "seconds"],
            3,
            "devices.pi-1.compute.passes.copy.seconds",
            "a list",
        ),
        (["devices", "pi-1", "compute", "tls"], None, "devices.pi-1.compute.tls", "an object"),
    ],
)
def test_a_broken_profile_is_refused_by_the_name_of_its_field(place, value, field, words):
    document = json.loads(to_json(PROFILE))
    target = document
    for key in place[:-1]:
        target = target[key]
    if value is DELETE:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    with pytest.raises(BadProfileError) as caught:
        from_json(json.dumps(document), "profile.json")
    assert caught.value.field == field
    assert caught.value.message.startswith(f"`profile.json`: `{field}`: ")
    assert words in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "3", '"x"', "[" * 100_000, '{"kind": "cocoi-profile"'])
def test_what_is_no_profile_is_refused(text):
    with pytest.raises(BadProfileError, match=r"profile\.json"):
        from_json(text, "profile.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", str(10**400)])
def test_numbers_that_are_none_are_refused(number):
    text = to_json(PROFILE).replace('"clock_offset_s": -1.5', f'"clock_offset_s": {number}')
    with pytest.raises(BadProfileError, match="finite number"):
        from_json(text, "profile.json")


def test_quantiles_agree_with_counting():
    rng = random.Random(3)
    for count in range(1, 40):
        values = [rng.random() for _ in range(count)]
        assert quantile(values, 0.0) == min(values)
        assert quantile(values, 1.0) == max(values)
        middle = sorted(values)
        assert quantile(values, 0.5) == pytest.approx((middle[(count - 1) // 2] + middle[count // 2]) / 2)
    assert quantiles([4.0, 1.0, 3.0, 2.0, 5.0]) == {"p50": 3.0, "p95": pytest.approx(4.8), "p99": pytest.approx(4.96)}
    assert quantiles([]) == {}


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_there_are_quantiles_that_do_not_exist(values, q):
    with pytest.raises(ValueError, match="quantile"):
        quantile(values, q)


def test_rates_are_over_all_repetitions():
    assert Samples(100, (1.0, 3.0)).rate == 50.0
    assert Samples(100, ()).rate == 0.0
    assert replace(COMPUTE, convolutions=()).flops_per_s == 0.0
    assert Link("direct", (ROUND,)).rates("down") == ((1 << 20) / 0.0111,)


def seen(when, now=(), since=()):
    return Condition(when, None, tuple(now), None if since is None else tuple(since), None, None)


@pytest.mark.parametrize(
    ("conditions", "reasons"),
    [
        ([seen("before"), seen("during"), seen("after")], ()),
        ([seen("before", ["throttled"]), seen("after")], ("throttled before",)),
        ([seen("before"), seen("during", ["throttled"]), seen("during", ["throttled"])], ("throttled during",)),
        # It came and went between two looks, and only the memory of it is left.
        ([seen("before"), seen("after", since=["under-voltage"])], ("under-voltage shortly before `after`",)),
        # It was there long before the measurement.
        ([seen("before", since=["throttled"]), seen("after", since=["throttled"])], ()),
        ([seen("before", since=None), seen("after", since=["throttled"])], ()),
        ([seen("before", ["a"], ["a"]), seen("after", ["a", "b"], ["a", "b"])], ("a before, after", "b after")),
        ([], ()),
    ],
)
def test_a_profile_taken_while_throttled_is_invalid(conditions, reasons):
    assert invalid_reasons(conditions) == reasons
    device = replace(DEVICE, conditions=tuple(conditions))
    assert (device.valid, device.reasons) == (not reasons, reasons)


def test_new_figures_replace_old_ones_device_by_device():
    older = replace(PROFILE, devices={"pi-1": BARE, "pi-2": BARE})
    assert older.updated(PROFILE).devices == {"pi-1": DEVICE, "pi-2": BARE}
    assert older.updated(replace(PROFILE, fleet="another")).devices == {"pi-1": DEVICE}
