"""The arithmetic behind the benchmarks' figures; benchmarks themselves are never timed tests."""

import pytest

from benchmarks.comparison import agreement, ratios, spread
from benchmarks.fpn_flops import resnet50_fpn_flops


def test_operations_are_those_that_torch_counts():
    # torch.utils.flop_counter.FlopCounterMode on torchvision's fasterrcnn_resnet50_fpn, a picture of 800 x 1066.
    flops = resnet50_fpn_flops((800, 1088))
    assert flops.convolution == 326_444_364_288
    assert flops.matrix == 28_719_104_000


def test_ratios_are_taken_within_rounds():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert ratios([], [1.0]) == []
    assert spread([3.0, 1.0, 2.0], digits=1) == "2.0 (1.0 to 3.0)"
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_detections_agree_when_label_and_place_do():
    one = {"boxes": [[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], "labels": [1, 2, 1]}
    other = {"boxes": [[50, 50, 60, 60], [0, 0, 10, 9.5], [0, 0, 10, 5]], "labels": [1, 1, 2]}
    assert agreement(one, other) == (2, 3)
