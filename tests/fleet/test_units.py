"""The units as systemd reads them, and the texts made for a device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cocoi_cli.fleet.ondevice import units

EXPOSURE_LIMIT = 2.0
UNITS = ("cocoi-agent.service", "cocoi-agent-user.service")
ANALYZE = shutil.which("systemd-analyze")

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze here")


def text_of(repository: Path, name: str) -> str:
    return (repository / "systemd" / name).read_text()


def runnable(text: str) -> str:
    """The unit with a program that exists: only a device has the agent's."""
    lines = (line if not line.startswith("ExecStart=") else "ExecStart=/bin/true" for line in text.splitlines())
    return "\n".join(lines) + "\n"


def analyze(*arguments: str | Path, runtime: Path) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, *arguments],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


def verify(text: str, tmp_path: Path, *options: str) -> str:
    unit = tmp_path / "cocoi-agent.service"
    unit.write_text(runnable(text))
    done = analyze("verify", *options, unit, runtime=tmp_path)
    return "\n".join(line for line in done.stderr.splitlines() if "cocoi-agent" in line) + (
        "" if not done.returncode else "!"
    )


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_against_the_unit(repository: Path, tmp_path: Path, name: str) -> None:
    options = ["--user"] if "user" in name else []

    assert verify(text_of(repository, name), tmp_path, *options) == ""


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_against_the_trial(repository: Path, tmp_path: Path, name: str) -> None:
    trial = units.trial_unit(text_of(repository, name), ["/opt/a b/cocoi-agent"], "trial", "/run/out", 9)

    assert verify(trial, tmp_path, *(["--user"] if "user" in name else [])) == ""


@needs_systemd
def test_the_system_unit_is_hardly_exposed(repository: Path, tmp_path: Path) -> None:
    unit = tmp_path / "cocoi-agent.service"
    unit.write_text(text_of(repository, UNITS[0]))

    done = analyze("security", "--offline=yes", "--json=short", "--no-pager", unit, runtime=tmp_path)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot read a unit that is not loaded")

    limit = int(EXPOSURE_LIMIT * 10)
    within = analyze("security", "--offline=yes", f"--threshold={limit}", "--no-pager", unit, runtime=tmp_path)
    assert within.returncode == 0, within.stdout.splitlines()[-1]
    exposed = {row["name"] for row in json.loads(done.stdout) if float(row.get("exposure") or 0) > 0}
    assert not {name for name in exposed if name.startswith(("CapabilityBoundingSet", "SystemCallFilter"))}


@pytest.mark.parametrize("name", UNITS)
def test_the_unit_starts_and_stays_as_promised(repository: Path, name: str) -> None:
    lines = text_of(repository, name).splitlines()

    for line in ("Type=notify", "WatchdogSec=30", "Restart=always", "StartLimitIntervalSec=0", "NoNewPrivileges=yes"):
        assert line in lines
    assert not [line for line in lines if "network-online" in line and not line.startswith("#")]
    assert not [line for line in lines if line.endswith("\\")]  # the trial's derivation reads single lines
    assert "Environment=ORT_DISABLE_TELEMETRY=1" in lines


def test_both_units_start_the_agent_with_the_same_settings(repository: Path) -> None:
    system, user = (start_of(text_of(repository, name)) for name in UNITS)

    assert [word for word in system if word.startswith("${")] == [word for word in user if word.startswith("${")]
    settings = {word for word in system if word.startswith("${")}
    names = ("ID", "HOST", "PORT", "INTERFACE", "SECURITY", "MEMORY_LIMIT", "DATA_LIMIT")
    assert settings == {"${COCOI_" + name + "}" for name in names}


def start_of(text: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith("ExecStart=")).split()


def test_the_trial_keeps_the_sandbox_and_drops_the_service(repository: Path) -> None:
    text = text_of(repository, UNITS[0])

    trial = units.trial_unit(text, ["/opt/v/bin/cocoi-agent", "--self-test"], "test", "/run/test.out", 120).splitlines()

    assert trial.count("Type=oneshot") == 1
    assert 'ExecStart="/opt/v/bin/cocoi-agent" "--self-test"' in trial
    assert "StateDirectory=test" in trial
    assert "RuntimeDirectory=test" in trial
    assert "StandardOutput=truncate:/run/test.out" in trial
    assert "TimeoutStartSec=120" in trial
    keys = [line.partition("=")[0] for line in trial]
    assert keys.count("ExecStart") == 1
    gone = (
        "ExecStartPre",
        "ExecReload",
        "EnvironmentFile",
        "WatchdogSec",
        "Restart",
        "RestartSec",
        "NotifyAccess",
        "WantedBy",
    )
    assert not set(keys) & set(gone)
    sandbox = (
        "DynamicUser",
        "ProtectSystem",
        "SystemCallFilter",
        "PrivateUsers",
        "MemoryDenyWriteExecute",
        "Environment",
    )
    before = [line for line in text.splitlines() if line.startswith(tuple(f"{key}=" for key in sandbox))]
    assert [line for line in trial if line.startswith(tuple(f"{key}=" for key in sandbox))] == before


def test_the_trial_takes_any_path() -> None:
    trial = units.trial_unit("[Service]\n", ['/home/100% "a"$\\ b/agent'], "t", "/run/5%.out", 1)

    assert 'ExecStart="/home/100%% \\"a\\"$$\\\\ b/agent"' in trial
    assert "StandardOutput=truncate:/run/5%%.out" in trial


def test_avahi_gets_well_formed_text_whatever_the_name() -> None:
    root = ET.fromstring(units.advertisement("shelf<&1", 52600, "1.0", "2"))  # noqa: S314 - our own text

    assert root.findtext("service/type") == "_cocoi._tcp"
    assert root.findtext("service/port") == "52600"
    records = {record.text for record in root.iter("txt-record")}
    assert records == {"id=shelf<&1", "version=1.0", "protocol=2"}


@pytest.mark.parametrize(
    ("cpu_info", "first"),
    [
        ("flags\t\t: fpu sse2 aes avx\n", "TLS_AES_128_GCM_SHA256"),
        ("Features\t: fp asimd evtstrm aes pmull sha1 crc32 cpuid\n", "TLS_AES_128_GCM_SHA256"),
        ("Features\t: fp asimd evtstrm crc32 cpuid\n", "TLS_CHACHA20_POLY1305_SHA256"),
        ("", "TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_the_cipher_that_the_processor_is_quick_at_comes_first(cpu_info: str, first: str) -> None:
    suites = next(line for line in units.cipher_file(cpu_info).splitlines() if line.startswith("Ciphersuites"))

    names = suites.partition("= ")[2].split(":")
    assert names[0] == first
    assert sorted(names) == ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]


def test_python_follows_the_cipher_file(tmp_path: Path) -> None:
    """Python has no call for the ciphers of TLS 1.3, so the order of a context shows whether OpenSSL read the file."""
    path = tmp_path / "openssl.cnf"
    path.write_text(units.cipher_file(""))
    program = "import ssl; print(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).get_ciphers()[0]['name'])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OPENSSL_CONF": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "TLS_CHACHA20_POLY1305_SHA256"
