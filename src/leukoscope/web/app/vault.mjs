// A passphrase over what lies in the browser's storage. The cells have a random key of their own, which no script can read out;
// the passphrase wraps it, so that another passphrase wraps it anew and nothing else is written again.

const ROUNDS = 600_000; // of PBKDF2 with SHA-256: what OWASP asked for in 2023; the browser has nothing slower
export const SHORTEST = 10; // characters
const AES = { name: "AES-GCM", length: 256 }, USES = ["encrypt", "decrypt"];

const random = (count) => crypto.getRandomValues(new Uint8Array(count));

async function wrapping(passphrase, salt, rounds) {
  const given = await crypto.subtle.importKey("raw", new TextEncoder().encode(passphrase.normalize("NFKC")), "PBKDF2", false, ["deriveKey"]);
  return crypto.subtle.deriveKey({ name: "PBKDF2", hash: "SHA-256", salt, iterations: rounds }, given, AES, false, ["wrapKey", "unwrapKey"]);
}

const unwrapped = async ({ salt, rounds, iv, wrapped }, passphrase, extractable) =>
  crypto.subtle.unwrapKey("raw", wrapped, await wrapping(passphrase, salt, rounds), { name: "AES-GCM", iv }, AES, extractable, USES);

async function wrappedBy(passphrase, key) {
  const lock = { id: "lock", salt: random(16), rounds: ROUNDS, iv: random(12) };
  lock.wrapped = await crypto.subtle.wrapKey("raw", key, await wrapping(passphrase, lock.salt, ROUNDS), { name: "AES-GCM", iv: lock.iv });
  return lock;
}

/** A lock with a new key inside. */
export async function madeLock(passphrase) {
  return wrappedBy(passphrase, await crypto.subtle.generateKey(AES, true, USES));
}

/** The key of a lock, which cannot be read out; null where the passphrase is not the lock's. */
export const keyOf = (lock, passphrase) => unwrapped(lock, passphrase, false).catch(() => null);

/** The same key under another passphrase; null where the old one is not the lock's. */
export async function changedLock(lock, passphrase, next) {
  const key = await unwrapped(lock, passphrase, true).catch(() => null);
  return key && wrappedBy(next, key);
}

const KINDS = { Uint8Array, Float32Array };

/** A record as {id, iv, sealed}: nothing but its number in clear. `place` binds it to where it lies. */
export async function sealed(key, place, record) {
  const parts = [], whole = { ...record };
  if (whole.thumb instanceof Blob) whole.thumb = new Uint8Array(await whole.thumb.arrayBuffer());
  const text = new TextEncoder().encode(JSON.stringify(whole, (_, value) => {
    if (!ArrayBuffer.isView(value)) return value;
    parts.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    return { part: value.constructor.name, bytes: value.byteLength };
  }));
  const bytes = new Uint8Array(4 + text.length + parts.reduce((sum, part) => sum + part.length, 0));
  new DataView(bytes.buffer).setUint32(0, text.length);
  bytes.set(text, 4);
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 4 + text.length);
  const iv = random(12), given = { name: "AES-GCM", iv, additionalData: named(place, record.id) };
  return { id: record.id, iv, sealed: await crypto.subtle.encrypt(given, key, bytes) };
}

/** The record that was sealed; throws where it was altered or lies in another's place. */
export async function unsealed(key, place, { id, iv, sealed: data }) {
  const bytes = new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: named(place, id) }, key, data));
  const length = new DataView(bytes.buffer).getUint32(0);
  let at = 4 + length; // parts come in the order in which JSON.stringify met them; a reviver meets them in the same one
  const record = JSON.parse(new TextDecoder().decode(bytes.subarray(4, at)), (_, value) => {
    if (!(value?.part in KINDS)) return value;
    const part = bytes.slice(at, at += value.bytes);
    return new KINDS[value.part](part.buffer);
  });
  if (record.thumb) record.thumb = new Blob([record.thumb], { type: "image/png" });
  return record;
}

const named = (place, id) => new TextEncoder().encode(`${place} ${id}`);
