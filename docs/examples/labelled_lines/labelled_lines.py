"""A reader of a format of one's own: `<split>.txt` with one line a picture, and the pictures in `pictures/`.

    street.jpg: car 4 5 20 25, traffic light 0 0 8 12
    empty.jpg:

A line is a picture with its objects: class, x_min, y_min, x_max, y_max in pixels.
"""

from typing import ClassVar

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage, Option, Reader, parse_number
from luminoth.data.readers.files import FileFinder, read_lines
from luminoth.data.report import Finding, Kind


class LabelledLinesReader(Reader):
    layout = "<split>.txt (picture: class x_min y_min x_max y_max, ...) and pictures/"
    options: ClassVar = {"separator": Option(",", "what stands between the objects of a line")}  # -o separator=;

    @classmethod
    def recognise(cls, folder):
        """What of the layout is there, in a few words; None when the folder is laid out otherwise."""
        lists = sorted(path.name for path in folder.glob("*.txt"))
        return f"{', '.join(lists)} and pictures/" if lists and (folder / "pictures").is_dir() else None

    def splits(self):
        names = sorted(path.stem for path in self.data_dir.glob("*.txt"))
        if not names:
            raise self.layout_error("<split>.txt")
        return names

    def annotated_classes(self, splits):
        """Of all splits, so that each gets the same list."""
        lines = (line for split in self.splits() for line in self._lines(split))
        return sorted({label for *_, boxes in lines for label, _ in boxes if label})

    def images(self, split):
        """What is wrong with pictures and boxes Luminoth finds: only what cannot be told as such is said here."""
        pictures = FileFinder(self.data_dir / "pictures")  # takes A.JPG for a.jpg, too
        for where, name, boxes in self._lines(split):
            if not name:
                yield Finding(Kind.DAMAGED_ANNOTATION, "", where, "no picture is named", boxes=len(boxes))
                continue
            yield AnnotatedImage(
                image_id=name,
                path=pictures.find(name) or pictures.folder / name,
                boxes=tuple(AnnotatedBox(corners, label, where) for label, corners in boxes),
                where=where,
            )

    def _lines(self, split):
        """(where, picture, [(label, corners)]) of each line."""
        for number, line in enumerate(read_lines(self.data_dir / f"{split}.txt"), 1):
            if line.strip():
                name, _, text = line.partition(":")
                objects = [words.split() for words in text.split(self.settings["separator"]) if words.strip()]
                yield f"{split}.txt line {number}", name.strip(), [_label_and_corners(words) for words in objects]


def _label_and_corners(words):
    """Numbers that are missing or none become NaN."""
    numbers = [parse_number(word) for word in words[-4:]] + [float("nan")] * (4 - len(words))
    return " ".join(words[:-4]), tuple(numbers)
