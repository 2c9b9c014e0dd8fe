"""Detectors that travel to workers."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass

from stadx.core.errors import StadxError
from stadx.detectors.base import Calibrated
from stadx.detectors.registry import load_model


@dataclass(frozen=True)
class SentModel:
    """A detector as the content of its file; workers need not see the file.

    Attributes:
        content: of the file.
        device: where workers score.
    """

    content: bytes
    device: str = "cpu"

    @classmethod
    def of(cls, detector: Calibrated, device: str) -> SentModel:
        """With the thresholds and the region of interest that it has now."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            detector.save(path)
            with open(path, "rb") as file:
                return cls(file.read(), device)

    def opened(self) -> Calibrated:
        """The detector, ready to score.

        Raises:
            StadxError: if it cannot work on the device.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            with open(path, "wb") as file:
                file.write(self.content)
            try:
                return load_model(path).to(self.device)
            except ValueError as error:
                raise StadxError(f"a worker cannot score on {self.device}: {error}") from error
