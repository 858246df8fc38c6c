// Labels and notes that come back: from a session that the app exported, or a review of a gallery, the app or the workbench.

import { Fault } from "./faults.mjs";

const SESSION = "leukoscope-app-session", REVIEW = "leukoscope-review";
const LABELS = { blast: "blast", normal: "normal", other: "other", unsure: "other" }; // a review says "unsure"
const MOST_BYTES = 64 * 2 ** 20, LONGEST = 2000; // of a file; letters of a note
const SAME_BOX = 0.5, SAME_ANSWER = 1e-6; // overlap of two boxes of one cell; probabilities of one answer

/**
 * What a file says of cells.
 * @param {Blob} file
 * @returns {Promise<{digest: string | null, cells: {sha256: string, place: number[] | null, number: number | null,
 *   probability: number | null, label: string | null, note: string}[], lost: number}>} cells with a label or a note; `lost`:
 *   how many name no picture
 */
export async function read(file) {
  if (file.size > MOST_BYTES) throw new Fault("labels heavy");
  const text = await file.text().catch(({ message }) => { throw new Fault("labels unread", { why: message }); });
  let given;
  try { given = JSON.parse(text); } catch { throw new Fault("labels no json"); }
  const format = given?.format, version = format === REVIEW ? given.version : given?.format_version;
  if (format !== SESSION && format !== REVIEW) throw new Fault("labels foreign");
  if (version !== 1) throw new Fault("labels newer", { found: version });
  if (!Array.isArray(given.cells)) throw new Fault("labels damaged", { where: "cells" });
  const cells = given.cells.map((each, at) => cell(each, `cells ${at + 1}`)).filter(({ label, note }) => label || note);
  return { digest: format === REVIEW ? given.bundle_digest : null, cells: cells.filter(({ sha256 }) => sha256), lost: cells.filter(({ sha256 }) => !sha256).length };
}

function cell(given, where) {
  const { sha256 = null, place = null, cell: number = null, probability = null, label = null, note = null } = given ?? {};
  const holds = (what, right) => { if (!right) throw new Fault("labels damaged", { where: `${where}: ${what}` }); };
  holds("object", given !== null && typeof given === "object" && !Array.isArray(given));
  holds("sha256", sha256 === null || /^[0-9a-f]{64}$/.test(sha256));
  holds("place", place === null || (Array.isArray(place) && place.length === 4 && place.every(Number.isFinite)));
  holds("cell", number === null || Number.isInteger(number));
  holds("label", label === null || (typeof label === "string" && Object.hasOwn(LABELS, label)));
  holds("note", note === null || typeof note === "string");
  const said = note === null || note === label ? "" : note.replaceAll("\r\n", "\n").slice(0, LONGEST); // the workbench notes its own label
  return { sha256, place, number, probability, label: label && LABELS[label], note: said };
}

/** The records that a cell of a file is: of the same picture, and of a field the one that lies there; none where that is not certain. */
function meant({ sha256, place, number, probability }, digest, records) {
  const alike = records.filter((each) => each.sha256 === sha256);
  if (place) {
    const there = alike.filter((each) => each.place && overlap(each.place, place) >= SAME_BOX);
    return there.every((each) => String(each.place) === String(there[0].place)) ? there : [];
  }
  if (number === null) return alike.filter((each) => !each.place);
  const fields = alike.filter((each) => each.place), found = fields[number - 1];
  const own = found?.answer?.probability ?? null; // without one the number alone says nothing: another finder counts otherwise
  return own !== null && probability !== null && found.bundle === digest && Math.abs(own - probability) <= SAME_ANSWER ? [found] : [];
}

function overlap([x, y, w, h], [u, v, s, t]) {
  const shared = Math.max(0, Math.min(x + w, u + s) - Math.max(x, u)) * Math.max(0, Math.min(y + h, v + t) - Math.max(y, v));
  return shared / (w * h + s * t - shared) || 0;
}

/**
 * What would become of the records; nothing is changed.
 * @returns {{fresh: object[], same: number, left: number, conflicts: object[]}} of `{record, label, note}`, null for what stays:
 *   `fresh` where nothing stood, `conflicts` where something else stands; how many say what stands already, and how many
 *   cells of the file are none of the records
 */
export function compared({ digest, cells, lost }, records) {
  const told = { fresh: [], same: 0, left: lost, conflicts: [] }, pending = new Map();
  for (const each of cells) {
    const found = meant(each, digest, records);
    if (!found.length) told.left++;
    for (const record of found) {
      const stands = pending.get(record) ?? { label: record.label, note: record.note ?? "" }, next = { ...stands };
      const parts = { fresh: { record, label: null, note: null }, conflicts: { record, label: null, note: null } };
      for (const what of ["label", "note"]) {
        if (!each[what] || each[what] === stands[what]) continue;
        parts[stands[what] ? "conflicts" : "fresh"][what] = each[what];
        if (!stands[what]) next[what] = each[what]; // what the file says first; where it says another thing later, that is a conflict
      }
      pending.set(record, next);
      let changes = false;
      for (const [kind, part] of Object.entries(parts)) if (part.label || part.note) changes = told[kind].push(part) > 0;
      if (!changes) told.same++;
    }
  }
  return told;
}
