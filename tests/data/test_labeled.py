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


def _contents_as_published(form: str) -> dict[str, bytes]:
    """CIFAR-10's two archives as they are published, but with 4 images to a file instead of 10,000."""
    files = {f"cifar-10-batches-{kind}/batches.meta": b"no batch" for kind in ("py", "bin")}
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        images, labels = IMAGES[4 * i : 4 * i + 4], LABELS[4 * i : 4 * i + 4]
        if form == "binary":
            rows = [bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
            files[f"cifar-10-batches-bin/{name}.bin"] = b"".join(rows)
        else:
            title = f"training batch {i + 1} of 5" if i < 5 else "testing batch 1 of 1"
            files[f"cifar-10-batches-py/{name}"] = _python2_pickle(title, labels, images)
    return files


def _python2_pickle(title: str, labels: list[int], images: np.ndarray) -> bytes:
    """What Python 2 wrote: byte strings for text, and arrays made by a module that numpy has no more."""

    def text(content: str) -> bytes:
        return b"U" + bytes([len(content)]) + content.encode()

    parts = [
        *(b"\x80\x02}(", text("batch_label"), text(title)),
        *(text("labels"), b"](", *(b"K" + bytes([label]) for label in labels), b"e"),
        *(text("data"), b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"),
        *(b"(K\x01K", bytes([len(images)]), b"M\x00\x0c\x86"),  # the shape, images x 3072
        b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89",
        *(b"T", images.nbytes.to_bytes(4, "little"), images.tobytes(), b"tb"),
        *(text("filenames"), b"](", *(text(f"{CIFAR10[label]}_s_000001.png") for label in labels), b"eu."),
    ]
    return b"".join(parts)


@pytest.mark.parametrize("form", ["binary", "python"])
def test_cifar_as_published(form: str, tmp_path: Path) -> None:
    data = read_labeled(_archive(tmp_path / f"cifar-10-{form}.tar.gz", _contents_as_published(form)))
    _check(data, ordered=True)
    assert data.note == ""


@pytest.mark.parametrize("packed", [True, False])
def test_jpeg_is_told(packed: bool, tmp_path: Path) -> None:
    """The form of the archive with train/CLASS/0001.jpg."""
    files = {}
    for i, (label, image) in enumerate(zip(LABELS, IMAGES, strict=True)):
        smooth = np.broadcast_to(image.mean((1, 2)).astype(np.uint8), (32, 32, 3))  # JPEG hardly changes one colour
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(smooth)).save(buffer, "JPEG", quality=95)
        files[f"{'test' if i % 6 == 5 else 'train'}/{CIFAR10[label]}/{i:04}.jpg"] = buffer.getvalue()
    place = _archive(tmp_path / "cifar10.tar.xz", files) if packed else tmp_path / "unpacked"
    if not packed:
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    data = read_labeled(place)
    assert data.classes == CIFAR10 and "stored as JPEG" in data.note
    assert (len(data.train.images), len(data.test.images)) == (20, 4)
    want = {(label, *image.mean((1, 2)).astype(int).tolist()) for label, image in zip(LABELS, IMAGES, strict=True)}
    for part in data.train, data.test:
        for label, image in zip(part.labels.tolist(), part.images, strict=True):
            colour = image[:, 9, 9].tolist()
            assert any(label == w and np.abs(np.subtract(colour, c)).max() <= 3 for w, *c in want)


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
    with pytest.raises(DataError, match=r"data_batch_1.bin: has a class 77, CIFAR-10's are 0 to 9"):
        read_labeled(_archive(tmp_path / "e.tar.gz", {"data_batch_1.bin": bytes([77]) + bytes(3072)}))
    packed = _archive(tmp_path / "f.tar.xz", _contents("binary")).read_bytes()
    half = len(packed) // 2
    for damaged in (packed[:half], packed[:half] + bytes(64) + packed[half + 64 :], packed[:40] + b"x" * 60):
        (tmp_path / "f.tar.xz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"f.tar.xz: cannot be read as an archive"):
            read_labeled(tmp_path / "f.tar.xz")
    (tmp_path / "d.tar.gz").write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"d.tar.gz: cannot be read as an archive"):
        read_labeled(tmp_path / "d.tar.gz")
    with pytest.raises(DataError, match="holds neither MNIST's IDX files nor CIFAR-10"):
        read_labeled(tmp_path)  # several archives
    with pytest.raises(DataError, match="there is no such folder or archive"):
        read_labeled(tmp_path / "nothing")


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3073))

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"data_batch_1.bin: cannot be read \(Permission denied\); check its perm"):
        read_labeled(tmp_path)


def test_the_real_ones(shared_data: Path) -> None:
    data = read_labeled(shared_data / "mnist")
    assert data.train.images.shape == (60_000, 3, 28, 28) and data.test.images.shape == (10_000, 3, 28, 28)
    flat = data.train.images[:, 0].flatten(1).float()
    means = torch.stack([flat[data.train.labels == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(data.test.images[:, 0].flatten(1).float(), means).argmin(1)
    assert float((nearest == data.test.labels).float().mean()) > 0.8  # 0.82 is what class means reach on MNIST
