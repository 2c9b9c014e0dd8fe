"""A trained detector as one file that other programs run: ONNX, PyTorch's exported program, OpenVINO."""

from .exporting import Exported, export_detector
from .formats import FORMATS, FormatName
from .graph import ExportedDetector
from .parity import LIMITS, ExportPrecision, Parity, ParityError
from .sealing import check_export

__all__ = [
    "FORMATS",
    "LIMITS",
    "ExportPrecision",
    "Exported",
    "ExportedDetector",
    "FormatName",
    "Parity",
    "ParityError",
    "check_export",
    "export_detector",
]
