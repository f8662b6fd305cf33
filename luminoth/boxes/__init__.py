"""Arithmetic on boxes: pure functions on tensors, with any leading batch dimensions.

Boxes are `[x_min, y_min, x_max, y_max]`, float32, absolute pixels, continuous: a box that covers one pixel
is `[x, y, x + 1, y + 1]`. TensorFlow's y-first, normalised order appears only inside `nms.py`.
"""
