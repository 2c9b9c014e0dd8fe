"""`Detector.rank`: which unlabelled images come first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import good_images, teacher_file

from stadx import DataError, Detector
from stadx.core.errors import DataWarning
from stadx.data import source as source_module
from stadx.data.images import write_image
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher import updatable
from stadx.detectors.student_teacher.known_images import KnownImages
from stadx.detectors.student_teacher.ranking import chosen, worth

pytestmark = pytest.mark.usefixtures("narrow_networks")

OLD = good_images(12, (32, 32))
BRIGHT = (good_images(6, (32, 32), 3).float() * 0.6 + 90).to(torch.uint8)
SAME = good_images(4, (32, 32), 8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> Detector:
    folder = tmp_path_factory.mktemp("teacher")
    settings = {"students": 2, "steps": 60, "image_size": None, "image_fpr": 0.1}
    return Detector((17,), teachers=[teacher_file(folder)], **settings).fit(OLD)


def test_other_images_come_before_those_like_the_learned_ones(detector: Detector) -> None:
    ranking = detector.rank(torch.cat([SAME, BRIGHT]))
    assert sorted(item.number for item in ranking.images) == list(range(10)) and not ranking.failures
    assert min(item.number for item in ranking.images[:3]) >= len(SAME)
    assert ranking.images[0].everywhere > 1 and ranking.images[0].name == f"image {ranking.images[0].number}"


def test_scores_are_those_of_predict_and_a_second_run_gives_the_same(detector: Detector) -> None:
    pool = torch.cat([SAME, BRIGHT])
    expected = detector.predict(pool).image_scores
    ranking = detector.rank(pool)
    for item in ranking.images:
        assert item.image_score == pytest.approx(float(expected[item.number]))
        assert item.is_anomalous == (item.image_score > detector.image_threshold())
    assert detector.rank(pool) == ranking
    assert [item.number for item in detector.rank(pool, top=3).images] == [item.number for item in ranking.images[:3]]


def test_novelty_is_in_deviations_of_descriptors_however_much_channels_count(
    detector: Detector, tmp_path: Path
) -> None:
    settings = {**detector.settings, "channel_weight": 0.0, "scale_weight": 0.0, "teachers": [teacher_file(tmp_path)]}
    plain = Detector(**settings).fit(OLD)
    assert not torch.allclose(plain.ensembles_[0].std, detector.ensembles_[0].std, rtol=0.01)
    expected = {item.number: item.novelty for item in plain.rank(BRIGHT).images}
    assert {item.number: item.novelty for item in detector.rank(BRIGHT).images} == pytest.approx(expected, rel=1e-4)


def test_scores_at_another_size_and_inside_a_region_are_those_of_predict(detector: Detector) -> None:
    mask = np.zeros((32, 32), bool)
    mask[4:28, 8:] = True
    resized = Detector.from_parts(
        {**detector.settings, "image_size": 24},
        detector.ensembles_,
        detector.normalizations_,
        detector._held_out_scores(),
    )
    for chosen_detector in (detector, resized):
        expected = chosen_detector.predict(BRIGHT, roi=mask).image_scores
        for item in chosen_detector.rank(BRIGHT, roi=mask).images:
            assert item.image_score == pytest.approx(float(expected[item.number]))


def test_learned_images_are_left_out_and_copies_come_last(detector: Detector) -> None:
    ranking = detector.rank(torch.cat([OLD[:2], BRIGHT[:2], BRIGHT[:1]]))
    assert ranking.known == 2
    assert sorted(item.number for item in ranking.images) == [2, 3, 4]
    assert ranking.images[-1].number == 4 and ranking.images[-1].gain == 0


def test_a_model_knows_its_images_once_an_update_has_them(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "m")
    old = Detector.load(tmp_path / "m")
    old.lineage_, old.known_ = [], KnownImages()  # as a file of 0.1 has it
    pool = torch.cat([OLD[:2], BRIGHT[:2]])
    assert old.rank(pool).known is None and len(old.rank(pool).images) == 4
    with pytest.warns(DataWarning, match="keeps no image"):
        old.update(BRIGHT[2:4])
    assert old.rank(pool).known is None  # thresholds alone: its students learned from others
    old.update(BRIGHT[4:], old=OLD, steps=1)
    assert old.rank(pool).known == 2


def test_an_image_that_cannot_be_read_does_not_stop_the_others(detector: Detector, tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / f"{number}.png", BRIGHT[number].permute(1, 2, 0).numpy())
    (tmp_path / "2.png").write_bytes(b"no image")
    ranking = detector.rank([tmp_path / f"{number}.png" for number in range(3)])
    assert {item.number for item in ranking.images} == {0, 1}
    assert list(ranking.failures) == [2] and "2.png" in ranking.failures[2]
    assert detector.rank([tmp_path / "2.png"]).images == []


def test_an_image_is_read_once_and_not_kept(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, reads = [], []

    class Watched(ImageSource):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            sources.append(self)

    read = source_module._read
    monkeypatch.setattr(updatable, "ImageSource", Watched)
    monkeypatch.setattr(source_module, "_read", lambda path, values: (reads.append(path), read(path, values))[1])
    for number in range(3):
        write_image(tmp_path / f"{number}.png", BRIGHT[number].permute(1, 2, 0).numpy())
    assert len(detector.rank(tmp_path).images) == 3
    assert len(reads) == 3 and all(sources[0]._kept.get(number) is None for number in range(3))


def test_what_rank_refuses(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="top is 0"):
        detector.rank(SAME, top=0)
    with pytest.raises(ValueError, match="stride"):
        detector.rank(SAME, stride=3)
    with pytest.raises(DataError, match="fit"):
        Detector((17,)).rank(SAME)


def test_one_student_ranks_by_its_error(tmp_path: Path) -> None:
    settings = {"students": 1, "steps": 60, "image_size": None}
    detector = Detector((17,), teachers=[teacher_file(tmp_path)], **settings).fit(OLD)
    first = detector.rank(torch.cat([SAME, BRIGHT])).images[0]
    assert first.number >= len(SAME) and first.v == 0 and first.everywhere > 0 and first.gain > 0


def test_worth_falls_below_the_threshold_and_rises_with_what_is_everywhere() -> None:
    good = np.array([1, 2, 3], np.float32)
    same = np.ones(4)
    found = worth(np.array([-1000.0, 2, 6, 1000]), same, 6.0, good)
    assert found[0] == pytest.approx(0) and found[2] == pytest.approx(0.5) and found[3] == pytest.approx(1)
    assert (np.diff(found) > 0).all()
    assert worth(np.array([6.0]), np.array([3.0]), 6.0, good)[0] == pytest.approx(1.5)


def test_each_kind_comes_once_before_more_of_the_same() -> None:
    kinds = np.repeat(np.eye(3, dtype=np.float32), 4, 0)
    worths = np.repeat([3.0, 2.0, 1.0], 4)
    found = chosen(worths, kinds)
    assert [index for index, _ in found[:3]] == [0, 4, 8]  # ties: the first
    assert [index for index, _ in found[3:]] == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert [gain for _, gain in found] == pytest.approx([3, 2, 1] + 9 * [0])
    assert chosen(worths, kinds, 2) == found[:2] and chosen(worths[:0], kinds[:0]) == []
    assert [index for index, _ in chosen(np.zeros(3), kinds[:3])] == [0, 1, 2]
