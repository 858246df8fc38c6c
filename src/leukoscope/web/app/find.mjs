// White cells of a field, in the browser: red cells as a ruler, nuclei by their purple, cells grown around them. A port of
// leukoscope.smears.find and .whitecells; what it does not have (stains of another axis, writing on the picture, scans in
// windows, smudges) and how far both agree: docs/app.md, benchmarks/app_fields.py. What it misses the reader taps.

import { bounds, components } from "./frame.mjs";
import { FAINT, foundNuclei, guessedUnit, windowsOf, within } from "./nuclei.mjs";
import { chamfer } from "./quality.mjs";
import { blurred, closed, densities, filled, grown, meansOver, median, middleAndSpread, opened, padded, reduced, squaredDistances, unpadded } from "./raster.mjs";
import { redCellOf } from "./ruler.mjs";

const SIDE = 640, NO_SCALE_SIDE = 700, WORK = 3_000_000; // pixels: where a surround is sought; sides and area worked at
const UNIT = 48, FINE = 32; // pixels to a red cell at which nuclei are sought, and cells are outlined
const PALE = 2, LEAST_SHARE = 0.12; // spreads above the middle; of a nucleus' own purple: what cytoplasm has at least
const REACH = 0.8, CLOSE = 0.12, OPEN = 0.2; // lengths, of a red cell's diameter
const LARGEST = 12, LARGEST_SHARE = 0.5; // areas, of a red cell's disc and of the picture: no white cell is larger
const BLACK = 0.16, VEIL = 0.02; // of the bright level, below which no smear is; of the side: a surround with less is none

/**
 * Find the white cells of a field.
 * @param {Uint8Array} rgb [height, width, 3]
 * @param {{x: number, y: number}[]} taps where the reader says that a cell is, pixels
 * @returns {{cells: {box: number[], mask: Uint8Array, cut: boolean, tapped: boolean}[], redCell: ?number, platelets: number,
 *   hidden: number}} boxes are [left, top, width, height] in pixels of the picture, masks fill them; redCell is the
 *   diameter of a red cell in pixels, null where too few are seen; hidden the share of the picture that shows no smear
 */
export function findCells(rgb, width, height, taps = []) {
  const hiddenIn = surroundOf(rgb, width, height), redCell = redCellOf(rgb, width, height, hiddenIn ?? undefined);
  const scale = redCell === null ? Math.min(1, NO_SCALE_SIDE / Math.max(width, height)) : Math.min(1, UNIT / redCell, Math.sqrt(WORK / (width * height)));
  const { pixels, w, h } = reduced(rgb, width, [0, 0, width, height], scale), hidden = hiddenIn?.(0, 0, width, height, w, h) ?? null;
  const { purple, middle, spread } = densities(pixels, w, h, 0.017 * (redCell === null ? 60 : redCell * scale), hidden);
  const above = purple.map((value, i) => (hidden?.[i] ? 0 : value - middle));
  const unit = redCell !== null && redCell * scale >= 4 ? redCell * scale : guessedUnit(above, w, h, spread);
  const { label, nuclei, platelets } = foundNuclei(above, w, h, spread, unit), seeds = [...nuclei];
  for (const { x, y } of taps) {
    const seed = tapped(label, above, seeds.length + 1, Math.round(x * scale), Math.round(y * scale), unit, w, h);
    if (seed) seeds.push(seed);
  }
  const largest = Math.min(LARGEST * (Math.PI / 4) * (unit / scale) ** 2, LARGEST_SHARE * width * height);
  const cells = grownCells(purple, label, seeds, unit, w, h, hidden)
    .map(({ fine, ...cell }) => enlarged(cell, fine * scale, width, height))
    .filter(({ mask }) => mask.reduce((sum, set) => sum + set, 0) <= largest);
  return {
    cells: cells.sort((a, b) => a.box[1] - b.box[1] || a.box[0] - b.box[0]), redCell, platelets,
    hidden: hidden ? hidden.reduce((sum, set) => sum + set, 0) / hidden.length : 0,
  };
}

/** What of any part of the picture lies behind a surround, as a mask of w x h; null where there is none. */
function surroundOf(rgb, width, height) {
  const { pixels, w: wide, h: tall } = reduced(rgb, width, [0, 0, width, height], Math.min(1, SIDE / Math.max(width, height)));
  const hidden = surround(pixels, wide, tall);
  if (!hidden) return null;
  return (left, top, across, down, w, h) => {
    const mask = new Uint8Array(w * h);
    for (let y = 0; y < h; y++) {
      const row = Math.min(tall - 1, Math.floor(((top + ((y + 0.5) * down) / h) * tall) / height)) * wide;
      for (let x = 0; x < w; x++) mask[y * w + x] = hidden[row + Math.min(wide - 1, Math.floor(((left + ((x + 0.5) * across) / w) * wide) / width))];
    }
    return mask;
  };
}

/** What lies behind an eyepiece's circle or in a letterbox: dark from the border inwards. Null where that is little. */
function surround(pixels, w, h) {
  const brightest = new Uint8Array(w * h);
  for (let i = 0; i < w * h; i++) brightest[i] = Math.max(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]);
  const limit = BLACK * Uint8Array.from(brightest).sort()[Math.floor(0.95 * w * h)];
  const hidden = new Uint8Array(w * h), stack = [];
  const take = (i) => {
    if (hidden[i] || brightest[i] > limit) return;
    hidden[i] = 1;
    stack.push(i);
  };
  for (let x = 0; x < w; x++) { take(x); take((h - 1) * w + x); }
  for (let y = 0; y < h; y++) { take(y * w); take(y * w + w - 1); }
  let count = 0;
  while (stack.length) {
    const at = stack.pop(), x = at % w;
    count++;
    if (x) take(at - 1);
    if (x < w - 1) take(at + 1);
    if (at >= w) take(at - w);
    if (at < w * (h - 1)) take(at + w);
  }
  if (count < VEIL * w * h) return null;
  return Uint8Array.from(chamfer(hidden.map((set) => 1 - set), w, h), (depth) => (depth <= 0.012 * Math.max(w, h) ? 1 : 0));
}

/** A nucleus where the reader tapped: what is about as purple as the strongest place near it. */
function tapped(label, purple, number, x, y, unit, w, h) {
  const reach = Math.ceil(0.3 * unit);
  let best = -1;
  for (let v = Math.max(0, y - reach); v <= Math.min(h - 1, y + reach); v++)
    for (let u = Math.max(0, x - reach); u <= Math.min(w - 1, x + reach); u++) {
      const i = v * w + u;
      if (label[i]) return null; // found already
      if (best < 0 || purple[i] > purple[best]) best = i;
    }
  if (best < 0 || purple[best] < FAINT) return null;
  const height = purple[best], stack = [best];
  let area = 0, sum = 0;
  label[best] = number;
  while (stack.length) {
    const at = stack.pop(), u = at % w, v = (at - u) / w;
    area++;
    sum += purple[at];
    for (const [p, q] of [[u - 1, v], [u + 1, v], [u, v - 1], [u, v + 1]]) {
      const i = q * w + p;
      if (p < 0 || q < 0 || p >= w || q >= h || label[i] || purple[i] < 0.55 * height || Math.hypot(p - x, q - y) > 1.3 * unit) continue;
      label[i] = number;
      stack.push(i);
    }
  }
  return { stain: sum / area, tapped: true };
}

/** Cells around nuclei: what is purple about them, near, and belongs to no nearer one; masks of a reduced picture. */
function grownCells(purple, label, seeds, unit, w, h, hidden) {
  if (!seeds.length) return [];
  const fine = Math.min(1, FINE / unit), wide = Math.max(8, Math.round(w * fine)), tall = Math.max(8, Math.round(h * fine)), own = unit * fine;
  const soft = meansOver(blurred(purple, w, h, 0.035 * unit), w, 1, [0, 0, w, h], wide, tall, [w / wide, h / tall]);
  const thin = new Int32Array(wide * tall), veiled = hidden ? new Uint8Array(wide * tall) : null;
  for (let y = 0; y < tall; y++)
    for (let x = 0; x < wide; x++) {
      const from = Math.floor(((y + 0.5) * h) / tall) * w + Math.floor(((x + 0.5) * w) / wide);
      thin[y * wide + x] = label[from];
      if (veiled) veiled[y * wide + x] = hidden[from];
    }
  const [middle, spread] = middleAndSpread(soft, veiled), owner = territories(thin, own, wide, tall), cells = [];
  const behind = veiled ? grown(veiled, wide, tall, 2) : null;
  for (const [k, box] of windowsOf(owner, wide)) {
    const [left, top, across, down] = box, nucleus = within(thin, wide, k, box), mine = within(owner, wide, k, box);
    const at = (i) => (top + Math.floor(i / across)) * wide + left + (i % across);
    const heights = [];
    for (let i = 0; i < nucleus.length; i++) if (nucleus[i]) heights.push(soft[at(i)] - middle);
    if (!heights.length) continue;
    const floor = middle + Math.max(PALE * spread, LEAST_SHARE * median(heights)), margin = Math.trunc(0.4 * own) + 3;
    const stained = nucleus.map((set, i) => (set || (mine[i] && soft[at(i)] > floor) ? 1 : 0));
    // Beyond the picture a cell goes on: without that, smoothing would eat at cut cells.
    const { mask: on, w: W, h: H } = padded(stained, across, down, margin, true);
    const smooth = unpadded(opened(filled(closed(on, W, H, CLOSE * own), W, H), W, H, OPEN * own), across, down, margin);
    const { labels } = components(nucleus.map((set, i) => (set || (smooth[i] && mine[i]) ? 1 : 0)), across, down);
    const kept = new Set(labels.filter((_, i) => nucleus[i]));
    const mask = filled(Uint8Array.from(labels, (each) => (kept.has(each) ? 1 : 0)), across, down);
    const cut = behind !== null && mask.some((set, i) => set && behind[at(i)]);
    const [x0, y0, x1, y1] = bounds(mask, across, down), tight = [x0, y0, x1 - x0, y1 - y0];
    cells.push({ box: [left + x0, top + y0, x1 - x0, y1 - y0], mask: within(mask, across, 1, tight), cut, tapped: Boolean(seeds[k - 1].tapped), fine });
  }
  return cells;
}

/** Which nucleus' hull is nearest to each pixel; 0 beyond REACH. */
function territories(label, unit, w, h) {
  const hulls = Int32Array.from(label), nearest = new Int32Array(w * h), reach = (REACH * unit) ** 2;
  for (const [k, box] of windowsOf(label, w)) {
    const [left, top, across, down] = box, mask = within(label, w, k, box);
    for (const [y, from, to] of hullRows(mask, across, down)) for (let x = from, i = (top + y) * w + left + x; x <= to; x++, i++) if (!label[i]) hulls[i] = k;
  }
  const away = squaredDistances(hulls, w, h, nearest);
  return away.reduce((owner, far, i) => {
    owner[i] = far <= reach ? hulls[nearest[i]] : 0;
    return owner;
  }, new Int32Array(w * h));
}

/** Rows of the convex hull of a mask: [y, first, last]. */
function hullRows(mask, w, h) {
  const ends = [];
  for (let y = 0; y < h; y++) {
    const row = mask.subarray(y * w, y * w + w), first = row.indexOf(1);
    if (first >= 0) ends.push([y, first, row.lastIndexOf(1)]);
  }
  const side = (column, sign) => { // the outermost chain along rows, by turning one way only
    const chain = [];
    for (const end of ends) {
      const point = [end[0], sign * end[column]];
      while (chain.length > 1) {
        const [p, q] = chain.slice(-2);
        if ((q[0] - p[0]) * (point[1] - p[1]) - (point[0] - p[0]) * (q[1] - p[1]) > 0) break;
        chain.pop();
      }
      chain.push(point);
    }
    return (y) => {
      const i = Math.max(1, chain.findIndex(([row]) => row >= y)), [[y0, x0], [y1, x1]] = chain.length > 1 ? [chain[i - 1], chain[i]] : [chain[0], chain[0]];
      return sign * (y1 === y0 ? x0 : x0 + ((x1 - x0) * (y - y0)) / (y1 - y0));
    };
  };
  if (!ends.length) return [];
  const left = side(1, 1), right = side(2, -1);
  return Array.from({ length: h }, (_, y) => [y, Math.round(left(y)), Math.round(right(y))]);
}

/** A cell of the reduced picture in pixels of the picture, its outline smooth. */
function enlarged({ box: [left, top, w, h], mask, cut, tapped: byHand }, scale, width, height) {
  const x0 = Math.max(0, Math.floor(left / scale)), y0 = Math.max(0, Math.floor(top / scale));
  const x1 = Math.min(width, Math.ceil((left + w) / scale)), y1 = Math.min(height, Math.ceil((top + h) / scale));
  const across = x1 - x0, down = y1 - y0, out = new Uint8Array(across * down);
  const at = (x, y) => (x < 0 || y < 0 || x >= w || y >= h ? 0 : mask[y * w + x]);
  for (let y = 0; y < down; y++)
    for (let x = 0; x < across; x++) {
      const u = (x0 + x + 0.5) * scale - left - 0.5, v = (y0 + y + 0.5) * scale - top - 0.5;
      const i = Math.floor(u), j = Math.floor(v), fu = u - i, fv = v - j;
      const value = (1 - fv) * ((1 - fu) * at(i, j) + fu * at(i + 1, j)) + fv * ((1 - fu) * at(i, j + 1) + fu * at(i + 1, j + 1));
      out[y * across + x] = value > 0.5 ? 1 : 0;
    }
  const edge = Math.max(2, 1 / scale), ends = x0 < edge || y0 < edge || x1 > width - edge || y1 > height - edge;
  return { box: [x0, y0, across, down], mask: out, cut: cut || ends, tapped: byHand };
}

/**
 * A cell of a field on black at the scale of the training cells.
 * @param {number} factor pixels of the result per pixel of the field
 */
export function cutOut(rgb, width, { box: [left, top, w, h], mask }, factor) {
  const across = Math.max(1, Math.round(w * factor)), down = Math.max(1, Math.round(h * factor)), margin = 2;
  const wide = across + 2 * margin, tall = down + 2 * margin, out = new Uint8Array(3 * wide * tall);
  const near = (i, count) => Math.min(Math.max(i, 0), count - 1);
  for (let y = 0; y < down; y++)
    for (let x = 0; x < across; x++) {
      const u = (x + 0.5) / factor - 0.5, v = (y + 0.5) / factor - 0.5;
      const i = Math.floor(u), j = Math.floor(v), fu = u - i, fv = v - j;
      const i0 = near(i, w), i1 = near(i + 1, w), j0 = near(j, h), j1 = near(j + 1, h);
      const mix = (get) => (1 - fv) * ((1 - fu) * get(i0, j0) + fu * get(i1, j0)) + fv * ((1 - fu) * get(i0, j1) + fu * get(i1, j1));
      if (mix((p, q) => mask[q * w + p]) <= 0.5) continue;
      const to = 3 * ((y + margin) * wide + x + margin);
      // Where the cell itself is near black, it must not be taken for its surround.
      for (let c = 0; c < 3; c++) out[to + c] = Math.max(11, Math.round(mix((p, q) => rgb[3 * ((top + q) * width + left + p) + c])));
    }
  return { rgb: out, width: wide, height: tall };
}

/** Whether a picture is one cell on black; a field behind an eyepiece's circle or in a letterbox is not. */
export function isFramed(rgb, width, height) {
  const lit = (x, y) => Math.max(rgb[3 * (y * width + x)], rgb[3 * (y * width + x) + 1], rgb[3 * (y * width + x) + 2]) > 10;
  let ring = 0;
  for (let x = 0; x < width; x++) ring += lit(x, 0) + lit(x, height - 1);
  for (let y = 0; y < height; y++) ring += lit(0, y) + lit(width - 1, y);
  if (ring > width + height) return false;
  let area = 0, purple = 0, left = width, top = height, right = 0, bottom = 0;
  const step = Math.max(1, Math.floor(Math.max(width, height) / 256));
  for (let y = 0; y < height; y += step)
    for (let x = 0; x < width; x += step) {
      if (!lit(x, y)) continue;
      const at = 3 * (y * width + x);
      area++;
      if (rgb[at + 2] > 1.32 * rgb[at + 1]) purple++;
      left = Math.min(left, x); top = Math.min(top, y); right = Math.max(right, x + step); bottom = Math.max(bottom, y + step);
    }
  if (!area || purple > 0.75 * area) return true; // a disc of nothing but purple is a cell
  const box = ((right - left) * (bottom - top)) / step ** 2, side = Math.max(right - left, bottom - top) / step;
  const circle = (Math.PI / 4) * side * side;
  return !(area > 0.97 * box || (area > 0.95 * circle && area < 1.05 * circle && purple < 0.5 * area));
}
