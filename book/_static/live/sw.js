// Reading offline: pages that were visited, and what they load, are kept.
// An address that carries a version (?v=, or a hash in its name) never changes: what is kept is served. Anything else
// comes from the network, and from what is kept when there is none.
const KEEP = "ngd-pages";
const PYTHON = "ngd-python"; // filled by the live figures' worker

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (request.headers.has("range")) return;
  if (/\/_static\/live\/(python|ngdlib)-/.test(url.pathname)) {
    event.respondWith(kept(PYTHON, request).then((found) => found ?? fetch(request)));
  } else if (url.searchParams.has("v") || url.pathname.includes("/_images/ngd-")) {
    event.respondWith(kept(KEEP, request).then((found) => found ?? renew(event)));
  } else {
    event.respondWith(renew(event).catch(async () => (await kept(KEEP, request)) ?? Response.error()));
  }
});

// The state of a figure stands behind the ?, and the page is the same.
const plain = (request) => (request.mode === "navigate" ? request.url.split(/[?#]/)[0] : request);

async function kept(name, request) {
  return (await caches.open(name)).match(plain(request));
}

async function renew(event) {
  const { request } = event;
  const response = await fetch(request);
  if (response.ok && response.type === "basic") {
    const copy = response.clone();
    // Kept beside the answer, not before it; no room is no reason to fail.
    event.waitUntil(caches.open(KEEP).then((cache) => cache.put(plain(request), copy)).catch(() => {}));
  }
  return response;
}
