// Builds elements. Values become text or attributes, never markup, so that no name of a file or a class is ever
// taken for HTML; and nothing sets a `style` attribute, which the page's content policy forbids.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `make("button", {class: "chip", onclick: toggle}, "car")`. A value of false or null leaves it out. */
export function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** As `make`, in SVG. */
export function makeSvg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}

/**
 * Makes the children of `parent` those of `things`, one each, and keeps the elements of things that were there before:
 * so the focus stays where it is, and nothing flickers.
 *
 * @param keyOf what tells things apart.
 * @param create makes the element of a thing; `update(element, thing)` fills it, now and later.
 */
export function keepChildren(parent, things, keyOf, create, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = things.map((thing) => {
    const key = String(keyOf(thing));
    const element = before.get(key) ?? create(thing);
    element.dataset.key = key;
    update(element, thing);
    return element;
  });
  const kept = new Set(children);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  children.forEach((child, place) => {
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
}

/** Saves a Blob as a file of that name. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const byId = (id) => document.getElementById(id);
