"""Inputs are found under exact names, in a fixed order, and no output can be one of them."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymize import images
from anonymize.errors import PathError, UnreadableImageError
from anonymize.images import paths
from anonymize.images.paths import Found, check_output, find, output_path
from anonymize.settings import Settings

SETTINGS = Settings()


@pytest.fixture
def tree(tmp_path):
    """Names -> files in a folder, made with parents."""

    def make(*names, root="in"):
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return tmp_path / root

    return make


def found(source, **options):
    return list(find(source, SETTINGS, **options).paths)


def test_a_folder_gives_its_photos_in_a_fixed_order_and_counts_the_rest(tree):
    root = tree("b/1.jpg", "b/a/2.PNG", "z.jpeg", "a.tiff", ".hidden.jpg", ".git/x.webp", "note.txt", "b/n.TXT", "none")
    got = find(root, SETTINGS)
    assert got.root == root
    assert got.paths == [".hidden.jpg", "a.tiff", "z.jpeg", ".git/x.webp", "b/1.jpg", "b/a/2.PNG"]
    assert got.skipped == {"": 1, "txt": 2}
    assert find(root, SETTINGS.replace(image_extensions=("txt",))).paths == ["note.txt", "b/n.TXT"]


def test_what_macos_leaves_beside_photos_is_no_photo(tree):
    root = tree("a.jpg", "b/._a.jpg", "._real.jpg", ".DS_Store", "._.DS_Store")
    (root / "b/._a.jpg").write_bytes(bytes.fromhex("00051607") + bytes(78))
    got = find(root, SETTINGS)
    assert got.paths == ["._real.jpg", "a.jpg"]  # a photo of such a name is a photo
    assert got.skipped == {"": 1, "_*": 1, "ds_store": 1}


def test_a_file_is_taken_whatever_its_extension(tree):
    root = tree("a.jpg", "photo.jfif")
    assert find(root / "photo.jfif", SETTINGS) == Found(root, ["photo.jfif"])


def test_nothing_there_is_an_error(tmp_path, tree):
    root = tree("a.jpg")
    for source in (tmp_path / "none", root / "*.png", tmp_path / "none" / "*.jpg"):
        with pytest.raises(PathError, match=r"there is no|nothing matches"):
            find(source, SETTINGS)
    (tmp_path / "empty").mkdir()
    assert find(tmp_path / "empty", SETTINGS).paths == []


def test_globs(tree):
    root = tree("a.jpg", "b.jpg", "c.png", "x/a.jpg", "x/y/b.jpg", "x/y/note.txt", "[1].jpg")
    assert found(root / "*.jpg") == ["[1].jpg", "a.jpg", "b.jpg"]
    assert found(root / "?.[jp]*") == ["a.jpg", "b.jpg", "c.png"]
    assert found(root / "**" / "*.jpg") == ["[1].jpg", "a.jpg", "b.jpg", "x/a.jpg", "x/y/b.jpg"]
    assert found(root / "x" / "*") == ["a.jpg", "y/b.jpg"]
    assert find(root / "x" / "*", SETTINGS).skipped == {"txt": 1}
    assert found(root / "*" / "y" / "*.jpg") == ["x/y/b.jpg"]
    assert found(root / "**") == ["[1].jpg", "a.jpg", "b.jpg", "c.png", "x/a.jpg", "x/y/b.jpg"]
    assert found(root / "[1].jpg") == ["[1].jpg"]  # what exists under that name is no glob


def test_a_glob_does_not_look_where_it_cannot_match(tree, monkeypatch):
    root = tree("a.jpg", "deep/b.jpg")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(paths.os, "scandir", lambda p: listed.append(os.path.basename(p)) or scandir(p))
    assert found(root / "*.jpg") == ["a.jpg"]
    assert listed == ["in"]


def test_a_list_names_photos_relative_to_itself(tmp_path, tree):
    root = tree("a.jpg", "x/b.jpg", "-rf.jpg", "odd.jfif", "folder/c.jpg", "folder/d.txt")
    odd = os.fsdecode(b"\xff\xfe.jpg")
    tree(odd)
    names = ["x/b.jpg", "a.jpg", "", "-rf.jpg", "odd.jfif", odd, "folder", "a.jpg", "missing.jpg"]
    (root / "list.txt").write_bytes("\r\n".join(names).encode("utf-8", "surrogateescape"))
    got = find(root / "list.txt", SETTINGS)
    assert got.root == root
    assert got.paths == ["x/b.jpg", "a.jpg", "-rf.jpg", "odd.jfif", odd, "folder/c.jpg", "missing.jpg"]
    assert got.skipped == {"txt": 1}
    other = tree("l.txt", root="lists") / "l.txt"
    other.write_text(f"{root}/a.jpg\n../in/x/b.jpg\n")
    assert find(other, SETTINGS) == Found(root, ["a.jpg", "x/b.jpg"], {})
    other.write_text("\n\n")
    with pytest.raises(PathError, match="names no photo"):
        find(other, SETTINGS)


def test_names_of_every_kind_are_exact(tree):
    names = ["-rf.jpg", "a\nb.jpg", os.fsdecode(b"\xff\xfe.jpg"), " .jpg", "ü.jpg", "a\\b.jpg", "*.jpg"]
    root = tree(*names)
    assert sorted(found(root)) == sorted(names)
    out = root.parent / "out"
    assert all(os.path.basename(output_path(n, out)) == n for n in names)


# links


@pytest.mark.timeout(20)
def test_links_in_circles_are_harmless(tmp_path, tree):
    root = tree("a/1.jpg", "b/2.jpg", "c/3.jpg")
    for folder in ("a", "b", "c"):
        for target in ("a", "b", "c", "..", "."):
            (root / folder / f"to {target} ".replace(".", "up")).symlink_to(Path("..") / target)
    (root / "self").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "everything").symlink_to("/")
    (root / "loop.jpg").symlink_to("loop.jpg")
    assert found(root) == ["loop.jpg", "a/1.jpg", "b/2.jpg", "c/3.jpg"]
    assert found(root / "**" / "*.jpg") == ["loop.jpg", "a/1.jpg", "b/2.jpg", "c/3.jpg"]
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        images.load(root / "loop.jpg", SETTINGS)


@pytest.mark.timeout(20)
def test_links_that_lead_out_are_followed_once(tree):
    root, outside = tree("a.jpg"), tree("x/1.jpg", "2.jpg", root="other")
    (root / "to").symlink_to(outside)
    (root / "again").symlink_to(outside)
    (outside / "back").symlink_to(root)
    (outside / "x" / "up").symlink_to(outside)
    assert found(root) == ["a.jpg", "again/2.jpg", "again/x/1.jpg"]


def test_a_link_to_a_file_is_a_file_and_a_broken_one_is_not_overlooked(tree):
    root = tree("a.jpg")
    (root / "link.jpg").symlink_to("a.jpg")
    (root / "broken.jpg").symlink_to("none.jpg")
    assert found(root) == ["a.jpg", "broken.jpg", "link.jpg"]


def test_a_folder_that_may_not_be_listed_is_not_overlooked():
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    (root / "closed").mkdir()
    (root / "closed" / "a.jpg").write_bytes(b"x")
    (root / "closed").chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        assert found(root) == ["closed"]
        with pytest.raises(UnreadableImageError, match="may not be listed"):
            images.load(root / "closed", SETTINGS)
        with pytest.raises(PathError, match="may not be listed"):
            find(root / "closed", SETTINGS)
    finally:
        if is_root:
            os.seteuid(0)
        (root / "closed").chmod(0o755)
        shutil.rmtree(root)


# outputs


def test_the_output_is_not_searched(tree):
    root = tree("a.jpg", "out/a.jpg", "out/x/b.jpg")
    (root / "link").symlink_to("out")
    assert found(root, exclude=root / "out") == ["a.jpg"]
    assert found(root, exclude=root / "not there yet") == ["a.jpg", "out/a.jpg", "out/x/b.jpg"]
    assert found(root / "**", exclude=root / "out") == ["a.jpg"]


def test_outputs_never_collide():
    names = ["a/1.jpg", "b/1.jpg", "1.jpg", "1.png", "a/1.jpg.jpg"]
    assert len({output_path(n, "out") for n in names}) == len(names)
    assert output_path("a/1.jpg", "out") == Path("out/a/1.jpg")


@pytest.mark.parametrize("name", ["", ".", "..", "../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "a\0b.jpg"])
def test_an_output_path_stays_in_the_output(name):
    with pytest.raises(PathError, match="no path within"):
        output_path(name, "out")


@given(st.lists(st.text(st.characters(exclude_characters="\0/"), min_size=1), min_size=1, max_size=4))
def test_every_output_path_is_refused_or_inside(parts):
    try:
        path = output_path("/".join(parts), "/o/u/t")
    except PathError:
        assert ".." in parts or set(parts) <= {".", ""}
    else:
        assert os.path.normpath(path).startswith("/o/u/t/")


def test_an_output_elsewhere_or_inside_and_excluded_is_allowed(tmp_path, tree):
    root = tree("a.jpg", "out/a.jpg")
    check_output(find(root, SETTINGS), tmp_path / "elsewhere")
    check_output(find(root, SETTINGS, exclude=root / "out"), root / "out")
    check_output(find(root / "a.jpg", SETTINGS), tmp_path)


@pytest.mark.parametrize("output", ["in", "in/", "in/../in", "in/out/..", "link"])
def test_the_output_is_not_the_input(output, tmp_path, tree):
    root = tree("a.jpg", "out/a.jpg")
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(PathError, match="input folder"):
        check_output(find(root, SETTINGS), f"{tmp_path}/{output}")


def test_an_output_inside_that_was_searched_is_refused(tree):
    root = tree("a.jpg", "out/b.jpg")
    with pytest.raises(PathError, match="lies in the output"):
        check_output(find(root, SETTINGS), root / "out")


def test_an_output_around_the_input_must_not_write_into_it(tmp_path, tree):
    root = tree("a.jpg", "in/b.jpg")
    with pytest.raises(PathError, match="among the inputs"):
        check_output(find(root, SETTINGS), tmp_path)
    (root / "in" / "b.jpg").unlink()
    check_output(find(root, SETTINGS), tmp_path)


@pytest.mark.parametrize("kind", ["link to the file", "hard link", "link to the folder"])
def test_an_output_that_leads_to_an_input_is_refused(kind, tmp_path, tree):
    root, out = tree("x/a.jpg"), tmp_path / "out"
    out.mkdir()
    if kind == "link to the folder":
        (out / "x").symlink_to(root / "x")
    else:
        (out / "x").mkdir()
        (os.link if kind == "hard link" else os.symlink)(root / "x" / "a.jpg", out / "x" / "a.jpg")
    with pytest.raises(PathError, match=r"one of the inputs|leads out"):
        check_output(find(root, SETTINGS), out)


def test_an_output_that_is_a_file_is_refused(tree):
    root = tree("a.jpg", "b.jpg")
    with pytest.raises(PathError, match="is a file"):
        check_output(find(root / "a.jpg", SETTINGS), root / "b.jpg")


def test_names_that_differ_in_case_need_a_file_system_that_tells_them_apart(tmp_path, tree, monkeypatch):
    for i, names in enumerate((("a.jpg", "A.jpg"), ("\u00e9.jpg", "E\u0301.jpg"))):
        got = find(tree(*names, root=str(i)), SETTINGS)
        check_output(got, tmp_path / "out")
        with monkeypatch.context() as m:
            m.setattr(paths, "_ignores_case", lambda _folder: True)
            with pytest.raises(PathError, match="case or accents only"):
                check_output(got, tmp_path / "out")


def test_an_output_that_is_named_like_a_photo_is_refused(tmp_path, tree):
    root = tree("a.jpg")
    with pytest.raises(PathError, match=r"is a folder .*'.*clean' would be one"):
        check_output(find(root / "a.jpg", SETTINGS), tmp_path / "clean.JPG")
    (tmp_path / "trip.jpg").mkdir()
    check_output(find(root / "a.jpg", SETTINGS), tmp_path / "trip.jpg")
