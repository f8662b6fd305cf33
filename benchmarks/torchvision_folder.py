"""torchvision's documented way through a folder of pictures: runs in an interpreter that has torch (see peer.py).

As in its documentation of detection models: a picture read, made floats, given to the model in `eval()` mode, one after
another, in `inference_mode`. Weights of chance, as the project's side has.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import torch
from PIL import Image

if importlib.util.find_spec("tvpeer"):
    import tvpeer  # noqa: F401
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms.functional import pil_to_tensor


def main() -> None:
    pictures, results = Path(sys.argv[1]), Path(sys.argv[2])
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    with results.open("w") as file, torch.inference_mode():
        for path in sorted(pictures.iterdir()):
            picture = pil_to_tensor(Image.open(path).convert("RGB")).float() / 255
            found = model([picture])[0]
            keep = found["scores"] >= 0.5
            objects = {key: value[keep].tolist() for key, value in found.items()}
            file.write(json.dumps({"file": path.name, **objects}) + "\n")


if __name__ == "__main__":
    main()
