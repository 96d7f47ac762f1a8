"""A FiftyOne plugin: the review's decisions as operators, its queue as a panel.

It works in the review's own server and in anyone's FiftyOne. FiftyOne loads this file from its plugins folder, where it
may be a link or a copy, with the Python that it runs in: so the operators themselves come from the package.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

HOME = Path(__file__).resolve().parents[2]  # where this is a link, the folder that holds `anonymize` and `review`


def register(plugin: Any) -> None:
    """FiftyOne calls this; where the package cannot be imported, what is offered in its stead says what to do."""
    if (HOME / "review" / "store.py").is_file() and str(HOME) not in sys.path:
        sys.path.append(str(HOME))  # last: what is installed goes first
    try:
        from review.plugin.operators import ALL
        from review.plugin.panel import QueuePanel
    except ImportError as e:
        source = HOME if (HOME / "pyproject.toml").is_file() else "FOLDER_OF_ANONYMIZE"
        Missing.text = (
            f"The review's plugin needs the package `anonymize` in the Python that FiftyOne runs in ({e}):\n\n"
            f"    {sys.executable} -m pip install {source}\n\nThen start FiftyOne again."
        )
        logging.getLogger("anonymize.review").warning("%s", Missing.text)
        plugin.register(Missing)
        plugin.register(MissingPanel)
    else:
        for each in (*ALL, QueuePanel):
            plugin.register(each)


class Missing(foo.Operator):
    """In the stead of the first operator that anybody needs."""

    text = ""

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(name="open", label="Review: open records", icon="error")

    def execute(self, ctx: Any) -> Any:
        ctx.ops.notify(self.text, variant="error")
        return {"error": self.text}


class MissingPanel(foo.Panel):
    """In the stead of the queue."""

    @property
    def config(self) -> Any:
        return foo.PanelConfig(name="panel", label="Review queue", icon="error", surfaces="grid modal")

    def render(self, ctx: Any) -> Any:
        panel = types.Object()
        panel.md(Missing.text, name="missing")
        return types.Property(panel)
