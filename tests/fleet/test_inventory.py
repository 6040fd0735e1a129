"""Reading the fleet file: every complaint names the file and the line."""

from __future__ import annotations

import pytest

from cocoi_cli.fleet.folders import data_folder, data_path, fleet_file, profile_path, seen_path, write_private
from cocoi_cli.fleet.inventory import (
    BadFleetFileError,
    DuplicateDeviceError,
    NoDevicesError,
    NoFleetError,
    UnknownDeviceError,
    exists,
    load,
    locate,
    read,
    select,
)
from cocoi_cli.fleet.records import Device

MACHINE = "c783b2457de643e9a800db0754a31e0e"

GOOD = f"""\
# A shelf.
id = "6f1c2a90b3d44e17"

[devices.shelf-1]
ssh = "pi@192.168.1.11"
address = "192.168.1.11"
port = 52601
machine_id = "{MACHINE}"
host_key = "SHA256:abc"
install = "user"
drained = true

[devices."pi.lan"]
address = "fd00::2"
ssh = "pi.lan"
"""

HEAD = 'id = "f"\n\n[devices.a]\n'
FULL = HEAD + 'ssh = "a"\naddress = "10.0.0.1"\n'


def test_a_fleet_file_is_read_with_defaults_and_lines(tmp_path):
    inventory = read(GOOD, tmp_path / "fleet.toml")
    assert (inventory.id, inventory.security) == ("6f1c2a90b3d44e17", "tls")
    assert inventory.devices == (
        Device(
            "shelf-1", "pi@192.168.1.11", "192.168.1.11", 52601, MACHINE, "SHA256:abc", "user", drained=True, line=4
        ),
        Device("pi.lan", "pi.lan", "fd00::2", line=13),
    )
    assert inventory.device("pi.lan") is inventory.devices[1]
    assert inventory.device("pi") is None


COMPLAINTS = [
    ("", 1, "`id` is missing, which names the folder of the fleet's keys"),
    ("[devices.a]\n", 1, "`id` is missing, which names the folder of the fleet's keys"),
    ("id = 3\n", 1, "`id` is a text in quotes, not the number 3"),
    ('\nid = "../keys"\n', 2, "`id` is 1 to 64 letters, digits, `-` or `_`, not `../keys`"),
    ('id = "f"\nsecurty = "tls"\n', 2, "unknown key `securty` (closest: `security`)"),
    ('id = "f"\nsecurity = "off"\n', 2, "`security` is `tls` or `none`, not `off`"),
    ('id = "f"\ndevices = 4\n', 2, "`devices` is a table of tables, not the number 4"),
    ('id = "f"\n[[devices]]\nssh = "a"\n', 2, "`devices` is a table of tables, not a list"),
    ('id = "f"\n[devices]\na = "pi"\n', 3, 'device `a` is a table, not the text "pi"'),
    ('id = "f"\n\n[devices.Shelf]\n', 3, "a device cannot be called `Shelf`: letters a-z, digits, `-` and `.`"),
    ('id = "f"\n\n[devices."../x"]\n', 3, "a device cannot be called `../x`: "),
    ('id = "f"\n\n[devices."' + 64 * "a" + '"]\n', 3, "at most 63"),
    (HEAD, 3, "`ssh` of device `a` is missing"),
    (HEAD + 'ssh = "a"\n', 3, "`address` of device `a` is missing"),
    (FULL + 'adress = "10.0.0.2"\n', 6, "unknown key `adress` of device `a` (closest: `address`)"),
    (FULL + "zebra = 1\n", 6, "unknown key `zebra` of device `a`"),
    ('id = "f"\n[devices.pi.lan]\nssh = "a"\n', 2, 'a name with a dot stands in quotes, `[devices."pi.lan"]`'),
    (HEAD + "ssh = 1\naddress = '10.0.0.1'\n", 4, "`ssh` is a text in quotes, not the number 1"),
    (HEAD + "ssh = 'pi@'\naddress = '10.0.0.1'\n", 4, "`ssh`: `pi@` is no SSH target: the host is missing"),
    (HEAD + "ssh = 'pi@a:0'\naddress = '10.0.0.1'\n", 4, "`0` is no port"),
    (HEAD + "ssh = 'a'\naddress = ['10.0.0.1']\n", 5, "`address` is a text in quotes, not a list"),
    (
        HEAD + "ssh = 'a'\naddress = '10.0.0.300'\n",
        5,
        "`address` cannot be `10.0.0.300`: it is neither",
    ),
    (HEAD + "ssh = 'a'\naddress = '0.0.0.0'\n", 5, "an agent listens at one address, not at all of them"),
    (HEAD + "ssh = 'a'\naddress = '::'\n", 5, "an agent listens at one address, not at all of them"),
    (HEAD + "ssh = 'a'\naddress = '224.0.0.251'\n", 5, "it is the address of a group of devices"),
    (HEAD + "ssh = 'a'\naddress = '10.0.0.1:52600'\n", 5, "it is neither an IP address nor a name"),
    (FULL + "port = '52600'\n", 6, '`port` is a number, not the text "52600"'),
    (FULL + "port = true\n", 6, "`port` is a number, not true"),
    (FULL + "\n# far away\nport = 65536\n", 8, "`port` is a number from 1 to 65535, not 65536"),
    (FULL + "port = 0\n", 6, "`port` is a number from 1 to 65535, not 0"),
    (FULL + "machine_id = 'c783'\n", 6, "`machine_id` is 32 hexadecimal digits, not `c783`"),
    (FULL + "host_key = 'MD5:aa:bb'\n", 6, "`host_key` is a fingerprint, `SHA256:...`, not `MD5:aa:bb`"),
    (FULL + "install = 'User'\n", 6, "`install` is `system` or `user`, not `User`"),
    (FULL + "install = 2024-01-01\n", 6, "`install` is a text in quotes, not the date 2024-01-01"),
    (FULL + "drained = 'yes'\n", 6, '`drained` is true or false, not the text "yes"'),
    (FULL + "drained = {}\n", 6, "`drained` is true or false, not a table"),
    ('id = "f"\nssh = pi@x\n', 2, "it is no TOML: invalid value"),
    ('id = "f"\n[devices.a\n', 2, "it is no TOML: expected ']' at the end of a table declaration"),
    ('id = "f"\n\nx = [\n1,\n', 4, "it is no TOML: invalid value"),
    ('id = "f"\nid = "g"\n', 2, "it is no TOML: cannot overwrite a value"),
    (FULL + "[devices.a]\n", 6, "`devices.a` is there twice"),
]


@pytest.mark.parametrize(("text", "line", "cause"), COMPLAINTS, ids=range(len(COMPLAINTS)))
def test_every_complaint_has_file_and_line(tmp_path, text, line, cause):
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(BadFleetFileError) as caught:
        load(path)
    assert caught.value.message.startswith(f"`{path}:{line}`: ")
    assert cause in caught.value.message
    assert (caught.value.code, caught.value.exit_status) == ("bad-fleet-file", 3)


FIRST = f"""\
id = "f"
[devices.a]
ssh = "pi@shelf"
address = "10.0.0.1"
machine_id = "{MACHINE}"
host_key = "SHA256:k"
"""

DUPLICATES = [
    ('ssh = "b"\naddress = "10.0.0.1"\n', "address and port (`10.0.0.1`, 52600)"),
    ('ssh = "b"\naddress = "10.0.0.1"\nport = 52600\n', "address and port (`10.0.0.1`, 52600)"),
    ('ssh = "pi@SHELF"\naddress = "10.0.0.2"\n', "SSH target (`pi@SHELF`)"),
    (f'ssh = "b"\naddress = "10.0.0.2"\nmachine_id = "{MACHINE}"\nhost_key = "SHA256:k"\n', "machine-id and host key"),
]


@pytest.mark.parametrize(("entry", "what"), DUPLICATES)
def test_two_entries_for_one_device_are_refused_with_both_lines(tmp_path, entry, what):
    path = tmp_path / "fleet.toml"
    path.write_text(FIRST + "[devices.b]\n" + entry)
    with pytest.raises(DuplicateDeviceError) as caught:
        load(path)
    assert caught.value.message == f"`{path}:7`: `b` has the same {what} as `a` (line 2)"
    assert (caught.value.code, caught.value.exit_status) == ("duplicate-device", 3)


@pytest.mark.parametrize(
    "entry",
    [
        'ssh = "b"\naddress = "10.0.0.1"\nport = 52601\n',
        'ssh = "root@shelf"\naddress = "10.0.0.2"\n',
        f'ssh = "b"\naddress = "10.0.0.2"\nmachine_id = "{MACHINE}"\nhost_key = "SHA256:other"\n',
        f'ssh = "b"\naddress = "10.0.0.2"\nmachine_id = "{MACHINE[::-1]}"\nhost_key = "SHA256:k"\n',
        f'ssh = "b"\naddress = "10.0.0.2"\nmachine_id = "{MACHINE}"\n',
    ],
)
def test_what_devices_may_share_is_no_duplicate(tmp_path, entry):
    assert len(read(FIRST + "[devices.b]\n" + entry, tmp_path / "f").devices) == 2


def test_devices_never_contacted_are_not_duplicates_of_each_other(tmp_path):
    text = 'id = "f"\ndevices.a = {ssh = "a", address = "10.0.0.1"}\ndevices.b = {ssh = "b", address = "10.0.0.2"}\n'
    assert [device.line for device in read(text, tmp_path / "f").devices] == [2, 3]


def test_an_absent_or_unreadable_file_has_its_own_complaint(tmp_path):
    with pytest.raises(NoFleetError) as absent:
        load(tmp_path / "none.toml")
    assert (absent.value.code, absent.value.exit_status) == ("no-fleet", 3)
    assert absent.value.message == f"there is no fleet file `{tmp_path}/none.toml`"
    with pytest.raises(BadFleetFileError, match="is a directory"):
        load(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'id = "f"\n# caf\xe9\n')
    with pytest.raises(BadFleetFileError, match=r"latin\.toml:2`: byte 0xe9 is no UTF-8"):
        load(path)
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(BadFleetFileError, match="more than 1048576 bytes"):
        load(path)


def test_windows_line_ends_and_strange_separators_do_not_shift_lines(tmp_path):
    text = 'id = "f"\r\n# a\u2028b\x85c\r\n[devices.a]\r\nssh = "a"\r\naddress = "x"\r\nport = "1"\r\n'
    with pytest.raises(BadFleetFileError, match=":6`"):
        read(text, tmp_path / "f")


def test_devices_are_selected_by_name_in_the_order_given(tmp_path):
    inventory = read(GOOD, tmp_path / "fleet.toml")
    assert [device.name for device in select(inventory, ["pi.lan", "shelf-1", "pi.lan"])] == ["pi.lan", "shelf-1"]
    assert select(inventory, []) == inventory.devices
    with pytest.raises(UnknownDeviceError) as caught:
        select(inventory, ["shelf-1", "shelf-7"])
    assert caught.value.message == f"fleet file `{tmp_path}/fleet.toml` has no device `shelf-7` (closest: `shelf-1`)"
    assert (caught.value.code, caught.value.exit_status) == ("unknown-device", 2)
    with pytest.raises(UnknownDeviceError) as unlike:
        select(inventory, ["zzz"])
    assert unlike.value.message.endswith("has no device `zzz`")


def test_a_fleet_without_devices_cannot_be_selected_from(tmp_path):
    with pytest.raises(NoDevicesError, match="names no device"):
        select(read('id = "f"\n', tmp_path / "f"), [])


def test_the_fleet_file_is_found_by_option_environment_and_default(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COCOI_FLEET", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert locate("~/shelf.toml") == tmp_path / "shelf.toml"
    assert fleet_file().name == "fleet.toml"
    assert fleet_file().parent.name == "cocoi"
    assert not exists(None)
    monkeypatch.setenv("COCOI_FLEET", "~/other.toml")
    assert locate(None) == tmp_path / "other.toml"
    (tmp_path / "other.toml").write_text("")
    assert exists(None)


def test_the_data_folder_is_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    inventory = read('id = "f"\n', tmp_path / "f")
    assert data_path("f") == tmp_path / "data" / "f"
    assert not data_path("f").exists()
    data_path("f").mkdir(parents=True, mode=0o755)
    data_path("f").chmod(0o755)
    assert data_folder(inventory).stat().st_mode & 0o777 == 0o700
    assert {path.parent for path in (profile_path(inventory), seen_path(inventory))} == {data_path("f")}
    write_private(profile_path(inventory), b"{}")
    assert profile_path(inventory).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data_path("f").iterdir()] == ["profile.json"]
