"""Modules and state dicts: types, order, and tensors without bits."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import weibnb as wb
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.safetensors import CheckpointError, TensorInfo


class Config:
    def to_dict(self) -> dict[str, Any]:
        return {"model_type": "tiny"}


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = Config()
        self.embed = torch.nn.Embedding(4, 3)
        self.head = torch.nn.Linear(3, 4, bias=False, dtype=torch.bfloat16)
        self.tied = torch.nn.Linear(3, 4, bias=False)
        self.tied.weight = self.embed.weight
        self.register_buffer("buffer", torch.zeros(1))


def test_module() -> None:
    module = Tiny()
    with open_checkpoint(module) as checkpoint:
        assert checkpoint.source == "Tiny"
        assert checkpoint.config == {"model_type": "tiny"}
        assert list(checkpoint.tensors) == ["embed.weight", "head.weight"]
        assert checkpoint.tensors["head.weight"] == TensorInfo("head.weight", "BF16", (4, 3), 24)
        bits = checkpoint.raw("head.weight")
        assert bits.dtype == np.uint16
        assert bits.ctypes.data == module.head.weight.data_ptr()
        assert not bits.flags.writeable
        assert len(checkpoint.fingerprint) == 64
    with pytest.raises(CheckpointError, match="closed"):
        checkpoint.raw("head.weight")


def test_non_contiguous_tensor_is_read_in_c_order() -> None:
    tensor = torch.arange(6, dtype=torch.int32).reshape(2, 3).T
    with open_checkpoint({"w": tensor, "v": tensor.numpy()}) as checkpoint:
        assert checkpoint.raw("w").tolist() == checkpoint.raw("v").tolist() == [0, 3, 1, 4, 2, 5]


def test_masked_values_are_no_weights() -> None:
    masked = np.ma.masked_array(np.ones((30, 30)), mask=np.eye(30, dtype=bool))
    fits = wb.scan({"model.layers.0.mlp.up_proj.weight": masked}, progress=False)
    assert fits["status"].item() == "unreadable"
    with pytest.raises(TypeError, match="no masked values"):
        wb.fit_weibull(masked)
    whole = np.ma.masked_array(np.random.default_rng(0).normal(size=(30, 30)))
    assert wb.fit_weibull(whole) == wb.fit_weibull(whole.data)


def test_tensors_without_bits_are_problems() -> None:
    module = torch.nn.ModuleDict(
        {
            "meta": torch.nn.Linear(2, 2, bias=False, device="meta"),
            "lazy": torch.nn.LazyLinear(2, bias=False),
        }
    )
    sparse = torch.eye(2).to_sparse()
    state = {"sparse": sparse, "wide": torch.zeros(2, dtype=torch.complex128), "epoch": 3}
    with open_checkpoint(module) as live, open_checkpoint(state) as stored:
        problems = dict(live.problems + stored.problems)
        assert "meta device" in problems["meta.weight"]
        assert "lazy" in problems["lazy.weight"]
        assert "sparse" in problems["sparse"]
        assert "complex128" in problems["wide"]
        assert live.tensors["meta.weight"].shape == (2, 2)
        assert stored.notes == ("Left out `epoch`: a int is not a tensor.",)
        with pytest.raises(CheckpointError, match=r"`ModuleDict`, tensor `meta\.weight`: it is on"):
            live.raw("meta.weight")


def test_tensor_that_torch_cannot_view() -> None:
    tensor = torch.zeros(2, dtype=torch.complex64).conj()
    with pytest.raises(CheckpointError, match="`dict`, tensor `w`: torch cannot give its bytes"):
        open_checkpoint({"w": tensor}).raw("w")


@pytest.mark.parametrize(
    ("dtype", "spelled"),
    [
        (ml_dtypes.bfloat16, "BF16"),
        (ml_dtypes.float8_e4m3fn, "F8_E4M3"),
        (ml_dtypes.float8_e5m2, "F8_E5M2"),
        (ml_dtypes.float8_e8m0fnu, "F8_E8M0"),
        (np.float16, "F16"),
        (">f4", "F32"),
        (np.bool_, "BOOL"),
    ],
)
def test_numpy_arrays(dtype: Any, spelled: str) -> None:
    array = np.array([[1, 2], [4, 0]]).astype(dtype)
    with open_checkpoint({"w": array}) as checkpoint:
        bits = checkpoint.raw("w")
        assert checkpoint.tensors["w"] == TensorInfo("w", spelled, (2, 2), array.nbytes)
    little = array.astype(array.dtype.newbyteorder("<"))
    assert bits.tobytes() == little.tobytes()
    assert np.shares_memory(bits, array) == (dtype != ">f4")
    assert array.flags.writeable
