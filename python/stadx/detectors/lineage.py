"""Where a detector comes from: an entry for its training and for each update."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from stadx.core.version import package_version

Entry = dict[str, Any]
"""What became of a detector at one time, as values that `json.dumps` takes."""


def new_entry(what: str, parent: str | None, **said: Any) -> Entry:
    """An entry of now.

    Args:
        what: "train", "update", or "thresholds" where students stayed as they were.
        parent: hash of the model that it came from.
        said: what else is to be told.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"what": what, "when": now, "stadx": package_version(), "parent": parent, **said}


def sentence(entry: Entry) -> str:
    """An entry in words."""
    images = entry["images"]
    more = [f"{images['new']} new images"] if entry["what"] != "train" else [f"{images['new']} images"]
    if images.get("old"):
        more.append(f"{images['old']} old ones")
    if entry.get("steps"):
        more.append(f"{entry['steps']} steps")
    if entry["parent"]:
        more.append(f"from {entry['parent'][:12]}")
    what = {"train": "trained", "update": "updated", "thresholds": "thresholds alone"}[entry["what"]]
    return f"{entry['when']} {what}: {', '.join(more)}"
