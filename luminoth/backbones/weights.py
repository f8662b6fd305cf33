"""ImageNet weights: Keras Applications' published files, fetched, verified and read into our backbones."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from luminoth import web
from luminoth.backbones.resnet import ResNet
from luminoth.backbones.vgg import VGG
from luminoth.errors import CheckpointError, ModelError
from luminoth.web import RequestError


@dataclass(frozen=True)
class PublishedWeights:
    """A file of Keras Applications, without the classification layers. Trained on ImageNet-1k.

    Attributes:
        url: where it is.
        md5: of the whole file.
    """

    url: str
    md5: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[1]


_BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_SUFFIX = "weights_tf_dim_ordering_tf_kernels_notop.h5"

IMAGENET_WEIGHTS = {
    "resnet_v1_50": PublishedWeights(f"{_BASE_URL}/resnet/resnet50_{_SUFFIX}", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet_v1_101": PublishedWeights(f"{_BASE_URL}/resnet/resnet101_{_SUFFIX}", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet_v1_152": PublishedWeights(f"{_BASE_URL}/resnet/resnet152_{_SUFFIX}", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "vgg_16": PublishedWeights(f"{_BASE_URL}/vgg16/vgg16_{_SUFFIX}", "6d6bbae143d832006294945121d1f1fc"),
    "vgg_19": PublishedWeights(f"{_BASE_URL}/vgg19/vgg19_{_SUFFIX}", "253f8cb515780f3b799900260a226db6"),
}


def fetch(weights: PublishedWeights, folder: Path, timeout: float = 30.0) -> Path:
    """The local copy of a published file, downloaded into `folder` unless it is there already.

    Raises:
        CheckpointError: it cannot be downloaded, or its checksum is not the published one.
    """
    target = folder / weights.file_name
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{weights.file_name}.", delete=False) as partial:
        try:
            with web.ask(weights.url, timeout) as response:
                partial.writelines(web.read_blocks(response, weights.url))
            partial.close()
            _verify(Path(partial.name), weights)
            os.replace(partial.name, target)
        except (RequestError, OSError) as error:
            raise CheckpointError(
                f"the ImageNet weights could not be downloaded from {weights.url} ({error}). Put the file into "
                f"{folder}, or name a local one with model.base_network.weights; `weights: random` trains from scratch"
            ) from error
        finally:
            Path(partial.name).unlink(missing_ok=True)
    return target


def _verify(file: Path, weights: PublishedWeights) -> None:
    with open(file, "rb") as content:
        found = hashlib.file_digest(content, "md5").hexdigest()
    if found != weights.md5:
        raise CheckpointError(
            f"{weights.url}: the downloaded file has MD5 {found}, published is {weights.md5}; it was discarded. "
            "Try again; a proxy may have answered in its place"
        )


def load_keras_weights(backbone: ResNet | VGG, file: str | os.PathLike) -> int:
    """Reads a Keras Applications file into a backbone; every tensor of the backbone must be in it.

    A convolution's bias in front of batch norm is folded into the stored mean, which gives the same numbers.

    Args:
        backbone: a ResNet of bottleneck units or a VGG, of the same depth as the file's.
        file: an .h5 file in the form of Keras Applications (with or without the classification layers).

    Returns:
        The number of tensors that were loaded.

    Raises:
        CheckpointError: the file cannot be read, lacks a layer or holds one of another shape.
        ModelError: the backbone is a ResNet of basic units.
    """
    if isinstance(backbone, ResNet) and not backbone.is_bottleneck:
        raise ModelError(
            f"{file}: files of Keras Applications hold no ResNet of basic units, such as thin_resnet; "
            "choose another architecture, or `weights: random` to train from scratch"
        )
    convolutions = _resnet_names(backbone) if isinstance(backbone, ResNet) else _vgg_names(backbone)
    try:
        with h5py.File(file, "r") as content:
            source = _KerasFile(content.get("model_weights", content), file)
            values = {name: source.convolution(name, norm_name) for name, (_, norm_name) in convolutions.items()}
    except OSError as error:
        raise CheckpointError(f"{file}: not a readable HDF5 file of Keras weights ({error})") from error

    assignments = []
    for name, (conv, norm_name) in convolutions.items():
        if norm_name is None:
            variables = [conv.kernel, conv.bias]
        else:
            variables = [conv.kernel, conv.gamma, conv.beta, conv.moving_mean, conv.moving_variance]
        for variable, value in zip(variables, values[name], strict=True):
            if tuple(variable.shape) != value.shape:
                raise CheckpointError(
                    f"{file}: layer {name} holds a tensor of shape {value.shape}, the backbone expects "
                    f"{tuple(variable.shape)}; is it the file of another architecture?"
                )
            assignments.append((variable, value))
    for variable, value in assignments:
        variable.assign(value)
    return len(assignments)


class _KerasFile:
    """Tensors of an .h5 file by layer and weight name."""

    def __init__(self, root: h5py.Group, file: str | os.PathLike) -> None:
        self._root, self._file = root, file

    def convolution(self, name: str, norm_name: str | None) -> list[np.ndarray]:
        """[kernel, bias], or [kernel, gamma, beta, mean, variance] when batch norm follows."""
        kernel, bias = self._tensor(name, "kernel"), self._tensor(name, "bias")
        if norm_name is None:
            return [kernel, bias]
        norm = [self._tensor(norm_name, part) for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        return [kernel, norm[0], norm[1], norm[2] - bias, norm[3]]

    def _tensor(self, layer: str, part: str) -> np.ndarray:
        if layer not in self._root:
            raise CheckpointError(
                f"{self._file}: there is no layer {layer} in it; a Keras Applications file of the configured "
                f"architecture is expected (it holds: {', '.join(list(self._root)[:4])}, ...)"
            )
        for weight_name in self._root[layer].attrs.get("weight_names", ()):
            weight_name = weight_name.decode() if isinstance(weight_name, bytes) else weight_name
            if weight_name.split("/")[-1].split(":")[0] == part:
                return np.asarray(self._root[layer][weight_name])
        raise CheckpointError(f"{self._file}: layer {layer} has no tensor named {part}")


def _resnet_names(backbone: ResNet) -> dict:
    """{Keras layer name: (our convolution, name of the batch norm layer)}; Keras counts blocks from conv2."""
    names = {"conv1_conv": (backbone.conv1, "conv1_bn")}
    for number in (1, 2, 3, 4):
        block = backbone.group(f"block{number}")
        if block is None:
            continue
        for index, unit in enumerate(block.units, start=1):
            prefix = f"conv{number + 1}_block{index}"
            parts = [("0", unit.shortcut), ("1", unit.conv1), ("2", unit.conv2), ("3", unit.conv3)]
            for part, conv in parts:
                if conv is not None:
                    names[f"{prefix}_{part}_conv"] = (conv, f"{prefix}_{part}_bn")
    return names


def _vgg_names(backbone: VGG) -> dict:
    """{Keras layer name: (our convolution, None)}."""
    return {
        f"block{number}_conv{index}": (conv, None)
        for number, group in enumerate(backbone.groups, start=1)
        for index, conv in enumerate(backbone.group(group).convs, start=1)
    }
