"""No dependency counts, reports or looks anything up: switched off before any of them is imported.

`import anonymize` calls `disable()` first of all, and `review` is imported through it. Child processes inherit the
environment. A script that imports a dependency before this package has to call it itself.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

# Whatever the environment says: usage statistics, crash reports, ids.
OFF = {
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "FIFTYONE_DO_NOT_TRACK": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",  # also Gradio's look-up of its newest version
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# Unless the environment says otherwise: a person may want these packages online in a notebook of their own.
DEFAULTS = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",  # ultralytics: no look-up at import, no events, no fonts, no newest version
}
# Imported by OpenVINO when it is imported. It has no switch in the environment: it makes ~/intel with an id for this
# person and reports the import. `None` makes its import fail, and OpenVINO then uses a stub of its own.
BLOCKED = ("openvino_telemetry",)
# FiftyOne's server makes an id for this person and keeps it in ~/.fiftyone/var/uid when its page asks for one, also
# where tracking is off. A module with this name in its place knows nobody.
NOBODY = "fiftyone.core.uid"


def disable() -> None:
    """Switch everything off in this process and in those that it starts. Cheap, and harmless when called again."""
    os.environ.update(OFF)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for module in BLOCKED:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    if NOBODY not in sys.modules:
        stub = ModuleType(NOBODY)
        stub.get_user_id = lambda: ""  # type: ignore[attr-defined]
        sys.modules[NOBODY] = stub
