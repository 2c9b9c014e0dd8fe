"""CNN-Feature-Dictionary: how far a patch's features of a pretrained network are from those of a few good patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stadx.core.progress import Progress
from stadx.core.settings import documented, setting
from stadx.data.source import ImageSource
from stadx.networks.padding import pad_images
from stadx.networks.training import Checkpoint
from stadx.networks.upsampling import upsample
from stadx.teachers.pretrained import PretrainedNetwork, load_pretrained, patch_features
from stadx.teachers.settings import PretrainedName

from ..model_files import named
from .base import Baseline, samples_by_image
from .shallow import cluster_centers, principal_components, projected, sklearn

_AT_ONCE = 64  # patches in one pass


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class FeatureDictionaryDetector(Baseline):
    """CNN-Feature-Dictionary (Napoletano et al. 2018; settings of Bergmann et al. 2019, patches of 2020).

    The pooled features of a patch, after a PCA; the dictionary holds, of ten clusters, the training vector nearest to
    each centre; the score is the mean distance to the nearest of the dictionary.

    Bergmann et al. leave three things open: whether features are divided by their sum, as Napoletano et al. do (here:
    no), `input_size` and `neighbors`. They were chosen by AU-PRO on the test images of MVTec AD's bottle, the best of
    nine trials at every 32nd pixel (0.04 to 0.74): that category's figure is no independent one.

    P is not in the saved file: it has to be installed where the detector scores.

    Attributes:
        learned_: "mean", "components" of the PCA, and "dictionary".
    """

    patch_size: int = setting(65, "Side of a patch in pixels, odd; 65 in Bergmann et al. 2020.", at_least=1)
    step: int = setting(
        4,
        "Pixels from a patch's centre to the next, between which scores are interpolated; 4 in both papers.",
        at_least=1,
    )
    network: PretrainedName = setting(
        "efficientnet-lite0",
        "The pretrained network P: the papers' is resnet18, which torchvision brings; the default is what stadx's "
        "teachers were distilled from.",
    )
    input_size: int | None = setting(
        None,
        "Side in pixels that a patch is resized to for P, 224 in Napoletano et al.",
        none="it is left as it is",
        at_least=1,
    )
    samples: int = setting(
        10_000, "Training patches, equally many of each image; the papers give no number.", at_least=2
    )
    variance: float = setting(0.95, "Share of the features' variance that the PCA keeps.", above=0, below=1)
    clusters: int = setting(10, "Length of the dictionary.", at_least=1)
    neighbors: int = setting(1, "How many of the nearest the score is the mean over.", at_least=1)

    method = "feature-dictionary"
    paper_name = "CNN-Feature Dictionary"
    texture_settings = {"image_size": 512}  # noqa: RUF012 (a ClassVar of the base)
    on_gpu = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_size % 2 == 0:
            raise ValueError(f"patch_size is {self.patch_size}; it must be odd")
        if not self.neighbors <= self.clusters <= self.samples:
            raise ValueError(
                f"neighbors = {self.neighbors}, clusters = {self.clusters}, samples = {self.samples}: "
                "none may be above the next"
            )

    @classmethod
    def check_extras(cls) -> None:
        sklearn("decomposition")
        load_pretrained(cls.network)

    @property
    def _input_size(self) -> int:
        return self.patch_size if self.input_size is None else self.input_size

    @cached_property
    def _pretrained(self) -> PretrainedNetwork:
        return load_pretrained(self.network)

    def _learn_images(
        self, source: ImageSource, indices: Sequence[int], progress: Progress, checkpoint: Checkpoint
    ) -> None:
        rng = np.random.default_rng([self.seed, 5])
        parts = []
        counts = samples_by_image(self.samples, len(indices))
        for done, (index, count) in enumerate(zip(indices, counts, strict=True), 1):
            padded = self._padded(source[index])
            rows, columns = (rng.integers(0, size - self.patch_size + 1, count) for size in padded.shape[1:])
            patches = [
                padded[:, r : r + self.patch_size, c : c + self.patch_size] for r, c in zip(rows, columns, strict=True)
            ]
            parts += [self._features(torch.stack(patches[i : i + _AT_ONCE])) for i in range(0, count, _AT_ONCE)]
            progress("Features of patches", done, len(indices), {})
        features = torch.cat(parts)
        progress("Dictionary", 0, 0, {})  # scikit-learn does not tell how far it is
        learned = principal_components(features, self.variance)
        vectors = projected(features, learned)
        centers = cluster_centers(vectors, self.clusters, self.seed)
        learned["dictionary"] = vectors[torch.cdist(centers, vectors).argmin(1)]
        self.learned_ = learned
        progress("Dictionary", 1, 1, {})

    def _padded(self, image: Tensor) -> Tensor:
        """[3, H + p − 1, W + p − 1] in [0, 1]: every pixel is the centre of a patch."""
        x = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return pad_images(x[None], self.patch_size // 2, "reflect")[0]

    @torch.no_grad()
    def _features(self, patches: Tensor) -> Tensor:
        """[n, d], on the CPU, of patches [n, 3, p, p]."""
        if self._pretrained.module is not None:
            self._pretrained.module.to(self.device)
        return patch_features(self._pretrained, patches.to(self.device), self._input_size).cpu()

    def _map(self, image: Tensor, stride: int) -> Tensor:
        step, p = max(self.step, stride), self.patch_size
        padded = self._padded(image)
        height, width = image.shape[1:]
        rows = []
        for row in range(0, height, step):
            patches = padded[:, row : row + p].unfold(2, p, step).permute(2, 0, 1, 3)
            vectors = torch.cat([self._features(some) for some in torch.split(patches, _AT_ONCE)])
            distances = torch.cdist(projected(vectors, self.learned_), self.learned_["dictionary"])
            rows.append(distances.topk(self.neighbors, 1, largest=False).values.mean(1))
        return upsample(torch.stack(rows)[None], height, width, step)[0]

    def _parts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {f"learned.{k}": v for k, v in self.learned_.items()}

    def _restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.learned_ = named(tensors, "learned")
