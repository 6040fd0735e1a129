"""Trains the shipped road sign classifier from nothing but the project's own generator.

    python models/train.py --out models/roadsigns.onnx

Needs the packages of `requirements/train.in`; half an hour on one core of a recent x86 processor with bfloat16 matrix
units, longer elsewhere. The network has no fixed input size until its last pooling, so it learns in three stages from
small pictures to large ones; most of the work is done where pictures are cheap. A stage that is finished is kept in
`--work`, so an interrupted run goes on from there.

Everything is seeded. The same machine, thread count and package versions give the same file; elsewhere sums are
rounded in another order and the result differs in the last digits.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import export
import numpy as np
import onnx
import signs
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTHS = (24, 40, 80, 160, 224)  # channels of the five blocks of two convolutions: 1.27 GMAC at 224x224
SIZE = 224
MEAN, DEVIATION = (0.4, 0.4, 0.4), (0.25, 0.25, 0.25)  # of pixels in [0, 1]; round figures near those of the data
SEED = 20_001
VALIDATION_COUNT = 1024


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the training at one picture size."""

    size: int  # of the pictures the network sees, in pixels
    cached: int  # of the pictures rendered for it; a random window of each is scaled to `size`
    count: int  # pictures
    epochs: int
    batch: int
    peak_rate: float


STAGES = (
    Stage(size=64, cached=128, count=16_000, epochs=4, batch=32, peak_rate=3e-3),
    Stage(size=112, cached=128, count=16_000, epochs=3, batch=32, peak_rate=1.5e-3),
    Stage(size=224, cached=224, count=4_000, epochs=2, batch=16, peak_rate=5e-4),
)


def make_network(classes: int) -> nn.Sequential:
    """Build the untrained network: ten 3x3 convolutions in five blocks, global average pooling, one linear layer."""
    layers: list[nn.Module] = []
    channels = 3
    for block, width in enumerate(WIDTHS):
        if block:
            layers.append(nn.MaxPool2d(2))
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    for module in network:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network.to(memory_format=torch.channels_last)


def render_set(first_seed: int, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Render pictures `[count, size, size, 3]` uint8 with their labels `[count]` int64."""
    pictures = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty(count, np.int64)
    for index, (picture, label) in enumerate(signs.examples(first_seed, count, size)):
        pictures[index], labels[index] = np.asarray(picture), label
    return torch.from_numpy(pictures), torch.from_numpy(labels)


def normalise(pictures: Tensor) -> Tensor:
    """Turn `[N, H, W, 3]` uint8 into the network's input `[N, 3, H, W]` float32."""
    values = pictures.permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    return ((values - mean) / deviation).contiguous(memory_format=torch.channels_last)


def vary(values: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Return a random window of a batch, scaled to `size`, in another light for each picture."""
    side = values.shape[-1]
    window = side - int(torch.randint(0, side // 10, (1,), generator=rng))
    top, left = (int(v) for v in torch.randint(0, side - window + 1, (2,), generator=rng))
    values = values[:, :, top : top + window, left : left + window]
    values = nn.functional.interpolate(values, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    gain = 1 + 0.2 * (2 * torch.rand((len(values), 1, 1, 1), generator=rng) - 1)
    shift = 0.3 * (2 * torch.rand((len(values), 3, 1, 1), generator=rng) - 1)
    return (values * gain + shift).contiguous(memory_format=torch.channels_last)


def batches(count: int, batch: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of whole batches in random order; a remainder is left out."""
    order = torch.randperm(count, generator=rng)
    yield from order[: count // batch * batch].split(batch)


def train_stage(network: nn.Sequential, stage: Stage, number: int, precision: torch.dtype) -> None:
    """Train `network` in place through one stage."""
    rng = torch.Generator().manual_seed(SEED + number)
    pictures, labels = render_set(signs.TRAINING + 100_000 * number, stage.count, stage.cached)
    steps = stage.epochs * (stage.count // stage.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=stage.peak_rate, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, stage.peak_rate, total_steps=steps, pct_start=0.2)
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.05)
    network.train()
    for epoch in range(stage.epochs):
        started, total, right = time.monotonic(), 0.0, 0
        for chosen in batches(stage.count, stage.batch, rng):
            values = vary(normalise(pictures[chosen]), stage.size, rng)
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                logits = network(values)
            loss = loss_function(logits.float(), labels[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(chosen)
            right += int((logits.argmax(1) == labels[chosen]).sum())
        seen = stage.count // stage.batch * stage.batch
        report = (
            f"{stage.size} px, epoch {epoch + 1}/{stage.epochs}: loss {total / seen:.4f}, accuracy {right / seen:.4f}"
        )
        print(f"{report}, {time.monotonic() - started:.0f} s", flush=True)


def measure(network: nn.Sequential, pictures: Tensor, labels: Tensor) -> float:
    """Return the share of pictures whose label the network finds, in float32."""
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(normalise(some)).argmax(1) for some in pictures.split(32)])
    return float((found == labels).float().mean())


def fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the one convolution that equals `convolution` followed by `norm`."""
    gamma, beta, mean, variance, weight = (
        tensor.detach().double().numpy()
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var, convolution.weight)
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    return weight * scale[:, None, None, None], beta - mean * scale


def to_layers(network: nn.Sequential) -> tuple[list[export.Layer], tuple[np.ndarray, np.ndarray]]:
    """Fold each batch normalisation into its convolution; return the layers and the head."""
    modules = list(network)
    layers: list[export.Layer] = []
    for convolution, norm in itertools.pairwise(modules):
        if not (isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        block, place = divmod(len(layers), 2)
        pool = place == 1 and block + 1 < len(WIDTHS)
        layers.append(export.Layer(f"{block + 1}_{place + 1}", *fold(convolution, norm), pool))
    head = modules[-1]
    return layers, (head.weight.detach().numpy(), head.bias.detach().numpy())


def to_onnx(network: nn.Sequential) -> onnx.ModelProto:
    """Export the network with labels and preprocessing in its metadata."""
    preprocess = {
        "layout": "NCHW",
        "color": "RGB",
        "resize": {"mode": "short-side", "size": SIZE, "filter": "bilinear"},
        "crop": {"mode": "center", "size": [SIZE, SIZE]},
        "scale": 1 / 255,
        "mean": list(MEAN),
        "std": list(DEVIATION),
    }
    metadata = {
        "task": "classification",
        "labels": list(signs.LABELS),
        "preprocess": preprocess,
        "author": "cocoi",
        "description": "road signs; trained on pictures rendered by models/signs.py; licence Apache-2.0",
    }
    layers, head = to_layers(network)
    return export.write_classifier(layers, head, SIZE, metadata)


def main() -> None:
    """Train all stages and write the ONNX file."""
    parser = argparse.ArgumentParser(description="Train the road sign classifier.")
    parser.add_argument(
        "--out", type=Path, default=Path("roadsigns.onnx"), help="the ONNX file to write (default %(default)s)"
    )
    parser.add_argument("--work", type=Path, help="folder for finished stages (default: none is kept)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default %(default)s)")
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"), default="bfloat16", help="of the training (default %(default)s)"
    )
    options = parser.parse_args()

    torch.manual_seed(SEED)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(mode=True)
    started = time.monotonic()
    network = make_network(len(signs.LABELS))
    for number, stage in enumerate(STAGES):
        kept = options.work / f"stage-{number}.pt" if options.work else None
        if kept is not None and kept.exists():
            network.load_state_dict(torch.load(kept, weights_only=True))
            continue
        train_stage(network, stage, number, getattr(torch, options.precision))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(network.state_dict(), kept)
    pictures, labels = render_set(signs.VALIDATION, VALIDATION_COUNT, SIZE)
    print(f"validation accuracy at {SIZE} px: {measure(network, pictures, labels):.4f}")
    onnx.save(to_onnx(network), options.out)
    print(f"wrote {options.out} after {(time.monotonic() - started) / 60:.0f} min")


if __name__ == "__main__":
    main()
