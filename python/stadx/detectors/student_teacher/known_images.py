"""Which images a detector has seen, by their hashes, and which student left each out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .division import Division

LEARNED, UNLEARNED = -1, -2
"""Instead of the number of the student that left an image out: all may have learned from it, or none has."""


class KnownImages(NamedTuple):
    """The images of a training and of all updates.

    Attributes:
        hashes: SHA-256 of each, see `ImageSource.hash_of`.
        left_out: the number of the student that left it out, `LEARNED` or `UNLEARNED`.
        since: the entry of the detector's lineage that brought it.
    """

    hashes: tuple[str, ...] = ()
    left_out: tuple[int, ...] = ()
    since: tuple[int, ...] = ()

    @property
    def has_learned(self) -> bool:
        """Whether students learned from some of them; else, as of files of 0.1, it is not known from which they did."""
        return any(student != UNLEARNED for student in self.left_out)

    def with_images(self, hashes: Sequence[str], left_out: Iterable[int], since: int) -> KnownImages:
        """These and others; of an image that is there twice, all students may have learned."""
        found, entries = self.by_hash(), dict(zip(self.hashes, self.since, strict=True))
        for key, student in zip(hashes, left_out, strict=True):
            before = found.get(key, UNLEARNED)
            entries.setdefault(key, since)
            if before == UNLEARNED:
                found[key] = student
            elif student not in (before, UNLEARNED):
                found[key] = LEARNED
        return KnownImages(tuple(found), tuple(found.values()), tuple(entries[key] for key in found))

    def by_hash(self) -> dict[str, int]:
        """`left_out` by hash."""
        return dict(zip(self.hashes, self.left_out, strict=True))

    def of_entry(self, entry: int) -> list[str]:
        """The hashes of the images that an entry of the lineage brought."""
        return [key for key, since in zip(self.hashes, self.since, strict=True) if since == entry]

    def tensors(self) -> dict[str, Tensor]:
        """As a model file has them, by name."""
        if not self.hashes:
            return {}
        digests = np.frombuffer(bytes.fromhex("".join(self.hashes)), np.uint8).reshape(len(self.hashes), -1)
        return {
            "images.sha256": torch.from_numpy(digests.copy()),
            "images.left_out": torch.tensor(self.left_out, dtype=torch.int32),
            "images.since": torch.tensor(self.since, dtype=torch.int32),
        }

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> KnownImages:
        """Undo `tensors`; of a file of a previous version none."""
        if "images.sha256" not in tensors:
            return KnownImages()
        hashes = tuple(row.tobytes().hex() for row in tensors["images.sha256"].numpy())
        left_out, since = (tuple(tensors[f"images.{name}"].tolist()) for name in ("left_out", "since"))
        return KnownImages(hashes, left_out, since)


def left_out_of(division: Division, images: int) -> list[int]:
    """Of each image the number of the student that leaves it out, `LEARNED` or `UNLEARNED`."""
    found = [LEARNED] * images
    for index in division.held_out:
        found[index] = UNLEARNED
    for student, part in enumerate(division.folds):
        for index in part:
            found[index] = student
    return found
