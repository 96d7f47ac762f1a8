"""Regions hidden in a decoded picture as it is stored: in its planes of brightness and color, at their own depth.

No picture goes to RGB and back, so outside of masks and feathers every sample stays as it was. Each plane is hidden by
`effects.apply` as a gray photo of its own size: a sample of color that covers four pixels is hidden whole where any of
the four is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import effects
from ..errors import UnsupportedClipError
from ..masks import PixelBox
from ..regions import Region
from ..settings import Kernel, Kind, Settings

if TYPE_CHECKING:
    import av

# Packed and half-packed forms -> the planar one that holds the same samples.
_PLANAR = {
    **dict.fromkeys(("nv12", "nv21"), "yuv420p"),
    **dict.fromkeys(("yuyv422", "uyvy422", "yvyu422", "nv16"), "yuv422p"),
    **dict.fromkeys(("rgb24", "bgr24", "rgb0", "bgr0", "0rgb", "0bgr"), "gbrp"),
    **dict.fromkeys(("rgb48le", "rgb48be", "bgr48le", "bgr48be"), "gbrp16le"),
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "nv24": "yuv444p",
    "uyyvyy411": "yuv411p",
}
# Kr, Kb of the matrices of H.273; of an unknown one BT.601's.
_LUMA = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_MARGIN = 16  # px; what inpainting looks at around a region, at least


def planar_format(name: str) -> str:
    """The planar form in which pictures of a pixel format are hidden.

    Raises:
        UnsupportedClipError: a form with transparency or palettes, or one that is not known.
    """
    from av.video.format import VideoFormat

    planar = _PLANAR.get(name, name)
    planar = f"{planar[:-2]}le" if planar.endswith("be") else planar
    form = VideoFormat(planar, 16, 16)
    if any(c.is_alpha for c in form.components):
        raise UnsupportedClipError(f"its picture has transparency ({name}), which is not kept")
    parts = planar.removeprefix("yuvj").removeprefix("yuv").removeprefix("gbr").removeprefix("gray")
    is_known = planar.startswith(("yuv", "gbrp", "gray")) and "f" not in parts and form.components[0].bits >= 8
    if form.has_palette or not is_known or len({c.plane for c in form.components}) < len(form.components):
        raise UnsupportedClipError(f"its pixel format {name} is not known here")
    return planar


@dataclass(frozen=True)
class Part:
    """A piece of a plane.

    Attributes:
        plane: its number. box: of the piece, in samples. regions: in it, from its corner.
        numbers: of the regions, among all. settings: how they are hidden.
    """

    plane: int
    box: PixelBox
    regions: list[Region]
    numbers: list[int]
    settings: Settings

    def of(self, planes: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The piece's samples, a view."""
        x1, y1, x2, y2 = self.box
        return planes[self.plane][y1:y2, x1:x2]


class Hider:
    """Hides regions in decoded pictures, in place.

    Args:
        settings: how.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._of_planes: dict[tuple[str, int, int], list[tuple[tuple[int, int], Settings]]] = {}

    def hide(self, native: av.VideoFrame, regions: Iterable[Region]) -> av.VideoFrame:
        """Hide regions in one picture.

        Args:
            native: in a format of `planar_format`.
            regions: in pixels of the stored picture; all are hidden, whatever their score.

        Returns:
            The same picture.
        """
        hidden = list(regions)
        if not hidden:
            return native
        native.make_writable()
        shift, planes = shift_of(native), samples(native)
        for part in self.parts(native, hidden):
            view = part.of(planes)
            view[...] = effects.apply(view << shift, part.regions, part.settings, mode="L") >> shift
        return native

    def parts(self, native: av.VideoFrame, regions: Iterable[Region]) -> Iterator[Part]:
        """The pieces of a picture's planes that hold regions, each of which is hidden for itself."""
        hidden = [r.replace(status="accepted") for r in regions]
        for index, (plane, ((fx, fy), settings)) in enumerate(zip(samples(native), self._planes(native), strict=True)):
            own = [r.scale(1 / fx, 1 / fy).replace(status="accepted") for r in hidden]
            for box, members in _windows(own, settings, plane.shape[1], plane.shape[0]):
                moved = [own[i].shift(-box[0], -box[1]) for i in members]
                yield Part(index, box, moved, members, settings)

    def _planes(self, native: av.VideoFrame) -> list[tuple[tuple[int, int], Settings]]:
        """For each plane: pixels of the picture a sample, across and down, and its settings."""
        key = native.format.name, int(native.color_range), int(native.colorspace)
        if key not in self._of_planes:
            out = []
            for index, (_, width, height) in enumerate(
                sorted((c.plane, c.width, c.height) for c in native.format.components)
            ):
                # Of an odd size a plane of color has a sample more than half the pixels, so the ratio is rounded.
                steps = 2 ** round(math.log2(native.width / width)), 2 ** round(math.log2(native.height / height))
                kinds = {}
                for name in {*self._settings.kinds, "plate"}:
                    kind = self._settings.kind(name)
                    gray = f"{_fill(kind.fill, native)[index]:02x}" * 3
                    kinds[name] = replace(kind, fill=gray, kernel=_shrunk(kind.kernel, max(steps)))
                out.append((steps, self._settings.replace(kinds=kinds)))
            self._of_planes[key] = out
        return self._of_planes[key]


def _shrunk(kernel: Kernel, by: int) -> Kernel:
    size = math.ceil(kernel.size / by) | 1 if kernel.size else 0
    return Kernel(size, kernel.sigma / by, math.ceil(kernel.feather / by))


def shift_of(native: av.VideoFrame) -> int:
    """Bits that its samples have less than 16; 0 for 8 bits."""
    bits = int(native.format.components[0].bits)
    return 16 - bits if bits > 8 else 0


def samples(native: av.VideoFrame) -> list[NDArray[Any]]:
    """A picture's planes as arrays (H, W), uint8 or uint16: views, so what is written into them is in the picture."""
    dtype = np.dtype(np.uint8 if native.format.components[0].bits == 8 else np.uint16)
    out = []
    for plane in native.planes:
        rows = np.asarray(memoryview(plane)).view(dtype).reshape(-1, plane.line_size // dtype.itemsize)
        out.append(rows[: plane.height, : plane.width])
    return out


def _windows(
    regions: Sequence[Region], settings: Settings, width: int, height: int
) -> list[tuple[PixelBox, list[int]]]:
    """Pieces of the plane that can be hidden one by one, no region of one touches another piece; regions by number."""
    pieces: list[tuple[PixelBox, list[int]]] = []
    for number, region in enumerate(regions):
        box, members = _reach(region, settings.kind(region.kind), width, height), [number]
        while touching := [p for p in pieces if _touch(p[0], box)]:
            pieces = [p for p in pieces if not _touch(p[0], box)]
            boxes = [box, *(p[0] for p in touching)]
            box = min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)
            members = [r for p in touching for r in p[1]] + members
        if box[0] < box[2] and box[1] < box[3]:
            pieces.append((box, members))
    return pieces


def _touch(a: PixelBox, b: PixelBox) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _reach(region: Region, kind: Kind, width: int, height: int) -> PixelBox:
    """What of the plane hiding a region may change or look at, generously."""
    grow = max(kind.padding, (math.sqrt(2) - 1) / 2 if kind.mask == "ellipse" else 0.0)
    margin = kind.kernel.feather + 2.0
    if kind.effect == "inpaint":
        margin += max(_MARGIN, min(region.width, region.height) / 4)
    x1, y1, x2, y2 = region.pad(grow).box
    for x, y in region.pad(grow).corners or () if kind.mask == "quad" else ():
        x1, y1, x2, y2 = min(x1, x), min(y1, y), max(x2, x), max(y2, y)
    return region.replace(box=(x1 - margin, y1 - margin, x2 + margin, y2 + margin)).pixels(width, height)


def _fill(fill: str, native: av.VideoFrame) -> tuple[int, ...]:
    """A fill's value in each plane, 0–255 whatever the depth."""
    r, g, b = (int(("000000" if fill == "black" else fill)[i : i + 2], 16) / 255 for i in (0, 2, 4))
    name = native.format.name
    if name.startswith("gbr"):
        return tuple(round(255 * v) for v in (g, b, r))
    kr, kb = _LUMA.get(int(native.colorspace), (0.299, 0.114))
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    if int(native.color_range) == 2 or name.startswith("yuvj"):
        parts = (255 * y, 128 + 255 * u, 128 + 255 * v)
    else:
        parts = (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
    return tuple(min(255, max(0, round(p))) for p in parts)
