// The page's one worker: Python, NumPy, matplotlib and ngdlib. It speaks with live.js only.
//
//   in   {type: "boot", base, manifest}                       base: where the files are, ending in /
//        {type: "frame", id, key, spec, size, values, pin}    size: {width, ratio, dark}, pin: "", "pin", "unpin"
//   out  {type: "progress", loaded, total, step}              bytes, and the step's number once all are here
//        {type: "ready"}
//        {type: "frame", id, width, height, pixels, description, numbers, milliseconds, values, note}
//        {type: "error", id, line}                            this setting failed; the next may be asked
//        {type: "dead", line}                                 nothing more will come

const CACHE = "ngd-python";
const network = self.fetch.bind(self);
let session, booted;
let distrust; // forgets what was kept compiled, should it be the reason that a start fails
let asked = 0; // when the page last wanted something
const made = new Map(); // key of a figure -> the size and theme it was made for

self.onmessage = async ({ data }) => {
  try {
    if (data.type === "boot") {
      // While the lock is held this worker lives; the page asks for it, and gets it when we are gone.
      navigator.locks?.request(data.lock, () => new Promise(() => {}));
      booted = boot(data);
      await booted;
      distrust = null;
      postMessage({ type: "ready" });
    } else {
      await booted;
      frame(data);
      asked = performance.now();
    }
  } catch (error) {
    await distrust?.();
    postMessage({ type: "dead", line: lastLine(error) });
    self.close();
  }
};

const lastLine = (error) => String(error?.message ?? error).trim().split("\n").pop();

// ---------------------------------------------------------------- start

async function boot({ base, manifest }) {
  const total = Object.values(manifest.files).reduce((sum, bytes) => sum + bytes, 0);
  let loaded = 0, said = 0;
  const progress = (bytes) => {
    loaded += bytes;
    if (loaded === total || performance.now() - said > 80) {
      said = performance.now();
      postMessage({ type: "progress", loaded, total, step: 0 });
    }
  };
  const step = (number) => postMessage({ type: "progress", loaded: total, total, step: number });

  const cache = await self.caches?.open(CACHE).catch(() => undefined);
  const files = {};
  for (const [name, bytes] of Object.entries(manifest.files)) {
    files[name.split("/").pop()] = load(base + name, bytes, cache, progress);
  }
  const everything = Promise.all(Object.values(files));
  everything.catch(() => {}); // whoever awaits a file says so
  const library = manifest.library;
  const root = base + manifest.python;
  const warm = await restore(cache, root + library);
  if (warm) distrust = () => Promise.all(COMPILED.map((name) => cache.delete(`${root}${library}.${name}`)));

  // Pyodide asks for these two by name; it gets what has been counted and kept already.
  self.fetch = async (resource, options) => {
    const url = String(resource?.url ?? resource);
    if (url === `${root}pyodide.asm.wasm`) {
      const packed = new Response(await files["runtime.bin"]).body;
      return new Response(packed.pipeThrough(new DecompressionStream("gzip")), {
        headers: { "Content-Type": "application/wasm" },
      });
    }
    if (url === `${root}python_stdlib.zip`) return new Response(warm?.[1] ?? (await files["python_stdlib.zip"]));
    return network(resource, options);
  };

  await Promise.all([files["pyodide.mjs"], files["pyodide.asm.mjs"]]);
  const { loadPyodide } = await import(`${root}pyodide.mjs`);
  const starting = loadPyodide({ indexURL: root, lockFileContents: manifest.lock, packageBaseUrl: root });
  await everything;
  step(1);
  const python = await starting;
  step(2);
  const site = python.runPython("import site; site.getsitepackages()[0]");
  python.unpackArchive(await files["packages.zip"], "zip", { extractDir: site });
  python.unpackArchive(await files[library], "zip", { extractDir: site });
  if (warm) python.unpackArchive(warm[0], "zip", { extractDir: "/" });
  python.runPython("import numpy");
  step(3);
  python.runPython("from matplotlib.backends import backend_agg; from ngdlib.explore import browser");
  session = python.runPython("browser.Session()");
  if (cache) {
    forget(cache, manifest, base);
    if (!warm) compile(python, cache, root + library).catch(() => {}); // the next start is slower, no more
  }
}

/** The bytes of one file, from this site's own cache if it has them. */
async function load(url, bytes, cache, progress) {
  const kept = await cache?.match(url).catch(() => undefined);
  const response = kept ?? (await network(url));
  if (!response.ok) throw new Error(`${url.split("/").pop()} could not be fetched (${response.status}).`);
  const content = new Uint8Array(bytes);
  let at = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length <= bytes) content.set(value, at);
    at += value.length;
    progress(value.length);
  }
  if (at !== bytes) {
    if (kept) await cache.delete(url);
    throw new Error(`${url.split("/").pop()} has ${at} bytes where it should have ${bytes}.`);
  }
  if (cache && !kept) {
    const headers = { "Content-Type": url.endsWith(".mjs") ? "text/javascript" : "application/octet-stream" };
    await cache.put(url, new Response(content, { headers })).catch(() => {}); // a full disk is no reason to stop
  }
  return content;
}

/** Drop the files of earlier versions. */
async function forget(cache, manifest, base) {
  for (const request of await cache.keys()) {
    const name = request.url.startsWith(base) && request.url.slice(base.length);
    const ours = name in manifest.files || name.startsWith(`${manifest.python}${manifest.library}`);
    if (name && !ours) await cache.delete(request);
  }
}

// ---------------------------------------------------------------- compiled modules

// Half of a start is Python compiling the sources of its modules. So what it compiled is kept beside the files: the
// standard library's zip with the compiled modules added, and a zip of the packages' __pycache__ folders.
const COMPILED = ["packages", "stdlib"]; // the standard library last: it says that both are there
const COMPILE = `
def compiled():
    import importlib._bootstrap_external as importing, shutil, sys, zipfile
    stdlib = next(path for path in sys.path if path.endswith(".zip"))
    shutil.copy(stdlib, "/tmp/stdlib.zip")
    done = set()
    with (zipfile.ZipFile("/tmp/stdlib.zip", "a", zipfile.ZIP_DEFLATED, compresslevel=1) as base,
          zipfile.ZipFile("/tmp/packages.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packages):
        for module in list(sys.modules.values()):
            file, spec = getattr(module, "__file__", None) or "", getattr(module, "__spec__", None)
            if not file.endswith(".py") or spec is None or file in done:
                continue
            done.add(file)
            if file.startswith(stdlib):
                archive, name = base, file[len(stdlib) + 1:] + "c"
            elif "/site-packages/" in file:
                archive, name = packages, importing.cache_from_source(file)[1:]
            else:
                continue
            # Marked as valid whatever the source's date: the address of the zip names the version.
            code = importing._code_to_hash_pyc(spec.loader.get_code(spec.name), bytes(8), False)
            archive.writestr(name, bytes(code))
            yield
compiled()
`;

async function compile(python, cache, url) {
  const pause = (milliseconds) => new Promise((go) => setTimeout(go, milliseconds));
  const modules = python.runPython(COMPILE);
  do {
    while (performance.now() - asked < 1500) await pause(300); // the reader's figures go first
    await pause(0);
  } while (!modules.next().done);
  modules.destroy();
  for (const name of COMPILED) {
    const path = `/tmp/${name}.zip`;
    await cache.put(`${url}.${name}`, new Response(python.FS.readFile(path)));
    python.FS.unlink(path);
  }
}

async function restore(cache, url) {
  const found = await Promise.all(COMPILED.map((name) => cache?.match(`${url}.${name}`)));
  return found[0] && found[1] && Promise.all(found.map(async (kept) => new Uint8Array(await kept.arrayBuffer())));
}

// ---------------------------------------------------------------- frames

function frame({ id, key, spec, size, values, pin }) {
  const started = performance.now();
  const look = JSON.stringify(size);
  if (made.get(key) !== look) {
    const { error } = call(session.make, key, spec, size.width, size.ratio, size.dark);
    if (error) return fail(id, error);
    made.set(key, look);
  }
  let answer = call(session.frame, key, values, true);
  if (answer.error) return fail(id, answer.error);
  const { note, values: used } = answer;
  if (pin) answer = call(pin === "pin" ? session.pin : session.unpin, key);
  if (answer.error) return fail(id, answer.error);
  const { buffer, width, height, description, numbers } = answer;
  const pixels = new Uint8ClampedArray(buffer.buffer, buffer.byteOffset, buffer.length);
  const milliseconds = performance.now() - started;
  postMessage(
    { type: "frame", id, width, height, pixels, description, numbers, note, values: used, milliseconds },
    [pixels.buffer],
  );
}

/** Call Python and copy its answer, a named tuple, into an object of our own. */
function call(method, ...given) {
  const answer = method(...given);
  const fields = answer._asdict();
  const copy = fields.toJs();
  fields.destroy();
  answer.destroy();
  return copy;
}

function fail(id, line) {
  postMessage({ type: "error", id, line });
}
