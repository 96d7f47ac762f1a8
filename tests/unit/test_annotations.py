"""Whatever is in an annotation file: it is read, or refused in words; no other error, no number that is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymize.annotations import read_coco, read_data_yaml, read_labels, read_voc
from anonymize.errors import AnnotationError

many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 80}],
    "categories": [{"id": 1, "name": "face"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
}
YAML: dict[str, Any] = {"names": ["face"], "nc": 1, "kpt_shape": [4, 3], "path": ".", "train": "t", "val": ["v"]}
VOC = "<annotation><size><width>{}</width></size><object><name>{}</name><bndbox>{}</bndbox></object></annotation>"


def attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """What was read, or why it was refused."""
    try:
        return read(), ""
    except AnnotationError as e:
        return None, str(e)


def somewhere(data: Any, draw: st.DrawFn) -> Any:
    """A copy in which one place has something else, or nothing."""
    if isinstance(data, (dict, list)) and data and draw(st.integers(0, 4)):
        keys = list(data) if isinstance(data, dict) else range(len(data))
        key = draw(st.sampled_from(list(keys)))
        copy: Any = dict(data) if isinstance(data, dict) else list(data)
        if draw(st.booleans()):
            copy[key] = somewhere(data[key], draw)
        else:
            del copy[key]
        return copy
    return draw(ANYTHING)


@st.composite
def changed(draw: st.DrawFn, data: Any) -> Any:
    return somewhere(data, draw)


@many
@given(changed(COCO))
def test_any_coco_file_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(data))
    read, why = attempt(lambda: read_coco(path))
    assert read or str(path) in why
    assert len(why) < 1000
    for box in read.annotations if read else ():
        assert all(isinstance(v, float) and math.isfinite(v) for v in box.bbox)


@many
@given(changed(YAML))
def test_any_data_yaml_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    read, why = attempt(lambda: read_data_yaml(path)[0])
    assert read or str(path) in why
    if read:
        assert sorted(read.names) == list(range(len(read.names)))
        assert read.nc in (None, len(read.names))


@pytest.mark.parametrize(
    "text",
    [
        "names: &a [*a]",
        "names: {[1]: a}",
        "names: [a]\ntrain: 2020-99-99",
        "names: [a]\nnc: 0x_",
        "[" * 5000,
        "\x00",
        "names: !!python/object/apply:os.system [true]",
        "names: [a]\nnames: [b, c]\nnc: 1",
        "a: &a [x, x]\nb: &b [*a, *a]\nnames: &c [*b, *b]",
    ],
)
def test_odd_yaml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=r"data\.yaml"):
        read_data_yaml(path)


LINE = st.lists(
    st.floats(-0.1, 1.1) | st.integers(-1, 3) | st.sampled_from(["nan", "x", "1e400", "0.5", "٣"]), max_size=12
)


@many
@given(st.lists(LINE, max_size=4), st.sampled_from([0, 8, 12]), st.booleans())
def test_any_label_file_is_read_or_refused(tmp_path: Path, lines: list[list[Any]], points: int, uniform: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(" ".join(map(str, line)) for line in lines), "utf-8")
    found, why = attempt(lambda: list(read_labels(path, 2, points, is_uniform=uniform)))
    assert found is not None or "line " in why
    for number, (x1, y1, x2, y2) in found or ():
        assert number in (0, 1)
        assert x1 <= x2
        assert y1 <= y2
        assert all(map(math.isfinite, (x1, y1, x2, y2)))


@many
@given(st.text(max_size=8), st.text(max_size=8), st.lists(st.floats() | st.text(max_size=3), min_size=4, max_size=4))
def test_any_voc_file_is_read_or_refused(tmp_path: Path, width: str, name: str, sides: list[Any]) -> None:
    box = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    path = tmp_path / "a.xml"
    path.write_text(VOC.format(width, name, box), "utf-8")
    read, why = attempt(lambda: read_voc(path))
    assert read or str(path) in why
    if read:
        _, size, ((found, _),) = read
        assert math.isfinite(size.width)
        assert all(map(math.isfinite, found.box))


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0" encoding="no-such"?><annotation/>',
        VOC.format("nan", "a", "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"),
        "<a>" * 5000,
        '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>',
    ],
)
def test_odd_voc_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=r"a\.xml is not a Pascal VOC file"):
        read_voc(path)
