"""Runs models that stadx exported to ONNX, with NumPy and onnxruntime alone."""

from .regions import FoundRegion, find_regions
from .runtime import ExportFileError, Prediction, Runtime

__all__ = ["ExportFileError", "FoundRegion", "Prediction", "Runtime", "find_regions"]
