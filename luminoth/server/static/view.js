// One picture with the objects that one model found in it.

import { createBoxes } from "./boxes.js";
import { make, setAttribute } from "./dom.js";
import { addGestures } from "./gestures.js";

const PIXELATED_FROM = 4; // pixels of the view for one of the picture: from here on its pixels are seen as such

/**
 * @param model the model's name
 * @param media an <img> or a <video>
 * @param viewport shared between the views of a picture
 * @param light what is pointed at
 * @param onPick called with an object's index when its box is clicked
 */
export function createView({ model, media, viewport, light, onPick }) {
  const boxes = createBoxes();
  const frame = make("div", { class: "frame", tabindex: "0", role: "img" }, media, boxes.svg);
  const caption = make("figcaption");
  const note = make("div", { class: "note", hidden: true });
  const element = make("figure", { class: "view" }, frame, note, caption);
  let picture = null; // {width, height} that boxes are in
  let objects = [];

  const sizes = () => ({
    view: { width: frame.clientWidth || 1, height: frame.clientHeight || 1 },
    picture: picture ?? naturalSize(media) ?? { width: 1, height: 1 },
  });

  function place() {
    const { view, picture: size } = sizes();
    const isKnown = picture !== null || naturalSize(media) !== null;
    const where = viewport.place(view, size);
    element.parentElement?.style.setProperty("--aspect", size.width / size.height);
    const { style } = media;
    style.left = `${where.left}px`;
    style.top = `${where.top}px`;
    style.width = `${size.width * where.scale}px`;
    style.height = `${size.height * where.scale}px`;
    media.classList.toggle("is-pixelated", where.scale >= PIXELATED_FROM);
    frame.classList.toggle("is-zoomed", viewport.zoom > 1);
    boxes.draw(isKnown ? objects : [], where, view);
  }

  const indexOf = (event) => {
    const outline = event.target.closest(".outline");
    return outline ? Number(outline.dataset.index) : null;
  };
  boxes.svg.addEventListener("pointerover", (event) => {
    const index = indexOf(event);
    if (index === null) light.clear();
    else light.set(model, index);
  });
  frame.addEventListener("pointerleave", () => light.clear());
  boxes.svg.addEventListener("click", (event) => {
    const index = indexOf(event);
    if (index !== null) onPick(index);
  });
  for (const event of ["load", "loadedmetadata"]) media.addEventListener(event, place);
  media.addEventListener("error", () => media.classList.add("is-broken"));
  addGestures(frame, viewport, sizes);
  const observer = new ResizeObserver(place);
  observer.observe(frame);
  viewport.listen(place);

  return {
    element,
    frame,
    media,
    model,
    sizes,
    light: boxes.light,

    /** @param size of the upright picture as the server saw it, or null before it answered */
    show(found, size, label, captionText) {
      objects = found;
      picture = size;
      setAttribute(frame, "aria-label", label);
      caption.textContent = captionText;
      place();
    },

    /** Words over the picture, in place of boxes; none: null. */
    showNote(content) {
      // Kept while it says the same, so that it is spoken once and its button keeps the focus.
      if (content && content.textContent === note.textContent) return;
      note.replaceChildren(...(content ? [content] : []));
      note.hidden = !content;
    },

    close() {
      observer.disconnect();
      if (media instanceof HTMLVideoElement) {
        media.pause();
        media.srcObject = null;
      }
    },
  };
}

function naturalSize(media) {
  const [width, height] = media instanceof HTMLVideoElement
    ? [media.videoWidth, media.videoHeight]
    : [media.naturalWidth, media.naturalHeight];
  return width && height ? { width, height } : null;
}
