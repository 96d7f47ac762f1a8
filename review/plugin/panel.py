"""The plugin's panel: the queue, the running figures, and why to look at the open photo."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from anonymize.errors import AnonymizeError
from review.dataset import LOADED
from review.plugin.operators import Approve, Flag, Next, Operator, Undo, info, open_photo, review_with_edits


class QueuePanel(foo.Panel):
    @property
    def config(self) -> Any:
        return foo.PanelConfig(name="panel", label="Review queue", icon="checklist", surfaces="grid modal")

    def on_load(self, ctx: Any) -> None:
        _run(ctx)

    def on_change_current_sample(self, ctx: Any) -> None:
        _run(ctx)

    def go_next(self, ctx: Any) -> None:
        _run(ctx, Next)

    def approve_next(self, ctx: Any) -> None:
        _run(ctx, Approve, Next)

    def flag_next(self, ctx: Any) -> None:
        _run(ctx, Flag, Next)

    def undo(self, ctx: Any) -> None:
        _run(ctx, Undo)

    def render(self, ctx: Any) -> Any:
        panel = types.Object()
        panel.md(ctx.panel.state.told or _summary(ctx), name="told")
        if "clips" in info(ctx):  # a clip's buttons are above it
            return types.Property(panel)
        buttons = panel.h_stack("buttons", gap=1)
        buttons.btn("next", label="Next", on_click=self.go_next)
        buttons.btn("approve", label="Approve, next", on_click=self.approve_next)
        buttons.btn("flag", label="Flag, next", on_click=self.flag_next)
        buttons.btn("undo", label="Undo", on_click=self.undo)
        return types.Property(panel)


def _run(ctx: Any, *operators: type[Operator]) -> None:
    """One operator after the other, as long as none fails; then the panel's text is what is so now."""
    for operator in operators:
        if "error" in (operator().execute(ctx) or {}):
            break
    ctx.panel.state.told = _summary(ctx)


def _summary_of_clips(ctx: Any) -> str:
    """How many clips are approved, and what to look at in the open one."""
    done = ctx.dataset.values("review")
    lines = [f"**{done.count('approved')} of {len(done)} clips approved**", ""]
    here = ctx.dataset.select([ctx.current_sample] if ctx.current_sample else [])
    for clip, review, risk, look in zip(*here.values(["clip", "review", "risk", "look"]), strict=True):
        lines += [f"`{clip}`: {review}, risk {risk:.2f}", *(f"- {moment}" for moment in look or ()), ""]
    return "\n".join([*lines, "Select a track in any frame, and use the buttons above the clip."])


def _summary(ctx: Any) -> str:
    """The running figures, the open photo's reasons, the next ones. What was drawn in another photo is saved first."""
    if "clips" in info(ctx):
        return _summary_of_clips(ctx)
    try:
        review = review_with_edits(ctx)
        queue = review.queue
        lines = [f"**{queue.progress()}**", ""]
        if len(queue) > LOADED:
            lines += [f"The {LOADED:,} riskiest of {len(queue):,} photos are here.", ""]
        here = open_photo(ctx)
        item, pending = queue.item(here) if here else None, queue.pending(10)
    except AnonymizeError as e:
        return str(e)
    if item is not None:
        lines += [f"`{item.path}`: {item.status}, risk {item.risk:.2f}", *(f"- {r}" for r in item.reasons), ""]
    lines += ["| next | risk | why |", "|---|---|---|"]
    lines += [f"| `{i.path}` | {i.risk:.2f} | {(i.reasons or ['nothing suspected'])[0]} |" for i in pending]
    return "\n".join(lines)
