"""File trees of made-up devices, which `ondevice.facts` reads like real ones; their tools are shell scripts."""

from __future__ import annotations

import json
from pathlib import Path

PYTHON = "#!/bin/sh\necho '%s'\n"
MEMINFO = "MemTotal:  3884392 kB\nMemFree:  200000 kB\nMemAvailable:  3312000 kB\nSwapTotal:  524284 kB\n"
CPUINFO = "".join(
    f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n\n"
    for core in range(4)
)
MACHINE_ID = "0123456789abcdef0123456789abcdef"
USER_UNIT = "/home/pi/.config/systemd/user/cocoi-agent.service"


class Tree:
    """A folder that plays the part of a device's root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, name: str, text: str = "") -> Tree:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    def folder(self, name: str) -> Tree:
        (self.root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return self

    def link(self, name: str, target: str) -> Tree:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        return self

    def tool(self, name: str, script: str, folder: str = "/usr/bin") -> Tree:
        self.file(f"{folder}/{name}", script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        (self.root / folder.lstrip("/") / name).chmod(0o755)
        return self

    def python(self, version: tuple[int, int, int], *, bits: int = 64, venv: bool = True, ssl: bool = True) -> Tree:
        name = f"python{version[0]}.{version[1]}"
        self.tool(name, PYTHON % json.dumps([list(version), bits, venv, venv, ssl]))
        return self.link("/usr/bin/python3", name)

    def without(self, *names: str) -> Tree:
        for name in names:
            (self.root / name.lstrip("/")).unlink()
        return self


def pi4(root: Path) -> Tree:
    """A Pi 4 with Bookworm, on Wi-Fi and wire, doing well."""
    tree = Tree(root)
    tree.file("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    tree.file("/proc/cpuinfo", CPUINFO).file("/proc/meminfo", MEMINFO)
    tree.file("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t80\t0\n")
    tree.file("/proc/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n")
    tree.file("/proc/loadavg", "0.10 0.05 0.01 1/180 999\n").file("/proc/sys/kernel/osrelease", "6.12.25+rpt-rpi-v8\n")
    tree.file("/proc/sys/kernel/random/boot_id", "b-1\n").file("/proc/sys/kernel/hostname", "raspberrypi\n")
    tree.file("/proc/net/tcp", "  sl  local_address\n")
    tree.file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    tree.file("/sys/class/thermal/thermal_zone0/temp", "48200\n")
    cpu = "/sys/devices/system/cpu/cpu0/cpufreq"
    tree.file(f"{cpu}/scaling_governor", "ondemand\n").file(
        f"{cpu}/scaling_available_governors", "ondemand performance\n"
    )
    tree.file(f"{cpu}/scaling_cur_freq", "600000\n").file(f"{cpu}/cpuinfo_max_freq", "1800000\n")
    tree.file(f"{cpu}/scaling_max_freq", "1800000\n")
    tree.file("/sys/class/hwmon/hwmon0/name", "cpu_thermal\n").file("/sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    tree.file("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    _interfaces(tree)
    tree.file("/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n')
    tree.file("/etc/machine-id", MACHINE_ID + "\n").folder("/run/systemd/system").folder("/opt").folder("/var/lib")
    tree.folder("/tmp")  # noqa: S108 - in the folder of the made-up device
    tree.folder(f"/var/log/journal/{MACHINE_ID}").file("/run/systemd/timesync/synchronized")
    tree.tool("dpkg", "echo arm64").tool("vcgencmd", "case $1 in get_throttled) echo throttled=0x0;; *) exit 1;; esac")
    tree.tool("systemctl", 'case $1 in --version) echo "systemd 252 (252.39)";; *) echo LoadState=not-found;; esac')
    return tree.python((3, 11, 2))


def trixie(root: Path) -> Tree:
    """A Pi 4 with Trixie."""
    tree = pi4(root).without("/usr/bin/python3.11", "/usr/bin/python3").python((3, 13, 5))
    return tree.file("/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n')


def small(root: Path) -> Tree:
    """A Pi 4 whose system is 32-bit although its kernel is not."""
    tree = pi4(root).without("/usr/bin/python3.11", "/usr/bin/python3").python((3, 11, 2), bits=32)
    return tree.tool("dpkg", "echo armhf")


def container(root: Path) -> Tree:
    """A machine without sensors, device tree, Wi-Fi or firmware."""
    tree = Tree(root)
    tree.file("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Some Processor\nflags\t\t: fpu aes sse2\n")
    tree.file("/proc/meminfo", MEMINFO).file("/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    tree.tool("dpkg", "echo amd64").folder("/sys/class/net/eth0")
    return tree.python((3, 11, 2))


def installed(tree: Tree, *, runtime: str = "1.31.1", state: str = "active", base: str = "/opt/cocoi") -> Tree:
    """Put an agent there."""
    version = f"{base}/versions/0.1.0-aaaaaaaaaaaa"
    site = f"{version}/lib/python3.11/site-packages"
    tree.folder(f"{site}/cocoi_agent-0.1.0.dist-info").folder(f"{site}/onnxruntime-{runtime}.dist-info")
    tree.folder(f"{site}/numpy-2.4.6.dist-info").folder(f"{site}/onnxruntime")
    tree.link(f"{base}/current", "versions/0.1.0-aaaaaaaaaaaa").link(f"{base}/previous", "versions/0.0.9-bbbbbbbbbbbb")
    lines = f"LoadState=loaded\\nActiveState={state}\\nSubState=running\\nResult=success\\nNRestarts=1\\n"
    return tree.tool("systemctl", f"case $1 in --version) echo 'systemd 252 (252.39)';; *) printf '{lines}';; esac")


def _interfaces(tree: Tree) -> None:
    tree.file("/sys/class/net/lo/type", "772\n").file("/sys/class/net/lo/operstate", "unknown\n")
    tree.folder("/sys/class/net/eth0/device").file("/sys/class/net/eth0/speed", "1000\n")
    tree.file("/sys/class/net/eth0/operstate", "up\n").file("/sys/class/net/eth0/type", "1\n")
    tree.folder("/sys/class/net/wlan0/wireless").file("/sys/class/net/wlan0/operstate", "up\n")
    tree.tool("iw", 'echo "Power save: on"', "/usr/sbin")
    lines = ["1: lo    inet 127.0.0.1/8 scope host lo", "2: eth0    inet 192.168.1.11/24 brd 192.168.1.255"]
    lines += ["2: eth0    inet6 fe80::1/64 scope link", "3: wlan0    inet 192.168.1.77/24 brd 192.168.1.255"]
    tree.tool("ip", "cat <<END\n" + "\n".join(lines) + "\nEND")
