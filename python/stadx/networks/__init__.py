"""Patch networks: their layers, their dense form on a CPU, and what training them takes."""

from .patch_network import PatchNetwork, normalize_images

__all__ = ["PatchNetwork", "normalize_images"]
