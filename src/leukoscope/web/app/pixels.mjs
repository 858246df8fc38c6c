// From a file to pixels, and whether this browser gives them as they are.

import { PictureError } from "./frame.mjs";

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
  if (size && size[0] * size[1] > MAX_PIXELS)
    throw new PictureError(`has ${size[0]} x ${size[1]} pixels, more than the ${MAX_PIXELS.toLocaleString("en")} of this app; crop the picture to one cell`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    throw new PictureError(`the ${format} data are damaged, cut short, or of a kind that this browser does not decode; export the picture as PNG`);
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new PictureError(`has ${width} x ${height} pixels, too many for this app; crop the picture to one cell`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    if (rgba[from + 3] !== 255) throw new PictureError("has transparent pixels, which browsers round differently; export the picture without transparency");
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return { rgb, width, height, format };
}

/** Format and size of a picture from its first bytes; what no answer is given for is refused by name. */
export function sniff(bytes) {
  if (!bytes.length) throw new PictureError("the file is empty; export the picture again");
  if (bytes.length > MAX_BYTES) throw new PictureError("the file is larger than 64 MiB; crop the picture to one cell");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (PNG.every((byte, i) => bytes[i] === byte) && bytes.length > 33) {
    if (bytes[24] === 16) throw new PictureError("has 16 bits a channel, which browsers reduce differently; export the picture as 8-bit RGB");
    for (let at = 8; at + 8 <= bytes.length && text(at + 4, 4) !== "IDAT"; at += 12 + view.getUint32(at))
      if (text(at + 4, 4) === "acTL") throw new PictureError("is animated: which of its pictures is meant cannot be told; export one as PNG");
    return { format: "PNG", type: "image/png", size: [view.getUint32(16), view.getUint32(20)] };
  }
  if (text(0, 2) === "BM" && bytes.length > 30) {
    const size = [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
    return { format: "BMP", type: "image/bmp", size };
  }
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { format: "JPEG", type: "image/jpeg", size: jpegSize(bytes, view) };
  if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP" && bytes.length > 30) {
    const extended = text(12, 4) === "VP8X";
    if (extended && bytes[20] & 2) throw new PictureError("is animated: which of its pictures is meant cannot be told; export one as PNG");
    const size = extended ? [1 + view.getUint16(24, true) + (bytes[26] << 16), 1 + view.getUint16(27, true) + (bytes[29] << 16)] : null;
    return { format: "WebP", type: "image/webp", size }; // the other kinds have sides of 16,383 px at most
  }
  if (text(0, 3) === "GIF") throw new PictureError("is a GIF, which has 256 colours at most; export the picture as PNG");
  if (["II*\0", "MM\0*"].includes(text(0, 4))) throw new PictureError("is a TIFF, which browsers do not decode; export the picture as PNG");
  if (text(4, 4) === "ftyp")
    throw new PictureError(/^(hei|hev|mif|msf)/.test(text(8, 4))
      ? "is a HEIC picture, which few browsers decode; set the camera to \"most compatible\" or export the picture as PNG"
      : "is a video or a kind of picture that this app does not read; export one picture as PNG");
  throw new PictureError("is no picture that this app knows; give PNG, BMP, JPEG or WebP");
}

function jpegSize(bytes, view) {
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
    const mark = bytes[at + 1];
    if (mark >= 0xc0 && mark <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(mark)) return [view.getUint16(at + 7), view.getUint16(at + 5)];
  }
  return null;
}
