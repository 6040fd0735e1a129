"""Texts for the device's services: the unit of the self-test, Avahi's file, OpenSSL's file. Pure."""

from __future__ import annotations

from xml.sax.saxutils import escape

# What belongs to a service that stays, and not to one test of the same sandbox.
_DROPPED = frozenset(
    ("Type", "NotifyAccess", "EnvironmentFile", "WatchdogSec", "PIDFile", "BusName", "StandardOutput", "StandardError")
)
_DROPPED_STARTS = ("Exec", "Restart", "StartLimit")
_RENAMED = frozenset(("StateDirectory", "RuntimeDirectory", "CacheDirectory", "LogsDirectory"))
_KEPT_SECTIONS = frozenset(("[Unit]", "[Service]"))


def trial_unit(text: str, command: list[str], name: str, output: str, timeout_s: int) -> str:
    """The unit of a test that runs once in the sandbox of the agent's unit.

    Args:
        text: The agent's unit; lines are not continued by a backslash.
        command: What to run.
        name: For folders that the manager makes, so that the agent's own are not touched.
        output: File for everything that the command writes.
        timeout_s: Seconds it may take.
    """
    own = [
        "Type=oneshot",
        "ExecStart=" + " ".join(_quoted(word) for word in command),
        "StandardOutput=truncate:" + output.replace("%", "%%"),
        "StandardError=inherit",
    ]
    lines = []
    section = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
            if section in _KEPT_SECTIONS:
                lines.append(stripped)
            if section == "[Service]":
                lines += own
        elif section in _KEPT_SECTIONS and not stripped.startswith(("#", ";")):
            lines += _kept(stripped, name, timeout_s)
    return "\n".join(lines) + "\n"


def _kept(line: str, name: str, timeout_s: int) -> list[str]:
    key = line.partition("=")[0].strip()
    if key in _RENAMED:
        return [key + "=" + name]
    if key == "TimeoutStartSec":
        return [f"TimeoutStartSec={timeout_s}"]
    if not key or key in _DROPPED or key.startswith(_DROPPED_STARTS):
        return []
    return [line]


def _quoted(word: str) -> str:
    inner = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return '"' + inner + '"'


def advertisement(name: str, port: int, version: str, protocol: str) -> str:
    """What Avahi announces: the agent's port, with id, version and protocol; a file for its folder of services."""
    fields = (("id", name), ("version", version), ("protocol", protocol))
    texts = "".join(f"    <txt-record>{key}={escape(value)}</txt-record>\n" for key, value in fields)
    return (
        '<?xml version="1.0" standalone="no"?>\n'
        '<!DOCTYPE service-group SYSTEM "avahi-service.dtd">\n'
        "<service-group>\n"
        f'  <name replace-wildcards="yes">cocoi {escape(name.replace("%", ""))} on %h</name>\n'
        "  <service>\n"
        "    <type>_cocoi._tcp</type>\n"
        f"    <port>{port}</port>\n"
        f"{texts}"
        "  </service>\n"
        "</service-group>\n"
    )


def cipher_file(cpu_info: str) -> str:
    """OpenSSL's configuration for the agent: the cipher that this processor is quick at comes first.

    A Raspberry Pi 4 has no AES instructions; ChaCha20 is made for such processors. Python
    has no call for the ciphers of TLS 1.3, but OpenSSL reads them from this file.

    Args:
        cpu_info: `/proc/cpuinfo`.
    """
    ciphers = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]
    ciphers.insert(2 if has_aes(cpu_info) else 0, "TLS_CHACHA20_POLY1305_SHA256")
    return (
        "openssl_conf = cocoi\n\n[cocoi]\nssl_conf = protocols\n\n[protocols]\nsystem_default = agent\n\n"
        f"[agent]\nMinProtocol = TLSv1.3\nCiphersuites = {':'.join(ciphers)}\n"
    )


def has_aes(cpu_info: str) -> bool:
    """Whether the processor has instructions for AES."""
    lines = (line.partition(":") for line in cpu_info.splitlines())
    return any(key.strip() in ("flags", "Features") and "aes" in value.split() for key, _, value in lines)
