// The camera at an eyepiece: what it sees, how sharp and how bright that is, and one picture of it.

const SIDE = 320; // pixels of the middle that are measured
const SHARP = 0.055, DARK = 70, BRIGHT = 250, LOST = 0.25, SMALL = 0.3; // of edges; levels of green; share lost; share lit

/**
 * Measure what a camera frames.
 * @param {Uint8ClampedArray} rgba [height, width, 4]
 * @returns {{sharpness: number, light: number, lost: number, lit: number, hint: string}} sharpness: the steepest hundredth of
 *   steps between neighbours, as a share of the light; light: level of green that the ground has; lost: share of what is lit
 *   at the top of the scale; lit: share of the picture that is not black; hint: the key of a sentence
 */
export function framing(rgba, width, height) {
  const green = new Uint8Array(width * height), counts = new Uint32Array(256);
  let bright = 0;
  for (let i = 0; i < green.length; i++) {
    green[i] = rgba[4 * i + 1];
    if (Math.max(rgba[4 * i], green[i], rgba[4 * i + 2]) > 25) counts[green[i]]++;
    if (green[i] >= BRIGHT) bright++;
  }
  const lit = counts.reduce((sum, count) => sum + count, 0);
  if (!lit) return { sharpness: 0, light: 0, lost: 0, lit: 0, hint: "hint dark" };
  let light = 255;
  for (let above = 0; light > 0 && (above += counts[light]) < 0.2 * lit; light--);
  // The mean of two neighbours against the mean of the next two: the grain of a sensor is no edge.
  const steps = [];
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 3; x++) {
      const at = y * width + x;
      if (Math.min(green[at - 1], green[at + 3]) < 25) continue; // the rim of an eyepiece is steep, whatever the focus
      steps.push(Math.abs(green[at] + green[at + 1] + green[at + width] + green[at + width + 1] - green[at + 2] - green[at + 3] - green[at + width + 2] - green[at + width + 3]) / 4);
    }
  const sharpness = steps.length ? Float32Array.from(steps).sort()[Math.floor(0.99 * steps.length)] / Math.max(light, 1) : 0;
  const share = lit / green.length, lost = bright / lit;
  const hint = light < DARK ? "hint dark" : lost > LOST && light >= BRIGHT ? "hint bright" : share < SMALL ? "hint circle" : sharpness < SHARP ? "hint focus" : "hint good";
  return { sharpness, light, lost, lit: share, hint };
}

/** A running camera in a video element. */
export class Camera {
  #stream = null;
  #timer = 0;

  constructor(video, told) {
    this.video = video;
    this.told = told;
  }

  get runs() {
    return this.#stream !== null;
  }

  /** Start; rejects with the browser's own error where it is refused. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("no camera", "NotFoundError");
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1440 } } });
    this.video.srcObject = this.#stream;
    await this.video.play();
    const canvas = new OffscreenCanvas(SIDE, SIDE), context = canvas.getContext("2d", { willReadFrequently: true });
    this.#timer = setInterval(() => {
      const { videoWidth: width, videoHeight: height } = this.video;
      if (!width) return;
      const side = Math.min(SIDE, width, height); // pixel by pixel: reduced, everything looks sharp
      context.drawImage(this.video, (width - side) >> 1, (height - side) >> 1, side, side, 0, 0, side, side);
      this.told(framing(context.getImageData(0, 0, side, side).data, side, side));
    }, 400);
  }

  /** What is framed now, as a PNG file. */
  async shoot() {
    const canvas = new OffscreenCanvas(this.video.videoWidth, this.video.videoHeight);
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/png" });
    return new File([blob], `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.png`, { type: "image/png" });
  }

  stop() {
    clearInterval(this.#timer);
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.video.srcObject = null;
  }
}
