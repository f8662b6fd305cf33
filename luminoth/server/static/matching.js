// Which objects of two models are the same one: equal class, and boxes that overlap by half.

const LEAST_OVERLAP = 0.5;

/** Intersection over union of two boxes. */
export function iou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}

/** From `index` to `index`: each of `objects`, the surest first, takes the free one of `others` it overlaps most. */
export function match(objects, others) {
  const pairs = new Map();
  const free = new Set(others);
  for (const found of objects) {
    let best = null;
    for (const other of free) {
      const overlap = other.label === found.label ? iou(found.bbox, other.bbox) : 0;
      if (overlap >= LEAST_OVERLAP && overlap > (best?.overlap ?? 0)) best = { overlap, other };
    }
    if (!best) continue;
    free.delete(best.other);
    pairs.set(found.index, best.other.index);
  }
  return pairs;
}
