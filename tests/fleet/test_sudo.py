"""Lines for a device's shell, and what `sudo` says."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from cocoi_cli.fleet import sudo

WORDS = ["printf", "%s|", "a b", "$HOME", "it's", 'say "no"', "x\ny", "*", ""]


def output(line: str) -> bytes:
    return subprocess.run(["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout


@pytest.mark.parametrize("line", [sudo.as_user(WORDS), sudo.as_user(shlex.join(WORDS))])
def test_words_survive_the_shells_on_their_way(line: str) -> None:
    assert output(line).decode() == "".join(f"{word}|" for word in WORDS[2:])


def followed(command: str) -> subprocess.Popen[bytes]:
    """A followed command, in a session of its own as with sshd: it ends its whole process group."""
    line = sudo.as_user(sudo.followed(command))
    return subprocess.Popen(
        ["/bin/sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def test_a_followed_command_keeps_its_output_and_its_status() -> None:
    with followed("echo 'a b'; exit 7") as process:
        assert process.stdout
        assert process.wait() == 7  # its input is still open
        assert process.stdout.read() == b"a b\n"


def test_a_followed_command_ends_with_its_input_and_takes_what_it_started_along() -> None:
    with followed("echo up; sleep 1000 & sleep 1000") as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        process.stdin.close()
        assert process.stdout.read() == b""  # nobody holds it open any more
        assert process.wait() == -15


@pytest.mark.parametrize(
    ("how", "begin"),
    [
        ("nopasswd", "exec env LC_ALL=C sudo -n sh -c "),
        ("password", "exec env LC_ALL=C sudo -k -S -p '' sh -c "),
        ("root", "exec env LC_ALL=C sh -c "),
    ],
)
def test_root_commands_end_on_the_device_itself(how: sudo.Root, begin: str) -> None:
    line = sudo.as_root(["systemctl", "status"], how, 29.5)
    assert line.startswith(begin)
    assert ("timeout -k 5 32 " in line) == (how != "root")
    assert "timeout" not in sudo.as_root(["systemctl", "status"], how, None)


@pytest.mark.parametrize(
    ("status", "said", "cause"),
    [
        (1, "sudo: a password is required", None),
        (1, "sudo: interactive authentication is required", None),
        (1, "Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt", None),
        (1, "sudo: Authentication failed, try again.", None),
        (1, "sudo: unable to resolve host pi\nsudo: a password is required", None),
        (127, "env: 'sudo': No such file or directory", "`sudo` is not installed there"),
        (1, "pi is not in the sudoers file.", "the user is not allowed to use `sudo` there"),
        (1, "Sorry, user pi is not allowed to execute '/bin/sh' as root on pi-1.", "the user is not allowed"),
        (1, "sudo: sorry, you must have a tty to run sudo", "`sudo` there insists on a terminal (`requiretty`)"),
        (1, "sudo: account validation failure, is your account locked?", "`sudo` there says: sudo: account valid"),
        (1, "", "`sudo` there ended with status 1"),
    ],
)
def test_another_password_helps_only_where_the_password_was_the_reason(
    status: int, said: str, cause: str | None
) -> None:
    found = sudo.refusal(status, said.encode())
    assert found is None if cause is None else (found or "").startswith(cause)


def test_messages_show_the_first_line_of_a_command_cut_where_it_gets_long() -> None:
    assert sudo.named(["cat", "a b"]) == "cat 'a b'"
    assert sudo.named("\nset -e\nmore\n") == "set -e"
    assert len(sudo.named("x" * 500)) == 100
