import struct

import numpy as np
import pytest

from anonymize.errors import UnsupportedClipError
from anonymize.regions import Region
from anonymize.video.orientation import Orientation

ALL = [Orientation(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
ALL += [Orientation(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("turned", ALL)
def test_a_region_finds_the_same_pixels_in_the_stored_picture(turned):
    stored = np.zeros((6, 9), bool)
    upright = turned.upright(np.arange(54).reshape(6, 9))
    region = Region("plate", (1, 2, 4, 5), corners=((1, 2), (4, 2), (4, 5), (1, 5)))
    found = turned.stored(region, 9, 6)
    x1, y1, x2, y2 = map(int, found.box)
    stored[y1:y2, x1:x2] = True
    assert set(np.flatnonzero(stored)) == set(upright[2:5, 1:4].flat)
    (ax, ay), (bx, by), (cx, cy), _ = found.corners
    assert (bx - ax) * (cy - by) - (by - ay) * (cx - bx) > 0  # clockwise still
    assert found.id == region.id


@pytest.mark.parametrize("turned", ALL)
def test_a_display_matrix_comes_back(turned):
    assert Orientation.from_matrix(struct.pack("=9i", *turned.matrix())) == turned


def test_an_angle_between_is_refused():
    with pytest.raises(UnsupportedClipError, match="quarter"):
        Orientation.from_matrix(struct.pack("=9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30))
