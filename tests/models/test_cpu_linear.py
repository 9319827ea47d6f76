"""Fast linear layers give torch's results to float rounding, in inference on the CPU and nowhere else."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from serotine.models import ColBERT
from serotine.models.cpu_linear import _is_available, _OneDnnLinear, fast_linear

CPU = torch.device("cpu")

needs_onednn = pytest.mark.skipif(not _is_available(), reason="oneDNN is not used on this processor")


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 7), (3, 5, 7), (2, 1, 3, 7), (1, 1, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_results_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = nn.Linear(7, 11, bias=bias), torch.randn(shape)
    expected = layer(values)
    with torch.inference_mode(), _OneDnnLinear():
        torch.testing.assert_close(layer(values), expected, rtol=1e-5, atol=1e-6)
        transposed = values.transpose(0, 1).contiguous().transpose(0, 1)
        torch.testing.assert_close(layer(transposed), expected, rtol=1e-5, atol=1e-6)


@needs_onednn
def test_it_is_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[int, ...]] = []
    genuine = torch.ops.mkldnn._linear_pointwise

    def spy(values: Tensor, *others: object) -> Tensor:
        called.append(tuple(values.shape))
        return genuine(values, *others)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    layer = nn.Linear(7, 11)
    with torch.inference_mode(), fast_linear(layer, CPU, num_positions=256):
        layer(torch.randn(3, 7))
        layer(torch.randn(0, 7))
        layer.double()(torch.randn(3, 7, dtype=torch.float64))
        layer.bfloat16()(torch.randn(3, 7, dtype=torch.bfloat16))
    layer.float()(torch.randn(3, 7))
    assert called == [(3, 7)]


def test_other_threads_are_not_touched() -> None:
    inside: list[bool] = []

    def other() -> None:
        inside.append(bool(torch.overrides._get_current_function_mode()))

    with _OneDnnLinear():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert inside == [False]


def test_it_stays_out_of_the_way_elsewhere(model: ColBERT) -> None:
    nothing = type(fast_linear(model, torch.device("meta"), num_positions=999))
    assert not issubclass(nothing, _OneDnnLinear)
    assert not isinstance(fast_linear(model, CPU, num_positions=255), _OneDnnLinear)
    with torch.autocast("cpu", torch.bfloat16):
        assert not isinstance(fast_linear(model, CPU, num_positions=999), _OneDnnLinear)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not isinstance(fast_linear(model, CPU, num_positions=999), _OneDnnLinear)
    model.compile(backend="eager")
    assert not isinstance(fast_linear(model, CPU, num_positions=999), _OneDnnLinear)


def test_training_after_encoding_has_gradients(model: ColBERT) -> None:
    model.encode("bats")
    features = model(model.tokenize(["bats fly"]))
    features["token_embeddings"].sum().backward()
    assert model[1].linear.weight.grad is not None


def test_large_batches_encode_as_the_plain_class_does(model: ColBERT) -> None:
    from sentence_transformers import MultiVectorEncoder

    texts = [f"{word} in the cave at night" for word in ("bats", "moth", "river", "tree") * 20]
    plain = MultiVectorEncoder(modules=list(model), prompts=dict(model.prompts))
    for left, right in zip(model.encode_document(texts), plain.encode_document(texts), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-5)
