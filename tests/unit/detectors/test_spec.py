"""A detector's spec: read, written, refused where it is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize.detectors.spec import (
    MAX_SIDE,
    PREFIXES,
    STRIDE,
    Closer,
    Ensemble,
    InContext,
    Named,
    OwnClass,
    OwnWeights,
    Part,
    Spec,
    Tiled,
    TwoStage,
    models,
    names,
    parse,
    with_side,
)
from anonymize.errors import DetectorSpecError, UnknownNameError
from anonymize.settings import PRESETS

A, B = Named("plates"), Named("coco")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("plates", A),
        ("plates@640", Named("plates", 640)),
        ("plates@320-2560", Named("plates", 320, 2560)),
        ("plates+coco", Ensemble((A, B))),
        (" plates + coco@1280 ", Ensemble((A, Named("coco", 1280)))),
        ("tiled:plates+coco", Ensemble((Tiled(A), B))),
        ("two-stage", TwoStage(Named("safelicensing"))),
        ("tiled:two-stage", Tiled(TwoStage())),
        ("two-stage:plates@640+coco", Ensemble((TwoStage(Named("plates", 640)), B))),
        ("in-context:plates+coco", InContext(Ensemble((A, B)))),
        ("coco+closer:plates@640-1280", Ensemble((B, Closer(Named("plates", 640, 1280))))),
        ("in-context: two-stage:plates", InContext(TwoStage(A))),
        ("yolo:best.onnx", OwnWeights("best.onnx")),
        ("yolo:me/team@64/best.onnx@96", OwnWeights("me/team@64/best.onnx", 96)),
        (r"yolo:C:\me\best@2.onnx", OwnWeights(r"C:\me\best@2.onnx")),
        ("yolo:folder@640", OwnWeights("folder", 640)),
        ('yolo:"folder@640"', OwnWeights("folder@640")),
        ('yolo:"a+b.onnx"@640+coco', Ensemble((OwnWeights("a+b.onnx", 640), B))),
        ('yolo:"say ""plate"".onnx"', OwnWeights('say "plate".onnx')),
        ("package.module:Class", OwnClass("package.module", "Class")),
        ("two-stage:yolo:best.onnx", TwoStage(OwnWeights("best.onnx"))),
    ],
)
def test_what_a_text_means(text: str, spec: Spec) -> None:
    assert parse(text) == spec


SIDES = st.integers(1, MAX_SIDE // STRIDE).map(lambda n: n * STRIDE)
NAMED = st.builds(Named, st.sampled_from(names()), st.none() | SIDES) | st.builds(
    lambda name, low: Named(name, low, MAX_SIDE), st.sampled_from(names()), SIDES.filter(lambda n: 2 * n <= MAX_SIDE)
)
PATHS = st.text(min_size=1) | st.text('ab.@+"/ 640\\:', min_size=1)
IDENTIFIERS = st.from_regex(r"[a-zA-Z_]\w*", fullmatch=True)
CLASSES = st.builds(OwnClass, IDENTIFIERS, IDENTIFIERS).filter(
    lambda c: c.module not in ("yolo", "closer") and f"{c.module}:" not in PREFIXES
)
LEAVES: st.SearchStrategy[Part] = NAMED | st.builds(OwnWeights, PATHS, st.none() | SIDES) | CLASSES
PARTS = (
    LEAVES
    | st.builds(Closer, NAMED)
    | st.builds(Tiled, LEAVES)
    | st.builds(TwoStage, LEAVES)
    | st.builds(lambda x: Tiled(TwoStage(x)), LEAVES)
)
ENSEMBLES = st.lists(PARTS, min_size=2, max_size=4).map(lambda parts: Ensemble(tuple(parts)))
SPECS = PARTS | ENSEMBLES | st.builds(InContext, PARTS | ENSEMBLES)


@given(SPECS)
def test_what_is_written_is_read_as_the_same(spec: Spec) -> None:
    assert parse(str(spec)) == spec


@given(st.text() | st.text('plates+@6-:yolo"two-stage:tiled:in-context: '))
def test_any_text_is_a_spec_or_an_error_that_points_into_it(text: str) -> None:
    try:
        spec = parse(text)
    except DetectorSpecError as e:
        pointer = str(e).splitlines()[-2]
        assert set(pointer) <= {" ", "^"}
        assert 2 < len(pointer) <= len(text) + 3
    else:
        assert parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "says", "at"),
    [
        ("", "a detector's name is missing", "^"),
        ("plates+", "a detector's name is missing", "       ^"),
        ("+plates", "a detector's name is missing", "^"),
        ("plates++coco", "a detector's name is missing", "       ^"),
        ("two-stage:", "a detector's name is missing", "          ^"),
        ("in-context:", "a detector's name is missing", "           ^"),
        ("plates + two-stage:plate@640", "unknown detector 'plate'", "                   ^^^^^"),
        ("plates+in-context:coco", "unknown detector 'in-context:coco'", "       ^^^^^^^^^^^^^^^"),
        ("none", "unknown detector 'none'", "^^^^"),
        ("coco+closer:tiled:plates", "stands before a detector's name", "     ^^^^^^^^^^^^^^^^^^^"),
        ("coco+tiled:closer:plates", "stands before a detector's name", "           ^^^^^^^^^^^^^"),
        ("plates-corners", "unknown detector 'plates-corners'", "^^^^^^^^^^^^^^"),
        ("plates@100", "a multiple of 32 from 32 to 8192; received '100'", "       ^^^"),
        ("plates@", "a multiple of 32 from 32 to 8192; received ''", "       ^"),
        ("plates@320-", "a multiple of 32 from 32 to 8192; received ''", "           ^"),
        ("plates@320-480", "at least twice LOW, 640; received 480", "           ^^^"),
        ("yolo:best.onnx@x", "a multiple of 32", "               ^"),
        ("yolo:", "a path is missing", "     ^"),
        ('yolo:"best.onnx', "not closed", "     ^^^^^^^^^^"),
        ("tiled:tiled:coco", "tiled: inside tiled:", "      ^^^^^^"),
    ],
)
def test_an_error_points_at_its_place_and_lists_what_is_valid(text: str, says: str, at: str) -> None:
    with pytest.raises(UnknownNameError) as e:
        parse(text)
    first, line, pointer, valid = str(e.value).splitlines()
    assert says in first
    assert f"at column {len(at) - len(at.lstrip()) + 1} " in first
    assert (line, pointer) == (f"  {text}", f"  {at}")
    assert all(name in valid for name in (*names(), "yolo:PATH", "package.module:Class", "in-context:A+B"))


def test_the_models_that_a_spec_needs() -> None:
    for text, needed in {
        "centerface@1280": ["centerface"],
        "in-context:fastanpr@1280-2560+two-stage": ["fastanpr", "coco", "safelicensing"],
        "my.module:Class": [],
        "tiled:yolo:best.onnx+plates@640": ["plates"],
        "plates+two-stage:plates": ["plates", "coco"],
    }.items():
        assert models(parse(text)) == needed


def test_a_size_goes_where_none_is_named() -> None:
    sized = with_side(parse("in-context:plates+two-stage:coco+fastanpr@320+yolo:a.onnx+a.b:C"), 640)
    assert str(sized) == "in-context:plates@640+two-stage:coco@640+fastanpr@320+yolo:a.onnx@640+a.b:C"


def test_a_preset_is_written_as_it_is_read() -> None:
    for preset in PRESETS.values():
        for text in (preset.face_detector, preset.plate_detector):
            assert str(parse(text)) == text
