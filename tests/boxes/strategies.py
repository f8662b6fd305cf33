"""Hypothesis strategies for boxes."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def box_arrays(draw, min_count=0, max_count=12, extent=100.0):
    """[N, 4] float32 boxes of at least 1 pixel each way, inside `extent` pixels."""
    count = draw(st.integers(min_count, max_count))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    corners = rng.uniform(0, extent - 1, (count, 2))
    sizes = rng.uniform(1, extent - corners)
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
