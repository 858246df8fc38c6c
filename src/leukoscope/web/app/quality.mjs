// What the gate measures of a picture: the same numbers as leukoscope.cells.quality.measure_quality and cells.stain.

import { above, bounds, components, largest } from "./frame.mjs";

const THINNED_SIDE = 200, FINE = 0.005, RIM = 0.06, CLIPPED = 250, LEAST_PIXELS = 50, ROUNDING = 0.09, LEAST_DETAIL = 0.05;
const MOST_PIXELS = 5000, LEAST_SPREAD = 0.005;
const DENSITY = Float64Array.from({ length: 256 }, (_, level) => -Math.log10((level + 1) / 256));

/**
 * Measure the picture of one cell.
 * @param {Uint8Array} rgb [height, width, 3], as decoded
 * @param {Uint8Array} frame [size, size, 3], from `frameCell`
 * @returns {{values: Object<string, number>, stain: number[], side: number}}
 */
export function measureQuality(rgb, width, height, frame, size) {
  const { inner, cell, w, h } = cutout(frame, size);
  let area = 0;
  for (const set of cell) area += set;
  const diameter = Math.sqrt((4 * area) / Math.PI);
  const depth = chamfer(cell, w, h);
  let inside = depth.map((d) => (d > RIM * diameter ? 1 : 0));
  if (inside.reduce((sum, set) => sum + set, 0) < LEAST_PIXELS) inside = Float32Array.from(cell);
  const grey = new Uint8Array(w * h), counts = new Float64Array(256);
  let clipped = 0;
  for (let i = 0; i < w * h; i++) {
    const r = inner[3 * i], g = inner[3 * i + 1], b = inner[3 * i + 2];
    grey[i] = (r * 9798 + g * 19235 + b * 3735 + 16384) >> 15;
    if (inside[i]) counts[grey[i]]++;
    if (r >= CLIPPED || g >= CLIPPED || b >= CLIPPED) clipped++;
  }
  const [low, middle, high] = quantiles(counts, [0.05, 0.5, 0.95]);
  const { stain, nuclear } = stainStatistics(thinned(inner, inside, w, h));
  const column = (mask, x, wide, tall) => Uint8Array.from({ length: tall }, (_, y) => mask[y * wide + x]);
  const straight = Math.max(longestRun(cell.subarray(0, w)), longestRun(cell.subarray((h - 1) * w)),
    longestRun(column(cell, 0, w, h)), longestRun(column(cell, w - 1, w, h)));
  const around = surroundings(rgb, width, height);
  const border = Math.max(w, h) >= size ? Math.max(around.border, straight) : around.border;
  return {
    values: {
      diameter,
      solidity: area / Math.max(hullArea(cell, w, h), area),
      straight_edge: straight / diameter,
      on_border: border / diameter,
      second_object: around.second,
      second_body: secondBody(depth, w, h),
      sharpness: sharpness(grey, inside, w, h, diameter, spread(counts)),
      contrast: high - low,
      brightness: middle,
      clipped: clipped / area,
      nuclear_stain: nuclear,
    },
    stain,
    side: Math.max(width, height),
  };
}

/** The bounding box of what is not exactly black in a frame, and its mask. */
function cutout(frame, size) {
  const set = new Uint8Array(size * size);
  for (let i = 0; i < set.length; i++) set[i] = frame[3 * i] | frame[3 * i + 1] | frame[3 * i + 2] ? 1 : 0;
  const [left, top, right, bottom] = bounds(set, size, size);
  const w = right - left, h = bottom - top;
  const inner = new Uint8Array(3 * w * h), cell = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) {
    const from = (top + y) * size + left;
    inner.set(frame.subarray(3 * from, 3 * (from + w)), 3 * y * w);
    cell.set(set.subarray(from, from + w), y * w);
  }
  return { inner, cell, w, h };
}

/** Distance to the nearest pixel outside by a chamfer of 5 x 5 (Borgefors 1986), as OpenCV sums it: 16 bits of fraction. */
export function chamfer(cell, w, h) {
  const A = 65536, B = Math.round(1.4 * 65536), C = Math.round(2.1969 * 65536), FAR = 2 ** 29;
  const wide = w + 6, at = (x, y) => (y + 3) * wide + x + 3;
  const d = new Int32Array(wide * (h + 6)).fill(FAR);
  // One pixel around the box is outside the cell; farther out nothing is known.
  for (let y = -1; y <= h; y++) for (let x = -1; x <= w; x++) d[at(x, y)] = 0;
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (cell[y * w + x]) d[at(x, y)] = FAR;
  const steps = [[-1, -2, C], [1, -2, C], [-2, -1, C], [-1, -1, B], [0, -1, A], [1, -1, B], [2, -1, C], [-1, 0, A]]
    .map(([x, y, cost]) => [y * wide + x, cost]);
  const ways = Int32Array.from(steps, ([way]) => way), costs = Int32Array.from(steps, ([, cost]) => cost);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      if (!cell[y * w + x]) continue;
      const here = at(x, y);
      for (let k = 0; k < 8; k++) if (d[here + ways[k]] + costs[k] < d[here]) d[here] = d[here + ways[k]] + costs[k];
    }
  const out = new Float32Array(w * h);
  for (let y = h - 1; y >= 0; y--)
    for (let x = w - 1; x >= 0; x--) {
      if (!cell[y * w + x]) continue;
      const here = at(x, y);
      for (let k = 0; k < 8; k++) if (d[here - ways[k]] + costs[k] < d[here]) d[here] = d[here - ways[k]] + costs[k];
      out[y * w + x] = d[here] / 65536;
    }
  return out;
}

function secondBody(depth, w, h) {
  const across = (w + 1) >> 1, down = (h + 1) >> 1;
  const small = new Float32Array(across * down);
  let best = 0;
  for (let y = 0; y < down; y++)
    for (let x = 0; x < across; x++) {
      const i = y * across + x;
      small[i] = depth[2 * y * w + 2 * x];
      if (small[i] > small[best]) best = i;
    }
  const top = small[best];
  if (!(top > 0)) return 0;
  const bx = best % across, by = (best - bx) / across;
  let second = 0;
  for (let y = 0; y < down; y++)
    for (let x = 0; x < across; x++) {
      const d = small[y * across + x];
      if (d > second && Math.fround(2 * Math.fround(Math.sqrt((y - by) ** 2 + (x - bx) ** 2))) >= Math.fround(top + d)) second = d;
    }
  return second / top;
}

/** Area of the convex hull of the pixels, taken as squares. */
function hullArea(cell, w, h) {
  const points = [];
  for (let y = 0; y < h; y++) {
    let left = -1, right = -1;
    for (let x = 0; x < w; x++)
      if (cell[y * w + x]) {
        if (left < 0) left = x;
        right = x + 1;
      }
    if (left >= 0) points.push([left, y], [right, y], [left, y + 1], [right, y + 1]);
  }
  points.sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  const turn = (o, p, q) => (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0]);
  const chain = (sorted) => {
    const line = [];
    for (const p of sorted) {
      while (line.length > 1 && turn(line[line.length - 2], line[line.length - 1], p) <= 0) line.pop();
      line.push(p);
    }
    return line.slice(0, -1);
  };
  const hull = [...chain(points), ...chain(points.reverse())];
  let twice = 0;
  hull.forEach(([x, y], i) => {
    const [u, v] = hull[(i + 1) % hull.length];
    twice += x * v - u * y;
  });
  return Math.abs(twice) / 2;
}

function surroundings(rgb, width, height) {
  const step = Math.max(1, Math.floor(Math.min(width, height) / THINNED_SIDE));
  const w = Math.max(1, Math.floor(width / step)), h = Math.max(1, Math.floor(height / step));
  const lit = above(rgb), thin = new Uint8Array(w * h);
  const place = (i, count, whole) => Math.min(Math.floor(i * (1 / (count / whole))), whole - 1);
  for (let y = 0; y < h; y++) {
    const row = place(y, h, height) * width;
    for (let x = 0; x < w; x++) thin[y * w + x] = lit[row + place(x, w, width)];
  }
  const found = components(thin, w, h), cell = largest(found);
  if (!cell) return { second: 0, border: 0 };
  const second = Math.max(0, ...found.areas.filter((_, label) => label && label !== cell)) / found.areas[cell];
  const [left, top, right, bottom] = found.boxes[cell];
  const side = (x) => Uint8Array.from({ length: height }, (_, y) => lit[y * width + x]);
  let border = 0;
  if (top === 0) border = Math.max(border, longestRun(lit.subarray(0, width)));
  if (bottom === h) border = Math.max(border, longestRun(lit.subarray((height - 1) * width)));
  if (left === 0) border = Math.max(border, longestRun(side(0)));
  if (right === w) border = Math.max(border, longestRun(side(width - 1)));
  return { second, border };
}

function longestRun(line) {
  let run = 0, best = 0;
  for (const set of line) {
    run = set ? run + 1 : 0;
    if (run > best) best = run;
  }
  return best;
}

function sharpness(grey, inside, w, h, diameter, whole) {
  const sigma = Math.max(FINE * diameter, 0.3), reach = (Math.round(sigma * 8 + 1) | 1) >> 1;
  const taps = Float64Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const total = taps.reduce((sum, tap) => sum + tap, 0);
  taps.forEach((tap, i) => { taps[i] = Math.fround(tap / total); });
  const near = (i, count) => Math.min(Math.max(i, 0), count - 1);
  const rows = new Float32Array(w * h);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) sum += taps[k + reach] * grey[y * w + near(x + k, w)];
      rows[y * w + x] = sum;
    }
  let count = 0, first = 0, squares = 0;
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      if (!inside[y * w + x]) continue;
      let sum = 0;
      for (let k = -reach; k <= reach; k++) sum += taps[k + reach] * rows[near(y + k, h) * w + x];
      const detail = grey[y * w + x] - sum;
      count++;
      first += detail;
      squares += detail * detail;
    }
  const fine = squares / count - (first / count) ** 2 - ROUNDING;
  return Math.log2(Math.sqrt(Math.max(fine, LEAST_DETAIL ** 2)) / Math.max(whole, LEAST_DETAIL));
}

function quantiles(counts, at) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return at.map((share) => {
    let sum = 0, level = 0;
    for (; level < counts.length; level++) {
      sum += counts[level];
      if (sum >= share * total) break;
    }
    return level;
  });
}

function spread(counts) {
  let total = 0, first = 0;
  counts.forEach((count, level) => { total += count; first += count * level; });
  let squares = 0;
  counts.forEach((count, level) => { squares += count * (level - first / total) ** 2; });
  return Math.sqrt(squares / total);
}

/** Every second pixel of every second row inside, as [r, g, b, r, ...]; every pixel where there is none. */
function thinned(inner, inside, w, h) {
  for (const step of [2, 1]) {
    const chosen = [];
    for (let y = 0; y < h; y += step)
      for (let x = 0; x < w; x += step) {
        const i = y * w + x;
        if (inside[i]) chosen.push(inner[3 * i], inner[3 * i + 1], inner[3 * i + 2]);
      }
    if (chosen.length) return chosen;
  }
  return [];
}

function stainStatistics(pixels) {
  const all = pixels.length / 3, step = Math.ceil(all / MOST_PIXELS), mean = [0, 0, 0];
  const cross = [[0, 0, 0], [0, 0, 0], [0, 0, 0]], greens = new Float64Array(256);
  let count = 0;
  for (let i = 0; i < all; i += step) {
    const density = [DENSITY[pixels[3 * i]], DENSITY[pixels[3 * i + 1]], DENSITY[pixels[3 * i + 2]]];
    for (let a = 0; a < 3; a++) {
      mean[a] += density[a];
      for (let b = a; b < 3; b++) cross[a][b] += density[a] * density[b];
    }
    greens[pixels[3 * i + 1]]++;
    count++;
  }
  for (let a = 0; a < 3; a++) mean[a] /= count;
  const covariance = (a, b) => cross[a][b] / count - mean[a] * mean[b];
  const floor = [0, 1, 2].map((a) => Math.max(Math.sqrt(Math.max(covariance(a, a), 0)), LEAST_SPREAD));
  const related = [[0, 1], [0, 2], [1, 2]].map(([a, b]) =>
    Math.atanh(Math.min(Math.max(covariance(a, b) / (floor[a] * floor[b]), -0.999), 0.999)));
  const place = count - 1 - Math.floor(0.9 * (count - 1));
  let level = 0;
  for (let sum = greens[0]; sum <= place && level < 255; ) sum += greens[++level];
  return { stain: [...mean, ...floor.map(Math.log), ...related], nuclear: DENSITY[level] };
}
