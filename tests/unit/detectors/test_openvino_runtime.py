from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anonymize import images
from anonymize.detectors import create, openvino_runtime, runtime
from anonymize.detectors.candidates import Scaling
from anonymize.detectors.openvino_runtime import alone_if_large, side_by_side
from anonymize.detectors.tiled import search
from anonymize.settings import PRESETS, Settings
from tests.support.tiny_network import batch, network


def test_openvino_keeps_nothing_of_the_sizes_that_it_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos have hundreds of sizes, and memory would grow with each."""
    import openvino

    given: list[dict[str, object]] = []
    compile_model = openvino.Core.compile_model

    def watched(core: object, model: object, device: str, config: dict[str, object]) -> object:
        given.append(config)
        return compile_model(core, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    assert given == [], "each way is compiled when it is needed"
    net(batch(32, 32))
    with side_by_side():
        net(batch(32, 32))
        net(batch(64, 32))
    assert [c["CPU_RUNTIME_CACHE_CAPACITY"] for c in given] == [0, 0]
    assert [c["ENABLE_CPU_PINNING"] for c in given] == [False, False], "processes would share cores"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc only")
def test_what_is_freed_goes_back_to_the_system() -> None:
    """In a process of its own: what glibc's allocator is told holds for all of it."""
    program = (
        "import ctypes, pathlib; from anonymize.detectors import openvino_runtime as o; o._return_memory()\n"
        "size = lambda: int(pathlib.Path('/proc/self/statm').read_text().split()[1])\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]\n"
        "for _ in range(3):  # freeing a large piece makes glibc pool the next one\n"
        "    libc.free(libc.malloc(30_000_000))\n"
        "before, kept = size(), [libc.malloc(20_000_000) for _ in range(5)]\n"
        "small = libc.malloc(1000)  # on top of them, if they lie in the pool\n"
        "for p in kept: ctypes.memset(ctypes.c_void_p(p), 1, 20_000_000)\n"
        "for p in kept: libc.free(p)\n"
        "print((size() - before) * 4096)"
    )
    left = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(left) < 20_000_000


@pytest.mark.parametrize("way", [contextlib.nullcontext, side_by_side])
def test_several_threads_share_one_network(tmp_path: Path, way: Callable[[], AbstractContextManager[None]]) -> None:
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    inputs = [batch(32 * (1 + i % 3), 64, seed=i) for i in range(24)]
    alone = [net(x)["sum"] for x in inputs]
    together: list[np.ndarray | None] = [None] * len(inputs)

    def work(start: int) -> None:
        for i in range(start, len(inputs), 4):
            together[i] = net(inputs[i])["sum"]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    with way():
        for w in workers:
            w.start()
        for w in workers:
            w.join()
    for a, b in zip(alone, together, strict=True):
        assert b is not None
        np.testing.assert_array_equal(a, b)


def test_two_threads_that_come_first_do_not_wait_for_each_other() -> None:
    """OpenVINO's binding sets itself up at the first array; two threads there at once blocked each other for ever."""
    code = """
import os, sys, threading
import numpy as np
from anonymize import images
from anonymize.detectors import create
from anonymize.settings import PRESETS, Settings
from tests.support.tiny_network import batch, expected, network
sys.setswitchinterval(1e-6)
detectors = [create(name, Settings()) for name in ("plates@64", "plates@96")]
barrier, image, done = threading.Barrier(2), np.zeros((48, 64, 3), np.uint8), []
def first(detector):
    barrier.wait()
    done.append(detector.detect([image]))
threads = [threading.Thread(target=first, args=(d,), daemon=True) for d in detectors]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
print(len(done), flush=True)
os._exit(0)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.stdout.strip() == "2", found.stderr


def test_a_large_picture_takes_all_cores_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its buffers exist once, however many threads bring one."""
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    monkeypatch.setattr(openvino_runtime, "LARGE", batch(64, 64).size - 1)
    with side_by_side():
        answer = net(batch(64, 64))
        assert net._shared.requests is None  # type: ignore[attr-defined]
        net(batch(32, 32))
        assert net._shared.requests is not None  # type: ignore[attr-defined]
    np.testing.assert_array_equal(answer["sum"], net(batch(64, 64))["sum"])


def test_what_is_of_a_large_photo_takes_all_cores_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the small pictures that networks see of it: their buffers would add up to more than those of large ones."""
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    seen: list[np.ndarray] = []

    class Asks:
        name, weights, scale = "asks", {}, 1.0

        def detect(self, images: list[np.ndarray]) -> list[list[object]]:
            seen.append(net(batch(64, 64))["sum"])
            return [[] for _ in images]

    monkeypatch.setattr(openvino_runtime, "LARGE_PHOTO", 100 * 100)
    with side_by_side():
        search(Asks(), [np.zeros((101, 100, 3), np.uint8)], Settings())  # type: ignore[arg-type]
        assert net._shared.requests is None  # type: ignore[attr-defined]
        search(Asks(), [np.zeros((100, 100, 3), np.uint8)], Settings())  # type: ignore[arg-type]
        assert net._shared.requests is not None, "only for a large one"  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*seen)


class Watched:
    """A compiled network that notes when its buffers go."""

    def __init__(self, compiled: Any) -> None:
        self.compiled, self.released = compiled, 0

    def release_memory(self) -> None:
        self.compiled.release_memory()
        self.released += 1


BOTH_WAYS = pytest.mark.parametrize(("way", "is_shared"), [(contextlib.nullcontext, False), (side_by_side, True)])


@BOTH_WAYS
def test_buffers_go_after_each_picture_when_the_process_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[], AbstractContextManager[None]], is_shared: bool
) -> None:
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    with way():
        answer = net(batch(64, 64))["sum"]
        owner, name = (net._shared, "compiled") if is_shared else (net, "_alone")  # type: ignore[attr-defined]
        watched = Watched(getattr(owner, name))
        setattr(owner, name, watched)
        monkeypatch.setattr(openvino_runtime, "KEPT", 10**15)
        net(batch(64, 64))
        assert watched.released == 0
        monkeypatch.setattr(openvino_runtime, "KEPT", 1)
        np.testing.assert_array_equal(net(batch(64, 64))["sum"], answer)
        assert watched.released == 1
        np.testing.assert_array_equal(net(batch(64, 64))["sum"], answer)
        assert watched.released == 2


def test_buffers_go_where_nobody_says_how_large_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_runtime, "KEPT", 10**15)
    assert not openvino_runtime._is_full()
    monkeypatch.setattr(openvino_runtime, "Path", lambda _: tmp_path / "missing")
    assert openvino_runtime._is_full()


def test_buffers_of_a_large_photo_go_after_each_of_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_runtime, "KEPT", 10**15)
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    answer = net(batch(64, 64))["sum"]
    watched = net._alone = Watched(net._alone)  # type: ignore[attr-defined]
    net(batch(64, 64))
    assert watched.released == 0
    with alone_if_large([np.zeros((1, openvino_runtime.LARGE_PHOTO + 1, 3), np.uint8)]):
        with alone_if_large([np.zeros((64, 64, 3), np.uint8)]):  # a window of it
            np.testing.assert_array_equal(net(batch(64, 64))["sum"], answer)
        assert watched.released == 1
        net(batch(32, 32))
        assert watched.released == 2
    np.testing.assert_array_equal(net(batch(64, 64))["sum"], answer)
    assert watched.released == 2


def test_buffers_stay_until_the_last_picture_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO gives those of all requests back together, and refuses it while one is at work."""
    monkeypatch.setenv("ANONYMIZE_THREADS", "2")
    monkeypatch.setattr(openvino_runtime, "KEPT", 1)
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    with side_by_side():
        answer = net(batch(64, 64))["sum"]
        watched = net._shared.compiled = Watched(net._shared.compiled)  # type: ignore[attr-defined]
        infer = net._infer  # type: ignore[attr-defined]

        def with_another_inside(request: object, pixels: np.ndarray) -> object:
            monkeypatch.setattr(net, "_infer", infer)
            np.testing.assert_array_equal(net(batch(64, 64))["sum"], answer)
            assert watched.released == 0
            return infer(request, pixels)

        monkeypatch.setattr(net, "_infer", with_another_inside)
        np.testing.assert_array_equal(net(batch(64, 64))["sum"], answer)
        assert watched.released == 1


def test_a_network_that_found_no_memory_for_its_share_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later callers would wait for ever for buffers that were never made."""
    net = runtime.open_network(network(tmp_path / "n.onnx"), "cpu")
    given = net._compile  # type: ignore[attr-defined]

    class Full:
        def create_infer_request(self) -> object:
            raise MemoryError("no room")

    with side_by_side():
        monkeypatch.setattr(net, "_compile", lambda *_: Full())
        with pytest.raises(MemoryError):
            net(batch(32, 32))
        assert net._shared.requests is None  # type: ignore[attr-defined]
        monkeypatch.setattr(net, "_compile", given)
        assert net(batch(32, 32))["sum"].any()


@pytest.mark.parametrize("way", [contextlib.nullcontext, side_by_side])
def test_a_page_has_a_graph_of_its_own(tmp_path: Path, way: Callable[[], AbstractContextManager[None]]) -> None:
    path, scaling = network(tmp_path / "n.onnx"), Scaling(divisor=255.0)
    plain = runtime.open_network(path, "cpu", scaling=scaling)
    net = runtime.open_network(path, "cpu", scaling=scaling, pages=(64, 96))
    assert net is not plain
    compiled: list[tuple[int, int]] = []
    make = net._compile  # type: ignore[attr-defined]
    net._compile = lambda count, page=0: compiled.append((count, page)) or make(count, page)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    with way():
        for height, width in ((64, 64), (96, 96), (64, 96), (32, 32), (64, 64)):
            pixels = rng.integers(0, 256, (1, height, width, 3), np.uint8)
            np.testing.assert_allclose(net(pixels)["sum"], plain(pixels)["sum"], rtol=1e-4)
    assert [page for _, page in compiled] == [64, 96, 0]


@pytest.mark.parametrize(
    "spec", ["street@640", "centerface@640", "closer:centerface@640"]
)  # in 8-bit integers, and not
def test_a_photo_beside_others_gives_the_same_to_the_bit(spec: str, bus: Path) -> None:
    photo = images.load(bus, Settings()).rgb
    detector = create(PRESETS[spec].face_detector if spec in PRESETS else spec, Settings())
    alone = detector.detect([photo])
    with side_by_side():
        assert detector.detect([photo]) == alone
    assert alone[0]
