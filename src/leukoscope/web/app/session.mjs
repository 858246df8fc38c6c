// The session: what was answered and how it was labelled, kept in this browser, and taken out as one file.

import { changedLock, keyOf, madeLock, sealed, unsealed } from "./vault.mjs";

const NAME = "leukoscope-app", STORE = "cells", FRAMES = "frames", LOCK = "lock";

/**
 * Records by their id, in IndexedDB; without storage they live as long as the page. Frames are read when shown. Under a
 * passphrase nothing but ids lies there in clear.
 */
export class Session {
  records = [];
  #database = null;
  #lock = null;
  #key = null;
  #frames = new Map(); // of what could not be stored
  #due = new Map(); // records with a write that has not begun
  #last = Promise.resolve(); // what is being written: a passphrase rewrites all, and nothing may come between

  /** @returns {Promise<boolean>} whether the session is kept */
  async open() {
    try {
      this.#database = await asked(Object.assign(indexedDB.open(NAME, 2), {
        onupgradeneeded() {
          for (const store of [STORE, FRAMES, LOCK]) if (!this.result.objectStoreNames.contains(store)) this.result.createObjectStore(store, { keyPath: "id" });
        },
      }));
      this.#database.onversionchange = () => this.#database.close(); // another page clears or renews it
      this.#lock = (await asked(this.#store(LOCK, "readonly").get(LOCK))) ?? null;
      if (!this.#lock) await this.#read();
      return true;
    } catch {
      this.#database = null;
      return false;
    }
  }

  /** Whether there is a passphrase, and whether it is still to be given. */
  get guarded() { return this.#lock !== null; }
  get locked() { return this.guarded && !this.#key; }

  async #read() {
    const found = await asked(this.#store(STORE, "readonly").getAll());
    this.records = await Promise.all(found.map((each) => (each.sealed ? unsealed(this.#key, STORE, each) : each)));
    this.records.sort((one, other) => one.id - other.id);
  }

  /** Open with the passphrase, and end what was broken off. @returns {Promise<boolean>} whether it is the right one */
  async unlock(passphrase) {
    this.#key = await keyOf(this.#lock, passphrase);
    if (!this.#key) return false;
    await this.#read();
    await this.#alone(() => (this.#lock.leaving ? this.#open() : this.#seal()));
    return true;
  }

  /** Put all under a passphrase; what was broken off is ended when it is next given. */
  async guard(passphrase) {
    const lock = await madeLock(passphrase), key = await keyOf(lock, passphrase);
    await this.#alone(async () => {
      await this.#keep(lock);
      this.#key = key;
      await this.#seal();
    });
  }

  /** @returns {Promise<boolean>} whether the old passphrase is the right one */
  async change(passphrase, next) {
    const lock = await changedLock(this.#lock, passphrase, next);
    if (lock) await this.#keep(lock);
    return lock !== null;
  }

  /** Take the passphrase away: all lies in clear again. @returns {Promise<boolean>} whether it is the right one */
  async unguard(passphrase) {
    if (!(await keyOf(this.#lock, passphrase))) return false;
    await this.#alone(async () => {
      await this.#keep({ ...this.#lock, leaving: true });
      await this.#open();
    });
    return true;
  }

  #alone(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #keep(lock) {
    await asked(this.#store(LOCK, "readwrite").put(lock));
    this.#lock = lock;
  }

  #seal() {
    return this.#rewrite((place, each) => (each.sealed ? null : sealed(this.#key, place, each)));
  }

  async #open() {
    await this.#rewrite((place, each) => (each.sealed ? unsealed(this.#key, place, each) : null));
    await asked(this.#store(LOCK, "readwrite").delete(LOCK));
    this.#lock = this.#key = null;
  }

  /** One record after the other: all of them at once would not fit into memory. */
  async #rewrite(made) {
    for (const place of [STORE, FRAMES])
      for (const id of await asked(this.#store(place, "readonly").getAllKeys())) {
        const next = await made(place, await asked(this.#store(place, "readonly").get(id)));
        if (next) await asked(this.#store(place, "readwrite").put(next));
      }
  }

  /**
   * Keep a new record, its frame and its heat map.
   * @returns {Promise<boolean>} whether it is stored
   */
  add(record, pixels) {
    this.records.push(record);
    return this.#alone(() => this.#write(record, pixels));
  }

  /**
   * Keep a record as it is now. One write that has not begun is enough for all changes until it does.
   * @returns {Promise<boolean>} whether it is stored
   */
  put(record) {
    if (!this.#due.has(record)) this.#due.set(record, this.#alone(() => {
      this.#due.delete(record);
      return this.records.includes(record) && this.#write(record, null); // it may have been cleared meanwhile
    }));
    return this.#due.get(record);
  }

  async #write(record, pixels) {
    try {
      const { id } = record, key = this.#key, write = (place, value) => (key ? sealed(key, place, value) : value);
      const rows = [await write(STORE, record), pixels && (await write(FRAMES, { id, ...pixels }))];
      const work = this.#database.transaction([STORE, FRAMES, LOCK], "readwrite");
      work.objectStore(LOCK).get(LOCK).onsuccess = ({ target }) => {
        if (Boolean(target.result) !== Boolean(key)) work.abort(); // another page has set or taken away the passphrase
        else [STORE, FRAMES].forEach((place, i) => { if (rows[i]) work.objectStore(place).put(rows[i]); });
      };
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
    if (this.#frames.has(id) || !this.#database) return this.#frames.get(id) ?? null;
    const found = await asked(this.#store(FRAMES, "readonly").get(id));
    return found?.sealed ? unsealed(this.#key, FRAMES, found) : found ?? null;
  }

  /** Remove all; a passphrase that was forgotten goes with what it guarded. */
  async clear() {
    const forgotten = this.locked;
    this.records = [];
    this.#frames.clear();
    if (!this.#database) return;
    await this.#alone(async () => {
      for (const store of forgotten ? [STORE, FRAMES, LOCK] : [STORE, FRAMES]) await asked(this.#store(store, "readwrite").clear());
    });
    if (forgotten) this.#lock = null;
  }

  /** A number for a new record: later than all others, and not one that another window gives at the same time. */
  nextId() {
    const last = this.records.at(-1)?.id ?? 0;
    return Math.max(4096 * Date.now() + Math.floor(4096 * Math.random()), last + 1);
  }

  #store(name, mode) {
    return this.#database.transaction(name, mode).objectStore(name);
  }
}

function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
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
  const numbers = new Map(), number = ({ place, sha256 }) => (place ? numbers.set(sha256, (numbers.get(sha256) ?? 0) + 1).get(sha256) : null);
  return {
    format: "leukoscope-review", version: 1, root: "", created: new Date().toISOString(),
    bundle: bundle.name, bundle_digest: site.bundle_digest, leukoscope: site.version,
    cells: records.map((each) => [each, number(each)]).filter(([{ label, note }]) => label || note).map(([{ name, sha256, answer, label, note }, cell]) => ({
      path: name.split(" · ")[0], cell, sha256: sha256 ?? null, decision: answer?.decision ?? "unreadable",
      probability: answer?.probability ?? null, label: label === "other" ? "unsure" : label, note: note ?? "",
    })),
  };
}
