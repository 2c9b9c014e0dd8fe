"""MNIST and CIFAR-10 from every form that they come in."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stadx import DataError
from stadx.data.labeled import CIFAR10, LabeledSet, read_labeled

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 1, 9, 0, 5, 5, 2, 8, 4, 7, 6, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
BATCHES = {"data_batch_1": slice(0, 10), "data_batch_2": slice(10, 20), "test_batch": slice(20, 24)}


def _write_mnist(folder: Path, packed: bool = True) -> tuple[np.ndarray, list[int]]:
    folder.mkdir(exist_ok=True)
    digits = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = [0, 1, 2, 3, 9, 8, 7]
    for name, part in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        pixels = bytes([0, 0, 8, 3]) + np.array(digits[part].shape, ">u4").tobytes() + digits[part].tobytes()
        marks = bytes([0, 0, 8, 1]) + np.array([len(labels[part])], ">u4").tobytes() + bytes(labels[part])
        for kind, content in (("images-idx3", pixels), ("labels-idx1", marks)):
            path = folder / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return digits, labels


@pytest.mark.parametrize("packed", [True, False])
def test_mnist(tmp_path: Path, packed: bool) -> None:
    digits, labels = _write_mnist(tmp_path, packed)
    data = read_labeled(tmp_path)
    assert data.classes == tuple("0123456789")
    assert data.train.images.shape == (5, 3, 28, 28) and data.train.images.dtype == torch.uint8
    for channel in range(3):
        assert np.array_equal(data.train.images[:, channel].numpy(), digits[:5])
        assert np.array_equal(data.test.images[:, channel].numpy(), digits[5:])
    assert data.train.labels.tolist() + data.test.labels.tolist() == labels


def test_broken_mnist_is_named(tmp_path: Path) -> None:
    _write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for content in (whole[:50], b"", gzip.compress(b"\0\0\x08\x03" + bytes(20)), gzip.compress(b"\0\0\x09\x03")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: (cannot be read|is no whole IDX file)"):
            read_labeled(tmp_path)
    path.write_bytes(whole)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match="5 images and 2 labels do not belong together"):
        read_labeled(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="lacks train-labels-idx1-ubyte"):
        read_labeled(tmp_path)


def _contents(form: str) -> dict[str, bytes]:
    files = {}
    for name, part in BATCHES.items():
        images, labels = IMAGES[part], LABELS[part]
        if form == "binary":
            rows = [bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
            files[f"cifar-10-batches-bin/{name}.bin"] = b"".join(rows)
        elif form == "python":
            batch = {b"data": images.reshape(len(images), -1), b"labels": labels, b"batch_label": b"one of 2"}
            files[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch, 2)
        else:
            for i, (label, image) in enumerate(zip(labels, images, strict=True)):
                buffer = io.BytesIO()
                Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
                place = "test" if name == "test_batch" else "train"
                files[f"set/{place}/{CIFAR10[label]}/{name}{i}.png"] = buffer.getvalue()
    files["set/readme.html"] = b"<p>"
    return files


def _archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def _check(data: LabeledSet, ordered: bool) -> None:
    assert data.classes == CIFAR10
    want = {(label, image.tobytes()) for label, image in zip(LABELS, IMAGES, strict=True)}
    got = set()
    for part, count in ((data.train, 20), (data.test, 4)):
        assert part.images.shape == (count, 3, 32, 32) and part.images.dtype == torch.uint8
        got |= {(label, i.numpy().tobytes()) for label, i in zip(part.labels.tolist(), part.images, strict=True)}
    assert got == want
    if ordered:
        assert data.train.labels.tolist() == LABELS[:20]


@pytest.mark.parametrize("form", ["binary", "python", "images"])
def test_cifar(form: str, tmp_path: Path) -> None:
    files = _contents(form)
    archive = _archive(tmp_path / f"cifar.tar.{'xz' if form == 'images' else 'gz'}", files)
    _check(read_labeled(archive), form != "images")
    _check(read_labeled(tmp_path), form != "images")  # a folder with the archive in it
    folder = tmp_path / "unpacked"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    _check(read_labeled(folder), form != "images")


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


def test_broken_cifar_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = _archive(tmp_path / "a.tar.gz", {"data_batch_1": pickle.dumps(_Harm())})
    with pytest.raises(
        DataError, match=r"data_batch_1: is no file of CIFAR-10's Python version \(it holds posix.mkdir"
    ):
        read_labeled(bad)
    assert not (tmp_path / "harm").exists()
    with pytest.raises(DataError, match=r"data_batch_1.bin: is no whole file"):
        read_labeled(_archive(tmp_path / "b.tar.gz", {"data_batch_1.bin": bytes(100)}))
    with pytest.raises(DataError, match=r"has no test images"):
        read_labeled(_archive(tmp_path / "c.tar.gz", {"data_batch_1.bin": bytes(3073)}))
    (tmp_path / "d.tar.gz").write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"d.tar.gz: cannot be read as an archive"):
        read_labeled(tmp_path / "d.tar.gz")
    with pytest.raises(DataError, match="holds neither MNIST's IDX files nor CIFAR-10"):
        read_labeled(tmp_path)  # several archives
    with pytest.raises(DataError, match="there is no such folder or archive"):
        read_labeled(tmp_path / "nothing")


def test_the_real_ones(shared_data: Path) -> None:
    data = read_labeled(shared_data / "mnist")
    assert data.train.images.shape == (60_000, 3, 28, 28) and data.test.images.shape == (10_000, 3, 28, 28)
    flat = data.train.images[:, 0].flatten(1).float()
    means = torch.stack([flat[data.train.labels == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(data.test.images[:, 0].flatten(1).float(), means).argmin(1)
    assert float((nearest == data.test.labels).float().mean()) > 0.8  # 0.82 is what class means reach on MNIST
