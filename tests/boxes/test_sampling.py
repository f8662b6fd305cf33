import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from luminoth.boxes.sampling import sample_labels


def draw(labels, size, fraction, seed=(1, 2)):
    return sample_labels(np.asarray(labels, np.int32), size, fraction, np.array(seed)).numpy()


@given(
    st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=40),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 1000),
)
def test_counts_and_kinds(labels, size, fraction, seed):
    chosen = draw([labels], size, fraction, (seed, 7))[0]
    labels = np.array(labels)
    foreground = min((labels == 1).sum(), round(size * fraction))
    assert (chosen & (labels == 1)).sum() == foreground
    assert (chosen & (labels == 0)).sum() == min((labels == 0).sum(), size - foreground)
    assert not (chosen & (labels == -1)).any()


def test_the_seed_decides():
    labels = [[1] * 50 + [0] * 50]
    assert (draw(labels, 20, 0.5, (3, 4)) == draw(labels, 20, 0.5, (3, 4))).all()
    assert (draw(labels, 20, 0.5, (3, 4)) != draw(labels, 20, 0.5, (3, 5))).any()


def test_every_candidate_has_its_chance():
    hits = sum(draw([[0] * 10], 5, 0.5, (0, i))[0].astype(int) for i in range(200))
    assert hits.sum() == 1000
    assert (np.abs(hits - 100) < 35).all()  # five standard deviations of a binomial(200, 1/2)


def test_pictures_of_a_batch_are_counted_apart():
    chosen = draw([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, -1]], 4, 0.5)
    assert chosen[0, :3].sum() == 2
    assert chosen[0, 3:].sum() == 2
    assert chosen[1].sum() == 4
