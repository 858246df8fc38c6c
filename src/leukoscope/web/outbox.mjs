// What was done and is not yet stored by the server. It lies in IndexedDB: a lost network, a lost session, a closed
// window lose nothing. Acts are sent in their order; each has an identifier, so that sending twice does no harm.
import { OfflineError, ProblemError, ask } from "./api.mjs";

const DATABASE = "leukoscope-outbox";
const MOST = 100;

function open() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(DATABASE, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("acts", { keyPath: "number", autoIncrement: true });
      asked.result.createObjectStore("refused", { keyPath: "number", autoIncrement: true });
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(undefined);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

function all(store, most) {
  return new Promise((resolve, reject) => {
    const asked = store.getAll(null, most);
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

/** How acts are cut into requests: readings of one case together, everything else alone. @param {any[]} acts */
export function nextRequest(acts) {
  const [first] = acts;
  if (!first) return [];
  if (first.kind !== "read") return [first];
  const together = [];
  for (const act of acts) {
    if (act.kind !== "read" || act.case !== first.case || together.length >= MOST) break;
    together.push(act);
  }
  return together;
}

export class Outbox {
  /** @param {string} user whose acts are sent; those of others wait for them. @param {(state: any) => void} show */
  constructor(user, show) {
    this.user = user;
    this.show = show;
    this.ready = open();
    this.wait = 0;
    this.state = "saved";
    this.count = { waiting: 0, refused: 0 };
    /** @type {Set<Promise<unknown>>} what is on its way into the database */
    this.coming = new Set();
    this.added = 0;
    this.timer = 0;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.online = () => this.flush();
    window.addEventListener("online", this.online);
  }

  /** Keep acts; they are safe when this resolves, and sent soon. That something waits is told at once. */
  async add(acts) {
    this.added += 1;
    this.count.waiting += acts.length;
    this.showCount();
    const kept = (async () => {
      const database = await this.ready;
      const transaction = database.transaction("acts", "readwrite", { durability: "strict" });
      for (const act of acts) transaction.objectStore("acts").add({ ...act, user: this.user });
      await finished(transaction);
    })();
    this.coming.add(kept);
    try { await kept; } finally {
      this.coming.delete(kept);
      this.flush();
    }
  }

  /** All that is not stored by the server, with what was done just now. */
  async waiting() {
    const database = await this.ready;
    while (this.coming.size) await Promise.allSettled(this.coming);
    const acts = await all(database.transaction("acts").objectStore("acts"));
    return acts.filter((act) => act.user === this.user);
  }

  async refused() {
    const database = await this.ready;
    return (await all(database.transaction("refused").objectStore("refused"))).filter((act) => act.user === this.user);
  }

  async forgetRefused() {
    const database = await this.ready;
    const transaction = database.transaction("refused", "readwrite");
    for (const act of await this.refused()) transaction.objectStore("refused").delete(act.number);
    await this.tell();
  }

  /** Send what waits; of several windows of one browser, one sends. */
  flush() {
    if (this.running) { this.again = true; return this.running; }
    this.running = (async () => {
      do {
        this.again = false;
        const work = () => this.send();
        await (navigator.locks ? navigator.locks.request("leukoscope-outbox", work) : work());
      } while (this.again);
    })().finally(() => { this.running = null; });
    return this.running;
  }

  async send() {
    clearTimeout(this.timer);
    for (;;) {
      const request = nextRequest(await this.waiting());
      await this.tell();
      if (!request.length) { this.wait = 0; for (const heard of this.listeners) heard(); return; }
      try {
        await this.sendOne(request);
        await this.drop(request);
      } catch (error) {
        if (error instanceof OfflineError || (error instanceof ProblemError && (error.status >= 500 || error.status === 429))) {
          this.wait = Math.min(10_000, this.wait * 2 || 500);
          this.state = "offline";
          await this.tell();
          this.timer = setTimeout(() => this.flush(), this.wait);
          return;
        }
        if (!(error instanceof ProblemError)) throw error;
        await this.drop(request, error);  // refused: kept apart and shown, never lost without a word
      }
    }
  }

  async sendOne(acts) {
    const [first] = acts;
    if (first.kind === "withdraw") return ask("DELETE", `/readings/${first.event}`);
    const readings = acts.map(({ event, cell, label, ms }) => ({ event, cell, label, ms }));
    return ask("POST", `/cases/${first.case}/readings`, { readings });
  }

  async drop(acts, error = null) {
    const database = await this.ready;
    const transaction = database.transaction(["acts", "refused"], "readwrite");
    for (const act of acts) {
      transaction.objectStore("acts").delete(act.number);
      if (error) {
        const { number, ...rest } = act;
        transaction.objectStore("refused").add({ ...rest, why: error.message });
      }
    }
    await finished(transaction);
    this.state = "saved";
  }

  async tell() {
    for (let added; added !== this.added;) {
      added = this.added;
      const [waiting, refused] = await Promise.all([this.waiting(), this.refused()]);
      if (added === this.added) this.count = { waiting: waiting.length, refused: refused.length };
    }
    this.showCount();
  }

  showCount() { this.show({ ...this.count, offline: this.state === "offline" && this.count.waiting > 0 }); }
}
