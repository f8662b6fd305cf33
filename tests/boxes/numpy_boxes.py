"""Plain NumPy versions of the box arithmetic, one loop after the other: slow, and easy to check by eye."""

import numpy as np


def iou(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)

    def area(b):
        return max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0)

    union = area(box) + area(other) - shared
    return shared / union if union > 0 else 0.0


def pairwise_iou(boxes, others):
    return np.array([[iou(box, other) for other in others] for box in boxes], np.float64).reshape(
        len(boxes), len(others)
    )


def encode(reference, box, variances=(1.0, 1.0)):
    width, height = reference[2] - reference[0], reference[3] - reference[1]
    return [
        ((box[0] + box[2]) / 2 - (reference[0] + reference[2]) / 2) / width / variances[0],
        ((box[1] + box[3]) / 2 - (reference[1] + reference[3]) / 2) / height / variances[0],
        np.log((box[2] - box[0]) / width) / variances[1],
        np.log((box[3] - box[1]) / height) / variances[1],
    ]


def nms(boxes, scores, threshold, max_outputs):
    """Indices of the kept boxes, best first."""
    kept = []
    for index in np.argsort(-np.asarray(scores), kind="stable"):
        if len(kept) < max_outputs and all(iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(int(index))
    return kept


def match(candidates, gt_boxes, foreground, background, keep_best):
    """(labels, gt index or None) of each candidate, without crowds."""
    overlaps = pairwise_iou(candidates, gt_boxes)
    labels, indices = [], []
    for row in overlaps:
        best = row.max() if len(row) else 0.0
        indices.append(int(row.argmax()) if len(row) else 0)
        labels.append(1 if len(row) and best >= foreground else 0 if best < background else -1)
    if keep_best:
        for gt in range(len(gt_boxes)):
            top = overlaps[:, gt].max()
            for candidate in range(len(candidates)):
                if top > 0 and overlaps[candidate, gt] == top and labels[candidate] != 1:
                    labels[candidate] = 1
    return labels, indices


def roi_align(features, roi, stride, rows, columns, ratio, aligned):
    """[rows, columns, C] of one RoI on one feature map [h, w, C]; ratio: one number or (down, across)."""
    height, width, channels = features.shape
    down, across = ratio if isinstance(ratio, tuple) else (ratio, ratio)
    x_min, y_min, x_max, y_max = (value / stride - (0.5 if aligned else 0.0) for value in roi)
    if not aligned:
        x_max, y_max = max(x_max, x_min + 1.0), max(y_max, y_min + 1.0)

    def sample(y, x):
        if not (-1.0 <= y <= height and -1.0 <= x <= width):
            return np.zeros(channels)
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        return (
            features[top, left] * (1 - dy) * (1 - dx)
            + features[top, right] * (1 - dy) * dx
            + features[bottom, left] * dy * (1 - dx)
            + features[bottom, right] * dy * dx
        )

    bin_height, bin_width = (y_max - y_min) / rows, (x_max - x_min) / columns
    result = np.zeros((rows, columns, channels))
    for row in range(rows):
        for column in range(columns):
            points = [
                sample(y_min + (row + (i + 0.5) / down) * bin_height, x_min + (column + (j + 0.5) / across) * bin_width)
                for i in range(down)
                for j in range(across)
            ]
            result[row, column] = np.mean(points, axis=0)
    return result
