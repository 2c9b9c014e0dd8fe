"""Measuring detectors and maps of any tool, scoring image files, and reports of what was found."""
