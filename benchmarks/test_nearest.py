"""Distances to the nearest of a dictionary, as 1-NN scores an image: beside torch.cdist, faiss and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from stadx.detectors.baselines.shallow import nearest


@pytest.mark.parametrize("how", ["stadx", "torch.cdist", "faiss", "scikit-learn"])
def test_nearest(benchmark: BenchmarkFixture, how: str) -> None:
    vectors, dictionary = torch.randn(16384, 67), torch.randn(5000, 67)
    benchmark.group = "nearest of 5,000, 16,384 queries of 67 numbers"
    if how == "stadx":
        benchmark(nearest, vectors, dictionary)
    elif how == "torch.cdist":
        benchmark(lambda: torch.cdist(vectors, dictionary).amin(1))
    elif how == "faiss":
        faiss = pytest.importorskip("faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatL2(67)
        index.add(dictionary.numpy())
        benchmark(index.search, vectors.numpy(), 1)
    else:
        neighbors = pytest.importorskip("sklearn.neighbors")
        fitted = neighbors.NearestNeighbors(n_neighbors=1, algorithm="brute").fit(dictionary.numpy())
        benchmark(fitted.kneighbors, vectors.numpy())
