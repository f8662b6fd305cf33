// The server's API, as promises. All addresses are relative to the page, so that it also works below a path of a proxy.

/** What went wrong, in the server's words where it gave any. */
export class ApiError extends Error {
  /**
   * @param status the HTTP status; 0 when there was no answer
   * @param retryAfter seconds after which the server wants to be asked again, or null
   */
  constructor(status, title, detail = "", retryAfter = null) {
    super(detail || title);
    Object.assign(this, { status, title, detail, retryAfter });
  }
}

let key = sessionStorage.getItem("api-key");

/** Sends this key with every request, until the tab is closed. */
export function useKey(text) {
  key = text;
  sessionStorage.setItem("api-key", text);
}

const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

export async function listModels() {
  return (await (await ask("api/models")).json()).models;
}

/**
 * The objects in a picture. `seconds.whole` is the time from asking to the answer, `seconds.upload` the part of it that
 * was spent outside the server.
 */
export async function predict(model, file, name, minProb) {
  const started = performance.now();
  const address = `api/${encodeURIComponent(model)}/predict/?min_prob=${minProb}`;
  const answer = await (await ask(address, { method: "POST", body: form("image", file, name) })).json();
  const whole = (performance.now() - started) / 1000;
  return { ...answer, seconds: { ...answer.seconds, whole, upload: Math.max(0, whole - answer.seconds.total) } };
}

/** The objects in the frames of a clip, frame by frame while the server works: {frame, time, objects}. */
export async function* predictClip(model, file, name, minProb, signal) {
  const address = `api/${encodeURIComponent(model)}/video/?min_prob=${minProb}`;
  const answer = await ask(address, { method: "POST", body: form("video", file, name), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => { throw noAnswer(); });
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines.filter(Boolean)) {
      const record = parsed(line);
      // After the first line the status is sent; what goes wrong then is told in the last one.
      if (!record?.objects) throw problem(record?.problem?.status ?? 500, record?.problem, null);
      yield record;
    }
    if (done) return;
  }
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { headers: headers(), ...options });
  } catch {
    throw noAnswer();
  }
  if (!answer.ok) throw problem(answer.status, parsed(await answer.text()), answer.headers.get("Retry-After"));
  return answer;
}

const noAnswer = () => new ApiError(0, "no answer");

function form(field, file, name) {
  const data = new FormData();
  data.append(field, file, name);
  return data;
}

function problem(status, answer, retryAfter) {
  const seconds = Number(retryAfter);
  return new ApiError(status, answer?.title ?? "", answer?.detail ?? "", seconds > 0 ? seconds : null);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
