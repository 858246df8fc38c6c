// Keeps the app for use without a network. The build writes SITE: {build, policy, files: {path: SHA-256}}.
const SITE = "@SITE@";

const NAME = `leukoscope-app-${SITE.build}`;
const TYPES = { html: "text/html; charset=utf-8", mjs: "text/javascript", css: "text/css", json: "application/json", wasm: "application/wasm", png: "image/png", webmanifest: "application/manifest+json", onnx: "application/octet-stream" };

async function checked(path) {
  const response = await fetch(path, { cache: "no-cache" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const bytes = await response.arrayBuffer();
  const digest = Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (digest !== SITE.files[path]) throw new Error(`${path} is not the file of this build`);
  const headers = { "content-type": TYPES[path.split(".").pop()] ?? "application/octet-stream", "content-security-policy": SITE.policy };
  return new Response(bytes, { headers });
}

// All or nothing: a half-downloaded or altered update never takes the place of what works.
self.addEventListener("install", (event) => event.waitUntil((async () => {
  const cache = await caches.open(NAME);
  try {
    for (const path of Object.keys(SITE.files)) await cache.put(path, await checked(path));
  } catch (error) {
    await caches.delete(NAME);
    throw error;
  }
})()));

// A new version waits until no window of the old one is open.
self.addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const name of await caches.keys()) if (name.startsWith("leukoscope-app-") && name !== NAME && !name.endsWith("-shared")) await caches.delete(name);
  await self.clients.claim();
})()));

/** Keep shared pictures until the page takes them. */
async function received(request) {
  const cache = await caches.open("leukoscope-app-shared");
  const files = (await request.formData()).getAll("pictures");
  await Promise.all(files.map((file, i) => cache.put(`shared/${Date.now()}-${i}/${encodeURIComponent(file.name)}`, new Response(file))));
  return Response.redirect("./", 303);
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const scope = new URL(self.registration.scope);
  if (event.request.method === "POST" && url.href === scope.href) { // pictures shared by another app of this device
    event.respondWith(received(event.request));
    return;
  }
  if (event.request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) {
    event.respondWith(Response.error()); // nothing is asked of any other place
    return;
  }
  const path = url.pathname.slice(scope.pathname.length) || "index.html";
  if (!(path in SITE.files)) return; // this script itself
  event.respondWith(caches.open(NAME).then(async (cache) => (await cache.match(path)) ?? fetch(event.request)));
});
