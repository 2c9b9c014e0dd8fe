"""The picture of a calibration shows what was chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from stadx.evaluation.calibration import choose_threshold
from stadx.evaluation.calibration_curve import Recall
from stadx.evaluation.report import calibration_plot
from stadx.evaluation.report.calibration_plot import write_calibration_plot


def test_curve_points_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    to_png = calibration_plot.to_png
    monkeypatch.setattr(calibration_plot, "to_png", lambda figure: (drawn.append(figure), to_png(figure))[1])
    chosen = choose_threshold([1.0, 2.0, 3.0, 4.0], [3.5, 50.0, 60.0, 70.0], Recall(1.0))
    write_calibration_plot(tmp_path / "new" / "c.png", chosen, -20.0)
    assert (tmp_path / "new" / "c.png").read_bytes().startswith(b"\x89PNG")
    above, below = drawn[0].axes
    curve, before, point = (line.get_xydata() for line in above.lines)
    np.testing.assert_allclose(curve[:5], [[0, 0], [0, 0.25], [0, 0.5], [0, 0.75], [0.25, 0.75]])
    assert before.tolist() == [[1, 1]] and point.tolist() == [[0.25, 1]]
    legend = above.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[1] == "threshold, 3.25: 4 of 4 found, 1 of 4 flagged" and texts[0].startswith(
        "previous threshold, -20"
    )
    good, defects, *thresholds = below.lines
    assert list(good.get_xdata()) == [1, 2, 3, 4] and list(defects.get_xdata()) == [3.5, 50, 60, 70]
    assert [line.get_xdata()[0] for line in thresholds] == [-20, 3.25]
    low, high = below.get_xlim()
    assert low <= -20 and high >= 70  # all of it is in the picture
