"""The Review tab of the page: an element that static/review.js fills, with what `ReviewHandlers` answers."""

from __future__ import annotations

from anonymize.web.elements import element


def build() -> None:
    """Draw the tab; called inside gr.Blocks."""
    element("review", elem_id="rv")
