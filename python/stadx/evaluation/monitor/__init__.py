"""Whether the images of a line still score as those that judged: a sequential test, and what it tells."""

from .drift import Drift as Drift
from .drift import DriftState as DriftState
