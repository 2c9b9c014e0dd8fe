"""What the metrics accept as maps, masks, scores and labels, and how they name what they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from stadx.core.errors import DataError
from stadx.metrics import au_pro, aupimo, aupr, auroc, evaluator, f1_max, pro_curve

Made = Callable[[NDArray[Any]], Any]


def _read_only(x: NDArray[Any]) -> NDArray[Any]:
    x = x.copy()
    x.flags.writeable = False
    return x


def _tensor(dtype: torch.dtype) -> Made:
    return lambda x: torch.from_numpy(x).to(dtype)


EITHER: dict[str, Made] = {  # of maps and of masks
    "list": list,
    "tuple": tuple,
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "list of both": lambda x: [x[0], *torch.from_numpy(x[1:])],
    "Fortran order": np.asfortranarray,
    "negative strides": lambda x: x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "strided": lambda x: x.repeat(2, 1).repeat(3, 2)[:, ::2, ::3],
    "transposed tensor": lambda x: torch.from_numpy(x).mT.contiguous().mT,
    "big-endian": lambda x: x.astype(">i4"),
    "read-only": _read_only,
    **{t: lambda x, t=t: x.astype(t) for t in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">u2", ">i8")},
    **{str(t): _tensor(t) for t in (torch.int8, torch.int16, torch.int64, torch.uint8, torch.uint16)},
}
SCORES: dict[str, Made] = {  # of maps alone
    **{t: lambda x, t=t: x.astype(t) for t in ("f2", "f4", "f8", ">f2", ">f4", ">f8")},
    **{str(t): _tensor(t) for t in (torch.float16, torch.bfloat16, torch.float32, torch.float64)},
    "read-only float32": lambda x: _read_only(x.astype(np.float32)),
    "read-only float64": lambda x: _read_only(x.astype(np.float64)),
    "with gradient": lambda x: _tensor(torch.float32)(x).requires_grad_(),
    "list of dtypes": lambda x: [x[0].astype(np.float16), x[1].astype(np.float64), *x[2:].astype(np.float32)],
}


NUMBERS: dict[str, Callable[[list[float]], Any]] = {
    "numbers": list,
    "array": np.float32,
    "NumPy scalars": lambda x: [np.float32(v) for v in x],
    "tensors": lambda x: [torch.tensor(v) for v in x],
    "tensors with gradient": lambda x: [torch.tensor(v, requires_grad=True) for v in x],
    "bfloat16 tensors": lambda x: [torch.tensor(v, dtype=torch.bfloat16) for v in x],
}


@pytest.fixture
def every_warning() -> Iterator[None]:
    """PyTorch shows some warnings only once; here each is shown, for a filter to turn into an error."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def _set() -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Scores that every dtype holds, and defects."""
    rng = np.random.default_rng(5)
    masks = ndimage.gaussian_filter(rng.standard_normal((4, 24, 30)), (0, 2, 2)) > 0.12
    masks[0] = False
    return rng.integers(0, 12, masks.shape) + 4 * masks, masks


FUNCTIONS = [au_pro, pro_curve, auroc, aupr, f1_max, aupimo]


@pytest.mark.usefixtures("every_warning")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", [*EITHER, *SCORES])
def test_kinds_of_input_agree(kind: str, function: Callable[..., Any]) -> None:
    scores, truth = _set()
    maps = (SCORES.get(kind) or EITHER[kind])(scores)
    masks = EITHER[kind](3 * truth.astype(np.int64)) if kind in EITHER else truth
    before = [x.tolist() for group in (maps, masks) for x in group]
    np.testing.assert_equal(function(maps, masks), function(scores, truth))
    assert [x.tolist() for group in (maps, masks) for x in group] == before  # left alone


@pytest.mark.usefixtures("every_warning")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_bool_scores(function: Callable[..., Any]) -> None:
    scores, truth = _set()
    want = function((scores > 9).astype(np.float32), truth)
    np.testing.assert_equal(function(scores > 9, truth), want)
    np.testing.assert_equal(function(torch.from_numpy(scores > 9), truth), want)


@pytest.mark.usefixtures("every_warning")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", [auroc, aupr, f1_max])
@pytest.mark.parametrize("kind", NUMBERS)
def test_lists_of_numbers(kind: str, function: Callable[..., Any]) -> None:
    made = NUMBERS[kind]
    scores, labels = [0.5, 2.0, 1.0, -3.0, 1.0], [0, 1, 1, 0, 0]
    want = function(np.array(scores), np.array(labels))
    assert function(made(scores), labels) == want
    assert function(made(scores), [bool(x) for x in labels]) == want
    assert function(made(scores), torch.tensor(labels)) == want


def test_images_without_a_pixel_change_nothing() -> None:
    maps, masks = map(list, _set())
    for shape in [(0, 4), (4, 0), (0, 0)]:
        maps.insert(0, np.zeros(shape, np.int64))
        masks.insert(0, np.zeros(shape, bool))
    for function in (au_pro, auroc, aupr, f1_max):
        assert function(maps, masks) == function(*_set())


ZERO, ONE = np.zeros((4, 5), dtype=np.float32), np.ones((4, 5), dtype=bool)
SPOT = np.eye(4, 5, dtype=bool)


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        ([ZERO], [~ONE], "no defect"),
        ([], [], "no defect"),
        ([ZERO[:0]], [ONE[:0]], "no defect"),
        ([ZERO], [ONE], "no background"),
        ([ZERO, ZERO], [SPOT], "2 maps but 1 masks"),
        ([ZERO, ZERO], [SPOT, SPOT[:3]], r"image 1: maps have shape \(4, 5\) but masks \(3, 5\)"),
        ([ZERO, ZERO * np.nan], [SPOT, SPOT], "image 1: maps contain NaN"),
        ([ZERO], [SPOT.astype(float)], "image 0: masks are float64"),
        ([ZERO.astype(complex)], [SPOT], "image 0: maps are complex128"),
        ([ZERO.astype(object)], [SPOT], "image 0: maps are object"),
        ([ZERO[None]], [SPOT[None]], r"must be \[H, W\]"),
        (ZERO[None, None], SPOT[None, None], r"must be \[H, W\]"),
    ],
)
def test_au_pro_names_what_is_wrong(maps: Any, masks: Any, message: str) -> None:
    for function in (pro_curve, au_pro):
        with pytest.raises(DataError, match=message):
            function(maps, masks)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_fpr_limit_is_checked(limit: float) -> None:
    with pytest.raises(DataError, match="fpr_limit"):
        au_pro([ZERO], [SPOT], fpr_limit=limit)


def test_connectivity_is_checked() -> None:
    for function in (au_pro, pro_curve):
        with pytest.raises(DataError, match="connectivity is 6"):
            function([ZERO], [SPOT], connectivity=6)


@pytest.mark.parametrize("function", [auroc, aupr, f1_max])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [0, 0], "no label is anomalous"),
        ([0.1, 0.2], [1, 1], "no label is good"),
        ([], [], "no label is anomalous"),
        ([0.1, float("nan")], [0, 1], "NaN"),
        ([float("nan"), 0.1], [0, 1], "NaN"),
        ([0.1, 0.2, 0.3], [0, 1], "shape"),
        ([0.1, 0.2], [0.0, 1.0], "labels are float64"),
        (["a", "b"], [0, 1], "scores are <U1"),
    ],
)
def test_classification_names_what_is_wrong(
    function: Callable[..., Any], scores: list[Any], labels: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        function(scores, labels)


NAN_AT: dict[str, Made] = {
    "a defect pixel": lambda mask: mask & (mask.cumsum().reshape(mask.shape) == 7),
    "all defect pixels": lambda mask: mask,
    "a background pixel": lambda mask: ~mask & ((~mask).cumsum().reshape(mask.shape) == 7),
    "everything": np.ones_like,
}


@pytest.mark.parametrize("at_once", [2**26, 1], ids=["one count", "a count per image"])
@pytest.mark.parametrize("value", [np.nan, -np.nan], ids=["NaN", "-NaN"])
@pytest.mark.parametrize("where", NAN_AT)
@pytest.mark.parametrize("dtypes", ["f4 f4 f4 f4", "f8 f8 f8 f8", "f4 f8 f4 f2"])
def test_nan_names_its_image(
    dtypes: str, where: str, value: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "IN_MEMORY_PIXELS", at_once)
    scores, truth = _set()
    maps = [x.astype(dtype) for x, dtype in zip(scores, dtypes.split(), strict=True)]
    maps[2][NAN_AT[where](truth[2])] = value
    maps[3][0, 0] = value  # the first image is named
    for limit in (0.05, 0.3, 1.0):
        with pytest.raises(DataError, match="image 2: maps contain NaN"):
            au_pro(maps, list(truth), fpr_limit=limit)
    for function in (pro_curve, auroc, aupr, f1_max):
        with pytest.raises(DataError, match=r"image 2: \w+ contain NaN"):
            function(maps, list(truth))


@pytest.mark.parametrize("limit", [0.05, 1.0])
def test_nothing_but_nan(limit: float) -> None:
    with pytest.raises(DataError, match="image 0: maps contain NaN"):
        au_pro([ZERO * np.nan] * 3, [SPOT] * 3, fpr_limit=limit)
