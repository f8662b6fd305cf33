// Draws boxes with their labels, in SVG, in pixels of the view: lines and text are as sharp at 40 times as at one.

import { classColour, textColour } from "./colour.js";
import { keepChildren, makeSvg, setAttribute } from "./dom.js";

// Of labels, in pixels; `baseline` is from the top.
const LARGE = { font: 12, height: 18, padding: 5, baseline: 13 };
const SMALL = { font: 10, height: 15, padding: 4, baseline: 11 };
const SMALL_BELOW = 480; // pixels of the view's width

const pencil = document.createElement("canvas").getContext("2d");
const widths = new Map();

/** Of a label, in pixels. */
function widthOf(text, tag) {
  const key = `${tag.font} ${text}`;
  if (!widths.has(key)) {
    pencil.font = `600 ${tag.font}px system-ui, sans-serif`;
    widths.set(key, pencil.measureText(text).width + 2 * tag.padding);
  }
  return widths.get(key);
}

export const tagText = ({ label, prob }) => `${label} ${prob.toFixed(2)}`;

const area = ({ bbox: [xMin, yMin, xMax, yMax] }) => (xMax - xMin) * (yMax - yMin);

/** The layers of a view's SVG, and `draw`, which fills them. */
export function createBoxes() {
  const outlines = makeSvg("g");
  const tags = makeSvg("g");
  const svg = makeSvg("svg", { "aria-hidden": "true", class: "boxes" }, outlines, tags);
  let lit = new Set();

  /**
   * @param objects with their `index`; those that are given are drawn
   * @param place scale, left, top: where the picture lies in the view
   * @param view {width, height}
   */
  function draw(objects, place, view) {
    const rectangles = new Map(objects.map((found) => [found.index, onView(found.bbox, place)]));
    // The smaller of two boxes lies above, so that both can be pointed at.
    const ordered = [...objects].sort((one, other) => area(other) - area(one));
    keepChildren(outlines, ordered, (found) => found.index, createOutline, (element, found) => {
      const colour = classColour(found.label);
      element.dataset.index = found.index;
      for (const line of element.children) {
        const rectangle = rectangles.get(found.index);
        for (const side of ["x", "y", "width", "height"]) line.setAttribute(side, rectangle[side]);
      }
      element.lastChild.setAttribute("stroke", colour);
      element.lastChild.setAttribute("fill", colour);
    });
    const size = view.width < SMALL_BELOW ? SMALL : LARGE;
    const places = placeTags(objects, rectangles, view, size);
    const tagged = objects.filter((found) => places.has(found.index)).reverse();
    keepChildren(tags, tagged, (found) => found.index, createTag, (element, found) => {
      drawTag(element, found, places.get(found.index), size);
    });
    light(lit);
  }

  /** Shows one object, or several, and dims the others; with none, all are equal. */
  function light(indices) {
    lit = indices;
    svg.classList.toggle("has-light", lit.size > 0);
    for (const element of [...outlines.children, ...tags.children]) {
      element.classList.toggle("is-lit", lit.has(Number(element.dataset.key)));
    }
  }

  return { svg, draw, light };
}

function onView([xMin, yMin, xMax, yMax], { scale, left, top }) {
  return {
    x: left + xMin * scale,
    y: top + yMin * scale,
    width: Math.max(1, (xMax - xMin) * scale),
    height: Math.max(1, (yMax - yMin) * scale),
  };
}

function createOutline() {
  const [halo, line] = ["halo", "line"].map((name) => makeSvg("rect", { class: name, rx: 2 }));
  return makeSvg("g", { class: "outline" }, halo, line);
}

const createTag = () => makeSvg("g", { class: "tag" }, makeSvg("rect", { rx: 3 }), makeSvg("text"));

function drawTag(element, found, { x, y, width, height, isSpare }, size) {
  const colour = classColour(found.label);
  const [plate, text] = element.children;
  element.classList.toggle("is-spare", isSpare);
  setAttribute(element, "transform", `translate(${x} ${y})`);
  setAttribute(plate, "width", width);
  setAttribute(plate, "height", height);
  setAttribute(plate, "fill", colour);
  setAttribute(text, "fill", textColour(colour));
  setAttribute(text, "x", size.padding);
  setAttribute(text, "y", size.baseline);
  setAttribute(text, "font-size", size.font);
  text.textContent = tagText(found);
}

/**
 * Where labels go: above the box, else inside at the top, below, or inside at the bottom, the first place that is in
 * the view and free. The surest chooses first. One without a free place is spare: it is seen while its object is lit.
 */
function placeTags(objects, rectangles, view, { height, ...size }) {
  const places = new Map();
  const taken = [];
  for (const found of objects) {
    const box = rectangles.get(found.index);
    const width = widthOf(tagText(found), size);
    const isSeen = box.x < view.width && box.x + box.width > 0 && box.y < view.height && box.y + box.height > 0;
    if (!isSeen) continue;
    const x = Math.max(0, Math.min(box.x - 1, view.width - width));
    const bottom = box.y + box.height;
    const tops = [box.y - height, Math.max(0, box.y), bottom, bottom - height];
    const candidates = tops
      .filter((y) => y >= 0 && y + height <= view.height)
      .map((y) => ({ x, y, width, height }));
    const free = candidates.find((place) => !taken.some((other) => overlap(place, other)));
    const place = free ?? candidates[0] ?? { x, y: 0, width, height };
    if (free) taken.push(free);
    places.set(found.index, { ...place, isSpare: !free });
  }
  return places;
}

const overlap = (one, other) =>
  one.x < other.x + other.width && other.x < one.x + one.width &&
  one.y < other.y + other.height && other.y < one.y + one.height;
