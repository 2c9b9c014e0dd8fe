"""The students of the lowest held-out loss so far, for a training that stops when it no longer falls."""

from __future__ import annotations

import math

from torch import Tensor, nn


class BestStudents:
    """The students of the lowest loss on held-out images so far."""

    def __init__(self) -> None:
        self.state: dict[str, float] = {"loss": math.inf, "since": 0}
        self.tensors: dict[str, Tensor] = {}

    @staticmethod
    def restored(state: dict[str, float], tensors: dict[str, Tensor]) -> BestStudents:
        """From a checkpoint."""
        best = BestStudents()
        best.state = {"loss": float(state["loss"]), "since": state["since"]}
        best.tensors = {k: v for k, v in tensors.items() if k.startswith("best.")}
        return best

    def update(self, loss: float, modules: dict[str, nn.Module]) -> None:
        self.state["since"] += 1
        if loss < self.state["loss"]:
            self.state = {"loss": loss, "since": 0}
            self.tensors = {f"best.{n}.{k}": v.clone() for n, m in modules.items() for k, v in m.state_dict().items()}

    def is_over(self, patience: int) -> bool:
        """Whether the loss has not fallen at the last `patience` looks."""
        return 0 < patience <= self.state["since"]

    def put_back(self, modules: dict[str, nn.Module]) -> None:
        if self.tensors:
            for name, module in modules.items():
                module.load_state_dict({k: self.tensors[f"best.{name}.{k}"] for k in module.state_dict()})
