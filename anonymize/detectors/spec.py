"""A detector's spec: text that says which detector to build, and the tree that it means.

    NAME, NAME@LONG_SIDE       a model of the registry; the photo's long side becomes LONG_SIDE px
    NAME@LOW-HIGH              at LOW, at twice that, … up to HIGH px, as far as the photo has detail for it
    yolo:PATH[@LONG_SIDE]      your own weights: .onnx, an OpenVINO folder, or a .pt (needs --trust)
    package.module:Class       your own detector, called without arguments
    tiled:DETECTOR             the whole photo, and its overlapping tiles
    two-stage:DETECTOR         vehicles first, then DETECTOR inside each of them, enlarged (two-stage: safelicensing)
    closer:NAME@LONG_SIDE      only where the others of A+B half see something, or see persons and vehicles
    A+B                        both, fused (`ensemble.Ensemble`)
    in-context:DETECTORS       all that follows; vehicles around a plate are evidence for it (with coco, say)

`tiled:`, `two-stage:`, and `closer:` belong to the next name only, `in-context:` to everything after it. A PATH with a
+ in it, or one that ends like @LONG_SIDE, stands in double quotes.

`parse` reads a spec, `str` writes it: `parse(str(spec)) == spec`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DetectorSpecError
from ..weights.registry import registry

STRIDE = 32  # px; the largest stride of all networks here
MAX_SIDE = 8192  # px; a network's buffers grow with the square
VEHICLES = "coco"  # the registry's model of vehicles, the first of two stages
IN_CONTEXT = "in-context:"
CLOSER = "closer:"
FORMS = (
    "NAME@LONG_SIDE",
    "NAME@LOW-HIGH",
    "yolo:PATH",
    "package.module:Class",
    "tiled:NAME",
    "two-stage:NAME",
    "A+B",
    "A+closer:B",
)
_PART = re.compile(r'[^+"]*yolo:\s*"(?:[^"]|"")*"[^+]*|[^+]*')
_QUOTED = re.compile(r'"((?:[^"]|"")+)"(?:@(.*))?', re.DOTALL)
_SIZED = re.compile(r"(.+)@([^./\\@]*)", re.DOTALL)  # a file's name has a dot, a folder's may be quoted
_CLASS = re.compile(r"([^\W\d][\w.]*):([^\W\d]\w*)")


@dataclass(frozen=True, slots=True)
class Named:
    """A model of the registry.

    Attributes:
        name: In models/registry.toml.
        low: Long side of the network's input, px; None: the registry's.
        high: The largest of several long sides, each twice the one before, px; None: only one.
    """

    name: str
    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        return self.name + (f"@{self.low}" if self.low else "") + (f"-{self.high}" if self.high else "")


@dataclass(frozen=True, slots=True)
class OwnWeights:
    """A YOLO network from a file.

    Attributes:
        path: The .onnx or .pt file, or the OpenVINO folder.
        low: Long side of the network's input, px; None: the network's own.
    """

    path: str
    low: int | None = None

    def __str__(self) -> str:
        path = self.path
        if path != path.strip() or re.search('[+"]', path) or _SIZED.fullmatch(path):
            path = '"' + path.replace('"', '""') + '"'
        return f"yolo:{path}" + (f"@{self.low}" if self.low else "")


@dataclass(frozen=True, slots=True)
class OwnClass:
    """A detector class of one's own: `attribute` of `module`."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


@dataclass(frozen=True, slots=True)
class Tiled:
    """`inner` on the whole photo and on its tiles."""

    inner: Part

    def __str__(self) -> str:
        return f"tiled:{self.inner}"


@dataclass(frozen=True, slots=True)
class TwoStage:
    """`inner` inside each vehicle."""

    inner: Part = Named("safelicensing")

    def __str__(self) -> str:
        return f"two-stage:{self.inner}"


@dataclass(frozen=True, slots=True)
class Closer:
    """`inner` where the others of an ensemble say that something may be, at one size or at several."""

    inner: Named

    def __str__(self) -> str:
        return f"{CLOSER}{self.inner}"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """At least two detectors, fused."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class InContext:
    """`inner`, whose plates are rescored by the vehicles that carry them."""

    inner: Part | Ensemble

    def __str__(self) -> str:
        return IN_CONTEXT + str(self.inner)


Part = Named | OwnWeights | OwnClass | Tiled | TwoStage | Closer
Spec = Part | Ensemble | InContext
PREFIXES: dict[str, type[Tiled | TwoStage]] = {"tiled:": Tiled, "two-stage:": TwoStage}


def names() -> tuple[str, ...]:
    """The registry's models that are detectors."""
    return tuple(n for n, m in registry().items() if m.task not in ("corners", "text"))


def parse(text: str) -> Spec:
    """Read a detector's spec.

    Raises:
        DetectorSpecError: It is none; the message points at the place and lists what is valid.
    """
    span = _Span(text, 0, len(text)).strip()
    if str(span).startswith(IN_CONTEXT):
        return InContext(_ensemble(span.cut(len(IN_CONTEXT))))
    return _ensemble(span)


def leaves(spec: Spec) -> Iterator[Named | OwnWeights | OwnClass]:
    """What a spec is composed of in the end, in order."""
    match spec:
        case Ensemble():
            for part in spec.parts:
                yield from leaves(part)
        case Tiled() | InContext() | Closer():
            yield from leaves(spec.inner)
        case TwoStage():
            yield Named(VEHICLES)
            yield from leaves(spec.inner)
        case _:
            yield spec


def models(spec: Spec) -> list[str]:
    """The registry's models that a spec needs, without loading any."""
    return list(dict.fromkeys(leaf.name for leaf in leaves(spec) if isinstance(leaf, Named)))


def with_side(spec: Spec, side: int) -> Spec:
    """The spec with this long side, px, wherever it names none."""
    match spec:
        case Named(low=None) | OwnWeights(low=None):
            return dataclasses.replace(spec, low=side)
        case Tiled() | TwoStage() | InContext() | Closer():
            return dataclasses.replace(spec, inner=with_side(spec.inner, side))  # type: ignore[arg-type]
        case Ensemble():
            return Ensemble(tuple(with_side(part, side) for part in spec.parts))  # type: ignore[misc]
    return spec


@dataclass(frozen=True, slots=True)
class _Span:
    """A piece of a spec that knows where it stands."""

    whole: str
    start: int
    end: int

    def __str__(self) -> str:
        return self.whole[self.start : self.end]

    def strip(self) -> _Span:
        text = str(self)
        start = self.start + len(text) - len(text.lstrip())
        return _Span(self.whole, start, max(start, self.start + len(text.rstrip())))

    def cut(self, start: int, end: int | None = None) -> _Span:
        """The piece from `start` to `end`, counted from this one's start, without blanks around it."""
        return _Span(self.whole, self.start + start, self.end if end is None else self.start + end).strip()

    def error(self, problem: str) -> DetectorSpecError:
        return DetectorSpecError(problem, self.whole, self.start, self.end, (*names(), *FORMS, f"{IN_CONTEXT}A+B"))


def _ensemble(span: _Span) -> Part | Ensemble:
    text, start, parts = str(span), 0, []
    while True:
        match = _PART.match(text, start)
        assert match  # it matches the empty text, too
        parts.append(_part(span.cut(start, match.end())))
        if match.end() == len(text):
            return parts[0] if len(parts) == 1 else Ensemble(tuple(parts))
        start = match.end() + 1


def _part(span: _Span, outer: tuple[str, ...] = ()) -> Part:
    text = str(span)
    if not text:
        raise span.error("a detector's name is missing")
    for prefix, wrapper in PREFIXES.items():
        if text.startswith(prefix):
            if prefix in outer:
                raise span.cut(0, len(prefix)).error(f"{prefix} inside {prefix} is no more than {prefix}")
            return wrapper(_part(span.cut(len(prefix)), (*outer, prefix)))
    if text.startswith(CLOSER):
        inner = _part(span.cut(len(CLOSER)))
        if outer or not isinstance(inner, Named):
            raise span.error(f"{CLOSER} stands before a detector's name, and inside nothing")
        return Closer(inner)
    if text == "two-stage" and "two-stage:" not in outer:
        return TwoStage()
    if text.startswith("yolo:"):
        return _own_weights(span.cut(5))
    if match := _CLASS.fullmatch(text):
        return OwnClass(*match.groups())
    name, at, sides = text.partition("@")
    if name not in names():
        raise span.cut(0, len(name)).error(f"unknown detector {name!r}")
    if not at:
        return Named(name)
    low, dash, _ = sides.partition("-")
    first = _side(span.cut(len(name) + 1, len(name) + 1 + len(low)))
    if not dash:
        return Named(name, first)
    last = _side(after := span.cut(len(name) + 2 + len(low)))
    if last < 2 * first:
        raise after.error(f"of LOW-HIGH, HIGH is at least twice LOW, {2 * first}; received {last}")
    return Named(name, first, last)


def _own_weights(span: _Span) -> OwnWeights:
    text = str(span)
    if text.startswith('"'):
        match = _QUOTED.fullmatch(text)
        if not match:
            raise span.error('the quote around a path is not closed, or more than "@LONG_SIDE" stands after it')
        path = match[1].replace('""', '"')
    else:
        match = _SIZED.fullmatch(text)
        path = match[1] if match else text
    if not path:
        raise span.error("a path is missing")
    return OwnWeights(path, _side(span.cut(match.start(2))) if match and match[2] is not None else None)


def _side(span: _Span) -> int:
    text = str(span)
    if re.fullmatch("[0-9]{1,5}", text) and STRIDE <= int(text) <= MAX_SIDE and int(text) % STRIDE == 0:
        return int(text)
    raise span.error(f"a long side is a multiple of {STRIDE} from {STRIDE} to {MAX_SIDE}; received {text!r}")
