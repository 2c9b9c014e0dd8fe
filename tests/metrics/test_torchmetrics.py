"""AU-PRO and AU-sPRO as metrics of torchmetrics, and metrics that travel."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from map_sets import MAPS, MASKS, TYPES, part

from stadx.core.errors import DataError
from stadx.metrics import Regions, au_pro, au_spro, evaluate_maps

RANK = """
import sys, torch
from torch import distributed
from map_sets import MAPS, MASKS
from stadx.metrics.torchmetrics import AuPro
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
metric = AuPro(0.3)
for i in range(rank, len(MAPS), 2):
    metric.update([MAPS[i]], [MASKS[i]])
own = metric.pixel_metrics().num_images
value = metric.compute()
assert metric.pixel_metrics().num_images == own  # its own again
print(repr(float(value)), own)
distributed.destroy_process_group()
"""


def test_metrics_travel_without_their_maps() -> None:
    metrics = part(0, 9).compute()
    copy = pickle.loads(pickle.dumps(metrics))
    assert copy.au_pro() == metrics.au_pro() and copy.auroc == metrics.auroc and copy.f1_max == metrics.f1_max
    assert copy.regions() == metrics.regions() and copy.per_defect() == metrics.per_defect()
    assert len(pickle.dumps(metrics)) < 40 * metrics.num_defect + 30_000
    for refused in (copy.bootstrap, copy.aupimo, copy.shortcuts):
        with pytest.raises(DataError, match="the maps were not pickled"):
            refused()
    of_files = evaluate_maps(list(zip(MAPS, MASKS, TYPES, strict=True)), names=[f"n{i}" for i in range(9)])
    assert pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(of_files)))).au_pro(0.05) == of_files.au_pro(0.05)


def test_without_torchmetrics_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "stadx.metrics.torchmetrics", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'stadx\[bridges\]'"):
        import stadx.metrics.torchmetrics  # noqa: F401


class TestBridge:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("torchmetrics")

    def test_batches_give_the_value_of_the_set(self) -> None:
        from stadx.metrics.torchmetrics import AuPro

        metric = AuPro(0.3)
        for i in range(0, 9, 2):
            metric.update(MAPS[i : i + 2], MASKS[i : i + 2])
        assert float(metric.compute()) == au_pro(MAPS, MASKS)
        travelled = pickle.loads(pickle.dumps(metric))
        assert float(travelled.compute()) == float(metric.clone().compute()) == au_pro(MAPS, MASKS)
        assert metric.pixel_metrics().auroc == part(0, 9).compute().auroc
        metric.reset()
        metric.update(MAPS[:3], MASKS[:3])
        assert float(metric.compute()) == au_pro(MAPS[:3], MASKS[:3])

    def test_a_batch_of_tensors_with_channels_and_its_own_value(self) -> None:
        from stadx.metrics.torchmetrics import AuPro

        rng = np.random.default_rng(0)
        maps, masks = torch.from_numpy(rng.random((6, 1, 20, 20))), torch.from_numpy(rng.random((6, 1, 20, 20)) < 0.1)
        masks[:2] = False
        metric = AuPro(0.1)
        assert torch.isnan(metric(maps[:2], masks[:2]))
        assert float(metric(maps[2:], masks[2:])) == au_pro(maps[2:, 0], masks[2:, 0], fpr_limit=0.1)
        assert float(metric.compute()) == pytest.approx(au_pro(maps[:, 0], masks[:, 0], fpr_limit=0.1), abs=1e-14)
        with pytest.raises(DataError, match="fpr_limit is 0"):
            AuPro(0)

    def test_of_regions_and_in_a_collection(self) -> None:
        from torchmetrics import MetricCollection

        from stadx.metrics.torchmetrics import AuPro, AuSpro

        regions = [[m] if m.any() else [] for m in MASKS]
        saturation = [[m.sum() / 3] if m.any() else [] for m in MASKS]
        both = MetricCollection({"pro": AuPro(), "spro": AuSpro()})
        both.update(MAPS, [Regions(r, s) for r, s in zip(regions, saturation, strict=True)])
        found = {name: float(value) for name, value in both.compute().items()}
        assert found["spro"] == pytest.approx(au_spro(MAPS, regions, saturation)[0.3], abs=1e-14)
        assert found["pro"] == pytest.approx(au_spro(MAPS, regions)[0.3], abs=1e-14)

    def test_ranks_are_merged(self, tmp_path: Path) -> None:
        meeting = tmp_path / "meeting"
        given = [[sys.executable, "-c", RANK, str(rank), str(meeting)] for rank in range(2)]
        paths = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
        running = [subprocess.Popen(one, env=paths, stdout=subprocess.PIPE, text=True) for one in given]
        said = [process.communicate(timeout=120)[0].split() for process in running]
        order = [*range(0, 9, 2), *range(1, 9, 2)]
        value = au_pro([MAPS[i] for i in order], [MASKS[i] for i in order])
        assert said == [[repr(value), "5"], [repr(value), "4"]]
