"""Shallow models of the descriptors' distribution, after a PCA that keeps 95 % of the variance (scikit-learn)."""

from __future__ import annotations

import os
from abc import abstractmethod
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..data.source import ImageSize
from ..errors import MissingExtraError
from ..progress import Progress
from .base import Baseline


def _sklearn(module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingExtraError("scikit-learn is not installed; run: pip install 'stadx[baselines]'") from error


class _Shallow(Baseline):
    """Args as `Baseline`, and:

    variance: share of the descriptors' variance that the PCA keeps, above 0, below 1.
    """

    label: ClassVar[str]  # of the progress bar

    def __init__(
        self,
        patch_size: int = 65,
        image_size: ImageSize = 256,
        target_fpr: float = 0.001,
        *,
        held_out: float = 0.1,
        samples: int | None = None,
        variance: float = 0.95,
        teacher: str | os.PathLike[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            patch_size, image_size, target_fpr, held_out=held_out, samples=samples, teacher=teacher, seed=seed
        )
        if not 0 < variance < 1:
            raise ValueError(f"variance is {variance}; it must lie between 0 and 1")
        self.variance = variance

    def _learn(self, descriptors: Tensor, progress: Progress) -> dict[str, Tensor]:
        progress(self.label, 0, 1, {})
        pca = _sklearn("decomposition").PCA(self.variance, svd_solver="full").fit(descriptors.numpy())
        learned = {
            "mean": torch.from_numpy(pca.mean_).float(),
            "components": torch.from_numpy(pca.components_).float().contiguous(),
        }
        learned |= self._model(_projected(descriptors, learned))
        progress(self.label, 1, 1, {})
        return learned

    @abstractmethod
    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        """Fit to descriptors after PCA, float32 [n, k]."""

    def _distance(self, descriptors: Tensor) -> Tensor:
        return self._from_model(_projected(descriptors, self.learned_))

    @abstractmethod
    def _from_model(self, vectors: Tensor) -> Tensor:
        """float32 [n] of [n, k]."""


def _projected(descriptors: Tensor, learned: dict[str, Tensor]) -> Tensor:
    return (descriptors - learned["mean"]) @ learned["components"].T


def _nearest(vectors: Tensor, others: Tensor) -> Tensor:
    """Distance of each vector [n, k] to the nearest of others [m, k]."""
    return torch.cdist(vectors, others).amin(1)


class NearestNeighborDetector(_Shallow):
    """1-NN: the distance to the nearest of a dictionary of descriptors of good images; the paper: 5,000 of them."""

    method = "knn"
    label = "Nearest neighbours"
    default_samples = 5_000

    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        return {"dictionary": vectors}

    def _from_model(self, vectors: Tensor) -> Tensor:
        return _nearest(vectors, self.learned_["dictionary"])


class KMeansDetector(_Shallow):
    """K-Means: the distance to the nearest of ten centres."""

    method = "kmeans"
    label = "K-Means"

    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        fitted = _sklearn("cluster").KMeans(10, n_init=10, random_state=self.seed).fit(vectors.numpy())
        return {"centers": torch.from_numpy(fitted.cluster_centers_).float()}

    def _from_model(self, vectors: Tensor) -> Tensor:
        return _nearest(vectors, self.learned_["centers"])


class OneClassSvmDetector(_Shallow):
    """OC-SVM with a radial basis function: minus its decision value; ν and γ, on which the paper is silent, are
    scikit-learn's defaults, 0.5 and "scale"."""

    method = "ocsvm"
    label = "One-class SVM"

    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        svm = _sklearn("svm").OneClassSVM(cache_size=2000).fit(vectors.double().numpy())
        return {
            "support": torch.from_numpy(svm.support_vectors_).float(),
            "weights": torch.from_numpy(svm.dual_coef_[0]).float(),
            "gamma": torch.tensor(float(svm._gamma)),
            "offset": torch.tensor(float(svm.intercept_[0])),
        }

    def _from_model(self, vectors: Tensor) -> Tensor:
        x = self.learned_
        # by hand: scikit-learn's takes one thread and minutes for an image
        squared = torch.cdist(vectors, x["support"]).square_()
        return -(squared.mul_(-x["gamma"]).exp_() @ x["weights"] + x["offset"])
