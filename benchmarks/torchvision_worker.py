"""torchvision's side of `python -m benchmarks.faster_rcnn`: runs in an interpreter that has torch (see peer.py).

As its users run it: `fasterrcnn_resnet50_fpn` as it is with published weights (frozen batch norm without epsilon),
`eval()`, `inference_mode()`, all threads, from a float tensor [3, H, W] that lies ready, its own resizing and padding
included. `layout` and `precision` give what else it offers: channels-last and bf16 autocast.

Where torchvision's own operators do not load (the PyPI wheel on a machine without CUDA), a module `tvpeer` on the
`PYTHONPATH` may supply them.
"""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import torch

if importlib.util.find_spec("tvpeer"):
    import tvpeer  # noqa: F401
import torchvision
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from benchmarks import scene
from benchmarks.peer import Prepared, serve

# Chosen so that about as many (RoI, class) pairs pass the score threshold of 0.05 as in a trained network: some
# hundreds. Initial weights as they are let none pass, and suppression would have nothing to do.
LOGIT_SPREAD = 0.7
RESIDUAL_SCALE = 0.2  # of a residual branch at the start; with 1, frozen batch norm lets activations explode


def prepare(job: dict[str, Any]) -> Prepared:
    cases, facts = JOBS[job["what"]](job)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.get_num_threads()} threads"
    return cases, {"versions": versions, **facts}


def _weights(job: dict[str, Any]) -> Prepared:
    """Writes seeded weights to the file `job["weights"]`; both sides run them."""
    torch.manual_seed(0)
    model = _model().eval()
    _scale_residuals(model)
    heard = {}
    model.roi_heads.box_predictor.register_forward_hook(lambda _, inputs, output: heard.update(logits=output[0]))
    image = _image(scene.NETWORK_SIZE)
    with torch.inference_mode():
        model([image])
        # Each class's logit gets mean 0 and the wanted spread over the RoIs of the picture.
        layer, logits = model.roi_heads.box_predictor.cls_score, heard["logits"]
        factor = LOGIT_SPREAD / logits.std(dim=0)
        layer.weight.mul_(factor[:, None])
        layer.bias.copy_((layer.bias - logits.mean(dim=0)) * factor)
        found = model([image])[0]
        candidates = int((heard["logits"].softmax(-1)[:, 1:] > model.roi_heads.score_thresh).sum())
    torch.save(model.state_dict(), job["weights"])
    counts = {"proposals": len(heard["logits"]), "candidates": candidates, "detections": len(found["scores"])}
    return {}, {**counts, "parameters": sum(parameter.numel() for parameter in model.parameters())}


def _inference(job: dict[str, Any]) -> Prepared:
    device = _device(job)
    model = _loaded(job).to(device).eval()
    if job["layout"] == "channels-last":
        model = model.to(memory_format=torch.channels_last)
    images = {name: _image(size).to(device) for name, size in scene.PICTURES.items()}

    def detect(name: str):
        with torch.inference_mode(), _precision(job, device):
            found = model([images[name]])[0]
        return {key: value.cpu() for key, value in found.items()}

    found = detect("800x1066")
    top = {key: value[:20].tolist() for key, value in found.items()}
    return {name: lambda name=name: detect(name) for name in images}, {"detections": len(found["scores"]), "top": top}


def _training(job: dict[str, Any]) -> Prepared:
    model = _loaded(job).to(_device(job)).train()
    return _training_step(job, model, _image(scene.NETWORK_SIZE), 1)


def _training_of_size(job: dict[str, Any]) -> Prepared:
    """As `python -m benchmarks.training` asks: `job["batch"]` pictures of 3 : 4 whose shorter side is `job["size"]`."""
    torch.manual_seed(0)
    model = _model().to(_device(job)).train()
    _scale_residuals(model)
    size = (job["size"], round(job["size"] * 4 / 3))
    model.transform.min_size, model.transform.max_size = (size[0],), size[1]
    return _training_step(job, model, _image(size), job["batch"])


def _training_step(job: dict[str, Any], model: FasterRCNN, image: torch.Tensor, batch: int) -> Prepared:
    """An update on a batch of the same picture, with the objects of the scene in its proportions."""
    device = _device(job)
    boxes, class_ids = scene.objects()
    boxes = boxes * (image.shape[1] / scene.NETWORK_SIZE[0])
    target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(class_ids).long() + 1}
    target = {key: value.to(device) for key, value in target.items()}
    image = image.to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # So small a rate that each step does the same work.
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        with _precision(job, device):
            losses = model([image] * batch, [target] * batch)
            total = sum(losses.values())
        total.backward()
        optimizer.step()
        return total.item()

    return {"step": step}, {"trained_parameters": sum(parameter.numel() for parameter in trained), "loss": step()}


def _roi_align(job: dict[str, Any]) -> Prepared:
    device = _device(job)
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
    generator = torch.Generator().manual_seed(0)
    features = {
        str(level): torch.randn(1, scene.CHANNELS, *size, generator=generator).to(device)
        for level, size in enumerate(scene.level_sizes())
    }
    rois = [torch.from_numpy(scene.random_boxes(scene.NUM_ROIS)).to(device)]

    def run():
        with torch.inference_mode():
            pooled = pool(features, rois, [scene.NETWORK_SIZE])
        return pooled[0, 0, 0, 0].item()

    return {"roi-align": run}, {}


def _cold_start(job: dict[str, Any]) -> Prepared:
    """`run first` is timed in a process that has imported torch and torchvision and done nothing else."""
    pixels = scene.picture(scene.NETWORK_SIZE)

    def first():
        model = _loaded(job).eval()
        with torch.inference_mode():
            return model([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])[0]["scores"].tolist()

    return {"first": first}, {}


JOBS = {
    "weights": _weights,
    "inference": _inference,
    "training": _training,
    "training-of-size": _training_of_size,
    "roi-align": _roi_align,
    "cold-start": _cold_start,
}


def _model() -> FasterRCNN:
    """`fasterrcnn_resnet50_fpn` as it is with published weights, all layers trainable."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
    )
    model = FasterRCNN(backbone, num_classes=scene.NUM_CLASSES + 1)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    return model


def _scale_residuals(model: FasterRCNN) -> None:
    for module in model.modules():
        if isinstance(module, torchvision.models.resnet.Bottleneck):
            module.bn3.weight.fill_(RESIDUAL_SCALE)


def _loaded(job: dict[str, Any]) -> FasterRCNN:
    model = _model()
    model.load_state_dict(torch.load(job["weights"], weights_only=True))
    return model


def _image(size: tuple[int, int]) -> torch.Tensor:
    """[3, H, W] float32, 0 to 1."""
    return torch.from_numpy(scene.picture(size)).permute(2, 0, 1).float().div(255).contiguous()


def _device(job: dict[str, Any]) -> torch.device:
    return torch.device("cuda" if job["device"] == "gpu" else "cpu")


def _precision(job: dict[str, Any], device: torch.device) -> contextlib.AbstractContextManager:
    if job["precision"] == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, getattr(torch, job["precision"]))


if __name__ == "__main__":
    serve(prepare)
