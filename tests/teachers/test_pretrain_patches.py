"""Photos from folders and tar files, and the patches and triplets that are cut from them."""

from __future__ import annotations

import io
import os
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pretrain_photos import write_photos

from stadx import DataError, StadxError
from stadx.data.images import read_image
from stadx.data.photos.patches import PhotoPatches
from stadx.data.photos.reading import Photo, fingerprint_photos, list_photos, read_photo
from stadx.data.photos.stream import patch_stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("set") / "photos")


@pytest.fixture(scope="module")
def photos(folder: Path) -> list[Photo]:
    return list_photos(folder)


def make_tar(path: Path, folder: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for photo in list_photos(folder):
            archive.add(photo.path, f"deep/{photo.path.name}")
        for name in ("notes.txt", "deep/._0.png"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def test_patches_are_what_they_always_were(photos: list[Photo]) -> None:
    p, rng, expected = 17, np.random.default_rng([5, 3]), []
    for _ in range(6):
        photo = Image.fromarray(read_image(photos[int(rng.integers(len(photos)))].path))
        side = int(rng.integers(4 * p, 16 * p + 1))
        x, y = rng.integers(0, side - p + 1, 2)
        sx, sy = photo.width / side, photo.height / side
        crop = photo.resize(
            (p, p), Image.Resampling.BILINEAR, (float(x * sx), float(y * sy), float((x + p) * sx), float((y + p) * sy))
        )
        expected.append(np.asarray(crop.convert("L").convert("RGB") if rng.random() < 0.5 else crop))
    patches = PhotoPatches(photos, p, seed=5, grey=0.5).batch(3, 6)
    assert np.array_equal(patches.permute(0, 2, 3, 1).numpy(), np.stack(expected))


@pytest.mark.parametrize(("zoom", "expected"), [((2, 3), {34, 51}), ((2, 16), {34, 40}), ((4, 16), {40})])
def test_photos_are_not_enlarged_if_so_wished(tmp_path: Path, zoom: tuple[int, int], expected: set[int]) -> None:
    Image.fromarray(np.zeros((60, 40 if zoom != (2, 3) else 200, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "b.png")  # smaller than a patch
    source = PhotoPatches(list_photos(tmp_path), 17, zoom=zoom, enlarge=False)
    draws = list(source.draws(0, 400))
    assert {17} == {d.side for d in draws if d.photo == 1}
    sides = [d.side for d in draws if d.photo == 0]
    assert {min(sides), max(sides)} == expected
    assert source.batch(0, 4).shape == (4, 3, 17, 17)


def test_patches_depend_on_seed_and_step_alone(photos: list[Photo]) -> None:
    a, b = PhotoPatches(photos, 33, seed=1), PhotoPatches(photos, 33, seed=1, cache_bytes=0)
    assert torch.equal(a.batch(3, 4), b.batch(3, 4)) and torch.equal(a.triplets(3, 4), b.triplets(3, 4))
    assert not torch.equal(a.batch(3, 4), a.batch(4, 4))
    assert not torch.equal(a.batch(3, 4), PhotoPatches(photos, 33, seed=2).batch(3, 4))
    assert a.batch(0, 5).shape == (5, 3, 33, 33)
    assert a.triplets(0, 5).shape == (3, 5, 3, 33, 33)


def test_a_part_is_a_part_of_the_whole(photos: list[Photo]) -> None:
    source, other = PhotoPatches(photos, 17), PhotoPatches(photos, 17)
    part = slice(2, 4)
    assert torch.equal(other.batch(7, 6, part), source.batch(7, 6)[part])
    assert torch.equal(other.triplets(7, 6, part), source.triplets(7, 6)[:, part])


def test_triplets_begin_with_the_same_patches(photos: list[Photo]) -> None:
    source = PhotoPatches(photos, 17, grey=0.5)
    assert torch.equal(source.triplets(2, 8)[0], source.batch(2, 8))


def test_the_positive_is_the_patch_moved_within_the_photo(photos: list[Photo]) -> None:
    source = PhotoPatches(photos, 17, luminance=0, noise=0, grey=0)
    still = source.triplets(0, 64)
    rng, moves = np.random.default_rng(0), set[tuple[int, int]]()
    for draw in [d for step in range(20) for d in source.draws(step, 16)]:
        near = source._near(draw, rng)
        assert (near.photo, near.side) == (draw.photo, draw.side)
        assert 0 <= near.x <= near.side - 17 and 0 <= near.y <= near.side - 17
        moves.add((near.x - draw.x, near.y - draw.y))
    assert {m for move in moves for m in move} == set(range(-4, 5))
    edge = source._near(next(source.draws(0, 1))._replace(x=0, y=0), rng)
    assert edge.x >= 0 and edge.y >= 0
    unlike = (still[0].float() - still[1].float()).abs().mean((1, 2, 3))
    assert unlike.max() > 1 and unlike.mean() < (still[0].float() - still[2].float()).abs().mean()


def test_brightness_and_noise_of_the_positive(tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (60, 60), (128, 128, 128)).save(tmp_path / f"{i}.png")
    flat = list_photos(tmp_path)
    bright = PhotoPatches(flat, 17, luminance=0.25, noise=0).triplets(0, 200)[1].float()
    assert bright.std((1, 2, 3)).max() == 0  # one factor for a patch
    factors = bright.mean((1, 2, 3)) / 128
    assert 0.74 < factors.min() < 0.78 and 1.22 < factors.max() < 1.26 and abs(factors.mean() - 1) < 0.05
    noisy = PhotoPatches(flat, 17, luminance=0, noise=0.1, grey=0).triplets(0, 20)
    assert (noisy[1].float() / 255).std() == pytest.approx(0.1, rel=0.03)
    assert noisy[0].float().std() == 0 == noisy[2].float().std()


def test_the_negative_is_of_another_photo(tmp_path: Path) -> None:
    for i, colour in enumerate([(200, 0, 0), (0, 200, 0), (0, 0, 200)]):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{i}.png")
    x, positive, negative = PhotoPatches(list_photos(tmp_path), 17, luminance=0, noise=0, grey=0).triplets(0, 60)
    assert torch.equal(x, positive)
    assert (x != negative).flatten(1).any(1).all()
    pairs = torch.stack([x.argmax(1).flatten(), negative.argmax(1).flatten()], 1)
    assert len(pairs.unique(dim=0)) == 6


def test_grey_patches_and_whole_grey_triplets(photos: list[Photo]) -> None:
    triplets = PhotoPatches(photos, 17, grey=0.5).triplets(0, 40)
    grey = (triplets[:, :, 0] == triplets[:, :, 1]).flatten(2).all(2)
    assert (grey == grey[0]).all() and 5 < grey[0].sum() < 35
    assert torch.equal(
        PhotoPatches(photos, 17, grey=1).batch(0, 4)[:, 0], PhotoPatches(photos, 17, grey=1).batch(0, 4)[:, 2]
    )


def test_broken_photos_are_left_out_with_a_warning(tmp_path: Path) -> None:
    files = list_photos(write_photos(tmp_path / "p"))
    whole = read_photo(files[0])
    for photo in files[1:]:
        photo.path.write_bytes(b"")
    with pytest.warns(UserWarning, match="left out: .*png"):
        patches = PhotoPatches(files, 17, grey=0).batch(0, 8)
    assert patches.float().mean() == pytest.approx(whole.mean(), abs=25)
    with pytest.warns(UserWarning), pytest.raises(DataError, match="is the only photo left; triplets need two"):
        PhotoPatches(files, 17).triplets(0, 1)
    files[0].path.write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="none of the 25 photos can be read"):
        PhotoPatches(files, 17).batch(0, 8)
    with pytest.raises(DataError, match="none of the 25 photos can be read"):  # again, and not for ever
        source = PhotoPatches(files, 17)
        with pytest.warns(UserWarning), pytest.raises(DataError):
            source.batch(0, 8)
        source.batch(1, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_streams_are_in_order_and_the_same_for_any_number_of_workers(photos: list[Photo], workers: int) -> None:
    source, steps = PhotoPatches(photos, 17, crop=20, zoom=(2, 5), enlarge=False, seed=3), [4, 5, 4, 5, 4, 9, 0]
    # a worker takes two seconds to start
    for triplets, make in ((False, source.batch), (True, source.triplets))[workers // 2 :]:
        stream = patch_stream(source, steps, 4, triplets=triplets, part=slice(1, 3), workers=workers)
        made = list(stream)
        assert len(made) == len(steps)
        assert all(torch.equal(x, make(step, 4, slice(1, 3))) for x, step in zip(made, steps, strict=True))


def test_workers_warn_once_and_end(tmp_path: Path) -> None:
    files = list_photos(write_photos(tmp_path / "p", 4))
    files[0].path.write_bytes(b"no image")
    with pytest.warns(UserWarning) as caught:
        stream = patch_stream(PhotoPatches(files, 17), range(8), 8, workers=2)
        next(stream)
        children = [int(c) for c in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
        assert children
        for _ in range(3):
            next(stream)
        stream.close()
    assert len([w for w in caught if "left out" in str(w.message)]) == 1
    left = {int(c) for c in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    assert not any("spawn_main" in Path(f"/proc/{c}/cmdline").read_text() for c in left & set(children))


def test_a_worker_that_is_killed_is_an_error(photos: list[Photo]) -> None:
    stream = patch_stream(PhotoPatches(photos, 17), range(10**6), 2, workers=1)
    next(stream)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), 9)
    with pytest.raises(StadxError, match=r"ended too early.*fewer workers"):
        for _ in stream:
            pass


def test_tar_files_are_read_where_they_lie(folder: Path, photos: list[Photo], tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", folder)
    inside = list_photos(archive)
    assert [Path(photo.member).name for photo in inside] == [photo.path.name for photo in photos]
    for one, other in zip(inside, photos, strict=True):
        assert np.array_equal(read_photo(one), read_photo(other))
    assert torch.equal(PhotoPatches(inside, 17).batch(0, 4), PhotoPatches(photos, 17).batch(0, 4))
    make_tar(tmp_path / "b.tar", folder)
    assert len(list_photos(tmp_path)) == 50
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def test_tar_files_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.tar\.gz: is compressed.*unpack it"):
        list_photos(make_tar(tmp_path / "c.tar.gz", folder, "w:gz"))
    make_tar(tmp_path / "d.tar.gz", folder, "w:gz").rename(tmp_path / "disguised.tar")
    with pytest.raises(DataError, match=r"disguised\.tar: is compressed"):
        list_photos(tmp_path / "disguised.tar")
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match=r"bad\.tar: cannot be read as a tar file"):
        list_photos(tmp_path / "bad.tar")
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"none\.tar: holds no images"):
        list_photos(tmp_path / "none.tar")
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png: is neither a folder nor a \.tar file"):
        list_photos(tmp_path / "a.png")


def test_a_damaged_photo_in_a_tar_file_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        entry = tarfile.TarInfo("in/p.jpg")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"nope"))
    with pytest.raises(DataError, match=r"t\.tar/in/p\.jpg: not an image"):
        read_photo(list_photos(tmp_path / "t.tar")[0])


def test_fingerprints_tell_sets_apart(folder: Path, photos: list[Photo], tmp_path: Path) -> None:
    inside = list_photos(make_tar(tmp_path / "a.tar", folder))
    prints = [fingerprint_photos(s) for s in (photos, photos[1:], inside, inside[1:])]
    assert all(a != b for a, b in pairwise(sorted(prints)))
    assert fingerprint_photos(list_photos(folder)) == prints[0]
    with pytest.raises(DataError, match=r"gone\.png: there is no such image"):
        fingerprint_photos([Photo(tmp_path / "gone.png")])


def test_listing_and_looking_tell_how_far_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tar(tmp_path / "a.tar", folder)
    (tmp_path / "in").mkdir()
    make_tar(tmp_path / "in" / "b.tar", folder)
    monkeypatch.setattr("stadx.data.photos.reading._AT_ONCE", 20)
    monkeypatch.setattr("stadx.data.photos.reading._MEGABYTE", 20_000)
    told: dict[str, list[tuple[int, int]]] = {}

    def progress(stage: str, done: int, total: int, figures: object) -> None:
        told.setdefault(stage, []).append((done, total))

    found = list_photos(tmp_path, progress)
    fingerprint_photos(found, progress)
    whole = -(-sum(f.stat().st_size for f in tmp_path.rglob("*.tar")) // 20_000)
    assert told["Folders of photos"] == [(0, 2), (0, 2), (1, 2), (2, 2)]
    assert told["Index of tar files"] == [(n, whole) for n in range(1, whole + 1)] and whole > 3
    assert told["Photos"] == [(n, len(found)) for n in (*range(20, len(found), 20), len(found))]
