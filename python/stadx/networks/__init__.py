"""Patch networks: their layers, their dense form on a CPU, and what training them takes."""
