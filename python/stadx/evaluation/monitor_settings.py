"""The settings of `monitor`; imports no torch, `--help` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from stadx.core.settings import check, documented, setting


@documented
@dataclass(frozen=True)
class MonitorSettings:
    """What a drift is, and how surely it is told.

    Raises:
        ValueError: naming a setting that cannot be, and what it must be.
    """

    alpha: float = setting(
        0.01, "Without a drift say one with at most this probability, over all time.", above=0, below=1
    )
    window: int = setting(50, "So many of the last images count as now.", at_least=1)
    baseline: int = setting(
        0,
        "Compare with this many of the line's first images, of a good time; 0: with the images that judged.",
        at_least=0,
    )
    group: int | None = setting(
        None,
        "Count so many images that follow each other as one, such as the photos of one part.",
        none="1, or found from the images that judged",
        at_least=1,
    )
    defect_rate: float = setting(0.01, "Share of defective images that is no change.", at_least=0, below=0.5)
    seed: int = setting(0, "Of the order of equal scores.", at_least=0)

    def __post_init__(self) -> None:
        check(self)
