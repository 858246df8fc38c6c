// The session: what was answered and how it was labelled, kept in this browser, and taken out as one file.

const NAME = "leukoscope-app", STORE = "cells", FRAMES = "frames";

/** Records by their id, in IndexedDB; without storage they live as long as the page. Frames are read when shown. */
export class Session {
  records = [];
  #database = null;
  #frames = new Map(); // of what could not be stored

  /** @returns {Promise<boolean>} whether the session is kept */
  async open() {
    try {
      this.#database = await asked(Object.assign(indexedDB.open(NAME, 1), {
        onupgradeneeded() { for (const store of [STORE, FRAMES]) this.result.createObjectStore(store, { keyPath: "id" }); },
      }));
      this.records = await asked(this.#store(STORE, "readonly").getAll());
      this.records.sort((one, other) => one.id - other.id);
      return true;
    } catch {
      this.#database = null;
      return false;
    }
  }

  /**
   * Keep a record, and its frame and heat map where it is new.
   * @returns {Promise<boolean>} whether it is stored
   */
  async put(record, pixels = null) {
    const at = this.records.findIndex(({ id }) => id === record.id);
    if (at < 0) this.records.push(record);
    else this.records[at] = record;
    try {
      const work = this.#database.transaction([STORE, FRAMES], "readwrite");
      work.objectStore(STORE).put(record);
      if (pixels) work.objectStore(FRAMES).put({ id: record.id, ...pixels });
      await new Promise((resolve, reject) => {
        work.oncomplete = resolve;
        work.onerror = work.onabort = () => reject(work.error);
      });
      return true;
    } catch {
      if (pixels) this.#frames.set(record.id, pixels);
      return false;
    }
  }

  /** The frame and the heat map of a record, or null. */
  async pixels(id) {
    return this.#frames.get(id) ?? (this.#database ? (await asked(this.#store(FRAMES, "readonly").get(id))) ?? null : null);
  }

  async clear() {
    this.records = [];
    this.#frames.clear();
    if (this.#database) for (const store of [STORE, FRAMES]) await asked(this.#store(store, "readwrite").clear());
  }

  nextId() {
    return 1 + this.records.reduce((most, { id }) => Math.max(most, id), 0);
  }

  #store(name, mode) {
    return this.#database.transaction(name, mode).objectStore(name);
  }
}

function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Cells called blast among those judged, with Wilson's 95 % interval (1927, JASA 22, 209-212). */
export function share(records) {
  const judged = records.filter(({ answer }) => answer && ["blast", "normal"].includes(answer.decision));
  const n = judged.length, blasts = judged.filter(({ answer }) => answer.decision === "blast").length;
  if (!n) return { blasts, judged: n, share: null, low: null, high: null };
  const z = 1.959964, p = blasts / n, scale = 1 + (z * z) / n;
  const middle = (p + (z * z) / (2 * n)) / scale, half = (z / scale) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { blasts, judged: n, share: p, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** The session as one JSON document: no pixels, the pictures are named by their SHA-256. */
export function exported(records, site, bundle) {
  return {
    format: "leukoscope-app-session",
    format_version: 1,
    statement: "Research use only: decision support, never a diagnosis.",
    exported: new Date().toISOString(),
    app: { version: site.version, build: site.build, runtime: site.runtime, browser: navigator.userAgent },
    bundle: { name: bundle.name, digest: site.bundle_digest, graph: site.files["bundle/model.onnx"] },
    share: share(records),
    cells: records.map(({ name, sha256, width, height, format, answer, error, label, note, place, tapped, answered, bundle: digest, build }) => ({
      name, sha256, width, height, format, place: place ?? null, tapped: tapped ?? false, answered, bundle_digest: digest, build, label,
      note: note ?? "", error: error ?? null, ...(answer ?? { decision: "unreadable" }),
    })),
  };
}

/** The labels as a review, which every `--data` of the command line reads where the file lies beside the pictures. */
export function review(records, site, bundle) {
  const numbers = new Map();
  return {
    format: "leukoscope-review", version: 1, root: "", created: new Date().toISOString(),
    bundle: bundle.name, bundle_digest: site.bundle_digest, leukoscope: site.version,
    cells: records.map(({ name, sha256, place, answer, label, note }) => {
      if (place) numbers.set(sha256, (numbers.get(sha256) ?? 0) + 1);
      return {
        path: name.split(" · ")[0], cell: place ? numbers.get(sha256) : null, sha256: sha256 ?? null, decision: answer?.decision ?? "unreadable",
        probability: answer?.probability ?? null, label: label === "other" ? "unsure" : label, note: note ?? "",
      };
    }),
  };
}
