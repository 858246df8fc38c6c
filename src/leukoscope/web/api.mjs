// The interface of the server: relative addresses, so that any path of a proxy will do.

export class ProblemError extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `answer ${status}`);
    this.status = status;
    this.remedy = document.remedy;
    this.document = document;
  }
}

/** The server could not be reached. */
export class OfflineError extends Error {}

let askForLogin = async () => {};
/** @param {() => Promise<void>} ask called when a session has ended; what was asked is asked again after it. */
export function onLostSession(ask) { askForLogin = ask; }

async function once(method, path, body) {
  const given = { method, headers: {}, credentials: "same-origin" };
  if (body instanceof Blob) {
    given.body = body;
    given.headers["content-type"] = body.type.startsWith("image/") ? body.type : "application/octet-stream";
  } else if (body !== undefined) {
    given.body = JSON.stringify(body);
    given.headers["content-type"] = "application/json";
  }
  let answer;
  try { answer = await fetch(`./api/v1${path}`, given); } catch { throw new OfflineError("the server cannot be reached"); }
  if (answer.status === 204) return null;
  const kind = answer.headers.get("content-type") || "";
  const value = kind.includes("json") ? await answer.json().catch(() => ({})) : {};
  if (!answer.ok) throw new ProblemError(answer.status, value);
  return value;
}

/** Ask the server; when the session has ended, log in again in place and go on. */
export async function ask(method, path, body, { quiet = false } = {}) {
  for (;;) {
    try { return await once(method, path, body); } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 401 || quiet) throw error;
      await askForLogin();
    }
  }
}

export const get = (path, how) => ask("GET", path, undefined, how);
export const post = (path, body = {}, how) => ask("POST", path, body, how);

/** SHA-256 of a file in hexadecimal digits. */
export async function sha256(blob) {
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
