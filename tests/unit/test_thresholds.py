"""What other thresholds would hide: the same as hiding with them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.records import Record
from anonymize.regions import STATUSES, Region
from anonymize.settings import Settings
from anonymize.thresholds import compare, hiding_scores

REGION = st.builds(
    lambda kind, side, score, status: Region(kind, (0, 0, side, side), score, status=status),
    st.sampled_from(["face", "plate"]),
    st.sampled_from([2, 20, 200]),
    st.floats(0.001, 1),
    st.sampled_from(STATUSES),
)
LIMITED = Settings().with_kind("face", min_size=5, max_size=100)


@settings(deadline=None)
@given(st.lists(st.lists(REGION, max_size=5), max_size=4), st.floats(0.001, 1))
def test_it_counts_what_would_be_hidden(photos, threshold):
    known = [Record(f"{n}.jpg", regions=tuple(found)) for n, found in enumerate(photos)]
    scores = [hiding_scores(r, LIMITED, "face") for r in known]
    now, then = (
        np.array([sum(r.kind == "face" for r in k.hidden(LIMITED.with_kind("face", threshold=t))) for k in known])
        for t in (0.3, threshold)
    )
    assert compare(scores, 0.3, threshold) == (then.sum(), (then > 0).sum(), (now != then).sum())
