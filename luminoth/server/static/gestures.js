// Wheel, drag, pinch, double click and keys on a view: they move its viewport.

const WHEEL_SPEED = 0.0022; // doublings come every 315 pixels of wheel
const KEY_STEP = 60; // pixels
const DOUBLE_CLICK_ZOOM = 3;
const STILL = 4; // pixels that a click may move

/**
 * @param frame the element that is dragged on
 * @param viewport what is moved
 * @param sizes gives {view, picture}: their {width, height}
 */
export function addGestures(frame, viewport, sizes) {
  const pointers = new Map(); // what touches the view, by pointer id: {x, y, isDragging}
  const zoomAt = (factor, point) => {
    const { view, picture } = sizes();
    viewport.zoomAt(factor, point, view, picture);
  };
  const panBy = (x, y) => {
    const { view, picture } = sizes();
    viewport.panBy(x, y, view, picture);
  };
  const pointOf = (event) => {
    const { left, top } = frame.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };

  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 30 : event.deltaY;
    // Browsers report a pinch on a touchpad as a wheel with Ctrl, in smaller steps.
    zoomAt(Math.exp(-pixels * WHEEL_SPEED * (event.ctrlKey ? 4 : 1)), pointOf(event));
  }, { passive: false });

  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, pointOf(event));
  });
  frame.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = pointOf(event);
    if (!before.isDragging && Math.hypot(now.x - before.x, now.y - before.y) < STILL) return;
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    // A finger that only scrolls the page is not captured: at zoom 1 there is nothing to drag.
    if (viewport.zoom > 1 || other) frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { ...now, isDragging: true });
    if (other) {
      const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
      zoomAt(distance(now) / distance(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    } else if (viewport.zoom > 1) {
      panBy(now.x - before.x, now.y - before.y);
    }
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    frame.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }

  frame.addEventListener("dblclick", (event) => {
    if (viewport.zoom > 1) viewport.fit();
    else zoomAt(DOUBLE_CLICK_ZOOM, pointOf(event));
  });

  frame.addEventListener("keydown", (event) => {
    const { view } = sizes();
    const middle = { x: view.width / 2, y: view.height / 2 };
    const actions = {
      "+": () => zoomAt(1.4, middle),
      "=": () => zoomAt(1.4, middle),
      "-": () => zoomAt(1 / 1.4, middle),
      0: () => viewport.fit(),
      ArrowLeft: () => panBy(KEY_STEP, 0),
      ArrowRight: () => panBy(-KEY_STEP, 0),
      ArrowUp: () => panBy(0, KEY_STEP),
      ArrowDown: () => panBy(0, -KEY_STEP),
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? null : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
