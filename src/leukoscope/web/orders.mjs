// Pure functions of the review page: lanes, counts, places in a grid. Tested by `node --test`.

const own = (cell) => cell.label !== null;

/** Cells of a lane: `all`, `unread`, or the name of a label. */
export function inLane(cells, lane) {
  if (lane === "all") return cells;
  return cells.filter((cell) => (lane === "unread" ? !own(cell) : cell.label === lane));
}

/** Counts by label, white cells and blasts. @param {any[]} cells @param {Map<string, any>} labels */
export function tally(cells, labels) {
  const counts = new Map();
  let read = 0, white = 0, blasts = 0;
  for (const cell of cells) {
    if (!own(cell)) continue;
    read += 1;
    counts.set(cell.label, (counts.get(cell.label) || 0) + 1);
    const label = labels.get(cell.label);
    if (label?.counts) white += 1;
    if (label?.blast) blasts += 1;
  }
  return { counts, read, white, blasts };
}

/** Which rows of a grid are in sight. */
export function rowsInSight(top, height, size, count, columns, around = 2) {
  const rows = Math.ceil(count / columns);
  const first = Math.max(0, Math.floor(top / size) - around);
  const last = Math.min(rows, Math.ceil((top + height) / size) + around);
  return { first, last, rows };
}

/** The next cell that was not read, from a place on, round to the beginning; -1 where there is none. */
export function nextUnread(cells, from) {
  for (let step = 1; step <= cells.length; step += 1) {
    const at = (from + step) % cells.length;
    if (!own(cells[at])) return at;
  }
  return -1;
}

/** A list in which one thing has moved by so many places. */
export function moved(list, at, by) {
  const made = [...list];
  made.splice(at + by, 0, ...made.splice(at, 1));
  return made;
}

/** Round places on an axis from `low` to `high`, in steps of a tenth or a fifth. */
export function placesOnAxis(low, high) {
  const step = high - low > 0.55 ? 0.2 : 0.1;
  const made = [];
  for (let turn = Math.ceil(low / step - 1e-9); turn * step <= high + 1e-9; turn += 1) made.push(Number((turn * step).toFixed(2)));
  return made;
}

/** The statement as the cells were read, and what could still turn it. @param {any} asRead @param {number} left */
export function stakesWords(asRead, left) {
  if (!asRead) return "";
  const turn = asRead.cells === 1 ? "one cell not read yet would make it" : `any one of ${asRead.cells} cells not read yet would make it`;
  const open = asRead.cells ? `; called otherwise, ${turn} ${asRead.turns_to.map((each) => `"${each}"`).join(" or ")}` : left ? "; no single cell not read yet would change it" : "";
  return `as read: ${asRead.statement}${open}`;
}

/** A share in words. */
export function shareWords(share) {
  if (!share) return "nothing counted yet";
  const percent = (value) => (100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0);
  return `${percent(share.value)} % blasts of ${share.cells} [${percent(share.low)} to ${percent(share.high)}]; ` +
    `about ${share.to_halve} more cells halve the interval`;
}
