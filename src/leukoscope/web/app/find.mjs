// White cells of a field, in the browser: nuclei by their purple, cells grown around them, red cells as a ruler.
//
// Shorter than leukoscope.smears.find and not the same: what it finds and what the command line finds on the same fields is
// measured by benchmarks/app_fields.py. What it misses the reader taps.

import { components } from "./frame.mjs";
import { chamfer } from "./quality.mjs";

const SIDE = 640; // pixels: the longer side at which cells are sought
const NOISE = 5, STRONG = 6.5, PALE = 2; // spreads of the purple above its middle
const FAINT = 0.1, LEAST_SHARE = 0.12; // of density; of a nucleus' own purple, which cytoplasm has at least
const LEAST = 0.3, LEAST_CUT = 0.15, LOBE = 0.04, MOST = 12; // areas, of a red cell's disc
const GAP = 0.45, EXTENT = 2.6, REACH = 0.6, NECK = 0.2; // lengths, of a red cell's diameter
const BLACK = 0.16, VEIL = 0.02; // of the bright level, below which no smear is; of the side: a surround with less is none
const TYPICAL_NUCLEUS = 1.25, FEWEST_RED = 4;
const PALLOR = 0.0025, LEAST_RADIUS = 6, WHOLE = 0.7, DISC = 1.23; // of the picture; pixels; of the largest; cell to inner disc

/**
 * Find the white cells of a field.
 * @param {Uint8Array} rgb [height, width, 3]
 * @param {{x: number, y: number}[]} taps where the reader says that a cell is, pixels
 * @returns {{cells: {box: number[], mask: Uint8Array, cut: boolean, tapped: boolean}[], redCell: ?number, platelets: number,
 *   hidden: number}} boxes are [left, top, width, height] in pixels of the picture, masks fill them; redCell is the
 *   diameter of a red cell in pixels, null where too few are seen; hidden the share of the picture that shows no smear
 */
export function findCells(rgb, width, height, taps = []) {
  const { pixels, w, h, scale } = reduced(rgb, width, height);
  const hidden = surround(pixels, w, h);
  const { purple, red } = densities(pixels, w, h, hidden);
  const [middle, spread] = middleAndSpread(purple, hidden);
  for (let i = 0; i < purple.length; i++) purple[i] -= middle;
  const beyond = Math.max(NOISE * spread, FAINT);
  const level = Math.max(beyond, otsu(purple.filter((value) => value > beyond)));
  let dark = purple.map((value) => (value > level ? 1 : 0));
  dark = new Uint8Array(opened(Uint8Array.from(dark), w, h, 1));
  for (let i = 0; i < dark.length; i++) if (hidden?.[i]) dark[i] = 0;
  const measured = redCells(red, purple, beyond, w, h, hidden);
  const parts = components(dark, w, h);
  const unit = measured ?? Math.max(8, Math.sqrt((4 * most(parts.areas)) / Math.PI) / TYPICAL_NUCLEUS);
  const disc = (Math.PI / 4) * unit * unit;
  const { label, count, platelets } = nuclei(parts, purple, spread, unit, disc, w, h);
  const seeds = [...count];
  for (const { x, y } of taps) {
    const seed = tapped(label, purple, seeds.length + 1, Math.round(x * scale), Math.round(y * scale), unit, w, h);
    if (seed) seeds.push(seed);
  }
  const cells = grown(label, seeds, purple, spread, unit, disc, hidden, w, h);
  return {
    cells: cells.map((cell) => enlarged(cell, scale, width, height)),
    redCell: measured === null ? null : measured / scale,
    platelets,
    hidden: hidden ? hidden.reduce((sum, set) => sum + set, 0) / hidden.length : 0,
  };
}

const most = (values) => values.reduce((top, value) => Math.max(top, value), 0);

/** The picture at most SIDE pixels long, by averaging, as float levels. */
function reduced(rgb, width, height) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const w = Math.max(1, Math.round(width * scale)), h = Math.max(1, Math.round(height * scale));
  const pixels = new Float32Array(3 * w * h);
  if (scale === 1) {
    pixels.set(rgb);
    return { pixels, w, h, scale };
  }
  const count = new Uint32Array(w * h);
  for (let y = 0; y < height; y++) {
    const row = Math.min(h - 1, Math.floor((y * h) / height)) * w;
    for (let x = 0, from = 3 * y * width; x < width; x++, from += 3) {
      const to = row + Math.min(w - 1, Math.floor((x * w) / width));
      count[to]++;
      for (let c = 0; c < 3; c++) pixels[3 * to + c] += rgb[from + c];
    }
  }
  for (let i = 0; i < count.length; i++) for (let c = 0; c < 3; c++) pixels[3 * i + c] /= count[i];
  return { pixels, w, h, scale };
}

/** What lies behind an eyepiece's circle or in a letterbox: dark from the border inwards. Null where that is little. */
function surround(pixels, w, h) {
  const brightest = new Float32Array(w * h);
  for (let i = 0; i < w * h; i++) brightest[i] = Math.max(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]);
  const limit = BLACK * Float32Array.from(brightest).sort()[Math.floor(0.95 * w * h)];
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

/** Optical density along purple (R + G - 2 B) and red (G + B) over the light of the ground, smoothed. */
function densities(pixels, w, h, hidden) {
  const green = [];
  for (let i = 0; i < w * h; i += 3) if (!hidden?.[i]) green.push(i);
  const level = otsu(Float32Array.from(green, (i) => pixels[3 * i + 1]));
  const bright = green.filter((i) => pixels[3 * i + 1] >= level);
  const ground = [0, 1, 2].map((c) => Float32Array.from(bright, (i) => pixels[3 * i + c]).sort()[bright.length >> 1]);
  const soft = blurred(pixels, w, h);
  const purple = new Float32Array(w * h), red = new Float32Array(w * h);
  for (let i = 0; i < w * h; i++) {
    const [r, g, b] = ground.map((light, c) => -Math.log10((soft[3 * i + c] + 1) / (light + 1)));
    purple[i] = hidden?.[i] ? 0 : r + g - 2 * b;
    red[i] = hidden?.[i] ? 0 : g + b;
  }
  return { purple, red };
}

/** Twice the mean of three, along both axes: a Gaussian of 1.15 pixels. */
function blurred(pixels, w, h) {
  let from = pixels;
  for (let pass = 0; pass < 2; pass++)
    for (const [step, length] of [[3, w], [3 * w, h]]) {
      const to = new Float32Array(from.length);
      for (let i = 0; i < from.length; i++) {
        const place = Math.floor(i / step) % length;
        to[i] = (from[i] + from[place ? i - step : i] + from[place < length - 1 ? i + step : i]) / 3;
      }
      from = to;
    }
  return from;
}

/** Otsu's level (1979) of numbers, in 256 steps. */
export function otsu(values) {
  if (!values.length) return 0;
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(high > low)) return low;
  const counts = new Float64Array(256);
  for (const value of values) counts[Math.min(255, Math.floor((256 * (value - low)) / (high - low)))]++;
  const all = counts.reduce((sum, count, i) => sum + count * i, 0);
  let below = 0, sum = 0, best = -1, at = 0;
  for (let i = 0; i < 255; i++) {
    below += counts[i];
    sum += counts[i] * i;
    const above = values.length - below;
    if (!below || !above) continue;
    const between = below * above * (sum / below - (all - sum) / above) ** 2;
    if (between > best) { best = between; at = i; }
  }
  return low + ((at + 1) * (high - low)) / 256;
}

/** Median, and the lesser median deviation of the two sides as a standard deviation. */
function middleAndSpread(values, hidden) {
  const some = [];
  for (let i = 0; i < values.length; i += 3) if (!hidden?.[i]) some.push(values[i]);
  const sorted = Float32Array.from(some).sort(), half = sorted.length >> 1, middle = sorted[half];
  return [middle, 1.4826 * Math.min(middle - sorted[half >> 1], sorted[Math.min(sorted.length - 1, half + (half >> 1))] - middle) + 1e-6];
}

/**
 * Diameter of a red cell; null where fewer than FEWEST_RED are seen. Where too few lie alone, each is the largest disc that
 * fits where it is, found from the distance transform, the largest first.
 */
function redCells(red, purple, beyond, w, h, hidden) {
  const level = otsu(red.filter((_, i) => !hidden?.[i]));
  const lit = Uint8Array.from(red, (value, i) => (value > level && purple[i] <= beyond ? 1 : 0));
  const ground = components(lit.map((set) => 1 - set), w, h);
  // Small parts of the ground are the pale middles of red cells; a white cell stays outside.
  for (let i = 0; i < lit.length; i++) if (!lit[i] && ground.areas[ground.labels[i]] < PALLOR * w * h && purple[i] <= beyond) lit[i] = 1;
  const alone = discs(components(new Uint8Array(opened(lit, w, h, 3)), w, h), w, h);
  if (alone.length >= FEWEST_RED) return alone[alone.length >> 1];
  const depth = chamfer(lit, w, h), order = [];
  for (let i = 0; i < depth.length; i++) if (depth[i] > LEAST_RADIUS) order.push(i);
  order.sort((i, j) => depth[j] - depth[i]);
  const taken = new Uint8Array(w * h), radii = [];
  for (const i of order) {
    if (taken[i]) continue;
    const x = i % w, y = (i - x) / w, r = depth[i], reach = Math.round(1.5 * r);
    for (let v = Math.max(0, y - reach); v <= Math.min(h - 1, y + reach); v++)
      for (let u = Math.max(0, x - reach); u <= Math.min(w - 1, x + reach); u++) if (Math.hypot(u - x, v - y) <= reach) taken[v * w + u] = 1;
    if (x > r + 1 && y > r + 1 && x < w - r - 2 && y < h - r - 2) radii.push(r);
  }
  const whole = radii.filter((r) => r > WHOLE * radii[Math.floor(0.1 * radii.length)]);
  return whole.length < FEWEST_RED ? null : 2 * DISC * whole[Math.floor(0.3 * whole.length)];
}

/** Diameters of round parts that touch neither each other nor the picture's edge, rising. */
function discs({ areas, boxes }, w, h) {
  const found = [];
  for (let k = 1; k < areas.length; k++) {
    const [left, top, right, bottom] = boxes[k], across = right - left, down = bottom - top, full = areas[k] / (across * down);
    if (left < 2 || top < 2 || right > w - 2 || bottom > h - 2 || Math.min(across, down) < 2 * LEAST_RADIUS) continue;
    if (Math.min(across, down) > 0.8 * Math.max(across, down) && full > 0.7 && full < 0.87) found.push(Math.sqrt((4 * areas[k]) / Math.PI));
  }
  return found.sort((a, b) => a - b);
}

/** Parts of a mask with room for a disc. */
function opened(mask, w, h, radius) {
  const inner = Uint8Array.from(chamfer(mask, w, h), (depth) => (depth > radius ? 0 : 1));
  const away = chamfer(inner, w, h);
  return mask.map((set, i) => (set && away[i] <= radius ? 1 : 0));
}

/** Lobes put together; what is too small or too pale is a platelet. */
function nuclei({ labels, areas, boxes }, purple, spread, unit, disc, w, h) {
  const kept = areas.map((area, k) => k && area >= LOBE * disc ? k : 0).filter(Boolean).sort((a, b) => areas[b] - areas[a]);
  const group = new Map(kept.map((k) => [k, k])), extent = new Map(kept.map((k) => [k, boxes[k]]));
  const full = (k) => areas[k] > LEAST * 2.2 * disc;
  for (const [n, a] of kept.entries())
    for (const b of kept.slice(n + 1)) {
      const one = group.get(a), other = group.get(b);
      if (one === other || (full(a) && full(b)) || apart(boxes[a], boxes[b]) > GAP * unit) continue;
      const [p, q] = [extent.get(one), extent.get(other)];
      const box = [Math.min(p[0], q[0]), Math.min(p[1], q[1]), Math.max(p[2], q[2]), Math.max(p[3], q[3])];
      if (Math.max(box[2] - box[0], box[3] - box[1]) > EXTENT * unit) continue;
      for (const [k, g] of group) if (g === other) group.set(k, one);
      extent.set(one, box);
    }
  const heights = new Map(), sizes = new Map();
  for (let i = 0; i < labels.length; i++) {
    const g = group.get(labels[i]);
    if (g === undefined) continue;
    sizes.set(g, (sizes.get(g) ?? 0) + 1);
    heights.set(g, (heights.get(g) ?? 0) + purple[i]);
  }
  const number = new Map(), count = [];
  let platelets = 0;
  for (const [g, size] of sizes) {
    const [left, top, right, bottom] = extent.get(g), edge = left < 1 || top < 1 || right >= w || bottom >= h;
    const stain = heights.get(g) / size;
    if (stain < FAINT) continue;
    if (stain >= STRONG * spread && size >= (edge ? LEAST_CUT : LEAST) * disc) {
      number.set(g, count.length + 1);
      count.push({ area: size, stain, tapped: false });
    } else platelets++;
  }
  const label = Int32Array.from(labels, (k) => number.get(group.get(k)) ?? 0);
  return { label, count, platelets };
}

function apart(a, b) {
  return Math.hypot(Math.max(0, a[0] - b[2], b[0] - a[2]), Math.max(0, a[1] - b[3], b[1] - a[3]));
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
  return { area, stain: sum / area, tapped: true };
}

/** Cells around nuclei: what is purple, near, and belongs to no nearer nucleus. */
function grown(label, seeds, purple, spread, unit, disc, hidden, w, h) {
  const owner = Int32Array.from(label), far = Math.round(REACH * unit);
  const own = seeds.map(({ stain }) => Math.max(PALE * spread, LEAST_SHARE * stain));
  let front = [];
  for (let i = 0; i < owner.length; i++) if (owner[i]) front.push(i);
  for (let step = 0; step < far && front.length; step++) {
    const next = [];
    for (const at of front) {
      const x = at % w, y = (at - x) / w, floor = own[owner[at] - 1];
      for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, h - 1); v++)
        for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, w - 1); u++) {
          const i = v * w + u;
          if (owner[i] || purple[i] < floor || hidden?.[i] || (step % 2 && u !== x && v !== y)) continue; // octagons
          owner[i] = owner[at];
          next.push(i);
        }
    }
    front = next;
  }
  const cells = [];
  const boxes = seeds.map(() => [w, h, 0, 0]);
  for (let i = 0; i < owner.length; i++) {
    if (!owner[i]) continue;
    const box = boxes[owner[i] - 1], x = i % w, y = (i - x) / w;
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y); box[2] = Math.max(box[2], x + 1); box[3] = Math.max(box[3], y + 1);
  }
  seeds.forEach((seed, k) => {
    const [left, top, right, bottom] = boxes[k], across = right - left, down = bottom - top;
    let mask = new Uint8Array(across * down);
    for (let y = 0; y < down; y++) for (let x = 0; x < across; x++) if (owner[(top + y) * w + left + x] === k + 1) mask[y * across + x] = 1;
    mask = new Uint8Array(opened(mask, across, down, NECK * unit * 0.5));
    const { labels, areas } = components(mask, across, down);
    const best = areas.indexOf(most(areas));
    if (!best || areas[best] > MOST * disc) return;
    mask = filled(labels.map((each) => (each === best ? 1 : 0)), across, down);
    let cut = left < 2 || top < 2 || right > w - 2 || bottom > h - 2;
    if (hidden) for (let y = 0; y < down && !cut; y++) for (let x = 0; x < across && !cut; x++)
      if (mask[y * across + x]) for (const [u, v] of [[-3, 0], [3, 0], [0, -3], [0, 3]]) cut ||= !!hidden[(top + y + v) * w + left + x + u];
    cells.push({ box: [left, top, across, down], mask, cut, tapped: seed.tapped });
  });
  return cells.sort((a, b) => a.box[1] - b.box[1] || a.box[0] - b.box[0]);
}

/** A mask without its holes. */
function filled(mask, w, h) {
  const wide = w + 2, outer = new Uint8Array(wide * (h + 2)).fill(1);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (mask[y * w + x]) outer[(y + 1) * wide + x + 1] = 0;
  const { labels } = components(outer, wide, h + 2), ground = labels[0];
  const out = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) out[y * w + x] = labels[(y + 1) * wide + x + 1] === ground ? 0 : 1;
  return out;
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
  return { box: [x0, y0, across, down], mask: out, cut, tapped: byHand };
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
