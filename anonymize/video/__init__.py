"""Clips: what is hidden in one frame is hidden in all in which it can be seen."""
