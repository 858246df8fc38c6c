// Frames and measures pictures (JSON list of {file, width, height, size} in argv[3]) with the app's modules in argv[2]: to argv[4].
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [{ frameCell }, { measureQuality }] = await Promise.all(["frame", "quality"].map((name) => import(pathToFileURL(`${process.argv[2]}/${name}.mjs`).href)));
const found = JSON.parse(readFileSync(process.argv[3], "utf8")).map(({ file, width, height, size }) => {
  const rgb = new Uint8Array(readFileSync(file));
  try {
    const frame = frameCell(rgb, width, height, size);
    return { frame: createHash("sha256").update(frame).digest("hex"), ...measureQuality(rgb, width, height, frame, size) };
  } catch (error) { return { error: error.message }; }
});
writeFileSync(process.argv[4], JSON.stringify(found));
