"""Devices out of Ansible inventories and ssh configurations; no line is skipped in silence."""

from __future__ import annotations

import pytest

from cocoi_cli.fleet.importing import kind_of, proposals
from cocoi_cli.fleet.proposals import BadImportError, Proposal, UnknownGroupError

INI = """\
# the lab
controller ansible_host=10.0.0.1 ansible_user=admin
[shelf]
pi[01:03].lan:2222
pi[a:b]  ansible_user='door'  # the ones at the door
192.168.1.9
; old ones
[attic]
old ansible_host="10.0.1.1" ansible_ssh_port=22

[pis:children]
shelf
attic

[pis:vars]
ansible_user = pi
ansible_python_interpreter=/usr/bin/python3

[attic:vars]
ansible_user="up"  # by the roof
"""


@pytest.fixture
def ini(tmp_path):
    path = tmp_path / "hosts"
    path.write_text(INI)
    return path


def ssh(found):
    return {each.name or each.line: each.ssh for each in found}


def test_an_ini_inventory_with_groups_ranges_and_variables(ini):
    assert ssh(proposals(ini, None)) == {
        "controller": "admin@10.0.0.1",
        "pi01.lan": "pi@pi01.lan:2222",
        "pi02.lan": "pi@pi02.lan:2222",
        "pi03.lan": "pi@pi03.lan:2222",
        "pia": "door@pia",
        "pib": "door@pib",
        6: "pi@192.168.1.9",
        "old": "up@10.0.1.1:22",
    }
    assert proposals(ini, "attic") == [Proposal("old", "up@10.0.1.1:22", 9)]
    assert len(proposals(ini, "pis")) == 7
    assert list(ssh(proposals(ini, "ungrouped"))) == ["controller"]
    assert proposals(ini, "all") == proposals(ini, None)


def test_an_unknown_group_is_told_with_the_closest(ini):
    with pytest.raises(UnknownGroupError) as caught:
        proposals(ini, "shelv")
    assert caught.value.message == f"`{ini}` has no group `shelv` (closest: `shelf`)"
    assert (caught.value.code, caught.value.exit_status) == ("unknown-group", 2)


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("pi[1:3]", ["pi1", "pi2", "pi3"]),
        ("pi[08:11].lan", ["pi08.lan", "pi09.lan", "pi10.lan", "pi11.lan"]),
        ("pi[0:10:5]", ["pi0", "pi5", "pi10"]),
        ("[a:c]-x", ["a-x", "b-x", "c-x"]),
        ("r[1:2]-[a:b]", ["r1-a", "r1-b", "r2-a", "r2-b"]),
        ("pi[:2]", ["pi0", "pi1", "pi2"]),
    ],
)
def test_ranges(tmp_path, pattern, hosts):
    path = tmp_path / "hosts"
    path.write_text(f"{pattern}\n")
    assert [each.name for each in proposals(path, None)] == hosts


COMPLAINTS = [
    ("a\n[g:sons]\n", 2, "`[g:sons]` is no section"),
    ("a\n[g\n", 2, "`[g` is no section: `]` is missing"),
    ("[g]\na ansible_host\n", 2, "`ansible_host` is no variable: `=` is missing"),
    ("[g]\nansible_user=pi\n", 2, "the line begins with no host"),
    ("[g]\na x='y\n", 2, "no closing quotation"),
    ("[g:vars]\nansible_user=pi\n[h]\na\n", 1, "`[g:vars]` is for a group that is not there"),
    ("[g]\na\n[g:vars]\nansible_user\n", 4, "`ansible_user` is no variable: `=` is missing"),
    ("a\n[g:children]\nh\n", 3, "group `g` contains group `h`, which is not there"),
    ("a\n[g:children]\nh\n[h:children]\ng\n", 5, "contains itself"),
    ("a\n[g:children]\ng x\n", 3, "`g x` is no name of a group"),
    ("pi[1-3]\n", 1, "`[1-3]` in `pi[1-3]` is no range"),
    ("pi[3:1]\n", 1, "is no range"),
    ("pi[01:100]\n", 1, "is no range"),
    ("pi[1:5:0]\n", 1, "is no range"),
    ("pi[1:99999]\n", 1, "more than 1000 hosts"),
    ("pi[1:999]\nmore[1:999]\n", 2, "more than 1000 hosts"),
    ("a\nb ansible_host={{ lan }}\n", 2, "no variable"),
    ('a\nb ansible_host="{{ lan }}"\n', 2, "`{{ lan }}` is a template"),
    ("a\nb ansible_port=ssh\n", 2, "`ssh` is no port"),
    ("a\nb ansible_port=99999\n", 2, "is no port"),
    ("a\nlocalhost ansible_connection=local\n", 2, "host `localhost` is reached by `local`, not by SSH"),
    ("a\nb ansible_user='two words'\n", 2, "is no SSH target"),
    ("# nothing\n", 0, "it names no host"),
    ("[g]\n", 0, "it names no host"),
]


@pytest.mark.parametrize(("text", "line", "cause"), COMPLAINTS, ids=range(len(COMPLAINTS)))
def test_what_an_ini_inventory_cannot_say_is_told_with_its_line(tmp_path, text, line, cause):
    path = tmp_path / "inventory.ini"
    path.write_text(text)
    with pytest.raises(BadImportError) as caught:
        proposals(path, None)
    where = f"{path}:{line}" if line else str(path)
    assert caught.value.message.startswith(f"`{where}`: ")
    assert cause in caught.value.message
    assert (caught.value.code, caught.value.exit_status) == ("bad-import", 3)


YAML = """\
---
all:
  hosts:
    controller:
      ansible_host: 10.0.0.1
  vars: &common
    ansible_user: pi
    packages: [a, b]
  children:
    shelf:
      hosts:
        pi[01:02].lan:
        192.168.1.9: {ansible_port: 2222}
      vars:
        <<: *common
        ansible_user: shelf
    attic:
      hosts:
        old: {ansible_host: 10.0.1.1, mounts: {a: b}, ansible_user: !vault 'up'}
    empty:
top:
  children:
    attic:
"""


def test_a_yaml_inventory(tmp_path):
    path = tmp_path / "hosts.yml"
    path.write_text(YAML)
    assert ssh(proposals(path, None)) == {
        "controller": "pi@10.0.0.1",
        "pi01.lan": "shelf@pi01.lan",
        "pi02.lan": "shelf@pi02.lan",
        13: "shelf@192.168.1.9:2222",
        "old": "up@10.0.1.1",
    }
    assert list(ssh(proposals(path, "top"))) == ["old"]
    with pytest.raises(BadImportError, match="group `empty` has no host"):
        proposals(path, "empty")
    json = tmp_path / "hosts.json"
    json.write_text('{"all": {"hosts": {"pi": {"ansible_user": "x"}}}}')
    assert proposals(json, None) == [Proposal("pi", "x@pi", 1)]


YAML_COMPLAINTS = [
    ("", 0, "it is empty"),
    ("all:\n  hosts:\n   a\n  b: [\n", 4, "it is no YAML"),
    ("- a\n- b\n", 1, "the inventory is a table, not a list"),
    ("all:\n  hosts:\n    - a\n", 3, "`hosts` of group `all` is a table, not a list"),
    ("all:\n  hots:\n    a:\n", 2, "group `all` has `hots`; a group has `hosts`, `children`, `vars`"),
    ("plugin: aws_ec2\n", 1, "group `plugin` is a table, not `aws_ec2`"),
    ("all:\n  hosts:\n    a: yes\n", 3, "host `a` is a table, not `yes`"),
    ("all:\n  hosts:\n    [x, y]: 1\n", 3, "a key of `hosts` of group `all` is a name, not a list"),
    ("all:\n  hosts:\n    a:\n      ansible_host: '{{ x }}'\n", 4, "is a template"),
    ("all: &a\n  children:\n    g: *a\n", 1, "contains itself"),
    ("all:\n  hosts: *none\n", 2, "it is no YAML: found undefined alias"),
    ("a: 1\n---\nb: 2\n", 2, "it is no YAML"),
    ("all:\n\thosts:\n", 2, "it is no YAML"),
]


@pytest.mark.parametrize(("text", "line", "cause"), YAML_COMPLAINTS, ids=range(len(YAML_COMPLAINTS)))
def test_what_a_yaml_inventory_cannot_say_is_told_with_its_line(tmp_path, text, line, cause):
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    with pytest.raises(BadImportError) as caught:
        proposals(path, None)
    assert caught.value.details["line"] == line, caught.value.message
    assert cause in caught.value.message


SSH = """\
# mine
Host pi-1 pi-2 *.lan !pi-3
    HostName 10.0.0.1
  User=pi
host "pi-4"   # quoted
Host *
    ForwardAgent no
Match host pi-9 exec "true"
    Port 22
Include more.d/*
Host=pi-1 github.com
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / ".ssh" / "config"
    (path.parent / "more.d").mkdir(parents=True)
    path.write_text(SSH)
    (path.parent / "more.d" / "shelf").write_text("Host shelf-1\n")
    (path.parent / "more.d" / "shelf~").mkdir()
    return path


def test_aliases_of_an_ssh_configuration(config):
    assert ssh(proposals(config, None)) == {name: name for name in ("pi-1", "pi-2", "pi-4", "shelf-1", "github.com")}
    assert list(ssh(proposals(config, "pi-*"))) == ["pi-1", "pi-2", "pi-4"]
    with pytest.raises(UnknownGroupError):
        proposals(config, "raspi-*")


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("Host a\nHostName\n", 2, "`HostName` is no line of an ssh configuration"),
        ("Host a\n== b\n", 2, "is no line of an ssh configuration"),
        ('Host a\nHost "b\n', 2, "no closing quotation"),
        ("Host *.lan\n", 0, "it has no `Host` without a wildcard"),
        ("Host a\nHost -x\n", 2, "`-x` is no host"),
        ("Host a\nInclude config\n", 2, "nested more than 16 deep"),
    ],
)
def test_what_an_ssh_configuration_cannot_say_is_told_with_its_line(tmp_path, text, line, cause):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(BadImportError) as caught:
        proposals(path, None)
    assert caught.value.details["line"] == line, caught.value.message
    assert cause in caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("hosts", "a\n[b]\n", "ini"),
        ("hosts", "all:\n  hosts:\n", "yaml"),
        ("hosts", "---\nx: 1\n", "yaml"),
        ("config", "# c\n\nHost a\n", "ssh"),
        ("config", "User pi\nHost=a\n", "ssh"),
        ("config", "Include *.d\n", "ssh"),
        ("hosts", "host ansible_user=pi\n[x]\n", "ini"),
        ("hosts.cfg", "Host a\n", "ini"),
        ("h.YML", "a\n", "yaml"),
        ("hosts", "", "ini"),
    ],
)
def test_kinds_of_files_are_told_apart(tmp_path, name, text, kind):
    assert kind_of(text, tmp_path / name) == kind


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "hosts"
    for data, cause in ((b"a\nb\xff", "hosts:2`: it is no text"), (b"a\n\0", ":2`: it is no text")):
        path.write_bytes(data)
        with pytest.raises(BadImportError, match=cause):
            proposals(path, None)
    with pytest.raises(BadImportError, match="is a directory"):
        proposals(tmp_path, None)
    with pytest.raises(BadImportError, match="no such file"):
        proposals(tmp_path / "none", None)
