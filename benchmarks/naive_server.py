"""What the server is measured beside: a Flask handler around torchvision's model, as one writes it in an afternoon.

`python -m benchmarks.server load --peer torchvision` runs it in an interpreter that has torch, torchvision and Flask:

    python naive_server.py weights NAME FILE    # seeded weights of a model, for both sides
    python naive_server.py serve NAME FILE      # prints its port; POST /predict with a form's `image`
"""

from __future__ import annotations

import importlib.util
import socket
import sys

import torch

if importlib.util.find_spec("tvpeer"):
    import tvpeer  # noqa: F401
import torchvision


def make_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, weights_backbone=None)


def serve(name: str, file: str) -> None:
    from flask import Flask, jsonify, request
    from PIL import Image
    from torchvision.transforms.functional import to_tensor

    model = make_model(name).eval()
    model.load_state_dict(torch.load(file))
    app = Flask(__name__)

    @app.post("/predict")
    def predict():
        image = to_tensor(Image.open(request.files["image"]).convert("RGB"))
        with torch.inference_mode():
            found = model([image])[0]
        objects = [
            {"bbox": box, "label": label, "prob": score}
            for box, label, score in zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True)
            if score >= 0.5
        ]
        return jsonify(objects=objects)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    print(port, flush=True)
    app.run(port=port, threaded=True)


if __name__ == "__main__":
    what, model_name, weights = sys.argv[1:]
    if what == "weights":
        torch.save(make_model(model_name).state_dict(), weights)
    else:
        serve(model_name, weights)
