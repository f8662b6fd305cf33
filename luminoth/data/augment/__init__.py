"""Random changes to training pictures; their boxes move along.

The configuration is a list of one-key mappings, applied in the order given, each with its own `prob`:

    data_augmentation:
      - flip: {left_right: true, up_down: false, prob: 0.5}
      - patch: {min_height: 400, min_width: 400, prob: 0.3}

Everything here happens at the picture's own size, *before* it is resized to the network's input: sizes in
`patch` and `resize` are pixels of the picture as it is stored.

All randomness is stateless: the same picture, settings and seed give the same result, whatever ran before. That
is what lets an interrupted training go on with exactly the pictures it would have seen.

    picture.py      a picture with its objects; choosing, clipping, moving, joining these
    kinds.py        the kinds by name, the list applied, its settings checked
    geometry.py     flip, resize
    crops.py        patch, ssd_crop, random_crop
    canvas.py       expand, large_scale_jitter; laying a picture somewhere on a canvas
    colours.py      distortion, photometric, grey
    mixing.py       mosaic, mixup: these, and
    copy_paste.py   copy_paste, take other pictures of the data set, their partners
"""

from luminoth.data.augment.kinds import AUGMENTATIONS, augment, check_augmentations, partners_needed
from luminoth.data.augment.picture import Picture, remove_degenerate

__all__ = ["AUGMENTATIONS", "Picture", "augment", "check_augmentations", "partners_needed", "remove_degenerate"]
