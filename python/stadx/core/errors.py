"""The errors that stadx raises on purpose: each message names the thing and the fix."""

from __future__ import annotations


class StadxError(Exception):
    """Base of every error that a person can fix; the command line prints it and exits with 2."""


class DataError(StadxError, ValueError):
    """An image, mask, folder or array that cannot be used as it is."""


class ModelFileError(StadxError, ValueError):
    """A model, teacher or checkpoint file that is damaged, foreign or of another version."""


class OutputError(StadxError, OSError):
    """A place that cannot be written to."""


class MissingExtraError(StadxError, ImportError):
    """An optional dependency that is not installed."""


class NotBuiltError(StadxError, ImportError):
    """The compiled operators, the module stadx._C, which are missing or do not load with the installed PyTorch."""


class DataWarning(UserWarning):
    """Something about an image that is read otherwise than it may be meant; the command line prints it."""
