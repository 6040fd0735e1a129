from __future__ import annotations

import io

import numpy as np
import pytest

from cocoi_cli.model.arrays import BadArrayFileError, WrongDtypeError, WrongInputsError, WrongRankError, read_arrays
from cocoi_cli.model.network import LoadedModel, TensorInfo


def model(*infos) -> LoadedModel:
    return LoadedModel(None, "net", "", None, infos, (), {}, 17)


ONE = model(TensorInfo("x", "float32", ("N", 2)))
TWO = model(TensorInfo("a", "float32", (1,)), TensorInfo("b/c:0", "int64", ()))


def saved(folder, array, name="in.npy") -> str:
    np.save(folder / name, array, allow_pickle=True)
    return str(folder / name)


def archive(folder, **arrays) -> str:
    np.savez(folder / "in.npz", **arrays)
    return str(folder / "in.npz")


def test_one_array_for_one_input(tmp_path):
    array = np.array([[1, 2], [3, 4]], np.float32)
    for path in (saved(tmp_path, array), archive(tmp_path, any_name=array)):
        read = read_arrays(path, ONE)
        np.testing.assert_array_equal(read["x"], array)


def test_arrays_under_the_onnx_names_scalars_included(tmp_path):
    path = archive(tmp_path, **{"a": np.ones(1, np.float32), "b/c:0": np.int64(5)})
    read = read_arrays(path, TWO)
    assert list(read) == ["a", "b/c:0"]
    assert (read["b/c:0"].shape, int(read["b/c:0"])) == ((), 5)


def test_float64_is_taken_for_float32_and_nothing_else_is_converted(tmp_path):
    assert read_arrays(saved(tmp_path, np.ones((1, 2))), ONE)["x"].dtype == np.float32
    for dtype in (np.float16, np.int64, np.uint8, np.bool_, np.complex64):
        with pytest.raises(WrongDtypeError, match=f"is {np.dtype(dtype).name}, expected float32"):
            read_arrays(saved(tmp_path, np.ones((1, 2), dtype)), ONE)
    half = model(TensorInfo("x", "float16", (2,)))
    with pytest.raises(WrongDtypeError, match="is float64, expected float16"):
        read_arrays(saved(tmp_path, np.ones(2)), half)


def test_byte_order_and_memory_order_are_put_right(tmp_path):
    for array in (np.ones((3, 2), ">f4"), np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2))):
        read = read_arrays(saved(tmp_path, array), ONE)["x"]
        assert read.flags.c_contiguous
        assert read.dtype.isnative
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        ((2,), "1 axes instead of 2"),
        ((1, 2, 1), "3 axes instead of 2"),
        ((1, 3), "axis 1 is 3 instead of 2"),
        ((0, 2), "it holds no value"),
    ],
)
def test_refuses_wrong_shapes(tmp_path, shape, fault):
    with pytest.raises(WrongRankError, match=f"expected Nx2 float32: {fault}"):
        read_arrays(saved(tmp_path, np.zeros(shape, np.float32)), ONE)


def test_an_unknown_rank_takes_any(tmp_path):
    anything = model(TensorInfo("x", "float32", None))
    assert read_arrays(saved(tmp_path, np.zeros((1, 2, 3), np.float32)), anything)["x"].shape == (1, 2, 3)


def test_refuses_wrong_names(tmp_path):
    one = np.ones(1, np.float32)
    with pytest.raises(WrongInputsError, match="no array named `b/c:0`; model `net` takes `a`, `b/c:0`"):
        read_arrays(archive(tmp_path, a=one, b=one), TWO)
    with pytest.raises(WrongInputsError, match="array `extra` is no input"):
        read_arrays(archive(tmp_path, **{"a": one, "b/c:0": np.int64(1), "extra": one}), TWO)
    with pytest.raises(WrongInputsError, match="one array, and model `net` has 2 inputs"):
        read_arrays(saved(tmp_path, one), TWO)


def npy_bytes(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["in.npy", "in.npz"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"nonsense", "holds Python objects or no array at all"),
        (npy_bytes(np.array([{"a": 1}], dtype=object)), "[Oo]bject"),
        (npy_bytes(np.ones((100, 2), np.float32))[:300], "[Rr]eshape|reading|bytes"),
        (b"PK\x03\x04 no archive", "zip|File"),
        (b"\x93NUMPY\x01\x00\xff\xff", "expected|bytes"),
    ],
)
def test_refuses_damaged_files_and_objects(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadArrayFileError, match=message):
        read_arrays(str(tmp_path / name), ONE)


def test_refuses_an_archive_under_the_wrong_ending(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones((1, 2), np.float32))
    (tmp_path / "in.npy").write_bytes(buffer.getvalue())
    with pytest.raises(BadArrayFileError, match=r"it is a `\.npz` archive"):
        read_arrays(str(tmp_path / "in.npy"), ONE)
    (tmp_path / "in.npz").write_bytes(npy_bytes(np.ones((1, 2), np.float32)))
    with pytest.raises(BadArrayFileError, match=r"it is a single `\.npy` array"):
        read_arrays(str(tmp_path / "in.npz"), ONE)


def test_a_damaged_member_is_found(tmp_path):
    path = archive(tmp_path, x=np.ones((50, 2), np.float32))
    data = bytearray((tmp_path / "in.npz").read_bytes())
    data[200] ^= 0xFF
    (tmp_path / "in.npz").write_bytes(data)
    with pytest.raises(BadArrayFileError, match="CRC"):
        read_arrays(path, ONE)


def test_texts_become_objects(tmp_path):
    path = saved(tmp_path, np.array(["a", "ü"]))
    array = read_arrays(path, model(TensorInfo("x", "object", (2,))))["x"]
    assert (array.dtype, list(array)) == (np.dtype(object), ["a", "ü"])
