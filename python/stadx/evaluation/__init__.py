"""Measuring detectors and maps of any tool, scoring image files, and reports of what was found."""

from .of_detector import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
