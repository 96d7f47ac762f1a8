"""FiftyOne's own server behind three walls: `requests` (shape), `process` (inside), `sandbox` (outside)."""
