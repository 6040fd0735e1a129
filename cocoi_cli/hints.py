"""What to do about an error: one place, because only the command line knows its own commands.

The code modules raise facts; here a fact becomes the next command to type. A test keeps every
error class matched and every named command in existence.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from cocoi_cli.hint_texts import FAILURES, PLAIN, UNFETCHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.errors import CocoiError

FALLBACK = "`cocoi --help` lists the commands and what each exit status means"
USAGE = "`cocoi --help` lists the commands, and each explains its options with `--help`"
BUG = "this should not happen: please report it with the lines above and the command that you typed"

INFER: Final = "infer"
"""The command that most advice is written for."""

# Other commands that take options of `cocoi infer`: how they begin, and which ones.
_ALIKE: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "bench": ("bench MODEL", frozenset({"--embedded", "--n", "--k", "--transport", "--deadline"})),
    "plan": ("plan MODEL", frozenset({"--scheme", "--transport"})),
    "simulate": ("simulate MODEL", frozenset({"--scheme", "--k", "--transport"})),
}
_SAID: Final = re.compile(r"`cocoi infer(?P<what> PICTURE)?(?P<options>(?: -[^`]*)?)`")


def hint(error: CocoiError, command: str = INFER) -> str:
    """The next step after an error, with a command that exists: its own, else that of its family.

    Args:
        error: What happened.
        command: What was typed after `cocoi`: `bench`, `model info`; empty where that is not known.
    """
    codes = [error.code, *(vars(kind).get("code", "") for kind in type(error).__mro__)]
    return next((text for code in codes if (text := for_code(code, error.details, command))), FALLBACK)


def for_code(code: str, details: Mapping[str, object], command: str = INFER) -> str | None:
    """The next step for an error's code and deciding values, as `hint` has it; None for an unknown code."""
    found = _by_command(code, command) or _input(code, details) or _model(code, details) or _plan(code)
    found = found or _fleet(code, details) or _device(code, details) or PLAIN.get(code)
    return None if found is None else _as_typed(found, command)


def again(arguments: Sequence[str], command: str) -> str:
    """The next step after a command that was ended before it was through."""
    if command == "bench":
        if any(word.startswith(("-o", "--output")) for word in arguments):
            return "what was measured is kept: the same command with `--resume` goes on with it"
        return "`cocoi bench -o OUT.json` keeps what is measured, and `--resume` goes on with it"
    if command in {INFER, *_ALIKE}:
        return "type the command again"
    return "type the command again; what a command on devices had finished stays"


def _as_typed(text: str, command: str) -> str:
    """The same advice for the command that was typed, where it has the options too."""
    if command in {INFER, ""}:
        return text
    start, known = _ALIKE.get(command, (command, frozenset[str]()))

    def own(found: re.Match[str]) -> str:
        options = set(re.findall(r"(?<= )-[a-z-]+", found["options"]))
        if options == {"--help"}:
            return f"`cocoi {command} --help`"
        fits = command in _ALIKE and options <= known
        return f"`cocoi {start}{found['options']}`" if fits else found[0]

    return _SAID.sub(own, text)


def _by_command(code: str, command: str) -> str | None:
    """Where commands go different ways."""
    match code, command:
        case "no-fleet", "plan" | "simulate":
            return f"begin one: `cocoi fleet add pi@192.168.1.11`; or assume one: `cocoi {command} MODEL --devices 10`"
        case "no-fleet", "bench":
            return "begin one: `cocoi fleet add pi@192.168.1.11`; or use this machine: `cocoi bench --embedded 4`"
        case "no-profile", "simulate":
            return "`cocoi profile` measures the fleet; `cocoi simulate MODEL --devices 10` assumes one"
        case "no-profile" | "nothing-measured" | "no-measurements", "bench":
            return "`cocoi profile --agents` measures the fleet; or leave `auto` out of `cocoi bench --schemes`"
        case "no-image-input" | "dynamic-size", "bench":
            return "give it arrays of the right names and sizes: `cocoi bench MODEL --image ARRAYS.npz`"
        case "bad-preprocess", "bench" | "plan" | "simulate":
            return "write one that fits into a copy: `cocoi model annotate MODEL --preprocess P.json -o COPY.onnx`"
        case "bad-option" | "usage", _ if command:
            return f"`cocoi {command} --help` explains each option"
        case _:
            return None


def _input(code: str, details: Mapping[str, object]) -> str | None:
    """Inputs that do not fit, and outputs that cannot be."""
    match code:
        case "no-such-file" if details.get("what") == "model":
            return "`cocoi model list` names the models that come with cocoi; any other is an ONNX file: `net.onnx`"
        case "no-such-file" | "unreadable-file":
            return "check the name and the folder; `cocoi infer --help` says what may be named there"
        case "not-an-image" | "truncated-image" | "huge-image":
            return "open it in a viewer and save it as PNG or JPEG, then `cocoi infer PICTURE` again"
        case "empty-directory":
            return "name a folder with pictures, or the files: `cocoi infer a.jpg b.png`"
        case "bad-array-file":
            return "write it with `numpy.save` or `numpy.savez`, without objects; `cocoi model info` shows what fits"
        case "wrong-inputs" | "wrong-rank" | "wrong-dtype" | "input-shape" | "unknown-input":
            return f"`cocoi model info {_name(details)}` shows the inputs that the model takes"
        case "no-image-input":
            return f"pass arrays under the input names: `cocoi infer ARRAYS.npz -m {_name(details)}`"
        case "dynamic-size":
            return (
                "give it an array of the right size, `cocoi infer ARRAYS.npz`, or sizes for pictures in a JSON file: "
                "`cocoi infer PICTURE --preprocess P.json`"
            )
        case "no-picture-output":
            return "keep the arrays instead: `cocoi infer PICTURE -o OUT.npz`"
        case "bad-output-name":
            return "`-o` takes OUT.npz, OUT.png or OUT.json, or a folder; see `cocoi infer --help`"
        case "output-not-writable":
            return "make the folder, free some space, or name another place, as `cocoi infer --help` shows"
        case "check-failed":
            return (
                "`cocoi infer PICTURE --check --transport f32` sends full precision; "
                "if the difference stays, please report it"
            )
        case _:
            return None


def _model(code: str, details: Mapping[str, object]) -> str | None:
    """The model, its labels and its preprocessing."""
    match code:
        case "not-onnx" | "bad-attribute" | "empty-graph" | "broken-graph" | "model" | "bad-model":
            return "export the model to ONNX again and look at it with `cocoi model info MODEL.onnx`"
        case "external-data":
            return "put everything into one file, `onnx.save(onnx.load(MODEL), OUT)`, then `cocoi model info OUT`"
        case "no-opset" | "model-too-new" | "model-refused" | "model-failed" | "untyped-tensor":
            return (
                "export the model for an older operator set, for example 17; `cocoi model info` shows the present one"
            )
        case "unknown-operator" | "unsupported-operator":
            return (
                "export the model with standard ONNX operators, then try it alone: `cocoi infer PICTURE --scheme local`"
            )
        case "unknown-layer" | "local-layer":
            return f"`cocoi model info {_name(details)}` lists the layers and why some stay on this machine"
        case "bad-labels":
            return "name a list that fits, one label per line: `cocoi infer PICTURE --labels LABELS.txt`"
        case "bad-preprocess":
            return "name a description that fits: `cocoi infer PICTURE --preprocess P.json`"
        case "nothing-to-annotate":
            return "`cocoi model annotate MODEL.onnx --labels LABELS.txt --preprocess P.json`"
        case "shipped-model":
            return "name a file for the copy: `cocoi model annotate MODEL --labels LABELS.txt -o COPY.onnx`"
        case _:
            return None


def _plan(code: str) -> str | None:
    """Codes and schemes that cannot be."""
    match code:
        case "bad-size":
            return "any k from 1 to n will do: `cocoi infer PICTURE --n 6 --k 4`"
        case "bad-code":
            return "without `--k` a scheme takes one that it has; `coded` has any from 1 to n"
        case "unknown-scheme":
            return "`cocoi infer --help` lists the schemes"
        case "unknown-transport":
            return "`cocoi infer PICTURE --transport f16`, or `f32`"
        case "ill-conditioned":
            return "bring k closer to n, or send full precision: `cocoi infer PICTURE --transport f32`"
        case "bad-option" | "usage":
            return USAGE
        case "configuration":
            return FALLBACK
        case _:
            return None


def _fleet(code: str, details: Mapping[str, object]) -> str | None:
    """Agents that are missing, late or broken, and decoding that failed because of them."""
    match code:
        case "too-few-agents" | "no-agents" if details.get("absent"):
            return "`cocoi status` shows which devices are down and why; or ask for fewer"
        case "too-few-agents":
            asked = details.get("asked")
            agents = asked if isinstance(asked, int) and 0 < asked <= 64 else 6
            return f"`cocoi infer PICTURE --embedded {agents}` starts more agents; or ask for fewer"
        case "agent-unreachable":
            return "`cocoi doctor` looks for the cause; `cocoi status` shows which agents are up"
        case "no-agents" | "fleet":
            return "leave `--no-fallback` out, or compute on this machine alone: `cocoi infer PICTURE --scheme local`"
        case "cannot-decode" | "not-ready":
            return "a smaller k survives more losses: `cocoi infer PICTURE --k 2`; or leave `--no-fallback` out"
        case "deadline":
            return "allow more time, `cocoi infer PICTURE --deadline 300`, or leave `--no-fallback` out"
        case "version":
            return "host and agents must come from the same release of cocoi: `cocoi deploy` brings them together"
        case "agent-fault" if details.get("fault") == "store-full":
            return "free disk space for the agents' store, or try fewer agents: `cocoi infer PICTURE --embedded 2`"
        case "out-of-memory" | "agent-fault" if code == "out-of-memory" or details.get("fault") in {
            "out-of-memory",
            "memory",
        }:
            return "fewer agents need less memory: `cocoi infer PICTURE --embedded 2`, or a smaller model with `-m`"
        case "store-full":
            return "free disk space for the agents' store, or try fewer agents: `cocoi infer PICTURE --embedded 2`"
        case "agent-fault" | "stage-failed":
            return "try without agents to see whether the model itself runs: `cocoi infer PICTURE --scheme local`"
        case "agent-start-failed" | "bad-fleet-size":
            return "try fewer agents, `cocoi infer PICTURE --embedded 2`, or none: `cocoi infer PICTURE --scheme local`"
        case "failed":
            return FALLBACK
        case _:
            return None


def _device(code: str, details: Mapping[str, object]) -> str | None:
    """Devices that cannot be reached, entered or set up; advice that depends on the case."""
    device = _device_name(details)
    match code:
        case "device-failed":
            failure = str(details.get("failure", ""))
            return (FAILURES.get(failure) or PLAIN.get(failure) or PLAIN["device"]).replace("DEVICE", device)
        case "rolled-back":
            reason = details.get("failure") or details.get("reason")
            return f"{FAILURES[str(reason)]}" if reason in FAILURES else f"`cocoi logs {device}` shows why"
        case "ssh-unreachable" if details.get("kind") == "refused":
            return f"switch SSH on there (raspi-config, or a file `ssh` on the boot partition), then try `ssh {device}`"
        case "ssh-unreachable" if details.get("kind") == "unresolved":
            return "check the name, or use its address: `cocoi fleet add pi@192.168.1.11`"
        case "ssh-unreachable" if details.get("kind") == "not-ssh":
            return "check the port, `[user@]host[:port]`, in `cocoi fleet list`; if it is right, try again in a minute"
        case "ssh-refused" if details.get("locked"):
            return "`ssh-add` unlocks the key; or give a password with `--password-file FILE`"
        case "host-key-changed" if details.get("entry"):
            return (
                f"a card that was written anew has a new key: `ssh-keygen -R '{details['entry']}'`, then "
                f"`cocoi fleet remove {device}` and `cocoi fleet add` it; if nobody did that, beware"
            )
        case "password-needed" if details.get("what") == "sudo":
            return (
                "run it on a terminal, or name a file: `--sudo-password-file FILE`; `cocoi deploy --user` needs no root"
            )
        case "sudo-refused" if details.get("reason") == "wrong-password":
            return "try again with the right password, or without root: `cocoi deploy --user`"
        case "wheel-not-fetched":
            return UNFETCHED.get(
                str(details.get("kind")), "`cocoi deploy --fetch-only --json` shows the last lines of pip"
            )
        case "duplicate-device" if details.get("what") == "machine-id and host key":
            return (
                "one Pi by cable and by Wi-Fi is one device; a copied card shares both with its original: "
                "write it anew with Raspberry Pi Imager"
            )
        case "duplicate-device":
            other = details.get("other", "NAME")
            return f"give each its own address and SSH target, or take one out: `cocoi fleet remove {other}`"
        case "broken-keys":
            return (
                "put back what is missing from a copy, or take the keys over from the first "
                "host: `cocoi fleet import BUNDLE`"
            )
        case "moved" | "agent-stays" | "other-install" | "other-machine":
            return PLAIN[code].replace("DEVICE", device)
        case "port-taken":
            return "choose another `port` for it in the file that `cocoi fleet list` names"
        case _:
            return None


def _device_name(details: Mapping[str, object]) -> str:
    name = details.get("device")
    return name if isinstance(name, str) and name else "DEVICE"


def _name(details: Mapping[str, object]) -> str:
    name = details.get("model")
    return shlex.quote(name) if isinstance(name, str) and name else "MODEL"
