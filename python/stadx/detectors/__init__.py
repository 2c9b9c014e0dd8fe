"""Detectors: what they share, the student–teacher method, and the systems that the paper compares it with."""
