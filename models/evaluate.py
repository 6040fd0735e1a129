"""Measures the shipped classifier on held-back pictures: the figures in the model card.

    python models/evaluate.py

The pictures are rendered on the fly from seeds that training and validation never use. They take the road of any
user's picture: the preprocessing that the file's own metadata states, then plain ONNX Runtime. Needs numpy, Pillow
and onnxruntime only.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import signs
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHIPPED = Path(__file__).parent / "roadsigns.onnx"
COUNT = 4000  # 250 of each class


@dataclass(frozen=True, slots=True)
class Classifier:
    """An ONNX Runtime session with what its metadata say about labels and preprocessing."""

    session: onnxruntime.InferenceSession
    labels: tuple[str, ...]
    preprocess: Mapping[str, Any]

    def classify(self, picture: Image.Image) -> int:
        """Return the index of the label of an RGB picture of any size."""
        (image,) = self.session.get_inputs()
        (logits,) = self.session.run(None, {image.name: prepare(picture, self.preprocess)})
        return int(np.argmax(logits[0]))


def load(path: Path, threads: int = 1) -> Classifier:
    """Open the ONNX file at `path`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    return Classifier(session, tuple(json.loads(metadata["labels"])), json.loads(metadata["preprocess"]))


def prepare(picture: Image.Image, preprocess: Mapping[str, Any]) -> np.ndarray:
    """Turn a picture into the network's input `[1, 3, height, width]` float32: shorter side, middle, normalised."""
    ratio = preprocess["resize"]["size"] / min(picture.size)
    wide, high = (round(side * ratio) for side in picture.size)
    scaled = picture.convert("RGB").resize((wide, high), Image.Resampling.BILINEAR)
    height, width = preprocess["crop"]["size"]
    left, top = (wide - width) // 2, (high - height) // 2
    pixels = np.asarray(scaled.crop((left, top, left + width, top + height)), np.float32)
    mean, deviation = (np.array(preprocess[key], np.float32) for key in ("mean", "std"))
    values = (pixels * np.float32(preprocess["scale"]) - mean) / deviation
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def confusion(classifier: Classifier, examples: Iterable[tuple[Image.Image, int]]) -> np.ndarray:
    """Count answers: `[true label, answered label]` int64."""
    counts = np.zeros((len(classifier.labels),) * 2, np.int64)
    for picture, label in examples:
        counts[label, classifier.classify(picture)] += 1
    return counts


def report(counts: np.ndarray, labels: tuple[str, ...]) -> str:
    """Say the accuracy over all, of each class, and which pair is confused most often."""
    totals = counts.sum(1)
    share = counts.diagonal() / totals
    lines = [f"{label:20s} {part:7.2%} of {total}" for label, part, total in zip(labels, share, totals, strict=True)]
    wrong = counts - np.diag(counts.diagonal())
    true, answered = np.unravel_index(int(wrong.argmax()), wrong.shape)
    if wrong.any():
        lines.append(f"worst pair: {labels[true]} taken for {labels[answered]}, {wrong[true, answered]} times")
    lines.append(f"lowest class: {labels[int(share.argmin())]}, {share.min():.2%}")
    lines.append(f"accuracy: {counts.trace() / counts.sum():.4%} of {counts.sum()} held-back pictures")
    return "\n".join(lines)


def main() -> None:
    """Print the accuracy of the model that the command line names."""
    parser = argparse.ArgumentParser(description="Measure the road sign classifier on held-back pictures.")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="the ONNX file (default: the shipped one)")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default %(default)s)")
    options = parser.parse_args()
    if options.count < len(signs.LABELS):
        parser.error(f"--count {options.count} leaves classes without a picture")
    classifier = load(options.model, options.threads)
    size = classifier.preprocess["crop"]["size"][0]
    counts = confusion(classifier, signs.examples(signs.HELD_BACK, options.count, size))
    print(report(counts, classifier.labels))


if __name__ == "__main__":
    main()
