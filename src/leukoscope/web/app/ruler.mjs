// Red cells: circles that the edges of a field vote for; their commonest size is the field's ruler. A port of
// leukoscope.smears.redcells and .ruler, where the reasons for each step and constant stand; the same to a hundredth.

import { blurred, densities, grown, mirrored, opened, otsu, reduced } from "./raster.mjs";

const STEP = 1.05, BLUR = 0.2, SEEN = 0.3, APART = 0.6, WEAK = 0.04, STRONG = 0.1, MOST = 150;
const SHRINK = (Math.sqrt(1 + 4 * BLUR ** 2) - 1) / (2 * BLUR ** 2);
const SEARCH_SIDE = 400, SEARCHED = 1600, SMALLEST = 5, LARGEST = 0.22, FINE_RADIUS = 22, FINE = 1.45, BAND = 0.06, KEEP = 0.25;
const WINDOW = 1_500_000, TO_CHOOSE = 3, TO_MEASURE = 1.5, LEAST_PURPLE = 0.04, LEAST_CELLS = 3;

/**
 * Diameter of a red cell of a field in pixels; null where fewer than three are seen.
 * @param {Uint8Array} rgb [height, width, 3]
 * @param {(left: number, top: number, width: number, height: number, w: number, h: number) => ?Uint8Array} hiddenIn what of a
 *   part of the picture shows no smear, as a mask of w x h; null: all of it does
 */
export function redCellOf(rgb, width, height, hiddenIn = () => null) {
  const cells = redCells(rgb, width, height, hiddenIn);
  return cells.length < LEAST_CELLS ? null : weightedMedian(cells);
}

/** Red cells of the commonest size: {x, y, diameter, seen} in pixels of the picture. */
export function redCells(rgb, width, height, hiddenIn = () => null) {
  if (Math.min(width, height) < 40) return [];
  const picture = { rgb, width, height, hiddenIn };
  let coarse = anySize(picture, middle(width, height, SEARCHED));
  if (coarse.length < LEAST_CELLS && Math.max(width, height) > SEARCHED) coarse = anySize(picture, [0, 0, width, height]);
  if (coarse.length < LEAST_CELLS) return [];
  const radius = commonest(coarse) / 2, fine = Math.min(1, FINE_RADIUS / radius);
  const steps = Math.ceil((2 * Math.log(FINE)) / Math.log(STEP));
  const radii = Array.from({ length: steps }, (_, i) => fine * radius * Math.exp(-Math.log(FINE) + i * Math.log(STEP)));
  const cells = searched(picture, [0, 0, width, height], fine, radii, TO_MEASURE);
  if (cells.length < LEAST_CELLS) return [];
  const most = commonest(cells);
  return cells.filter(({ diameter }) => Math.abs(Math.log(diameter / most)) <= KEEP);
}

function middle(width, height, side) {
  const left = Math.max(0, Math.floor((width - side) / 2)), top = Math.max(0, Math.floor((height - side) / 2));
  return [left, top, Math.min(side, width), Math.min(side, height)];
}

function anySize(picture, part) {
  const [, , across, down] = part, scale = Math.min(1, SEARCH_SIDE / Math.max(across, down));
  const largest = LARGEST * Math.min(across, down) * scale;
  const count = largest > SMALLEST ? Math.trunc(Math.log(largest / SMALLEST) / Math.log(STEP)) : 0;
  return searched(picture, part, scale, Array.from({ length: Math.max(count, 1) }, (_, i) => SMALLEST * STEP ** i), TO_CHOOSE);
}

/** The diameter around which most outline lies, by a Gaussian kernel over its logarithm. */
function commonest(cells) {
  const size = cells.map(({ diameter }) => Math.log(diameter));
  let best = -1, at = 0;
  size.forEach((one, i) => {
    const support = cells.reduce((sum, { seen, diameter }, k) => sum + seen ** 2 * diameter * Math.exp(-0.5 * ((one - size[k]) / BAND) ** 2), 0);
    if (support > best) { best = support; at = i; }
  });
  return cells[at].diameter;
}

/** The diameter in the middle of the weight, between two cells in proportion. */
function weightedMedian(cells) {
  const sorted = [...cells].sort((a, b) => a.diameter - b.diameter), half = sorted.reduce((sum, { seen }) => sum + seen ** 2, 0) / 2;
  let sum = 0, before = null;
  for (const { diameter, seen } of sorted) {
    const at = sum + seen ** 2 / 2;
    if (at >= half) return before === null ? diameter : before.diameter + ((half - before.at) / (at - before.at)) * (diameter - before.diameter);
    before = { at, diameter };
    sum += seen ** 2;
  }
  return before.diameter;
}

function searched({ rgb, width, hiddenIn }, [left, top, across, down], scale, radii, leastSpread) {
  const share = Math.min(1, Math.sqrt(WINDOW / (down * across * scale ** 2)));
  const x0 = Math.round((across * (1 - share)) / 2), y0 = Math.round((down * (1 - share)) / 2);
  const part = [left + x0, top + y0, across - 2 * x0, down - 2 * y0];
  const { pixels, w, h } = reduced(rgb, width, part, scale), hidden = hiddenIn(...part, w, h);
  const { purple, red, middle: level, spread } = densities(pixels, w, h, 1, hidden);
  const beyond = level + Math.max(5 * spread, LEAST_PURPLE);
  const leaveOut = grown(opened(purple.map((value) => (value > beyond ? 1 : 0)), w, h, 2), w, h, 4);
  if (hidden) grown(hidden, w, h, 3).forEach((set, i) => { if (set) leaveOut[i] = 1; });
  const edges = foundEdges(red, w, h, leaveOut);
  if (!edges?.length) return [];
  return voted(edges, w, h, radii, leastSpread).map(({ x, y, diameter, seen }) => ({ x: part[0] + x / scale, y: part[1] + y / scale, diameter: diameter / scale, seen }));
}

/** Canny's edges (1986), levels relative to the contrast of cells and ground: x, y and the unit vector to higher density, in turn. */
function foundEdges(red, w, h, leaveOut) {
  const rest = red.filter((_, i) => !leaveOut[i]), level = otsu(rest);
  const upper = rest.filter((value) => value > level).sort(), lower = rest.filter((value) => value <= level).sort();
  const half = (sorted) => (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  const contrast = upper.length && lower.length ? half(upper) - half(lower) : 0;
  if (!(contrast > 0)) return null;
  const across = new Float32Array(w * h), down = new Float32Array(w * h), dx = new Int16Array(w * h), dy = new Int16Array(w * h);
  const power = new Float64Array(w * h), unit = 8000, bounded = (value) => Math.trunc(Math.min(4, Math.max(-4, value / contrast)) * unit);
  for (let y = 0; y < h; y++) {
    const up = mirrored(y - 1, h) * w, here = y * w, under = mirrored(y + 1, h) * w;
    for (let x = 0; x < w; x++) {
      const l = mirrored(x - 1, w), r = mirrored(x + 1, w), i = here + x;
      across[i] = (red[up + r] - red[up + l] + 2 * (red[here + r] - red[here + l]) + red[under + r] - red[under + l]) / 8;
      down[i] = (red[under + l] + 2 * red[under + x] + red[under + r] - red[up + l] - 2 * red[up + x] - red[up + r]) / 8;
      dx[i] = bounded(across[i]);
      dy[i] = bounded(down[i]);
      power[i] = dx[i] ** 2 + dy[i] ** 2;
    }
  }
  const edge = canny(dx, dy, power, w, h, Math.floor((WEAK * unit) ** 2), Math.floor((STRONG * unit) ** 2)), found = [];
  for (let y = 3; y < h - 3; y++)
    for (let x = 3; x < w - 3; x++) {
      const i = y * w + x, length = Math.max(Math.hypot(across[i], down[i]), 1e-9);
      if (edge[i] && !leaveOut[i]) found.push(x, y, across[i] / length, down[i] / length);
    }
  return Float32Array.from(found);
}

/** Ridges of the gradient's power: those above `weak` that hang together with one above `strong`. */
function canny(dx, dy, power, w, h, weak, strong) {
  const state = new Uint8Array(w * h), stack = [], at = (x, y) => (x < 0 || y < 0 || x >= w || y >= h ? 0 : power[y * w + x]);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const i = y * w + x, m = power[i];
      if (m <= weak) continue;
      const flat = Math.abs(dx[i]) * 13573, steep = Math.abs(dy[i]) * 32768;
      let ridge;
      if (steep < flat) ridge = m > at(x - 1, y) && m >= at(x + 1, y);
      else if (steep > flat + Math.abs(dx[i]) * 65536) ridge = m > at(x, y - 1) && m >= at(x, y + 1);
      else {
        const side = (dx[i] ^ dy[i]) < 0 ? -1 : 1;
        ridge = m > at(x - side, y - 1) && m > at(x + side, y + 1);
      }
      if (!ridge) continue;
      state[i] = m > strong ? 2 : 1;
      if (state[i] === 2) stack.push(i);
    }
  while (stack.length) {
    const i = stack.pop(), x = i % w, y = (i - x) / w;
    for (let v = Math.max(0, y - 1); v <= Math.min(h - 1, y + 1); v++)
      for (let u = Math.max(0, x - 1); u <= Math.min(w - 1, x + 1); u++)
        if (state[v * w + u] === 1) {
          state[v * w + u] = 2;
          stack.push(v * w + u);
        }
  }
  return state.map((value) => (value === 2 ? 1 : 0));
}

/** Circles that the edges vote for, best first; votes of large circles are counted in bins of several pixels. */
function voted(edges, w, h, radii, leastSpread) {
  const sigmas = radii.map((radius) => Math.max(BLUR * radius, 0.8));
  const bins = sigmas.map((sigma) => 2 ** Math.max(0, Math.trunc(Math.log2(sigma / leastSpread))));
  const base = bins[0], wide = Math.ceil(w / base), tall = Math.ceil(h / base);
  const shares = radii.map((radius, index) => {
    const side = bins[index], sigma = sigmas[index], rows = Math.ceil((tall * base) / side), columns = Math.ceil((wide * base) / side);
    const votes = new Float32Array(rows * columns);
    for (let i = 0; i < edges.length; i += 4) {
      const column = Math.floor((edges[i] + 0.5 + edges[i + 2] * radius) / side);
      const row = Math.floor((edges[i + 1] + 0.5 + edges[i + 3] * radius) / side);
      if (column >= 0 && row >= 0 && column < columns && row < rows) votes[row * columns + column]++;
    }
    const soft = blurred(votes, columns, rows, Math.sqrt((sigma / side) ** 2 - (1 - 1 / side ** 2) / 12)), by = (sigma / side) ** 2 / radius;
    for (let i = 0; i < soft.length; i++) soft[i] *= by;
    return enlarged(soft, columns, rows, side / base, wide, tall);
  });
  return peaks(shares, radii, base, wide, tall);
}

/** A raster enlarged by a whole factor, linear between the middles of its pixels, cut to wide x tall. */
function enlarged(values, columns, rows, zoom, wide, tall) {
  if (zoom === 1) return values;
  const out = new Float32Array(wide * tall), near = (i, count) => Math.min(Math.max(i, 0), count - 1);
  for (let y = 0; y < tall; y++) {
    const v = (y + 0.5) / zoom - 0.5, j = Math.floor(v), down = v - j, top = near(j, rows) * columns, under = near(j + 1, rows) * columns;
    for (let x = 0; x < wide; x++) {
      const u = (x + 0.5) / zoom - 0.5, i = Math.floor(u), across = u - i, l = near(i, columns), r = near(i + 1, columns);
      out[y * wide + x] = (1 - down) * ((1 - across) * values[top + l] + across * values[top + r]) + down * ((1 - across) * values[under + l] + across * values[under + r]);
    }
  }
  return out;
}

/** Tops of the shares over place and radius. */
function peaks(shares, radii, side, wide, tall) {
  const best = Float32Array.from(shares[0]), which = new Int16Array(best.length);
  for (let k = 1; k < shares.length; k++) for (let i = 0; i < best.length; i++) if (shares[k][i] > best[i]) { best[i] = shares[k][i]; which[i] = k; }
  const places = [];
  for (let y = 0; y < tall; y++)
    for (let x = 0; x < wide; x++) {
      const i = y * wide + x;
      let top = best[i] >= SEEN;
      for (let v = Math.max(0, y - 1); top && v <= Math.min(tall - 1, y + 1); v++)
        for (let u = Math.max(0, x - 1); u <= Math.min(wide - 1, x + 1); u++) if (best[v * wide + u] > best[i]) top = false;
      if (top) places.push(i);
    }
  const taken = [];
  for (const i of places.sort((p, q) => best[q] - best[p])) {
    const column = i % wide, x = (column + 0.5) * side, y = ((i - column) / wide + 0.5) * side;
    const diameter = (2 * between(shares, i, which[i], radii)) / SHRINK;
    if (taken.some((cell) => (x - cell.x) ** 2 + (y - cell.y) ** 2 <= ((APART / 2) * Math.max(diameter, cell.diameter)) ** 2)) continue;
    if (taken.push({ x, y, diameter, seen: best[i] }) === MOST) break;
  }
  return taken;
}

/** The radius of the top, by a parabola through it and its neighbours on the logarithmic scale of radii. */
function between(shares, i, at, radii) {
  if (!(at > 0 && at < radii.length - 1)) return radii[at];
  const [left, mid, right] = [shares[at - 1][i], shares[at][i], shares[at + 1][i]], bend = left - 2 * mid + right;
  return radii[at] * (radii[at + 1] / radii[at]) ** (bend < 0 ? (0.5 * (left - right)) / bend : 0);
}
