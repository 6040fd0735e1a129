from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.model.classes import class_width, classify
from cocoi_cli.model.labels import BadLabelsError, parse

FORMS = {
    "lines": "cat\ndog\n",
    "no newline at the end": "cat\ndog",
    "windows": "\ufeffcat\r\ndog\r\n\r\n",
    "synset": "n02123045 cat\nn02084071 dog\n",
    "numbered": "0: cat\n1: dog\n",
    "numbered by blanks": "0  cat\n1  dog\n",
    "a remark below": "cat\ndog\n\nand 255 is the ignore label\n",
    "list": '["cat", "dog"]',
    "object by index": '{"1": "dog", "0": "cat"}',
    "object by label": '{"dog": 1, "cat": 0}',
    "keras": '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"]}',
    "named": '{"labels": ["cat", "dog"], "other": 1}',
    "hugging face": '{"id2label": {"0": "cat", "1": "dog"}}',
    "ultralytics": "{0: 'cat', 1: 'dog'}",
    "python list": "['cat', 'dog']",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_reads_every_form(text):
    assert parse(text, "x") == ("cat", "dog")


def test_commas_and_numbers_inside_labels_stay():
    assert parse("n01440764 tench, Tinca tinca\nn01443537 7 up\n", "x") == ("tench, Tinca tinca", "7 up")
    assert parse("3: cat\n4: dog\n", "x") == ("3: cat", "4: dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels of x: there are none"),
        (" \n \n", "there are none"),
        ("[]", "expected a list"),
        ('{"0": "cat", "2": "dog"}', "index 1 is missing among 2"),
        ('{"cat": "dog"}', "expected an object from index to label"),
        ("[1, 2]", "`1` is no text"),
        ('["cat", ""]', "label 2 of 2 is empty"),
        ('["cat",\n "dog', "line 2 is neither JSON nor a Python literal"),
        ("{__import__('os').getcwd(): 'cat'}", "neither JSON nor a Python literal"),
    ],
)
def test_refuses_what_cannot_be_labels(text, message):
    with pytest.raises(BadLabelsError, match=message.replace("(", r"\(")):
        parse(text, "x")


@pytest.mark.parametrize(
    ("shape", "width"),
    [
        ((1, 10), 10),
        (("N", 1000, 1, 1), 1000),
        ((1, 1), None),
        ((1, 10, 2), None),
        ((1, 10, "H", 1), None),
        ((10,), None),
        ((1, "C"), None),
        (None, None),
    ],
)
def test_what_looks_like_a_classifier(shape, width):
    assert class_width(shape) == width


def test_top_k_is_stable_and_batch_aware():
    rows = classify(np.array([[1, 3, 3, 0], [9, 0, 0, 1]], np.int8), "abcd", 3)
    assert [[entry.label for entry in row] for row in rows] == [["b", "c", "a"], ["a", "d", "b"]]
    assert {entry.probability for row in rows for entry in row} == {None}


def test_probabilities_stay_and_logits_get_their_softmax():
    half = np.array([[0.25, 0.75]], np.float16)
    assert [entry.probability for entry in classify(half, None, 2)[0]] == [0.75, 0.25]
    logits = classify(np.array([[1000.0, 1001.0]], np.float32).reshape(1, 2, 1, 1), None, 1)[0][0]
    assert (logits.index, logits.value) == (1, 1001.0)
    assert logits.probability == pytest.approx(1 / (1 + np.exp(-1)))


def test_independent_scores_and_broken_numbers_are_no_distribution():
    assert classify(np.array([[0.9, 0.8]], np.float32), None, 1)[0][0].probability is None
    broken = classify(np.array([[0.5, np.nan, 0.7]], np.float32), None, 3)[0]
    assert [entry.index for entry in broken] == [2, 0, 1]
    assert broken[0].probability is None


def test_fewer_classes_than_asked_for():
    assert len(classify(np.zeros((1, 2)), None, 5)[0]) == 2
