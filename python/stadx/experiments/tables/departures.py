"""In what a budget's students and teachers are other than the paper's, from the settings themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stadx.core.files import read_model
from stadx.detectors.student_teacher.detector import Detector
from stadx.teachers.teacher_files import TEACHER_VERSION, shipped_teacher

from ..request import BUDGETS, Budget
from ..settings import OneClassSettings

_PAPERS_STUDENTS = 5  # on MNIST and CIFAR-10: all that the paper tells of their training
_TERMS = {"e": "error alone", "v": "variance alone", "both": "error and variance"}
_NONE = {"crop": "whole images", "learning_rate": "the optimiser's own"}
_PRINTED = {"efficientnet-lite0": "EfficientNet-Lite0", "resnet18": "ResNet-18", "resnet50": "ResNet-50"}


def of_detectors(budget: Budget) -> str:
    """Of the students on whole images, each setting with the paper's in brackets."""
    ours, paper = _of_detector(budget), _of_detector(BUDGETS["paper"])
    other = [f"{n.replace('_', ' ')} {_text(n, v)} ({_text(n, paper[n])})" for n, v in ours.items() if v != paper[n]]
    if not other:
        return "Students as in the paper."
    return f"Students where not as in the paper, whose settings are in brackets: {', '.join(other)}."


def of_one_class(budget: Budget) -> str:
    """Of the students of whole small images."""
    settings = asdict(OneClassSettings(**budget.one_class))
    names = "steps", "batch", "optimizer", "learning_rate", "schedule", "weight_decay"
    shown = [f"{n.replace('_', ' ')} {_text(n, settings[n])}" for n in names]
    count, terms = settings["students"], budget.detector.get("terms", "e")
    students = f"{count} students" + ("" if count == _PAPERS_STUDENTS else f" (paper: {_PAPERS_STUDENTS})")
    score = _TERMS[terms] + ("" if terms == "both" else f" (paper: {_TERMS['both']})")
    return f"{students}, {', '.join(shown)} (the paper is silent on these), {score}."


def of_teachers(files: Iterable[Path]) -> list[str]:
    """What the cards in teacher files tell of their training, a line for all that have the same."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in files:
        card = read_model(file, "teacher", TEACHER_VERSION)[0].get("card", {})
        found.setdefault((_trained(card), str(card.get("note", ""))), []).append(_named(file))
    return [
        f"Teachers ({', '.join(names)}): {text} (paper: ResNet-18; on MVTec AD λk = λc = 1, λm = 0). {note}".rstrip()
        for (text, note), names in found.items()
    ]


def shipped(scales: Iterable[int]) -> list[Path]:
    """The teachers that come with stadx."""
    return [shipped_teacher(p) for p in scales]


def _trained(card: dict[str, Any]) -> str:
    if "pretrained_network" not in card:
        return "of unknown training"
    network = str(card["pretrained_network"])
    weights = zip(("λk", "λm", "λc"), ("distillation_weight", "triplet_weight", "compactness_weight"), strict=True)
    losses = ", ".join(f"{name} = {card[weight]:g}" for name, weight in weights if weight in card)
    return f"distilled from {_PRINTED.get(network, network)}, {losses}"


def _named(file: Path) -> str:
    return f"{file.name} of stadx" if file.parent == shipped_teacher(33).parent else str(file)


def _of_detector(budget: Budget) -> dict[str, Any]:
    settings = {**Detector(**budget.detector_settings(1)).settings, "stride": budget.stride}
    settings.pop("scales")  # the columns, not a departure
    if (epochs := budget.detector.get("epochs")) is not None:
        settings["steps"] = f"{epochs} epochs"
    return settings


def _text(name: str, value: object) -> str:
    if value is None:
        return _NONE.get(name, "none")
    if name == "terms":
        return _TERMS[str(value)]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
