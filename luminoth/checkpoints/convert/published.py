"""Published detectors that can be converted: where they are, how they are told apart, what they score.

The figures are those of their authors: box AP on COCO val2017, parameters as torchvision counts them (frozen batch norm
left out). No weights come with this package; they are fetched from their authors and converted on the user's machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from luminoth.checkpoints.convert.coco_classes import COCO_80, COCO_90

TORCHVISION, DETECTRON2 = "torchvision", "detectron2"

# Luminoth's names for the detector with the best boxes and for the quickest one.
ALIASES = {"fasterrcnn_resnet50_fpn_v2": "accurate", "fasterrcnn_mobilenet_v3_large_320_fpn": "fast"}

_ID_DIGITS = 12


@dataclass(frozen=True)
class PublishedModel:
    """One file of weights.

    Attributes:
        name: how it is asked for.
        family: the library that published it, `torchvision` or `detectron2`.
        architecture: of its configuration, `models/<architecture>.yml`; trained for longer, it is the same one.
        url: of the file.
        digest: the hash of the file that its name gives the beginning of, `sha256` or `md5`.
        digest_start: that beginning, in hexadecimal digits.
        box_ap: box AP on COCO val2017, in percent.
        parameters: how many it has; None: not published.
        file_size: in bytes, to a tenth of a MiB; None: not published.
        papers: what to cite.
    """

    name: str
    family: str
    architecture: str
    url: str
    digest: str
    digest_start: str
    box_ap: float
    parameters: int | None
    file_size: int | None
    papers: tuple[str, ...]

    @property
    def id(self) -> str:
        """Of the checkpoint that the file becomes: known before the file is, and the same on every machine."""
        return hashlib.sha256(f"{self.file_name} {self.digest} {self.digest_start}".encode()).hexdigest()[:_ID_DIGITS]

    @property
    def alias(self) -> str:
        """Of its checkpoint; it is found by its name, too."""
        return ALIASES.get(self.name, self.name)

    @property
    def title(self) -> str:
        return f"Faster R-CNN of {self.family}: {self.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of their ids; torchvision's have unused ones among them."""
        return COCO_90 if self.family == TORCHVISION else COCO_80

    @property
    def scores(self) -> dict[str, str | float]:
        """As `metadata.json` has them: fractions of 1."""
        return {
            "data_set": "COCO val2017",
            "AP": round(self.box_ap / 100, 4),
            "measured_by": "the authors of the weights",
        }

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def licence(self) -> str:
        return LICENCES[self.family]

    def is_file(self, digests: dict[str, str]) -> bool:
        """Whether a file with these digests ({"sha256": ..., "md5": ...}, in hexadecimal) is the published one."""
        return digests[self.digest].startswith(self.digest_start)


LICENCES = {
    TORCHVISION: "BSD-3-Clause (torchvision); the weights were trained on COCO, which has terms of its own",
    DETECTRON2: "CC BY-SA 3.0 (weights of Detectron2's model zoo)",
}

_FASTER_RCNN = "Ren et al., Faster R-CNN, 2015, arXiv:1506.01497"
_FPN = "Lin et al., Feature Pyramid Networks for Object Detection, 2017, arXiv:1612.03144"
_V2 = "Li et al., Benchmarking Detection Transfer Learning with Vision Transformers, 2021, arXiv:2111.11429"
_MOBILENET = "Howard et al., Searching for MobileNetV3, 2019, arXiv:1905.02244"
_RESNEXT = "Xie et al., Aggregated Residual Transformations for Deep Neural Networks, 2017, arXiv:1611.05431"

_TORCHVISION_URL = "https://download.pytorch.org/models"
_DETECTRON2_URL = "https://dl.fbaipublicfiles.com/detectron2/COCO-Detection"


def _torchvision(
    name: str, file: str, box_ap: float, parameters: int, mebibytes: float, *papers: str
) -> PublishedModel:
    return PublishedModel(
        name=name,
        family=TORCHVISION,
        architecture=name,
        url=f"{_TORCHVISION_URL}/{file}.pth",
        digest="sha256",
        digest_start=file.rpartition("-")[2],
        box_ap=box_ap,
        parameters=parameters,
        file_size=round(mebibytes * 2**20),
        papers=(_FASTER_RCNN, *papers),
    )


def _detectron2(architecture: str, schedule: str, number: int, md5: str, box_ap: float) -> PublishedModel:
    name = f"faster_rcnn_{architecture}_{schedule}"
    papers = [_FASTER_RCNN]
    papers += [_FPN] if "FPN" in architecture else []
    papers += [_RESNEXT] if architecture.startswith("X") else []
    return PublishedModel(
        name=name,
        family=DETECTRON2,
        architecture=f"faster_rcnn_{architecture}",
        url=f"{_DETECTRON2_URL}/{name}/{number}/model_final_{md5}.pkl",
        digest="md5",
        digest_start=md5,
        box_ap=box_ap,
        parameters=None,
        file_size=None,
        papers=tuple(papers),
    )


_MODELS = (
    _torchvision(
        "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_coco-258fb6c6", 37.0, 41_755_286, 159.7, _FPN
    ),
    _torchvision(
        "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a", 46.7, 43_712_278, 167.1, _FPN, _V2
    ),
    _torchvision(
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7",
        32.8, 19_386_354, 74.2, _FPN, _MOBILENET,
    ),
    _torchvision(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9",
        22.8, 19_386_354, 74.2, _FPN, _MOBILENET,
    ),
    _detectron2("R_50_C4", "1x", 137257644, "721ade", 35.7),
    _detectron2("R_50_DC5", "1x", 137847829, "51d356", 37.3),
    _detectron2("R_50_FPN", "1x", 137257794, "b275ba", 37.9),
    _detectron2("R_50_C4", "3x", 137849393, "f97cb7", 38.4),
    _detectron2("R_50_DC5", "3x", 137849425, "68d202", 39.0),
    _detectron2("R_50_FPN", "3x", 137849458, "280758", 40.2),
    _detectron2("R_101_C4", "3x", 138204752, "298dad", 41.1),
    _detectron2("R_101_DC5", "3x", 138204841, "3e0943", 40.6),
    _detectron2("R_101_FPN", "3x", 137851257, "f6e8b1", 42.0),
    _detectron2("X_101_32x8d_FPN", "3x", 139173657, "68b088", 43.0),
)  # fmt: skip
PUBLISHED = {model.name: model for model in _MODELS}
