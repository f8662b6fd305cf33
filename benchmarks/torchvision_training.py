"""torchvision's side of `python -m benchmarks.toytown_accuracy`: runs in an interpreter that has torch (see peer.py).

    pretrain   a ResNet-50 learns to tell cut-out objects apart: the initialisation that both contestants start from
    init       a detector with that backbone and fresh heads, drawn from a seed: saved for both
    train      torchvision trains it, and writes what it finds as COCO results

As torchvision's reference script trains: SGD with momentum, linear warm-up, step decay, flips, frozen batch norm, the
stem and the first block frozen. Clipped gradients are added: from a backbone that has seen little, some runs diverge.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

if importlib.util.find_spec("tvpeer"):
    import tvpeer  # noqa: F401
from torchvision.models import resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d
from torchvision.transforms.functional import pil_to_tensor

_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
_CROP = 64
_LR_OF_CROPS = 0.02


def pretrain(job: dict[str, Any]) -> None:
    """Classifies objects cut out of a data set that is used for nothing else; saves the network's state."""
    torch.manual_seed(0)
    crops, labels = _crops(Path(job["data"]))
    network = resnet50(num_classes=job["classes"]).train()
    optimizer = torch.optim.SGD(network.parameters(), _LR_OF_CROPS, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * _LR_OF_CROPS, job["steps"])
    right = 0
    for step in range(job["steps"]):
        rows = torch.randint(len(crops), (32,))
        pixels = crops[rows].float().div(255).sub(_MEAN).div(_STD)
        if random.random() < 0.5:
            pixels = pixels.flip(3)
        logits = network(pixels)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
        optimizer.step()
        schedule.step()
        right = 0.95 * right + 0.05 * (logits.argmax(1) == labels[rows]).float().mean().item()
        if step % 50 == 49:
            print(f"pretrain {step + 1}/{job['steps']}: accuracy {right:.3f}", flush=True)
    torch.save(network.state_dict(), job["out"])


def init(job: dict[str, Any]) -> None:
    """Saves the detector both start from."""
    torch.manual_seed(job["seed"])
    backbone = resnet50(num_classes=job["classes"])
    backbone.load_state_dict(torch.load(job["backbone"], weights_only=True))
    torch.save(_detector(job, _frozen(backbone)).state_dict(), job["out"])


def train(job: dict[str, Any]) -> None:
    """Trains from `job["init"]`; writes COCO results of the validation pictures to `job["out"]`."""
    torch.manual_seed(job["seed"])
    shuffled = random.Random(job["seed"])
    model = _detector(job, _frozen(resnet50(num_classes=job["classes"])))
    model.load_state_dict(torch.load(job["init"], weights_only=True))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kernels = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": job["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
        job["rate"],
        momentum=0.9,
    )
    pictures = _pictures(Path(job["data"]), "train")
    order: list[int] = []
    model.train()
    seconds = 0.0
    for step in range(job["steps"]):
        while len(order) < job["batch"]:
            order += shuffled.sample(range(len(pictures)), len(pictures))
        rows, order = order[: job["batch"]], order[job["batch"] :]
        images, targets = zip(*(_sample(pictures[row], shuffled.random() < 0.5) for row in rows), strict=True)
        for group in optimizer.param_groups:
            group["lr"] = _rate(job, step)
        started = time.perf_counter()
        losses = model(list(images), list(targets))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(trained, job["clip"])
        optimizer.step()
        seconds += time.perf_counter() - started
        if step % 10 == 9:
            shown = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"torchvision {step + 1}/{job['steps']}: {seconds / (step + 1):.2f} s a step, {shown}", flush=True)
    Path(job["out"]).write_text(json.dumps(_results(model.eval(), Path(job["data"]))))


def _detector(job: dict[str, Any], backbone: torch.nn.Module) -> FasterRCNN:
    sizes = tuple((size,) for size in job["anchor_sizes"])
    return FasterRCNN(
        _resnet_fpn_extractor(backbone, trainable_layers=3),
        num_classes=job["classes"] + 1,
        min_size=job["min_size"],
        max_size=2 * job["min_size"],
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        rpn_pre_nms_top_n_train=job["proposals"],
        rpn_post_nms_top_n_train=job["proposals"],
        rpn_pre_nms_top_n_test=job["proposals"],
        rpn_post_nms_top_n_test=job["proposals"],
        box_batch_size_per_image=job["rois"],
    )


def _frozen(network: torch.nn.Module) -> torch.nn.Module:
    """The same network with `FrozenBatchNorm2d`."""
    for name, child in network.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features)
            state = {key: value for key, value in child.state_dict().items() if key != "num_batches_tracked"}
            frozen.load_state_dict(state)
            setattr(network, name, frozen)
        else:
            _frozen(child)
    return network


def _rate(job: dict[str, Any], step: int) -> float:
    warm = min(1.0, job["warmup_factor"] + (1 - job["warmup_factor"]) * step / job["warmup"])
    return job["rate"] * warm * (0.1 if step > job["drop"] else 1.0)


def _pictures(data: Path, split: str) -> list[dict[str, Any]]:
    """Each picture with its path, boxes [[x_min, y_min, x_max, y_max], ...] and labels (from 1)."""
    content = json.loads((data / "annotations" / f"instances_{split}2017.json").read_text())
    pictures = {
        image["id"]: {"id": image["id"], "path": data / f"{split}2017" / image["file_name"], "boxes": [], "labels": []}
        for image in content["images"]
    }
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        pictures[annotation["image_id"]]["boxes"].append([x, y, x + width, y + height])
        pictures[annotation["image_id"]]["labels"].append(annotation["category_id"])
    return list(pictures.values())


def _sample(picture: dict[str, Any], flipped: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    pixels = pil_to_tensor(Image.open(picture["path"]).convert("RGB")).float().div(255)
    boxes = torch.tensor(picture["boxes"], dtype=torch.float32).reshape(-1, 4)
    if flipped:
        pixels = pixels.flip(2)
        boxes = torch.stack(
            [pixels.shape[2] - boxes[:, 2], boxes[:, 1], pixels.shape[2] - boxes[:, 0], boxes[:, 3]], dim=1
        )
    return pixels, {"boxes": boxes, "labels": torch.tensor(picture["labels"], dtype=torch.int64)}


def _crops(data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut-out objects [N, 3, 64, 64] uint8 and their classes from 0."""
    crops, labels = [], []
    for picture in _pictures(data, "train"):
        image = Image.open(picture["path"]).convert("RGB")
        for box, label in zip(picture["boxes"], picture["labels"], strict=True):
            crops.append(pil_to_tensor(image.crop(box).resize((_CROP, _CROP))))
            labels.append(label - 1)
    return torch.stack(crops), torch.tensor(labels)


def _results(model: FasterRCNN, data: Path) -> list[dict[str, Any]]:
    results = []
    with torch.inference_mode():
        for picture in _pictures(data, "val"):
            found = model([_sample(picture, False)[0]])[0]
            for box, label, score in zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True):
                x_min, y_min, x_max, y_max = box
                results.append(
                    {
                        "image_id": picture["id"],
                        "category_id": label,
                        "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
                        "score": score,
                    }
                )
    return results


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    {"pretrain": pretrain, "init": init, "train": train}[job["stage"]](job)
