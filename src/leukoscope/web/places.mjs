// Where things are in a viewer: pure numbers, tried in Node.

/** The view that shows a picture whole. @returns {{x: number, y: number, zoom: number}} */
export function fitted({ width, height }, w, h) {
  return { x: width / 2, y: height / 2, zoom: 0.98 * Math.min((w || 1) / width, (h || 1) / height) };
}

/** A view, zoomed about a place of the screen, which stays where it is. */
export function zoomedAt({ x, y, zoom }, by, left, top, [w, h], [least, most]) {
  const next = Math.max(least, Math.min(most, zoom * by));
  return { x: x + (left - w / 2) * (1 / zoom - 1 / next), y: y + (top - h / 2) * (1 / zoom - 1 / next), zoom: next };
}

/** The zoom of the tiles that are sharp at so many pixels of the screen for one of the picture. */
export function zoomOfTiles(zooms, pixels) {
  return Math.max(0, Math.min(zooms - 1, zooms - 1 + Math.ceil(Math.log2(pixels) - 1e-9)));
}

/** A round length of 60 to 150 pixels for a scale bar. @param {number} um of one pixel of the screen */
export function barLength(um) {
  const decade = 10 ** Math.floor(Math.log10(60 * um));
  const length = [1, 2, 5, 10].map((each) => each * decade).find((each) => each / um >= 60);
  const words = length >= 1000 ? `${Number((length / 1000).toPrecision(3))} mm` : `${Number(length.toPrecision(3))} µm`;
  return { length: length / um, words };
}
