"""OpenVINO on the CPU: a network that gives one photo all cores, or several photos their share of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cpus import cores
from ..errors import UnknownNameError, WeightsError
from . import int8
from .candidates import Scaling
from .onnx_runtime import first_line

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
LARGE = 3 * 1_000_000  # numbers in an input that takes all cores
# Bytes that the process has in memory, above which buffers go after each picture. Always, that would cost 20 of 440 ms
# per photo: more than what `balanced` needs for photos of 1,024 px on two cores.
KEPT = 1_100_000_000
LARGE_PHOTO = 1_500_000  # pixels; side by side, the buffers of `balanced` would take 300 MB more, at 12 MP 750
# Layers prepared for a shape that oneDNN keeps, of all networks together: those of about 35 shapes. Its own number,
# 1,024, holds 17, fewer than a folder's photos and their pieces have: 6 % more time, for 70 MB less.
PREPARED = 2048
PRECISIONS = ("auto", "int8", "bf16", "f32")
MOST_AT_ONCE = 4  # photos; each needs buffers of its own, of `balanced` 400 MB

_side_by_side = 0  # how many callers are within `side_by_side`
_counting = threading.Lock()
_is_large: ContextVar[bool] = ContextVar("is_large", default=False)  # a call with a time limit keeps it


@contextlib.contextmanager
def side_by_side() -> Iterator[None]:
    """Within: several threads search a photo each, so each network gives a photo its share of the cores, not all.

    Small networks leave cores idle that share one picture: on two cores, this does 1.3 times as much. Answers are the
    same to the bit.
    """
    global _side_by_side
    with _counting:
        _side_by_side += 1
    try:
        yield
    finally:
        with _counting:
            _side_by_side -= 1


@contextlib.contextmanager
def alone_if_large(photos: Sequence[NDArray[np.uint8]]) -> Iterator[None]:
    """Within: what is looked at here is of these photos (H, W, 3); of large ones, each picture takes all cores."""
    before = _is_large.get()  # windows of a large photo are no large ones themselves
    token = _is_large.set(before or any(photo.shape[0] * photo.shape[1] > LARGE_PHOTO for photo in photos))
    try:
        yield
    finally:
        _is_large.reset(token)


class OpenVino:
    """A network in OpenVINO, on the CPU. Several threads may call it.

    Alone, a picture takes all cores; `side_by_side`, its share. Large ones, and those of large photos, take all cores
    in any case, one after the other: their buffers exist once. Pages always take their share.

    Buffers (200 MB for a megapixel of `centerface`) stay until the process is large (`KEPT`), then they go after each
    picture. Else, those of the largest picture that each network ever saw would add up, for all networks of a preset
    and for both ways. Those of large photos (some hundred MB at 2,048 px) go in any case.

    Args:
        threads: that it may use; 0: one for each core that the process may use.
        batch: how many pictures of one size are worth one call.
        pages: sides, px, of square pictures that come often. Each size has a graph compiled for it alone: CenterFace
            takes two thirds of the time and of the buffers there that it takes where shapes change.
    """

    def __init__(
        self,
        path: Path,
        source: Path | bytes,
        *,
        exact: bool = False,
        scaling: Scaling | None = None,
        threads: int = 0,
        batch: int = 1,
        pages: Sequence[int] = (),
    ) -> None:
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PREPARED))  # read at the first network
        import openvino as ov

        if path.is_dir():
            found = sorted(path.glob("*.xml"))
            if len(found) != 1:
                raise WeightsError(f"{path} is not an OpenVINO folder: it has {len(found)} .xml files")
            path = source = found[0]
        # The binding sets its numpy interface up at the first array; two threads that both come first wait for each
        # other for ever (one holds the GIL, one the lock that the other needs). Here, one network is opened at a time.
        ov.Tensor(np.zeros(1, np.float32))
        _return_memory()
        precision = os.environ.get("ANONYMIZE_PRECISION") or PRECISIONS[0]
        if precision not in PRECISIONS:
            raise UnknownNameError("ANONYMIZE_PRECISION", precision, PRECISIONS)
        ranges = int8.ranges_of(path) if precision in ("auto", "int8") and not exact else {}
        # What stays as it is in a network of integers must not be rounded differently on each processor.
        hint = precision if precision == "bf16" else "f32" if precision != "auto" or exact or ranges else None
        try:
            self._model = ov.Core().read_model(source)
            shape = self._model.inputs[0].partial_shape
            is_fixed = shape[2].is_static and shape[3].is_static
            self.size = (shape[2].get_length(), shape[3].get_length()) if is_fixed else None
            self.batch = 1 if shape[0].is_static else batch  # many exports take one picture only
            self.metadata: Mapping[str, str] = _metadata(path, self._model)
            self._names = [o.get_any_name() if o.get_names() else str(i) for i, o in enumerate(self._model.outputs)]
            if ranges:
                int8.quantize(self._model, ranges)
        except RuntimeError as e:
            raise WeightsError(f"{path} is not a network that OpenVINO can run: {first_line(e)}") from e
        self._path, self._given_threads, self._hint, self._scaling = path, threads, hint, scaling
        self._lock = threading.Lock()
        # Compiled when they are needed, for each takes a tenth of a second: for one picture, and its request; requests
        # that share the cores.
        self._alone: Any = None
        self._request: Any = None
        self._shared = _Shared(partial(self._compile_shared, 0))
        self._pages = {side: _Shared(partial(self._compile_shared, side)) for side in pages}

    def __call__(self, batch: NDArray[Any]) -> Mapping[str, NDArray[np.float32]]:
        sides = set(batch.shape[1:3]) if self._scaling is not None and len(batch) == 1 else ()
        page = self._pages.get(*sides) if len(sides) == 1 else None
        if self._scaling is not None:
            batch = self._scaling.apply(batch)
        if page or (_side_by_side and batch.size <= LARGE and not _is_large.get()):
            with (page or self._shared).request() as request:
                return self._infer(request, batch)
        with self._lock:
            self._alone = self._alone or self._compile(1)
            self._request = self._request or self._alone.create_infer_request()
            try:
                return self._infer(self._request, batch)
            finally:
                if _is_large.get() or _is_full():
                    self._alone.release_memory()

    def _infer(self, request: Any, batch: NDArray[Any]) -> Mapping[str, NDArray[np.float32]]:
        results = request.infer([batch], share_inputs=True)
        return {name: results[i].copy() for i, name in enumerate(self._names)}

    def _compile_shared(self, page: int) -> tuple[Any, int]:
        count = min(self._given_threads or cores(), MOST_AT_ONCE)
        return self._compile(count, page), count

    def _compile(self, at_once: int, page: int = 0) -> Any:
        """The network for so many pictures at once, which share its threads; 0: pictures of any size, else a page's."""
        import openvino as ov

        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if at_once == 1 else "THROUGHPUT",
            "NUM_STREAMS": at_once,
            # Pinned, the threads of all processes on a machine share the first cores, and others are idle.
            "ENABLE_CPU_PINNING": False,
            # It would keep what it compiles for each size of photo, and photos have hundreds of sizes.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }
        if self._given_threads or at_once > 1:  # alone, OpenVINO knows best: a core's second thread does not help
            config["INFERENCE_NUM_THREADS"] = max(self._given_threads or cores(), at_once)
        if self._hint:
            config["INFERENCE_PRECISION_HINT"] = self._hint
        try:
            model = self._model.clone() if page else self._model
            if page:
                is_last = self._scaling is not None and self._scaling.channels_last
                model.reshape([1, page, page, 3] if is_last else [1, 3, page, page])
            return ov.Core().compile_model(model, "CPU", config)
        except RuntimeError as e:
            raise WeightsError(f"{self._path} is not a network that OpenVINO can run: {first_line(e)}") from e


class _Shared:
    """A graph whose requests share the cores, compiled when it is needed.

    Args:
        make: () -> the compiled network, and how many requests it is for.
    """

    def __init__(self, make: Callable[[], tuple[Any, int]]) -> None:
        self._make = make
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self.compiled: Any = None
        self.requests: queue.LifoQueue[Any] | None = None
        self._inside = 0  # pictures that requests look at, or wait for

    @contextlib.contextmanager
    def request(self) -> Iterator[Any]:
        """A request of one's own; afterwards, buffers go where the process is large."""
        with self._lock:
            if self.requests is None:
                self.compiled, count = self._make()
                requests = queue.LifoQueue[Any]()
                for _ in range(count):
                    requests.put(self.compiled.create_infer_request())
                self.requests = requests  # all, or, with no memory for them, none that others would wait for
        with self._counting:
            self._inside += 1
        request = self.requests.get()
        try:
            yield request
        finally:
            self.requests.put(request)
            with self._counting:  # nobody comes in meanwhile: OpenVINO refuses it for a network at work
                self._inside -= 1
                if not self._inside and _is_full():
                    self.compiled.release_memory()


def _is_full() -> bool:
    """Whether the process has more in memory than `KEPT`; where nobody says it, too."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return True
    return pages * os.sysconf("SC_PAGE_SIZE") > KEPT


def _return_memory() -> None:
    """Let glibc give back to the system what is freed of photos and buffers of all sizes, not keep it in pools.

    It has a pool for each thread, and puts larger and larger pieces into them the more of these it sees. The pieces of
    a photo of 1 megapixel may stay there: to get them anew from the system costs 8 ms.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, another system
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, 8 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 32 << 20)


def _metadata(path: Path, model: Any) -> dict[str, str]:
    """ultralytics' facts about a network: the ONNX file's properties, or metadata.yaml beside an OpenVINO .xml."""
    beside = path.with_name("metadata.yaml")
    if path.suffix == ".xml" and beside.exists():
        import yaml

        return {str(k): str(v) for k, v in (yaml.safe_load(beside.read_text("utf-8")) or {}).items()}
    if not model.has_rt_info("framework"):
        return {}
    info = model.get_rt_info("framework").value
    return {k: str(v.value if hasattr(v, "value") else v) for k, v in info.items()}
