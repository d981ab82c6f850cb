// On every page: the theme's two script buttons, which its pages name in attributes that the policy forbids,
// and the service worker that keeps visited pages for reading offline (not on localhost, where other sites
// of whoever writes them come and go under the same address).
addEventListener("click", (event) => {
  const does = event.target.closest?.("[data-click]")?.dataset.click ?? "";
  if (does.includes("print")) window.print();
  if (does.includes("toggleFullScreen")) {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen?.();
  }
});
if (navigator.serviceWorker && isSecureContext && location.hostname !== "localhost") {
  const root = new URL("../../", document.currentScript.src);
  addEventListener("load", () => navigator.serviceWorker.register(new URL("sw.js", root)).catch(() => {}));
}
