from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from cocoi_cli.model.arrays import WrongDtypeError
from cocoi_cli.model.tensors import check_tensors
from tests.model.graphs import make, node, save


@pytest.fixture
def model(tmp_path):
    return save(tmp_path, make([node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"], {}))


@pytest.mark.parametrize(("value", "named"), [([1.0, 2.0], "list"), (np.float64([1, 2]), "float64"), (1.0, "float")])
def test_what_is_no_array_of_the_type_is_named(model, value, named):
    with pytest.raises(WrongDtypeError, match=named):
        check_tensors(model, {"x": value}, "here")
    check_tensors(model, {"x": np.float32([1, 2])}, "here")


def test_texts_may_be_objects_or_numpys_strings(tmp_path):
    proto = make([node("Identity", ["x"], ["y"])], {"x": (2,)}, ["y"], {}, element=TensorProto.STRING)
    for dtype in ("U", object):
        check_tensors(save(tmp_path, proto), {"x": np.array(["a", "ü"], dtype)}, "here")
