"""The inverse of `review.documents.to_document`: proof that a FiftyOne sample loses nothing of its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from anonymize.records import Record
from anonymize.regions import Region
from review.documents import REGION_FIELDS


def to_record(document: Mapping[str, Any]) -> Record:
    """The record in a sample as it was loaded, whatever was changed in the App since."""
    stored = json.loads(document["record"])
    ranked = [(rank, Region.from_dict(data)) for rank, data in stored["rest"]]
    for name in REGION_FIELDS:
        labels = (document.get(name) or {}).get("detections") or ()
        ranked += [(d["rank"], Region.from_dict(json.loads(d["data"]))) for d in labels if d.get("data")]
    ranked.sort(key=lambda r: r[0])
    return Record.from_dict(stored["kept"]).replace(regions=tuple(r for _, r in ranked))
