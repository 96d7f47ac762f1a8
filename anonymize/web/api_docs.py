"""The API in words, and its page /api/docs, with our own copy of Swagger UI, so that it works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from .elements import STATIC
from .sessions import GoneError

VERSION = "1"
_FOLDER = STATIC / "swagger"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".txt": "text/plain", "": "text/plain"}
# docs.js puts the address of the page in place of this one.
_EXAMPLES = """
Hide every face and license plate in photos. A photo is deleted as soon as it is answered.

Send a photo as a form; what you do not send stays at the server's defaults. An unknown field is an error, and every
error is `{"error": "a sentence"}`. Where the server asks for a key, add the header `Authorization: Bearer KEY`.

**curl**

```sh
curl --fail -F image=@street.jpg -H 'Accept: image/*' http://127.0.0.1:7860/api/v1/anonymize -o clean.jpg
```

**Python** (`pip install httpx`)

```python
import httpx

with open("street.jpg", "rb") as photo:
    answer = httpx.post(
        "http://127.0.0.1:7860/api/v1/anonymize",
        files={"image": photo},
        data={"effect": "solid", "plate_threshold": "0.05"},
        headers={"Accept": "image/*"},
        timeout=60,
    )
answer.raise_for_status()
with open("clean.jpg", "wb") as clean:
    clean.write(answer.content)
```

**JavaScript** (Node 20 or later)

```js
import { openAsBlob } from "node:fs";
import { writeFile } from "node:fs/promises";

const form = new FormData();
form.append("image", await openAsBlob("street.jpg"), "street.jpg");
form.append("plate_threshold", "0.05");
const answer = await fetch("http://127.0.0.1:7860/api/v1/anonymize", {
  method: "POST", body: form, headers: { Accept: "image/*" },
});
if (!answer.ok) throw new Error((await answer.json()).error);
await writeFile("clean.jpg", Buffer.from(await answer.arrayBuffer()));
```

**Clips** are jobs: send one, ask for it until it is `done`, take the clean clip, delete it. Its id is a secret.

```sh
id=$(curl --fail -F video=@ride.mp4 http://127.0.0.1:7860/api/v1/videos | jq -r .id)
curl http://127.0.0.1:7860/api/v1/videos/$id
curl --fail http://127.0.0.1:7860/api/v1/videos/$id/clean -o clean.mp4
curl -X DELETE http://127.0.0.1:7860/api/v1/videos/$id
```
"""
DESCRIPTION: dict[str, Any] = {"title": "anonymize", "version": VERSION, "description": _EXAMPLES.strip()}


def router() -> APIRouter:
    """/api/docs, and /docs, which leads there."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    def moved() -> Response:
        return RedirectResponse("/api/docs")

    @routes.get("/api/docs")
    def page() -> Response:
        return _file(_FOLDER / "docs.html")

    @routes.get("/api/docs/{name}")
    def part(name: str) -> Response:
        if name not in {p.name for p in _FOLDER.iterdir()}:
            raise GoneError("There is nothing here.")
        return _file(_FOLDER / name)

    return routes


def _file(path: Path) -> Response:
    kind = _TYPES.get(path.suffix, "text/plain")
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "max-age=86400"})
