"""Which photos an input names, and where each one's output lies."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ..disk import AnyPath
from ..errors import PathError
from ..settings import Settings

_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Found:
    """The photos of an input.

    Attributes:
        root: the folder that paths are relative to.
        paths: POSIX, relative to root, in a fixed order, as `os.fsdecode` writes them (bytes that are not UTF-8 as
            surrogates). A folder that may not be listed stands here too, so that it counts as a failure.
        skipped: extension (lower case, no dot) -> number of files that do not count as photos; "_*": macOS's companions
            (._x.jpg beside x.jpg).
    """

    root: Path
    paths: Sequence[str]
    skipped: Mapping[str, int] = field(default_factory=dict)


def find(source: AnyPath, settings: Settings, exclude: AnyPath | None = None) -> Found:
    """The photos that `source` names.

    A file is taken whatever its extension, unless it is a list (.txt): one path a line, relative to the list; each is
    taken, too. A folder is searched with all folders in it, hidden ones as well, for `settings.image_extensions`. A
    glob may hold *, ?, [] and ** (any depth); a folder that it names is searched. A symbolic link to a file is a file.
    One to a folder is followed only when it leads out of the input, and no folder is entered twice, so links in
    circles end; what lies within is found under its own name.

    Args:
        source: a file, a folder, a glob or a list file; what exists under that very name is no glob.
        settings: for the extensions.
        exclude: a folder that is not entered: the output, so that photos written earlier are not taken for inputs.

    Raises:
        PathError: nothing is there, or a folder or a list that cannot be read.
    """
    text = os.fspath(source)
    path = Path(text)
    barred = _identity(exclude) if exclude is not None else None
    if path.is_dir():
        found = _search(path, settings, barred, lambda _parts, _is_folder: True)
        if found.paths == ["."]:
            raise PathError(f"the folder {text!r} may not be listed")
        return found
    if os.path.lexists(path):
        return _read_list(path, settings, barred) if path.suffix.lower() == ".txt" else Found(path.parent, [path.name])
    if not _MAGIC & set(text):
        raise PathError(f"there is no file or folder {text!r}")
    parts = path.parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC & set(part))
    root, pattern = Path(*parts[:fixed]), parts[fixed:]
    if not root.is_dir():
        raise PathError(f"there is no folder {str(root)!r}, where {text!r} would look")
    found = _search(root, settings, barred, lambda parts, is_folder: _matches(parts, pattern, is_folder))
    if not found.paths and not found.skipped:
        raise PathError(f"nothing matches {text!r}")
    return found


def _matches(parts: Sequence[str], pattern: Sequence[str], partly: bool) -> bool:
    """Whether a path matches a glob, or lies in a folder that does; partly: whether something in it could."""
    if not pattern:
        return True
    if not parts:
        return partly or set(pattern) == {"**"}
    if pattern[0] == "**":
        return _matches(parts, pattern[1:], partly) or _matches(parts[1:], pattern, partly)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:], partly)


def _identity(path: AnyPath) -> tuple[int, int] | None:
    """What a path leads to, the same for all its names; None when it is not there."""
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _search(
    root: Path, settings: Settings, barred: tuple[int, int] | None, wanted: Callable[[tuple[str, ...], bool], bool]
) -> Found:
    photos: list[str] = []
    skipped: Counter[str] = Counter()
    for parts, is_failure in _walk(root, barred, wanted):
        extension = os.path.splitext(parts[-1])[1].lower().lstrip(".") if parts else ""
        if not is_failure and extension not in settings.image_extensions:
            skipped[extension] += 1
        elif not is_failure and is_companion(root.joinpath(*parts)):
            skipped["_*"] += 1
        else:
            photos.append("/".join(parts) or ".")
    return Found(root, photos, dict(sorted(skipped.items())))


def is_companion(path: Path) -> bool:
    """Whether a file is AppleDouble, which macOS puts beside x.jpg as ._x.jpg on foreign disks and in archives.

    Only what says so in its first bytes (RFC 1740, appendix B); a photo of such a name is a photo.
    """
    if not path.name.startswith("._"):
        return False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would wait for ever
            return False
        with open(path, "rb") as file:
            return file.read(4) == b"\0\5\x16\7"
    except OSError:
        return False


def _walk(
    root: Path, barred: tuple[int, int] | None, wanted: Callable[[tuple[str, ...], bool], bool]
) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Files as parts below root, by name, a folder's own first; (folder, True) for a folder that cannot be listed."""
    inside = os.path.join(os.path.realpath(root), "")
    entered: set[tuple[int, int] | None] = {barred} if barred else set()
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        folder = os.path.join(root, *parts)
        here = _identity(folder)
        if here in entered and parts:
            continue
        entered.add(here)
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError:
            yield parts, True
            continue
        folders = []
        for entry in entries:
            child = (*parts, entry.name)
            try:
                is_folder = entry.is_dir()
            except PermissionError:  # a link to where one may not look: perhaps a folder of photos
                yield child, True
                continue
            except OSError:  # a link to itself
                is_folder = False
            if not wanted(child, is_folder):
                continue
            if not is_folder:
                yield child, False
            elif not entry.is_symlink() or _leads_out(entry.path, folder, inside):
                folders.append(child)
        waiting += reversed(folders)


def _leads_out(link: str, folder: str, inside: str) -> bool:
    """Whether a link leads neither into the input nor up to a folder around it or around the link."""
    target, here = (os.path.join(os.path.realpath(p), "") for p in (link, folder))
    return not (target.startswith(inside) or inside.startswith(target) or here.startswith(target))


def _read_list(path: Path, settings: Settings, barred: tuple[int, int] | None) -> Found:
    try:
        lines = os.fsdecode(path.read_bytes()).splitlines() if os.name == "nt" else _lines(path.read_bytes())
    except OSError as e:
        raise PathError(f"the list {str(path)!r} cannot be read: {e.strerror}") from e
    base = os.path.abspath(path.parent)
    named = [os.path.abspath(os.path.join(base, line)) for line in lines if line.strip()]
    if not named:
        raise PathError(f"the list {str(path)!r} names no photo")
    try:
        common = os.path.commonpath([base, *map(os.path.dirname, named)])
        if common != base:
            common = os.path.commonpath([*map(os.path.dirname, named)])
    except ValueError as e:  # Windows: two drives
        raise PathError(f"the photos of the list {str(path)!r} have no folder in common") from e
    photos: list[str] = []
    skipped: Counter[str] = Counter()
    for name in named:
        below = Path(os.path.relpath(name, common)).as_posix()
        if not os.path.isdir(name):
            photos.append(below)
            continue
        found = _search(Path(name), settings, barred, lambda _parts, _is_folder: True)
        photos += [str(PurePosixPath(below, p)) for p in found.paths]
        skipped.update(found.skipped)
    return Found(Path(common), list(dict.fromkeys(photos)), dict(sorted(skipped.items())))


def _lines(data: bytes) -> list[str]:
    # Not splitlines: a name may hold other separators, such as a form feed.
    return [os.fsdecode(line.removesuffix(b"\r")) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def output_path(relative: str, output: AnyPath) -> Path:
    """Where a photo's output lies: the same path, extension included, below `output`, so no two can collide.

    Raises:
        PathError: `relative` is absolute or leads out of the output (records can be written by anybody).
    """
    parts = PurePosixPath(relative).parts
    if not parts or PurePosixPath(relative).is_absolute() or ".." in parts or "\0" in relative:
        raise PathError(f"{relative!r} is no path within a folder")
    path = Path(output, *parts)
    if path.drive != Path(output).drive or not path.is_relative_to(output):
        raise PathError(f"{relative!r} is no path within a folder")
    return path


def check_output(found: Found, output: AnyPath) -> None:
    """Refuse an output of which any file would be, or later be taken for, an input.

    Files are compared by identity (device and inode), so symbolic links, hard links and file systems that ignore case
    are seen through.

    Raises:
        PathError: output is the input folder, or a file, or named like one; an output path is an input; outputs would
            lie in the folder that is searched (unless `find` excluded them), or, through a link, outside of the output;
            two outputs would be one file where case is ignored.
    """
    output = Path(output)
    targets = [output_path(p, output) for p in found.paths]
    if output.exists() and not output.is_dir():
        raise PathError(f"the output {str(output)!r} is a file; a folder is needed")
    if not output.exists() and output.suffix.lower().lstrip(".") in Settings().image_extensions:
        raise PathError(
            f"the output {str(output)!r} has a photo's name, but is a folder in which photos keep their names; "
            f"{str(output.with_suffix(''))!r} would be one"
        )
    root, out = (os.path.join(os.path.realpath(p), "") for p in (found.root, output))
    if root == out or (_identity(output) is not None and _identity(output) == _identity(found.root)):
        raise PathError(f"the output {str(output)!r} is the input folder: sources are never overwritten")
    inputs = {i for p in found.paths if (i := _identity(found.root / p)) is not None}
    for folder in {t.parent for t in targets}:
        if not os.path.join(os.path.realpath(folder), "").startswith(out):
            raise PathError(f"{str(folder)!r} leads out of the output {str(output)!r}; remove that link")
    for relative, target in zip(found.paths, targets, strict=True):
        if (there := _identity(target)) is not None and there in inputs:
            raise PathError(f"the output {str(target)!r} is one of the inputs: sources are never overwritten")
        if out.startswith(root) and os.path.realpath(found.root / relative).startswith(out):
            raise PathError(f"{relative!r} lies in the output {str(output)!r}; photos there are no inputs")
        if root.startswith(out) and os.path.realpath(target).startswith(root):
            raise PathError(f"the output {str(target)!r} would lie among the inputs")
    folded = Counter(map(_fold, found.paths))
    if len(folded) < len(found.paths) and _ignores_case(output):
        twice = next(p for p in found.paths if folded[_fold(p)] > 1)
        raise PathError(
            f"{twice!r} and another photo differ in case or accents only, which the output's file system ignores"
        )


def _fold(path: str) -> str:
    """As file systems that ignore case compare names; they ignore how an accent is written, too."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _ignores_case(folder: Path) -> bool:
    there = Path(os.path.abspath(folder))
    while not there.exists() or there.name.swapcase() == there.name:
        if there == there.parent:
            return os.name == "nt"
        there = there.parent
    return _identity(there.with_name(there.name.swapcase())) == _identity(there)
