// Which part of a picture is seen. Views that compare two models share one, so that both show the same place.

const LARGEST_ZOOM = 40;
const LARGEST_OBJECT_ZOOM = 12;
const OBJECT_SHARE = 0.6; // of the view that an object fills when it is zoomed to

/** The middle of what is seen, as a share of the picture's sides, and how many times it is larger than fitted. */
export class Viewport {
  zoom = 1;
  x = 0.5;
  y = 0.5;
  #listeners = [];

  listen(listener) {
    this.#listeners.push(listener);
  }

  fit() {
    this.set(1, 0.5, 0.5);
  }

  set(zoom, x, y) {
    this.zoom = Math.min(Math.max(zoom, 1), LARGEST_ZOOM);
    this.x = x;
    this.y = y;
    for (const listener of this.#listeners) listener();
  }

  /**
   * Where a picture lies in a view: pixels of the view are `left + scale * x` and `top + scale * y`.
   *
   * A side that is larger than the view covers it; one that is smaller lies in its middle.
   */
  place(view, picture) {
    const fitted = Math.min(view.width / picture.width, view.height / picture.height);
    const scale = fitted * this.zoom;
    const start = (viewSide, pictureSide, middle) => {
      const side = pictureSide * scale;
      if (side <= viewSide) return (viewSide - side) / 2;
      return Math.min(0, Math.max(viewSide - side, viewSide / 2 - middle * side));
    };
    return {
      scale,
      left: start(view.width, picture.width, this.x),
      top: start(view.height, picture.height, this.y),
    };
  }

  /** Zooms so that the picture's point under a point of the view stays there. */
  zoomAt(factor, point, view, picture) {
    const before = this.place(view, picture);
    const x = (point.x - before.left) / before.scale;
    const y = (point.y - before.top) / before.scale;
    const zoom = Math.min(Math.max(this.zoom * factor, 1), LARGEST_ZOOM);
    const scale = (before.scale / this.zoom) * zoom;
    this.set(
      zoom,
      (x + (view.width / 2 - point.x) / scale) / picture.width,
      (y + (view.height / 2 - point.y) / scale) / picture.height,
    );
  }

  /** Moves what is seen by pixels of the view. */
  panBy(x, y, view, picture) {
    const { scale, left, top } = this.place(view, picture);
    this.set(
      this.zoom,
      (view.width / 2 - left - x) / scale / picture.width,
      (view.height / 2 - top - y) / scale / picture.height,
    );
  }

  /** Shows an object with some of what is around it. */
  zoomTo([xMin, yMin, xMax, yMax], view, picture) {
    const fitted = Math.min(view.width / picture.width, view.height / picture.height);
    const filling = Math.min(view.width / (xMax - xMin), view.height / (yMax - yMin));
    const zoom = Math.min((filling / fitted) * OBJECT_SHARE, LARGEST_OBJECT_ZOOM);
    this.set(zoom, (xMin + xMax) / 2 / picture.width, (yMin + yMax) / 2 / picture.height);
  }
}
