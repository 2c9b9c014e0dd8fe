"""A model that stadx exported: loaded, checked, and asked for defects."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from .regions import find_regions

_KEY = "stadx"  # of the description in the file's metadata
_VERSION = 1  # of the description
_SEAL = b"\x72\x50\x0a\x0cstadx.sha256\x12\x40"  # before the digest, see `stadx.detectors.export.sealing`
_DIGEST = 64  # characters at the file's end


class ExportFileError(ValueError):
    """A file that is no export of stadx, or was changed after it."""


class Prediction(NamedTuple):
    """What was found in images, as `stadx.Prediction`, and the verdicts.

    Attributes:
        maps: anomaly maps, float32 [B, H, W].
        image_scores: float32 [B].
        masks: where a map is above the pixel threshold, bool [B, H, W].
        is_anomalous: whether an image's score is above the image threshold, bool [B].
    """

    maps: NDArray[np.float32]
    image_scores: NDArray[np.float32]
    masks: NDArray[np.bool_]
    is_anomalous: NDArray[np.bool_]


class _Threshold:
    """One of a runtime's thresholds, a finite number."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __get__(self, runtime: Runtime, owner: type[Runtime]) -> float:
        return float(runtime._thresholds[self._kind])

    def __set__(self, runtime: Runtime, threshold: float) -> None:
        if not math.isfinite(threshold):
            raise ValueError(f"{self._kind}_threshold is {threshold!r}; it must be a finite number")
        runtime._thresholds[self._kind] = float(threshold)


class Runtime:
    """An exported model, ready to predict.

    Args:
        path: the ONNX file.
        threads: how many one prediction may use; None: one for each core.
        providers: of onnxruntime, the first that can is used; where it is not the CPU's, the comparison that was made
            at the export does not hold.

    Attributes:
        description: what the file says of itself: input, thresholds, the comparison with the detector, the model.
        height, width: of the images that it takes.
        dtype: of their values, as their files hold them: uint8, or what the model's images are, uint16 or float32.

    Raises:
        ExportFileError: if the file cannot be read, is no export of stadx, or was changed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        content = _checked(Path(path))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # thresholds are inputs with defaults, of which it would warn
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=list(providers))
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.description: dict[str, Any] = json.loads(metadata[_KEY])
            version = self.description["version"]
            self.height, self.width = (int(self.description["input"][side]) for side in ("height", "width"))
            self.dtype = np.dtype(self.description["input"]["dtype"])
            self._thresholds = dict(self.description["thresholds"])
        except Exception as error:  # onnxruntime has no base of its own errors
            raise ExportFileError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({error}); export it again, or install "
                "another onnxruntime"
            ) from error
        if version != _VERSION:
            raise ExportFileError(
                f"{path}: was exported in version {version} of the format, this stadx-runtime reads {_VERSION}; "
                "install the stadx-runtime that belongs to the stadx that exported it"
            )

    pixel_threshold = _Threshold("pixel")
    """Pixels with a higher score are in the mask; may be set."""

    image_threshold = _Threshold("image")
    """Images with a higher score are anomalous; may be set."""

    def predict(self, images: NDArray[Any], *, channels: Literal["rgb", "bgr"] = "rgb") -> Prediction:
        """Find defects.

        Args:
            images: [H, W, 3], a batch [B, H, W, 3], or grey [H, W], of the size that was exported and of `dtype`.
                Values beyond the model's range are clipped, see `description["input"]`.
            channels: order of the colours; OpenCV's is "bgr".

        Raises:
            ValueError: if they are something else.
        """
        inputs = {
            "images": self._batch(images, channels),
            "pixel_threshold": _below(self.pixel_threshold),
            "image_threshold": _below(self.image_threshold),
        }
        return Prediction(*self._session.run(("maps", "image_scores", "masks", "is_anomalous"), inputs))

    def line(
        self,
        prediction: Prediction,
        index: int = 0,
        *,
        path: str | os.PathLike[str] | None = None,
        min_area: float = 0,
    ) -> dict[str, Any]:
        """What `stadx predict` writes of an image into scores.jsonl, ready for `json.dumps`.

        Args:
            prediction: from `predict`.
            index: of the image in the batch.
            path: what the image is called, if anything.
            min_area: regions with fewer pixels are left out.
        """
        found, _ = find_regions(prediction.masks[index], prediction.maps[index], min_area=min_area)
        return {
            **({} if path is None else {"path": os.fspath(path)}),
            "image_score": float(prediction.image_scores[index]),
            "image_threshold": self.image_threshold,
            "is_anomalous": bool(prediction.is_anomalous[index]),
            "pixel_threshold": self.pixel_threshold,
            "anomalous_pixels": sum(region.area for region in found),
            "pixels": self.height * self.width,
            "regions": [{**region._asdict(), "box": list(region.box)} for region in found],
        }

    def _batch(self, images: NDArray[Any], channels: str) -> NDArray[Any]:
        if channels not in ("rgb", "bgr"):
            raise ValueError(f"channels is {channels!r}; it must be rgb or bgr")
        array = np.asarray(images)
        if array.dtype != self.dtype:
            raise ValueError(f"images are {array.dtype}; give {self.dtype}, as this model's cameras do")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("images hold NaN or infinity; replace these values")
        if array.ndim == 2:
            array = np.repeat(array[:, :, None], 3, 2)
        if array.ndim == 3:
            array = array[None]
        if array.ndim != 4 or array.shape[1:] != (self.height, self.width, 3) or not len(array):
            raise ValueError(
                f"images have shape {list(np.shape(images))}; this export takes [{self.height}, {self.width}, 3] or "
                f"batches of it, and [{self.height}, {self.width}] if grey: export again with --size for another size"
            )
        return np.ascontiguousarray(array[..., ::-1] if channels == "bgr" else array)


def _checked(path: Path) -> bytes:
    """The file's bytes, if they are those that were exported."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ExportFileError(f"{path}: cannot be read ({error.strerror or error}); check the name") from error
    body, seal = content[: -len(_SEAL) - _DIGEST], content[-len(_SEAL) - _DIGEST :]
    if seal != _SEAL + hashlib.sha256(body).hexdigest().encode():
        raise ExportFileError(
            f"{path}: is no ONNX file that stadx exported, or was changed afterwards (its SHA-256 is another); copy it "
            "again or export it again"
        )
    return content


def _below(threshold: float) -> NDArray[np.float32]:
    """The highest float32 that is not above it: a float32 score is above both, or above none."""
    value = np.float32(threshold)
    return np.array([np.nextafter(value, np.float32(-np.inf)) if float(value) > threshold else value], np.float32)
