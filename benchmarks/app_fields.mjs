// Reads raw fields (JSON list of {file, width, height} in argv[3]) and writes what the app's finder finds: argv[4].
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { findCells } = await import(pathToFileURL(`${process.argv[2]}/find.mjs`).href);
const found = JSON.parse(readFileSync(process.argv[3], "utf8")).map(({ file, width, height }) => {
  const start = process.cpuUsage();
  const { cells, redCell, platelets, hidden } = findCells(new Uint8Array(readFileSync(file)), width, height);
  const spent = process.cpuUsage(start);
  return { cells: cells.map(({ box, cut, mask }) => ({ box, cut, area: mask.reduce((sum, set) => sum + set, 0) })), redCell, platelets, hidden, ms: (spent.user + spent.system) / 1000 };
});
writeFileSync(process.argv[4], JSON.stringify(found));
