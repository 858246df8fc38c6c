// Nuclei of the white cells of a field: purple parts, lobes put together, touching nuclei split, platelets left out. A port of
// leukoscope.smears.nuclei, where the reasons for each step and constant stand.

import { components } from "./frame.mjs";
import { chamfer } from "./quality.mjs";
import { closed, filled, median, opened, otsu, squaredDistances } from "./raster.mjs";

const NOISE = 5, STRONG = 6.5; // spreads above the middle
const GRAIN = 0.05, CLUMP = 0.06, FULL = 0.42, GAP = 0.45, EXTENT = 2.6; // of a red cell's diameter
const HOLE = 0.05, LEAST = 0.3, LEAST_CUT = 0.15, LEAST_PART = 0.04, LARGEST = 7; // of its disc
const NECK = 0.75, CONTRAST = 0.25, TRIES = 3;
export const FAINT = 0.1; // of density
const TYPICAL = 1.25, MOST = 0.4; // of a red cell; of the picture

/**
 * @param {Float32Array} height [h, w], purple above the middle of the picture
 * @param {number} spread of it
 * @param {number} unit diameter of a red cell in pixels
 * @returns {{label: Int32Array, nuclei: {stain: number}[], platelets: number}} labels from 1
 */
export function foundNuclei(height, w, h, spread, unit) {
  const beyond = NOISE * spread, some = height.filter((value) => value > beyond), disc = (Math.PI / 4) * unit * unit;
  if (some.length < 20) return { label: new Int32Array(w * h), nuclei: [], platelets: 0 };
  const level = Math.max(otsu(some), beyond);
  let dark = height.map((value) => (value > level ? 1 : 0));
  dark = filled(opened(closed(dark, w, h, CLUMP * unit), w, h, GRAIN * unit), w, h, HOLE * disc);
  const parts = soughtAgain(split(largeEnough(dark, w, h, disc), w, h, unit), height, w, h, unit);
  return worthy(together(parts, w, h, unit), height, w, h, spread, disc);
}

/** What stands for a red cell's diameter where no red cell is seen: the largest purple thing is a nucleus. */
export function guessedUnit(height, w, h, spread) {
  let level = Math.max(NOISE * spread, FAINT), largest = Infinity;
  while (largest > MOST * w * h) {
    const { areas } = components(opened(height.map((value) => (value > level ? 1 : 0)), w, h, 1), w, h);
    largest = areas.reduce((top, area) => Math.max(top, area), 0);
    const above = height.filter((value) => value > level);
    if (above.length) level = Math.max(level + 1e-6, otsu(above));
  }
  return Math.max(8, Math.sqrt((4 * largest) / Math.PI) / TYPICAL);
}

/** Labels of the parts that are large enough for lobes. */
function largeEnough(mask, w, h, disc) {
  const { labels, areas } = components(mask, w, h);
  return labels.map((k) => (k && areas[k] >= LEAST_PART * disc ? k : 0));
}

/** The window of each label above 0: a Map to [left, top, width, height]. */
export function windowsOf(label, w) {
  const found = new Map();
  for (let i = 0; i < label.length; i++) {
    if (!label[i]) continue;
    const x = i % w, y = (i - x) / w, box = found.get(label[i]);
    if (!box) found.set(label[i], [x, y, x, y]);
    else {
      if (x < box[0]) box[0] = x;
      if (x > box[2]) box[2] = x;
      if (y > box[3]) box[3] = y;
    }
  }
  return new Map([...found].sort(([a], [b]) => a - b).map(([k, [l, t, r, b]]) => [k, [l, t, r - l + 1, b - t + 1]]));
}

/** Where a raster has this value, within a window. */
export function within(values, w, value, [left, top, across, down]) {
  const mask = new Uint8Array(across * down);
  for (let y = 0; y < down; y++) for (let x = 0; x < across; x++) if (values[(top + y) * w + left + x] === value) mask[y * across + x] = 1;
  return mask;
}

const most = (values) => values.reduce((top, value) => Math.max(top, value), 0);

/** Parts in which two full bodies touch become two. */
function split(label, w, h, unit) {
  const out = new Int32Array(label.length);
  let count = 0;
  for (const [k, box] of windowsOf(label, w)) {
    const [left, top, across, down] = box, mask = within(label, w, k, box);
    const bodies = bodiesOf(mask, across, down, unit), first = count + 1;
    for (let i = 0; i < mask.length; i++) if (mask[i]) out[(top + Math.floor(i / across)) * w + left + (i % across)] = first + (bodies?.[i] ?? 0);
    count += bodies ? most(bodies) + 1 : 1;
  }
  return out;
}

/** Which of at least two full bodies that a neck joins each pixel belongs to, from 0; null where it is one. */
function bodiesOf(mask, w, h, unit) {
  const depth = chamfer(mask, w, h), top = most(depth);
  if (top < FULL * unit) return null;
  for (let step = 3; step < 10; step++) {
    const level = (step / 10) * top, { labels, areas } = components(depth.map((d) => (d > level ? 1 : 0)), w, h), tops = new Float32Array(areas.length);
    for (let i = 0; i < labels.length; i++) if (depth[i] > tops[labels[i]]) tops[labels[i]] = depth[i];
    const tall = Array.from(areas.keys()).slice(1).filter((k) => tops[k] >= FULL * unit);
    if (tall.length < 2) continue;
    if (level > NECK * Math.min(...tall.map((k) => tops[k]))) return null;
    const away = tall.map((k) => squaredDistances(labels.map((other) => (other === k ? 1 : 0)), w, h));
    return Uint8Array.from(mask, (_, i) => away.reduce((best, far, k) => (far[i] < away[best][i] ? k : best), 0));
  }
  return null;
}

/** The parts with those that are larger than any nucleus divided at a higher level, or left out where that does not help. */
function soughtAgain(label, height, w, h, unit) {
  const disc = (Math.PI / 4) * unit * unit;
  const large = () => {
    const areas = new Map();
    for (const k of label) if (k) areas.set(k, (areas.get(k) ?? 0) + 1);
    return [...areas.keys()].filter((k) => areas.get(k) > LARGEST * disc);
  };
  for (let attempt = 0; attempt < TRIES; attempt++)
    for (const k of large()) {
      const own = height.filter((_, i) => label[i] === k), level = otsu(own);
      if (median(own.filter((v) => v > level)) - median(own.filter((v) => v <= level)) < CONTRAST * median(own)) continue; // noise
      const inner = opened(label.map((other, i) => (other === k && height[i] > level ? 1 : 0)), w, h, GRAIN * unit);
      const again = split(largeEnough(filled(inner, w, h, HOLE * disc), w, h, disc), w, h, unit), last = most(label);
      for (let i = 0; i < label.length; i++) if (label[i] === k || again[i]) label[i] = again[i] ? last + again[i] : 0;
    }
  const given = new Set(large());
  return label.map((k) => (given.has(k) ? 0 : k));
}

/** Lobes of one nucleus get one label: they lie near each other, and not both are full. */
function together(label, w, h, unit) {
  const lobes = [...windowsOf(label, w)].map(([k, box]) => {
    const [left, top, across, down] = box, mask = within(label, w, k, box), edge = [];
    for (let y = 0; y < down; y++)
      for (let x = 0; x < across; x++) {
        const i = y * across + x;
        if (mask[i] && !(x && mask[i - 1] && x < across - 1 && mask[i + 1] && y && mask[i - across] && y < down - 1 && mask[i + across])) edge.push([left + x, top + y]);
      }
    const step = Math.max(1, Math.floor(edge.length / 150));
    return { k, box, edge: edge.filter((_, i) => i % step === 0), full: most(chamfer(mask, across, down)) >= FULL * unit, group: k };
  });
  const near = [];
  for (const [n, a] of lobes.entries())
    for (const b of lobes.slice(n + 1)) {
      const gap = gapOf(a, b, GAP * unit);
      if (gap <= GAP * unit) near.push([gap, a, b]);
    }
  for (const [, a, b] of near.sort(([one], [other]) => one - other)) {
    const one = lobes.filter(({ group }) => group === a.group), other = lobes.filter(({ group }) => group === b.group);
    if (a.group === b.group || (one.some(({ full }) => full) && other.some(({ full }) => full))) continue;
    const boxes = [...one, ...other].map(({ box }) => box);
    const extent = [0, 1].map((axis) => Math.max(...boxes.map((box) => box[axis] + box[axis + 2] - 1)) - Math.min(...boxes.map((box) => box[axis])));
    if (Math.max(...extent) <= EXTENT * unit) for (const lobe of other) lobe.group = a.group;
  }
  const groups = new Map(lobes.map(({ k, group }) => [k, group]));
  return label.map((k) => groups.get(k) ?? 0);
}

function gapOf({ box: a, edge: one }, { box: b, edge: other }, enough) {
  if ([0, 1].some((axis) => Math.max(b[axis] - a[axis] - a[axis + 2] + 1, a[axis] - b[axis] - b[axis + 2] + 1) > enough)) return Infinity;
  let least = Infinity;
  for (const [x, y] of one) for (const [u, v] of other) least = Math.min(least, (x - u) ** 2 + (y - v) ** 2);
  return Math.sqrt(least);
}

/** Groups as large and as strongly stained as a nucleus, numbered from 1; the others are platelets and dirt. */
function worthy(label, height, w, h, spread, disc) {
  const out = new Int32Array(label.length), nuclei = [];
  let platelets = 0;
  for (const [k, box] of windowsOf(label, w)) {
    const [left, top, across, down] = box, mask = within(label, w, k, box), at = [];
    for (let i = 0; i < mask.length; i++) if (mask[i]) at.push((top + Math.floor(i / across)) * w + left + (i % across));
    const stain = median(at.map((i) => height[i])), edge = !left || !top || left + across === w || top + down === h;
    if (stain < FAINT) continue;
    if (stain >= STRONG * spread && at.length >= (edge ? LEAST_CUT : LEAST) * disc) {
      nuclei.push({ stain });
      for (const i of at) out[i] = nuclei.length;
    } else platelets++;
  }
  return { label: out, nuclei, platelets };
}
