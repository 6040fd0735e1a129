"""Builds well-known networks with seeded random weights at any input size, for benchmarks; nothing is downloaded.

    python models/build.py vgg16 --size 224 --out vgg16.onnx
    python models/build.py superres --size 0 --out superres.onnx      any height and width

Weights are He-normal and batch normalisation has seeded statistics near (not at) the identity, so that activations
keep about unit size through all layers, as in a trained network: errors of float16 and of coding show as they would
there. Times and error figures are meaningful, answers are not. Needs numpy and onnx only.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from graph import Dimension, GraphWriter

CLASSES = 1000
VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (channels, convolutions) of each block
RESNET_WIDTHS = (64, 128, 256, 512)
RESNET18, RESNET50 = (2, 2, 2, 2), (3, 4, 6, 3)  # residual blocks in each of the four groups
SUPERRES_CHANNELS, SUPERRES_LAYERS, SUPERRES_FACTOR = 64, 8, 2
REDUCTION = 32  # the classifiers halve height and width five times

IMAGENET_PREPROCESS: dict[str, object] = {
    "layout": "NCHW",
    "color": "RGB",
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a network is built for; `size` or `batch` 0 leaves that dimension open."""

    size: int
    batch: int
    headless: bool


class Layers:
    """Appends layers with weights from one seeded generator; the order of the calls decides the weights."""

    def __init__(self, *, seed: int, half: bool) -> None:
        self.writer = GraphWriter(half=half)
        self._rng = np.random.default_rng(seed)

    def _normal(self, shape: Sequence[int], deviation: float) -> np.ndarray:
        values = self._rng.standard_normal(tuple(shape), np.float32)
        values *= deviation
        return values

    def conv(
        self,
        value: str,
        name: str,
        channels: tuple[int, int],
        kernel: int = 3,
        stride: int = 1,
        *,
        bias: bool = True,
        gain: float = math.sqrt(2),
    ) -> str:
        """Append a convolution with "same" padding; `gain` sqrt(2) fits an input behind a ReLU."""
        before, after = channels
        weight = self._normal((after, before, kernel, kernel), gain / math.sqrt(before * kernel * kernel))
        inputs = [value, self.writer.weight(f"{name}.weight", weight)]
        if bias:
            inputs.append(self.writer.tensor(f"{name}.bias", self._normal((after,), 0.05)))
        pad = kernel // 2
        return self.writer.node("Conv", inputs, name, kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[stride] * 2)

    def norm(self, value: str, name: str, channels: int, size: float = 1.0) -> str:
        """Append batch normalisation that scales by about `size`."""
        gamma = size * self._rng.uniform(0.8, 1.2, channels)
        variance = self._rng.uniform(0.8, 1.3, channels)
        parts = (
            ("scale", gamma),
            ("shift", self._normal((channels,), 0.1)),
            ("mean", self._normal((channels,), 0.1)),
            ("variance", variance),
        )
        inputs = [value, *(self.writer.tensor(f"{name}.{part}", values) for part, values in parts)]
        return self.writer.node("BatchNormalization", inputs, name, epsilon=1e-5)

    def relu(self, value: str, name: str) -> str:
        """Append a ReLU."""
        return self.writer.node("Relu", [value], name)

    def linear(self, value: str, name: str, channels: tuple[int, int], gain: float = math.sqrt(2)) -> str:
        """Append a fully connected layer."""
        before, after = channels
        weight = self.writer.weight(f"{name}.weight", self._normal((after, before), gain / math.sqrt(before)))
        return self.writer.node(
            "Gemm", [value, weight, self.writer.tensor(f"{name}.bias", self._normal((after,), 0.05))], name, transB=1
        )

    def average(self, value: str) -> str:
        """Append global average pooling and drop the two dimensions it leaves at 1."""
        return self.writer.node(
            "Flatten", [self.writer.node("GlobalAveragePool", [value], "average")], "features", axis=1
        )

    def max_pool(self, value: str, name: str, kernel: int, pad: int) -> str:
        """Append a max pool that halves height and width."""
        return self.writer.node("MaxPool", [value], name, kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[2, 2])


def _vgg16(layers: Layers, options: Options) -> str:
    value, channels = "image", 3
    for block, (width, count) in enumerate(VGG16, 1):
        for place in range(1, count + 1):
            gain = 1.0 if channels == 3 else math.sqrt(2)
            value = layers.relu(
                layers.conv(value, f"conv{block}_{place}", (channels, width), gain=gain), f"relu{block}_{place}"
            )
            channels = width
        value = layers.max_pool(value, f"pool{block}", 2, 0)
    if options.headless:
        return layers.linear(layers.average(value), "logits", (channels, CLASSES))
    if options.size == 0:
        raise ValueError("vgg16 with its fully connected layers needs a fixed size")
    features = channels * (options.size // REDUCTION) ** 2
    value = layers.writer.node("Flatten", [value], "features", axis=1)
    for place, width in ((6, 4096), (7, 4096)):
        value = layers.relu(layers.linear(value, f"fc{place}", (features, width)), f"relu{place}")
        features = width
    return layers.linear(value, "logits", (features, CLASSES))


def _shortcut(layers: Layers, value: str, name: str, channels: tuple[int, int], stride: int) -> str:
    if stride == 1 and channels[0] == channels[1]:
        return value
    return layers.norm(
        layers.conv(value, f"{name}.shortcut", channels, 1, stride, bias=False),
        f"{name}.shortcut_norm",
        channels[1],
        0.8,
    )


def _basic_block(layers: Layers, value: str, name: str, channels: int, width: int, stride: int) -> str:
    inner = layers.conv(value, f"{name}.conv1", (channels, width), 3, stride, bias=False)
    inner = layers.relu(layers.norm(inner, f"{name}.norm1", width), f"{name}.relu1")
    inner = layers.conv(inner, f"{name}.conv2", (width, width), 3, bias=False)
    inner = layers.norm(inner, f"{name}.norm2", width, RESIDUE)
    return _join(layers, inner, _shortcut(layers, value, name, (channels, width), stride), name)


def _bottleneck(layers: Layers, value: str, name: str, channels: int, width: int, stride: int) -> str:
    inner = layers.conv(value, f"{name}.conv1", (channels, width), 1, bias=False)
    inner = layers.relu(layers.norm(inner, f"{name}.norm1", width), f"{name}.relu1")
    inner = layers.conv(inner, f"{name}.conv2", (width, width), 3, stride, bias=False)
    inner = layers.relu(layers.norm(inner, f"{name}.norm2", width), f"{name}.relu2")
    inner = layers.conv(inner, f"{name}.conv3", (width, 4 * width), 1, bias=False)
    inner = layers.norm(inner, f"{name}.norm3", 4 * width, RESIDUE)
    return _join(layers, inner, _shortcut(layers, value, name, (channels, 4 * width), stride), name)


RESIDUE = 0.3  # a block adds little to its shortcut, or activations would double with each of them


def _join(layers: Layers, inner: str, shortcut: str, name: str) -> str:
    return layers.relu(layers.writer.node("Add", [inner, shortcut], f"{name}.add"), f"{name}.relu")


Block = Callable[[Layers, str, str, int, int, int], str]


def _resnet(counts: Sequence[int], block: Block, expansion: int) -> Callable[[Layers, Options], str]:
    def write(layers: Layers, options: Options) -> str:
        stem = layers.conv("image", "conv1", (3, 64), 7, 2, bias=False, gain=1.0)
        value = layers.max_pool(layers.relu(layers.norm(stem, "norm1", 64), "relu1"), "pool1", 3, 1)
        channels = 64
        for group, (count, width) in enumerate(zip(counts, RESNET_WIDTHS, strict=True), 1):
            for place in range(count):
                stride = 2 if group > 1 and place == 0 else 1
                value = block(layers, value, f"group{group}.block{place + 1}", channels, width, stride)
                channels = expansion * width
        return layers.linear(layers.average(value), "logits", (channels, CLASSES))

    return write


def _superres(layers: Layers, options: Options) -> str:
    value = layers.relu(layers.conv("image", "conv1", (3, SUPERRES_CHANNELS)), "relu1")
    for place in range(2, SUPERRES_LAYERS + 2):
        value = layers.relu(layers.conv(value, f"conv{place}", (SUPERRES_CHANNELS, SUPERRES_CHANNELS)), f"relu{place}")
    copies = SUPERRES_FACTOR**2
    # Random weights know no details; small ones upon a plain enlargement leave a picture that can be recognised.
    details = layers.conv(value, f"conv{SUPERRES_LAYERS + 2}", (SUPERRES_CHANNELS, 3 * copies), gain=0.1)
    plain = layers.writer.node("Concat", ["image"] * copies, "copies", axis=1)
    total = layers.writer.node("Add", [details, plain], "detailed")
    return layers.writer.node("DepthToSpace", [total], "enlarged", blocksize=SUPERRES_FACTOR, mode="DCR")


NETWORKS: dict[str, Callable[[Layers, Options], str]] = {
    "vgg16": _vgg16,
    "resnet18": _resnet(RESNET18, _basic_block, 1),
    "resnet50": _resnet(RESNET50, _bottleneck, 4),
    "superres": _superres,
}


def build(
    name: str, size: int, *, seed: int = 7, batch: int = 1, half: bool = False, headless: bool = False
) -> onnx.ModelProto:
    """Build one network.

    Args:
        name: `vgg16`, `resnet18`, `resnet50` or `superres`.
        size: height and width of the input in pixels; 0 leaves both open.
        seed: of all weights.
        batch: pictures at a time; 0 leaves it open.
        half: store weights as float16; the arithmetic stays float32, with the rounded weights.
        headless: for `vgg16`, one linear layer behind a global average in place of three fully connected ones: 64 MB,
            not 553.

    Returns:
        The model, from `image` `[batch, 3, size, size]` to `logits` `[batch, 1000]`, or for `superres` to `enlarged`
        `[batch, 3, 2 * size, 2 * size]`, all float32. The same arguments give the same model.

    Raises:
        KeyError: there is no such network.
        ValueError: the network cannot have this size.
    """
    write = NETWORKS[name]
    is_classifier = name != "superres"
    if size < 0 or batch < 0 or (is_classifier and 0 < size < REDUCTION):
        raise ValueError(f"{name} cannot have size {size} and batch {batch}")
    layers = Layers(seed=seed, half=half)
    output = write(layers, Options(size, batch, headless))
    height, width = (size, size) if size else ("H", "W")
    count: Dimension = batch or "N"
    metadata: dict[str, object] = {
        "author": "cocoi",
        "description": f"{name} with random weights, seed {seed}; for benchmarks only",
    }
    result: list[Dimension]
    if is_classifier:
        metadata |= {
            "task": "classification",
            "labels": [f"class-{i}" for i in range(CLASSES)],
            "preprocess": _preprocess(size),
        }
        result = [count, CLASSES]
    else:
        metadata |= {"task": "image-to-image", "preprocess": {"layout": "NCHW", "color": "RGB", "scale": 1 / 255}}
        result = [count, 3, SUPERRES_FACTOR * size, SUPERRES_FACTOR * size] if size else [count, 3, "H2", "W2"]
    return layers.writer.model(name, ("image", [count, 3, height, width]), (output, result), metadata)


def _preprocess(size: int) -> dict[str, object]:
    if not size:
        return IMAGENET_PREPROCESS
    resize = {"mode": "short-side", "size": round(size * 256 / 224), "filter": "bilinear"}
    return IMAGENET_PREPROCESS | {"resize": resize, "crop": {"mode": "center", "size": [size, size]}}


def main() -> None:
    """Build the network that the command line names and write it."""
    parser = argparse.ArgumentParser(description="Build a network with random weights for benchmarks.")
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument(
        "--size", type=int, default=224, help="height and width of the input; 0 leaves both open (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="the ONNX file to write (default: the network's name)")
    parser.add_argument("--seed", type=int, default=7, help="of the weights (default %(default)s)")
    parser.add_argument(
        "--batch", type=int, default=1, help="pictures at a time; 0 leaves it open (default %(default)s)"
    )
    parser.add_argument("--half", action="store_true", help="store weights as float16")
    parser.add_argument("--headless", action="store_true", help="vgg16 without its large fully connected layers")
    options = parser.parse_args()
    try:
        model = build(
            options.network,
            options.size,
            seed=options.seed,
            batch=options.batch,
            half=options.half,
            headless=options.headless,
        )
    except ValueError as error:
        parser.error(str(error))
    onnx.save(model, options.out or Path(f"{options.network}.onnx"))


if __name__ == "__main__":
    main()
