// What the page says about errors: what happened, and what can be done.

/** {title, text, canRetry} of an ApiError. */
export function explain(error, name) {
  const { status, detail } = error;
  if (status === 0) {
    return navigator.onLine
      ? { title: "The server does not answer", text: "It may have been stopped. This page goes on when it is back." }
      : { title: "You are offline", text: "This page goes on when the connection is back." };
  }
  if (status === 413) {
    const text = "Make it smaller, or start the server with a higher limit.";
    return { title: `${name} is too large`, text: detail ? `${detail} ${text}` : text };
  }
  if (status === 400 || status === 415 || status === 422) {
    return { title: `${name} cannot be read`, text: detail || "Try a JPEG, PNG or WebP file." };
  }
  if (status === 401 || status === 403) return { title: "This server asks for a key", text: detail, canRetry: true };
  if (status === 404) return { title: "This model is not served any more", text: detail || "Reload the page." };
  if (status === 503) {
    return { title: "The server is busy", text: "This page asks again in a moment.", canRetry: true };
  }
  const text = detail || `It answered with status ${status}.`;
  return { title: "Something went wrong on the server", text, canRetry: true };
}

/** "35 ms", "1.4 s" */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
}

/** "1 object", "3 objects" */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
