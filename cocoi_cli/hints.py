"""What to do about an error: one place, because only the command line knows its own commands.

The code modules raise facts; here a fact becomes the next command to type. A test keeps every
error class matched and every named command in existence.
"""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.errors import CocoiError

FALLBACK = "`cocoi --help` lists the commands and what each exit status means"
USAGE = "`cocoi infer --help` lists the options"
BUG = "this should not happen: please report it with the lines above and the command that you typed"

_MODEL_FILE = "`cocoi model list` names the models that come with cocoi; `-m` takes one of them or an ONNX file"


def hint(error: CocoiError) -> str:
    """The next step after an error, with a command that exists: its own, else that of its family."""
    codes = [error.code, *(vars(kind).get("code", "") for kind in type(error).__mro__)]
    return next((text for code in codes if (text := for_code(code, error.details))), FALLBACK)


def for_code(code: str, details: Mapping[str, object]) -> str | None:
    """The next step for an error's code and deciding values; None for an unknown code."""
    return _input(code, details) or _model(code, details) or _plan(code, details) or _fleet(code, details)


def _input(code: str, details: Mapping[str, object]) -> str | None:
    """Inputs that do not fit, and outputs that cannot be."""
    match code:
        case "no-such-file" if PurePath(str(details.get("path", "x.x"))).suffix in (".onnx", ""):
            return _MODEL_FILE
        case "no-such-file" | "unreadable-file":
            return "check the name and the folder: `cocoi infer --help` shows what INPUT may be"
        case "not-an-image" | "truncated-image" | "huge-image":
            return "open it in a viewer and save it as PNG or JPEG, then `cocoi infer PICTURE` again"
        case "empty-directory":
            return "name a folder with pictures, or the files: `cocoi infer a.jpg b.png`"
        case "bad-array-file":
            return "write it with `numpy.save` or `numpy.savez`, without objects; `cocoi infer --help` shows the forms"
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
            return "make the folder, free some space or name another place: `cocoi infer PICTURE -o ~/out.npz`"
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


def _plan(code: str, details: Mapping[str, object]) -> str | None:
    """Codes and schemes that cannot be."""
    match code:
        case "bad-size" | "bad-code":
            return "any k from 1 to n will do: `cocoi infer PICTURE --n 6 --k 4`"
        case "unknown-scheme":
            return "`cocoi infer --help` lists the schemes"
        case "unknown-transport":
            return "`cocoi infer PICTURE --transport f16`, or `f32`"
        case "ill-conditioned":
            return "bring k closer to n, or send full precision: `cocoi infer PICTURE --transport f32`"
        case "bad-option" | "usage":
            return USAGE
        case "fleet-file":
            return "leave `--fleet` out: `cocoi infer PICTURE --embedded 6` starts agents on this machine"
        case "configuration":
            return FALLBACK
        case _:
            return None


def _fleet(code: str, details: Mapping[str, object]) -> str | None:
    """Agents that are missing, late or broken, and decoding that failed because of them."""
    match code:
        case "too-few-agents":
            asked = details.get("asked")
            agents = asked if isinstance(asked, int) and 0 < asked <= 64 else 6
            return f"`cocoi infer PICTURE --embedded {agents}` starts more agents; or ask for a smaller n"
        case "no-agents" | "agent-unreachable" | "fleet":
            return "leave `--no-fallback` out, or compute on this machine alone: `cocoi infer PICTURE --scheme local`"
        case "cannot-decode" | "not-ready":
            return "a smaller k survives more losses: `cocoi infer PICTURE --k 2`; or leave `--no-fallback` out"
        case "deadline":
            return "allow more time, `cocoi infer PICTURE --deadline 300`, or leave `--no-fallback` out"
        case "version":
            return "host and agents must come from the same release of cocoi: `cocoi --version` shows this one"
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


def _name(details: Mapping[str, object]) -> str:
    name = details.get("model")
    return shlex.quote(name) if isinstance(name, str) and name else "MODEL"
