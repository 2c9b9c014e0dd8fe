"""What an installed stadx must be able to do, whichever PyTorch is beside it: `python tests/build/smoke.py`."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import torch

import stadx
from stadx.metrics import au_pro, auroc, evaluate_maps
from stadx.networks.choices import PATCH_SIZES
from stadx.teachers.teacher_files import load_teachers


def score() -> float:
    """Shipped teachers describe an image as PyTorch's convolutions do, and a small detector finds a spot."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 40, 56, generator=generator)
    for net in load_teachers(PATCH_SIZES, []):
        engine, plain = (stadx.dense_features(net, image, method=method) for method in ("winograd", "direct"))
        assert (engine - plain).abs().max() < 1e-3 * plain.std(), net.patch_size

    maps = [torch.randn(*size, 1, 128, 9, 13, generator=generator) for size in ((3,), ())]
    mean, std = torch.zeros(128), torch.ones(128)
    for native, reference in zip(
        stadx.ops.ensemble_score(*maps, mean, std), stadx.ops.reference.ensemble_score(*maps, mean, std), strict=True
    ):
        torch.testing.assert_close(native, reference, rtol=1e-5, atol=1e-6)

    photos = np.random.default_rng(0).integers(90, 110, (6, 48, 48, 3), np.uint8)
    detector = stadx.Detector((17,), students=1, image_size=48, steps=4).fit(photos)
    broken = photos[:1].copy()
    broken[:, 16:32, 16:32] = 255
    found = detector.predict(broken)
    assert found.maps[0, 16:32, 16:32].mean() > found.maps[0, :8].mean()
    return float(found.image_scores[0])


def measure() -> float:
    """Exact metrics of maps whose values are known, and of random ones."""
    masks = np.zeros((3, 32, 32), bool)
    masks[0, 4:9, 4:9] = masks[1, 20:30, 2:5] = True
    assert au_pro(masks.astype(np.float32), masks) == 1.0
    assert auroc(1.0 - masks, masks) == 0.0
    maps = np.random.default_rng(0).random((3, 32, 32), np.float32) + 0.5 * masks
    value = au_pro(maps, masks)
    assert value == evaluate_maps(list(zip(maps, masks, strict=True))).au_pro() and 0.5 < value < 1
    return value


def main() -> None:
    """Run it all, and say what was found where."""
    figures = {"score": score(), "au_pro": measure()}
    build = stadx.ops.build_info()
    about = {
        "stadx": str(Path(stadx.__file__).parent),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "built with torch": build["torch_built_with"],
        "instruction set": build["instruction_set"],
        "CUDA architectures": build["cuda_architectures"],
    }
    print(json.dumps({**about, **figures}))


if __name__ == "__main__":
    main()
