"""One thing changed at a time."""
