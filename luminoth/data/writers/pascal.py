"""Pascal VOC: one XML file a picture, splits as lists of ids.

VOC counts pixels from 1 and includes the last one: one is added to the upper left corner, as the reader takes it off.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from luminoth.data.writers.base import Writer, WrittenSplit, number, rounded_box
from luminoth.data.writers.names import PictureNames, picture_name
from luminoth.errors import DataError
from luminoth.types import Example

_NOT_IN_XML = re.compile(r"[\x00-\x1f]")
# An id that ends in such a number looks like a line of VOC's lists of one class: `2008_000002 -1`.
_LOOKS_LIKE_A_CLASS_LIST = re.compile(r"^(\S+)\s+(-?1|0)$")
_NOISE_DECIMALS = 9


class PascalWriter(Writer):
    """Writes `ImageSets/Main/<split>.txt`, `JPEGImages/<id>.jpg` and `Annotations/<id>.xml`.

    All splits share the folder of pictures. A picture that an earlier split holds with the same boxes is listed again
    and not written again (VOC's `trainval`).
    """

    layout = "ImageSets/Main/<split>.txt, JPEGImages/<id>.jpg, Annotations/<id>.xml"
    keeps_class_list = False

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        super().__init__(folder, class_names)
        for name in class_names:
            if _NOT_IN_XML.search(name):
                raise DataError(f"class {name!r}: XML cannot hold its control character; rename the class")
        self._names = PictureNames()
        self._ids: dict[bytes, tuple[str, str]] = {}  # digest of an example -> its id, and the split it was written for
        for name in ("ImageSets/Main", "JPEGImages", "Annotations"):  # the reader wants all of them
            (folder / name).mkdir(parents=True)

    def write_split(self, split: str, examples: Iterable[Example]) -> WrittenSplit:
        written = WrittenSplit(split)
        with (self.folder / "ImageSets" / "Main" / f"{split}.txt").open("w", encoding="utf-8", newline="") as listed:
            for example in examples:
                listed.write(self._write_picture(split, example) + "\n")
                written.count(example, self.class_names)
        return written

    def _write_picture(self, split: str, example: Example) -> str:
        """Writes picture and annotation; gives the picture's id."""
        digest = _digest(example)
        image_id, other_split = self._ids.get(digest, ("", split))
        if other_split != split:
            return image_id
        stem, extension = picture_name(example)
        image_id = self._names.claim_stem(_LOOKS_LIKE_A_CLASS_LIST.sub(r"\1_\2", stem))
        self._ids[digest] = image_id, split
        self.write_file(f"JPEGImages/{image_id}{extension}", example.encoded)
        self.write_file(f"Annotations/{image_id}.xml", self._xml(image_id + extension, example))
        return image_id

    def _xml(self, filename: str, example: Example) -> bytes:
        root = ElementTree.Element("annotation")
        _add(root, "folder", "JPEGImages")
        _add(root, "filename", filename)
        size = _add(root, "size")
        for name, value in zip(("width", "height", "depth"), (*example.image_size[::-1], 3), strict=True):
            _add(size, name, value)
        _add(root, "segmented", 0)
        for index, box in enumerate(example.boxes):
            element = _add(root, "object")
            _add(element, "name", self.class_names[example.class_ids[index]])
            _add(element, "pose", "Unspecified")
            _add(element, "truncated", int(example.is_truncated[index]))
            _add(element, "difficult", int(example.is_difficult[index]))
            if example.is_crowd[index]:
                _add(element, "crowd", 1)
            corners = _add(element, "bndbox")
            x_min, y_min, x_max, y_max = rounded_box(box)
            for name, value in (("xmin", x_min + 1), ("ymin", y_min + 1), ("xmax", x_max), ("ymax", y_max)):
                _add(corners, name, number(round(value, _NOISE_DECIMALS)))
        ElementTree.indent(root, "\t")
        return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _add(parent: ElementTree.Element, name: str, text: object = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = None if text is None else str(text)
    return element


def _digest(example: Example) -> bytes:
    digest = hashlib.blake2b(example.encoded, digest_size=16)
    digest.update(f"{example.image_id}\n{example.filename}".encode("utf-8", "surrogateescape"))
    for array in (example.boxes, example.class_ids, example.is_crowd, example.is_difficult, example.is_truncated):
        digest.update(array.tobytes())
    return digest.digest()
