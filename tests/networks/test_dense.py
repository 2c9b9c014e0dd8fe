"""dense_features by the native engine: exactness, error, strides, fall-backs."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from small import good_images
from test_networks import make_network, patches_at
from torch import Tensor

from stadx import PatchNetwork, dense_features, normalize_images
from stadx.networks import dense
from stadx.networks.choices import PATCH_SIZES
from stadx.networks.dense import Method
from stadx.networks.engine import MAX_LIMIT, RMS_LIMIT, Engine, engine_for
from stadx.networks.patch_network import dense_features_padded
from stadx.teachers.teacher_files import load_teacher, shipped_teacher

pytestmark = pytest.mark.arithmetic


SIZES = [(1, 1), (2, 9), (7, 64), (65, 33)]


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normalised images of white noise."""
    return normalize_images(torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype))


def errors(net: PatchNetwork, images: Tensor, **arguments: Any) -> tuple[float, float]:
    """Root mean square and maximum against PyTorch in float64, in standard deviations of the descriptors."""
    found = dense_features(net, images, method="winograd", **arguments)
    exact = dense_features(copy.deepcopy(net).double(), images.double(), method="direct", **arguments)
    return compared(found, exact)


def compared(found: Tensor, exact: Tensor) -> tuple[float, float]:
    assert found.shape == exact.shape and found.dtype == torch.float32
    error = (found - exact) / (exact.std() if exact.numel() > 1000 else 1)
    return float(error.square().mean().sqrt()), float(error.abs().max())


@cache
def network_and_exact(p: int, size: tuple[int, int], channels: int | None) -> tuple[PatchNetwork, Tensor]:
    """A network and what it says in float64 of two images of noise: the same for every instruction set."""
    net = make_network(p, torch.float32, channels)
    return net, dense_features(copy.deepcopy(net).double(), noise(2, 3, *size).double(), method="direct")


@pytest.mark.parametrize(
    "size, channels", [*((size, 4) for size in SIZES), ((128, 129), 4), ((2, 9), None), ((45, 33), None)], ids=str
)
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_error_against_float64(instruction_set: str, p: int, size: tuple[int, int], channels: int | None) -> None:
    net, exact = network_and_exact(p, size, channels)
    rms, largest = compared(dense_features(net, noise(2, 3, *size), method="winograd"), exact)
    assert rms < RMS_LIMIT and largest < MAX_LIMIT


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_error_of_the_shipped_teachers(p: int) -> None:
    for images in (noise(1, 3, 60, 70), normalize_images(good_images(1, (60, 70)))):
        rms, largest = errors(load_teacher(shipped_teacher(p)), images)
        assert rms < RMS_LIMIT and largest < MAX_LIMIT


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_the_descriptor_of_every_patch(p: int) -> None:
    net, images = make_network(p, torch.float32, channels=4), noise(1, 3, 23, 34)
    dense = dense_features(net, images, method="winograd")
    rows, columns = torch.arange(23).repeat_interleave(34), torch.arange(34).repeat(23)
    patchwise = torch.cat([net(patches) for patches in patches_at(images, p, rows, columns)])
    torch.testing.assert_close(dense[0].flatten(1).T, patchwise, rtol=0, atol=MAX_LIMIT)


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_stride_takes_every_nth_pixel(instruction_set: str, p: int, stride: int) -> None:
    net = make_network(p, torch.float32, channels=20)
    for size in ((37, 50), (3, 1)):
        images = noise(1, 3, *size)
        whole, some = dense_features(net, images), dense_features(net, images, stride=stride)
        wanted = whole[:, :, ::stride, ::stride]
        assert some.shape == wanted.shape
        if stride <= 2 * net.stride:  # the same phases by the same way
            assert torch.equal(some, wanted)
        else:
            torch.testing.assert_close(some, wanted, rtol=0, atol=MAX_LIMIT)
        torch.testing.assert_close(
            dense_features(net, images, stride=stride, method="direct"), wanted, rtol=0, atol=MAX_LIMIT
        )


@pytest.mark.parametrize("padding", ["reflect", "zeros", "replicate"])
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_padding(p: int, padding: str) -> None:
    net = make_network(p, torch.float32, channels=4)
    net.padding = padding  # type: ignore[assignment]
    rms, largest = errors(net, noise(1, 3, 13, 22))
    assert rms < RMS_LIMIT and largest < MAX_LIMIT


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_threads_batches_and_layout_do_not_change_a_bit(p: int) -> None:
    net, images = make_network(p, torch.float32, channels=20), noise(3, 3, 41, 38)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(dense_features(net, images, method="winograd"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], r) for r in results[1:])
    singles = torch.cat([dense_features(net, image[None]) for image in images])
    assert torch.equal(singles, results[0])
    assert results[0].is_contiguous(memory_format=torch.channels_last)
    wide = noise(3, 3, 41, 76)
    wide[..., ::2] = images
    transposed = images.transpose(2, 3).contiguous().transpose(2, 3)
    for view in (wide[..., ::2], transposed, images.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(dense_features(net, view), results[0])


@pytest.mark.parametrize(
    "settings", [{"last_activation": True}, {"descriptor_size": 100}, {"conv3_channels": 256}], ids=str
)
def test_networks_of_other_settings(settings: dict[str, Any]) -> None:
    net = PatchNetwork(65, **settings)
    net.init_from_data(noise(32, 3, 65, 65))
    net.requires_grad_(False)
    rms, largest = errors(net, noise(1, 3, 11, 18))
    assert rms < RMS_LIMIT and largest < MAX_LIMIT


def test_changed_weights_are_packed_again() -> None:
    net, images = make_network(33, torch.float32, channels=4), noise(1, 3, 9, 9)
    first = dense_features(net, images, method="winograd")
    engine = engine_for(net)
    assert engine_for(net) is engine
    with torch.no_grad():
        net.layers[0].weight.data.mul_(1.5)  # past the version counter
    second = dense_features(net, images, method="winograd")
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, dense_features(net, images, method="direct"), rtol=0, atol=MAX_LIMIT)
    net.load_state_dict(make_network(33, torch.float32, channels=4).state_dict())
    assert torch.equal(dense_features(net, images, method="winograd"), first)


def test_inference_mode() -> None:
    with torch.inference_mode():
        net = make_network(17, torch.float32, channels=4)
        rms, largest = errors(net, noise(1, 3, 9, 11))
    assert rms < RMS_LIMIT and largest < MAX_LIMIT


def _spoiled(images: Tensor, value: float) -> Tensor:
    images[0, 0, 4, 5] = value
    return images


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_unusual_values_reach_only_the_patches_that_see_them(value: float) -> None:
    net = make_network(17, torch.float32, channels=4)
    images = _spoiled(noise(1, 3, 30, 40), value)
    with pytest.raises(ValueError, match="not finite or exceed"):
        dense_features(net, images, method="winograd")
    clean, spoiled = dense_features(net, noise(1, 3, 30, 40)), dense_features(net, images)
    torch.testing.assert_close(spoiled[..., 20:, 20:], clean[..., 20:, 20:], rtol=0, atol=MAX_LIMIT)
    assert not torch.allclose(spoiled[..., 4, 5], clean[..., 4, 5])


def test_weights_that_make_the_error_too_large_go_to_pytorch() -> None:
    net = make_network(33, torch.float32, channels=4)
    convolutions = [m for m in net.layers if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():  # a large constant that the last layer's taps cancel: descriptors are a small difference
        convolutions[-2].bias.add_(1e4)
        convolutions[-1].weight.sub_(convolutions[-1].weight.mean((2, 3), keepdim=True))
        convolutions[-1].bias.zero_()
    images = noise(1, 3, 9, 9)
    assert not engine_for(net).is_accurate(net)
    with pytest.raises(ValueError, match="exceeds the limits"):
        dense_features(net, images, method="winograd")
    assert torch.equal(dense_features(net, images), dense_features(net, images, method="direct"))


@pytest.mark.parametrize("case", ["float64", "gradient", "autocast"])
def test_what_the_engine_does_not_serve_goes_to_pytorch(case: str) -> None:
    net, images = make_network(17, torch.float32, channels=4), noise(1, 3, 9, 9)
    if case == "float64":
        net, images = net.double(), images.double()
    elif case == "gradient":
        net.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        with pytest.raises(ValueError, match="cannot serve"):
            dense_features(net, images, method="winograd")
        assert dense_features(net, images).requires_grad == (case == "gradient")
    with torch.no_grad():
        assert case != "gradient" or not dense_features(net, images, method="winograd").requires_grad


def test_gradients_that_nobody_needs_do_not_slow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new network's parameters require gradients, whether anybody wants them or not."""
    net, images = make_network(17, torch.float32, channels=4).requires_grad_(True), noise(1, 3, 9, 9)
    ways: list[str] = []
    by_engine = Engine.descriptors
    monkeypatch.setattr(Engine, "descriptors", lambda *given: (ways.append("engine"), by_engine(*given))[1])
    monkeypatch.setattr(dense, "dense_features_padded", lambda *given: (ways.append("slow"), images)[1])
    with torch.no_grad():
        engine_for(net).is_accurate(net)

    def way(net: PatchNetwork, images: Tensor) -> str:
        ways.clear()
        dense_features(net, images)
        return ways[-1]

    assert way(net, images) == "slow"
    with pytest.raises(ValueError, match="freeze the network"):
        dense_features(net, images, method="winograd")
    with torch.no_grad():
        assert way(net, images) == "engine"
    with torch.inference_mode():
        assert way(net, images) == "engine"
    net.requires_grad_(False)
    assert way(net, images) == "engine"
    assert way(net, images.clone().requires_grad_(True)) == "slow"


@pytest.mark.parametrize("p, stride", [(17, 1), (33, 4), (33, 1), (65, 8), (65, 4)])
def test_an_image_that_is_padded_already(p: int, stride: int) -> None:
    net = make_network(p, torch.float32, channels=4).requires_grad_(False)
    for rows, columns in ((1, 1), (2, 5), (7, 4)):
        padded = noise(1, 3, p + stride * (rows - 1), p + stride * (columns - 1))
        found = engine_for(net).of_padded(padded[0], p, stride).permute(2, 0, 1)
        assert found.shape == (4, rows, columns)
        exact = dense_features_padded(copy.deepcopy(net).double(), padded.double())[0, :, ::stride, ::stride]
        torch.testing.assert_close(found.double(), exact, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("method", ["auto", "winograd", "direct"])
def test_empty_batch(method: Method) -> None:
    net = PatchNetwork(33).requires_grad_(False)
    assert dense_features(net, torch.zeros(0, 3, 5, 6), stride=2, method=method).shape == (0, 128, 3, 3)


def test_wrong_arguments_are_refused() -> None:
    net, images = PatchNetwork(17), noise(1, 3, 5, 5)
    for stride in (0, 3, -2, 2.0, True):
        with pytest.raises(ValueError, match="stride is"):
            dense_features(net, images, stride=stride)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method is 'fft'"):
        dense_features(net, images, method="fft")  # type: ignore[arg-type]
