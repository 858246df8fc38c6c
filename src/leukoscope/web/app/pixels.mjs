// From a file to pixels, and whether this browser gives them as they are.

import { Fault } from "./faults.mjs";

export const MAX_PIXELS = 16_000_000; // of a picture of one cell; the command line takes more
const MAX_BYTES = 64 * 2 ** 20;
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** SHA-256 of bytes, hexadecimal. */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Decode a picture that is fit for an answer.
 * @param {Uint8Array} bytes of the file
 * @returns {Promise<{rgb: Uint8Array, width: number, height: number, format: string}>}
 */
export async function decode(bytes) {
  const { format, type, size } = sniff(bytes);
  if (!isWhole(bytes, format)) throw new Fault("damaged", { format });
  if (size && size[0] * size[1] > MAX_PIXELS)
    throw new Fault("pixels", { w: size[0], h: size[1], most: MAX_PIXELS.toLocaleString("en") });
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    throw new Fault("damaged", { format });
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Fault("pixels", { w: width, h: height, most: MAX_PIXELS.toLocaleString("en") });
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  canvas.width = canvas.height = 0; // its memory goes at once
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    if (rgba[from + 3] !== 255) throw new Fault("transparent");
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return { rgb, width, height, format };
}

/** Format and size of a picture from its first bytes; what no answer is given for is refused by name. */
export function sniff(bytes) {
  if (!bytes.length) throw new Fault("empty");
  if (bytes.length > MAX_BYTES) throw new Fault("heavy");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (PNG.every((byte, i) => bytes[i] === byte) && bytes.length > 33) {
    if (bytes[24] === 16) throw new Fault("deep");
    for (let at = 8; at + 8 <= bytes.length && text(at + 4, 4) !== "IDAT"; at += 12 + view.getUint32(at))
      if (text(at + 4, 4) === "acTL") throw new Fault("animated");
    return { format: "PNG", type: "image/png", size: [view.getUint32(16), view.getUint32(20)] };
  }
  if (text(0, 2) === "BM" && bytes.length > 30) {
    const size = [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
    return { format: "BMP", type: "image/bmp", size };
  }
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { format: "JPEG", type: "image/jpeg", size: jpegSize(bytes, view) };
  if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP" && bytes.length > 30) {
    const extended = text(12, 4) === "VP8X";
    if (extended && bytes[20] & 2) throw new Fault("animated");
    const size = extended ? [1 + view.getUint16(24, true) + (bytes[26] << 16), 1 + view.getUint16(27, true) + (bytes[29] << 16)] : null;
    return { format: "WebP", type: "image/webp", size }; // the other kinds have sides of 16,383 px at most
  }
  if (text(0, 3) === "GIF") throw new Fault("gif");
  if (["II*\0", "MM\0*"].includes(text(0, 4))) throw new Fault("tiff");
  if (text(4, 4) === "ftyp")
    throw new Fault(/^(hei|hev|mif|msf)/.test(text(8, 4)) ? "heic" : "video");
  throw new Fault("unknown");
}

/**
 * Whether a file is as long as it says of itself, and its checksums hold. Browsers fill in what is missing and say nothing;
 * the command line calls such a picture unreadable.
 */
function isWhole(bytes, format) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (format === "WebP") return 8 + view.getUint32(4, true) <= bytes.length;
  if (format === "BMP") {
    const [width, height, bits, packing] = [view.getInt32(18, true), view.getInt32(22, true), view.getUint16(28, true), view.getUint32(30, true)];
    const row = 4 * Math.ceil((bits * width) / 32); // packed rows have no length of their own
    return ![0, 3].includes(packing) || view.getUint32(10, true) + row * Math.abs(height) <= bytes.length;
  }
  return format === "PNG" ? isWholePng(bytes, view) : isWholeJpeg(bytes, view);
}

function isWholePng(bytes, view) {
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 8 + view.getUint32(at), critical = !(bytes[at + 4] & 32);
    if (end + 4 > bytes.length || (critical && view.getUint32(end) !== crc32(bytes, at + 4, end))) return false;
    if (view.getUint32(at + 4) === 0x49454e44) return true; // IEND
    at = end + 4;
  }
  return false;
}

/** Segments one after the other, and between them the codes of scans, until the end is told. */
function isWholeJpeg(bytes, view) {
  for (let at = 2; at + 1 < bytes.length;) {
    const mark = bytes[at + 1];
    if (bytes[at] !== 0xff) return false;
    if (mark === 0xd9) return true;
    if (mark === 0xff) at++;
    else if (mark === 0x01 || (mark >= 0xd0 && mark <= 0xd7)) at += 2;
    else {
      if (at + 4 > bytes.length) return false;
      at += 2 + view.getUint16(at + 2);
      if (mark !== 0xda) continue;
      while ((at = bytes.indexOf(0xff, at)) >= 0 && (bytes[at + 1] === 0 || (bytes[at + 1] >= 0xd0 && bytes[at + 1] <= 0xd7))) at += 2;
      if (at < 0) return false;
    }
  }
  return false;
}

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes, from, to) {
  let sum = ~0;
  for (let at = from; at < to; at++) sum = CRC[(sum ^ bytes[at]) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

function jpegSize(bytes, view) {
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
    const mark = bytes[at + 1];
    if (mark >= 0xc0 && mark <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(mark)) return [view.getUint16(at + 7), view.getUint16(at + 5)];
  }
  return null;
}
