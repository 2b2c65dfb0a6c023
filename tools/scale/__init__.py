"""Computes what a farm sustains as it grows, from what a task costs: docs/scale.md."""
