"""Computes what a farm sustains as it grows, from what one task costs; docs/scale.md explains it."""
