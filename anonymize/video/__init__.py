"""Clips: frames in, tracks, frames out in which every region is hidden. PyAV is needed (the extra `video`)."""
