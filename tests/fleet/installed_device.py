"""A made-up device in a folder, on which the real `ondevice.install` works.

Real are all files and links. Made up are `systemctl`, `loginctl`, `journalctl` and the
interpreter that makes environments: scripts that write down what they were asked, and fail
on request. `serving` is what the agent's process would be: the version that `current` led to
when it was last started.

    device = InstalledDevice(tmp_path, monkeypatch)
    device.deploy("1.0-a")
    device.says("start-fails")
    device.call("switch", id="1.0-b", config=...)
"""

from __future__ import annotations

import hashlib
import io
import os
import pwd
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from cocoi_cli.fleet.ondevice import install
from cocoi_cli.fleet.ondevice.layout import layout_of

AGENT_WHEEL = "cocoi_agent-1.0-py3-none-any.whl"
PIP_WHEEL = "pip-99-py3-none-any.whl"

UNIT = """\
[Unit]
Description=Made up

[Service]
Type=notify
ExecStart=/somewhere/cocoi-agent
StateDirectory=cocoi
Restart=always
"""

_FOLDERS = ("etc/systemd/system", "run/systemd/system", "run/user/1000", "home/pi", "opt", "var/lib/systemd/linger")

_SYSTEMCTL = """\
#!/bin/sh
state={state}
while case $1 in --*) true;; *) false;; esac; do shift; done
echo "$*" >>$state/calls
unit=$2
case $1 in
show) cat $state/$unit.properties 2>/dev/null || echo ActiveState=inactive;;
stop) echo ActiveState=inactive >$state/$unit.properties; rm -f $state/serving;;
start|restart|reload)
  case $unit in
  cocoi-agent-test.service)
    file={trial_unit}
    test -e $file || exit 5
    output=$(sed -n s/^StandardOutput=truncate://p $file)
    sh -c "$(sed -n s/^ExecStart=//p $file)" >$output 2>&1
    status=$?
    test $status -eq 0 && exit 0
    code=1
    test $status -gt 128 && code=2 && status=$((status - 128))
    exec >$state/$unit.properties
    printf 'ActiveState=failed\\nResult=exit-code\\nExecMainCode=%s\\nExecMainStatus=%s\\n' $code $status
    exit 1;;
  *)
    serving=$(readlink -f {current})
    if test -e $state/start-fails && grep -q "${{serving##*/}}" $state/start-fails; then
      printf 'ActiveState=activating\\nResult=exit-code\\nExecMainStatus=1\\n' >$state/$unit.properties
      exit 1
    fi
    echo ActiveState=active >$state/$unit.properties
    test $1 = reload || echo "${{serving##*/}}" >$state/serving;;
  esac;;
esac
"""

_LOGINCTL = """\
#!/bin/sh
echo "loginctl $*" >>{state}/calls
test -e {state}/linger-refused && echo "Access denied" >&2 && exit 1
case $* in *enable-linger*) touch {linger}/{user};; *) rm -f {linger}/{user};; esac
"""

_PYTHON = """\
#!/bin/sh
case $* in
*venv*)
  test -e {state}/no-venv && echo "No module named venv" >&2 && exit 1
  for folder in "$@"; do :; done
  mkdir -p $folder/bin $folder/lib/package && cp {python} $folder/bin/python;;
*install*)
  test -e {state}/pip-fails && cat {state}/pip-fails >&2 && exit 2
  folder=$(dirname $(dirname $0))
  cat >$folder/bin/cocoi-agent <<END
#!/bin/sh
cat {state}/self-test
test -e {state}/agent-dies || exit 0
kill -\\$(cat {state}/agent-dies) \\$\\$
END
  chmod 755 $folder/bin/cocoi-agent
  echo module >$folder/lib/package/module.py;;
*compileall*) :;;
esac
"""


class InstalledDevice:
    """The device; `mode` as in requests."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "system") -> None:
        self.mode = mode
        self.root = folder / "root"
        self.state = folder / "state"
        self.commands = folder / "commands"
        for path in (self.root, self.state, self.commands):
            path.mkdir()
        monkeypatch.setenv("PATH", f"{self.commands}:{os.environ['PATH']}")
        monkeypatch.setenv("HOME", "/home/pi")
        # A process leaves the same without these, and the disk of a test machine may be slow.
        monkeypatch.setattr(os, "fsync", lambda _handle: None)
        monkeypatch.setattr(os, "sync", lambda: None)
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
        self.layout = layout_of(mode, str(self.root))
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True)
        self.python = self.commands / "python-of-the-device"
        self._write_commands()
        self.says("self-test", '{"ok": true, "version": "1.0"}\n')

    def _write_commands(self) -> None:
        names = {
            "state": self.state,
            "trial_unit": self.layout.trial_unit,
            "current": self.layout.current,
            "python": self.python,
            "linger": self.root / "var/lib/systemd/linger",
            "user": pwd.getpwuid(os.getuid()).pw_name,
        }
        for path, text in (
            (self.commands / "systemctl", _SYSTEMCTL),
            (self.commands / "loginctl", _LOGINCTL),
            (self.commands / "journalctl", "#!/bin/sh\necho the end of the journal\n"),
            (self.python, _PYTHON),
        ):
            path.write_text(text.format(**names))
            path.chmod(0o755)

    def says(self, name: str, text: str = "") -> None:
        """Make a fault or an answer; `silent` takes it back."""
        (self.state / name).write_text(text)

    def silent(self, name: str) -> None:
        (self.state / name).unlink()

    @property
    def serving(self) -> str | None:
        """The version whose process would be running."""
        path = self.state / "serving"
        return path.read_text().strip() if path.exists() else None

    def calls(self) -> list[str]:
        """What the service manager was asked to do since the last call of this, questions left out."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return [line for line in lines if not line.startswith("show ")]

    def call(self, op: str, payload: bytes = b"", **values: Any) -> dict[str, Any]:
        """One operation, in this process."""
        request = {"op": op, "mode": self.mode, "root": str(self.root), "wait_s": 0, **values}
        return install.main(request, io.BytesIO(payload))

    def receive(self, files: dict[str, bytes]) -> dict[str, Any]:
        entries = [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ]
        return self.call("receive", b"".join(files.values()), files=entries)

    def stage_request(self, ident: str) -> dict[str, Any]:
        return {
            "id": ident,
            "python": str(self.python),
            "requirements": f"# {ident}\n",
            "wheels": [PIP_WHEEL, AGENT_WHEEL],
            "unit": UNIT,
            "online": False,
            "manifest": {"version": "1.0", "protocol": "1"},
        }

    def prepare(self, ident: str, port: int = 52600) -> str:
        """Everything up to the switch; the hash of the configuration."""
        self.receive({PIP_WHEEL: b"pip", AGENT_WHEEL: b"agent"})
        self.call("stage", **self.stage_request(ident))
        return str(self.call("configure", files=configuration(port=port))["config"])

    def deploy(self, ident: str, port: int = 52600) -> str:
        """Everything; the hash of the configuration."""
        config = self.prepare(ident, port)
        self.call("switch", id=ident, config=config)
        self.call("confirm", id=ident)
        return config

    def listing(self) -> dict[str, tuple[int, str]]:
        """Every path with its mode and what it holds."""
        return {str(path.relative_to(self.root)): _content(path) for path in sorted(self.root.rglob("*"))}

    def save(self) -> None:
        """Remember this moment for `restore`."""
        for folder in (self.root, self.state):
            shutil.rmtree(f"{folder}.saved", ignore_errors=True)
            shutil.copytree(folder, f"{folder}.saved", symlinks=True)

    def restore(self) -> None:
        for folder in (self.root, self.state):
            shutil.rmtree(folder)
            shutil.copytree(f"{folder}.saved", folder, symlinks=True)


def configuration(port: int = 52600, key: str = "secret") -> dict[str, str]:
    """Files for the agent."""
    settings = f"COCOI_ID=pi-1\nCOCOI_PORT={port}\n"
    return {"agent.crt": "certificate", "agent.key": key, "hosts.crt": "hosts", "agent.env": settings}


def _content(path: Path) -> tuple[int, str]:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return 0, f"-> {path.readlink()}"
    kind = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return stat.S_IMODE(info.st_mode), kind
