"""The graph that is exported computes what the detector does, whatever its settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_exports import SIZE, frames, images, lower_half, untrained

from stadx import DataError, Detector
from stadx.detectors.export.graph import ExportedDetector
from stadx.detectors.export.resizing import ByteResize
from stadx.detectors.export.thresholds import Thresholds

pytestmark = pytest.mark.usefixtures("narrow_networks")

SETTINGS: dict[str, dict[str, Any]] = {
    **{f"p{p} stride {stride}": {"scales": (p,), "stride": stride} for p in (17, 33, 65) for stride in (1, 2, 4, 8)},
    "several scales": {"scales": (17, 33, 65)},
    **{border: {"scales": (17, 33), "border": border} for border in ("reflect", "zeros", "replicate")},
    "no level": {"level": 0.0},
    "both terms": {"terms": "both", "stride": 1},
    "v": {"terms": "v"},
    "highest": {"top_share": 0.0},
    "resized": {"image_size": 64},
    "enlarged, smooth": {"image_size": (81, 120), "smoothing": 1.5},
    "smaller than the patch": {"scales": (65, 17), "image_size": (40, 24)},
    "region": {"roi": lower_half(), "image_size": (50, 64)},
    "region, one pixel a side": {"roi": lower_half(), "scales": (65,), "stride": 8, "top_share": 0.0},
}


def outputs(detector: Detector, of: torch.Tensor) -> tuple[torch.Tensor, ...]:
    limits = [torch.from_numpy(value) for value in Thresholds.of(detector).inputs().values()]
    found: tuple[torch.Tensor, ...] = ExportedDetector(detector, tuple(of.shape[2:]))(
        torch.from_numpy(frames(of)), *limits
    )
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_the_graph_is_the_detector(name: str) -> None:
    detector = untrained(**SETTINGS[name])
    tested = images(seed=2)
    expected = detector.predict(tested, method="direct")
    maps, scores, masks, verdicts = outputs(detector, tested)
    torch.testing.assert_close(maps, expected.maps, rtol=0, atol=1e-4 * float(expected.maps.std()))
    torch.testing.assert_close(scores, expected.image_scores, rtol=1e-4, atol=1e-4)
    assert float((masks != expected.masks).float().mean()) < 1e-3
    assert torch.equal(verdicts, expected.image_scores > detector.image_threshold())
    assert maps.dtype == scores.dtype == torch.float32 and masks.any() and not masks.all()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("size", "target"),
    [((30, 41), (64, 16)), ((300, 50), (17, 50)), ((20, 1100), (20, 9)), ((1300, 33), (7, 90)), ((64, 64), (64, 64))],
    ids=str,
)
def test_resizing_gives_the_detector_s_bytes(
    size: tuple[int, int], target: tuple[int, int], channels_last: bool
) -> None:
    pixels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    if channels_last:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    expected = F.interpolate(pixels, target, mode="bilinear", antialias=True, align_corners=False)
    assert torch.equal(ByteResize(size, target)(pixels.float()), expected.float())


def test_thresholds_decide_in_float32_as_in_float64() -> None:
    detector = untrained()
    score = torch.tensor(0.1)  # above 0.1 in float64
    for threshold, above in ((0.1, True), (float(score), False)):
        detector.set_image_threshold(threshold)
        assert (float(score) > threshold) is above
        assert bool(score > torch.from_numpy(Thresholds.of(detector).inputs()["image_threshold"])) is above


def test_a_region_without_a_pixel_is_refused() -> None:
    mask = torch.zeros(400, 400, dtype=torch.bool).numpy()
    mask[0, 0] = True
    with pytest.raises(DataError, match=r"no pixel left at 80x72; make it larger"):
        ExportedDetector(untrained(roi=mask), SIZE)
