// Which object is pointed at, in the list or in a picture. Kept apart from the store: it changes with every move of the
// pointer, and nothing has to be built anew for it.

export function createLight() {
  const listeners = new Set();
  let lit = null; // {model, index}
  return {
    listen(listener) {
      listeners.add(listener);
    },
    set(model, index) {
      if (lit?.model === model && lit?.index === index) return;
      lit = { model, index };
      for (const listener of listeners) listener(lit);
    },
    clear() {
      if (!lit) return;
      lit = null;
      for (const listener of listeners) listener(lit);
    },
  };
}
