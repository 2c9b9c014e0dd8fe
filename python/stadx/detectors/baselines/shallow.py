"""Shallow models of the descriptors' distribution, after a PCA that keeps 95 % of the variance (scikit-learn)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from stadx.core.errors import MissingExtraError
from stadx.core.progress import Progress
from stadx.core.settings import documented, like, setting

from .descriptors import DescriptorBaseline


def sklearn(module: str) -> Any:
    """A module of scikit-learn. Raises `MissingExtraError` where that is not installed."""
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingExtraError("scikit-learn is not installed; run: pip install 'stadx[baselines]'") from error


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class _Shallow(DescriptorBaseline):
    """What they share: descriptors after a PCA; they cannot learn from all of them."""

    samples: int = like(DescriptorBaseline, "samples", none="")
    variance: float = setting(0.95, "Share of the descriptors' variance that the PCA keeps.", above=0, below=1)

    label: ClassVar[str]  # of the progress bar

    @classmethod
    def check_extras(cls) -> None:
        sklearn("decomposition")

    def _learn(self, descriptors: Tensor, progress: Progress) -> dict[str, Tensor]:
        stage = f"{self.label}, {len(descriptors):,} descriptors"
        progress(stage, 0, 0, {})  # scikit-learn does not tell how far it is
        learned = principal_components(descriptors, self.variance)
        learned |= self._model(projected(descriptors, learned))
        progress(stage, 1, 1, {})
        return learned

    @abstractmethod
    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        """Fit to descriptors after PCA, float32 [n, k]."""

    def _distance(self, descriptors: Tensor) -> Tensor:
        return self._from_model(projected(descriptors, self.learned_))

    @abstractmethod
    def _from_model(self, vectors: Tensor) -> Tensor:
        """float32 [n] of [n, k]."""


def principal_components(descriptors: Tensor, variance: float) -> dict[str, Tensor]:
    """The PCA of descriptors [n, d] that keeps this share of their variance: "mean" [d] and "components" [k, d]."""
    pca = sklearn("decomposition").PCA(variance, svd_solver="full").fit(descriptors.numpy())
    return {
        "mean": torch.from_numpy(pca.mean_).float(),
        "components": torch.from_numpy(pca.components_).float().contiguous(),
    }


def projected(descriptors: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
    """Descriptors [n, d] after the PCA that `learned` holds: [n, k]."""
    return (descriptors - learned["mean"]) @ learned["components"].T


def cluster_centers(vectors: Tensor, count: int, seed: int) -> Tensor:
    """K-Means' centres [count, k] of vectors [n, k], the best of ten starts."""
    fitted = sklearn("cluster").KMeans(count, n_init=10, random_state=seed).fit(vectors.numpy())
    return torch.from_numpy(fitted.cluster_centers_).float()


def nearest(vectors: Tensor, others: Tensor) -> Tensor:
    """Distance of each vector [n, k] to the nearest of others [m, k]."""
    least = torch.cat([part.amin(1) for part in _from_squares(vectors, others)])
    return least.add_(vectors.square().sum(1)).clamp_min_(0).sqrt_()


def _from_squares(vectors: Tensor, others: Tensor) -> Iterator[Tensor]:
    """‖y‖² − 2 x · y for vectors x [n, k] and others y [m, k]: [64, m] at a time, each in the place of the last.

    One product, which stays in the cache: faster than torch.cdist and faiss (docs/records/performance.md).
    """
    right = torch.cat([-2 * others, others.square().sum(1, keepdim=True)], 1).T.contiguous()
    left = torch.cat([vectors, vectors.new_ones(len(vectors), 1)], 1)
    room = vectors.new_empty(64, len(others))
    for part in torch.split(left, 64):
        yield torch.mm(part, right, out=room[: len(part)])


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class NearestNeighborDetector(_Shallow):
    """1-NN: the distance to the nearest of a dictionary of descriptors of good images; the paper: 5,000 of them."""

    samples: int = like(_Shallow, "samples", 5_000)

    method = "knn"
    paper_name = "1-NN"
    label = "Nearest neighbours"

    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        return {"dictionary": vectors}

    def _from_model(self, vectors: Tensor) -> Tensor:
        return nearest(vectors, self.learned_["dictionary"])


@documented
class KMeansDetector(_Shallow):
    """K-Means: the distance to the nearest of ten centres."""

    method = "kmeans"
    paper_name = "K-Means"
    label = "K-Means"

    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        return {"centers": cluster_centers(vectors, 10, self.seed)}

    def _from_model(self, vectors: Tensor) -> Tensor:
        return nearest(vectors, self.learned_["centers"])


@documented
@dataclass(kw_only=True, eq=False, repr=False)
class OneClassSvmDetector(_Shallow):
    """OC-SVM with a radial basis function: minus its decision value.

    The paper is silent on `nu` and `gamma`; the defaults are what scikit-learn's were when it was written.
    """

    nu: float = setting(0.5, "Largest share of the training descriptors outside.", above=0, at_most=1)
    gamma: float | Literal["auto", "scale"] = setting(
        "auto",
        "Of the kernel exp(−γ ‖x − y‖²): auto, 1 / k for k components; scale, 1 / (k · variance), which is far too "
        "wide for descriptors of some objects (docs/records/reproduced.md); or a number.",
        above=0,
    )

    method = "ocsvm"
    paper_name = "OC-SVM"
    label = "One-class SVM"

    def _model(self, vectors: Tensor) -> dict[str, Tensor]:
        svm = sklearn("svm").OneClassSVM(nu=self.nu, gamma=self.gamma, cache_size=2000).fit(vectors.double().numpy())
        return {
            "support": torch.from_numpy(svm.support_vectors_).float(),
            "weights": torch.from_numpy(svm.dual_coef_[0]).float(),
            "gamma": torch.tensor(float(svm._gamma)),
            "offset": torch.tensor(float(svm.intercept_[0])),
        }

    def _from_model(self, vectors: Tensor) -> Tensor:
        x = self.learned_
        # by hand: scikit-learn's takes one thread and minutes for an image
        pieces = zip(_from_squares(vectors, x["support"]), torch.split(vectors, 64), strict=True)
        kernels = (d.add_(v.square().sum(1, keepdim=True)).mul_(-x["gamma"]).exp_() for d, v in pieces)
        return torch.cat([-(kernel @ x["weights"] + x["offset"]) for kernel in kernels])
