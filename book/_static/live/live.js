// Live figures: sliders that compute in the reader's browser, with Python in one Web Worker for the whole page.
//
// The page arrives complete, with pictures and (dead) controls. The first touch of a control starts the worker. From
// then on a figure asks for the picture at its controls' positions; while one is being computed later moves
// are not queued, the last position is asked for next. See worker.mjs for the messages.
(() => {
  "use strict";
  const meta = document.querySelector('meta[name="ngd-live"]');
  if (!meta) return;
  const base = new URL(".", document.currentScript.src).href;
  const facts = JSON.parse(meta.content);
  const PATIENCE = 60_000; // milliseconds without a sign of life
  const CACHE = "ngd-python";
  const STEPS = ["Fetching Python", "Starting Python", "Loading NumPy", "Loading matplotlib and ngdlib"];
  const dark = () => document.documentElement.dataset.theme === "dark";
  const save = () => Boolean(navigator.connection?.saveData);

  function unsupported() {
    if (location.protocol === "file:") return "Opened from a file, this page cannot compute. Serve the site (make serve) to move it.";
    const works = typeof WebAssembly === "object" && typeof Worker === "function" && typeof DecompressionStream === "function";
    return works ? "" : "This browser has no WebAssembly or module workers, so the figure stays a picture.";
  }

  // -------------------------------------------------------------- the worker, and who may ask it

  class Engine {
    state = "asleep"; // asleep | starting | ready | useless
    waiting = new Set(); // figures whose picture is not that of their controls
    asked = null; // the figure whose picture is being computed
    restarts = 0;

    /** Have `figure` drawn as its controls stand, as soon as can be. */
    ask(figure) {
      this.waiting.add(figure);
      this.latest = figure;
      if (this.state === "ready") this.next();
      else this.wake();
    }

    async wake() {
      if (this.state !== "asleep") return;
      this.state = "starting";
      performance.mark("ngd-wake");
      this.say(STEPS[0]);
      try {
        this.manifest ??= await (await fetch(base + facts.manifest)).json();
        this.start();
      } catch (error) {
        this.give_up(`Python could not be fetched: ${error.message}`);
      }
    }

    start() {
      let modules = false;
      const options = { get type() { modules = true; return "module"; } }; // only who knows the option reads it
      const worker = (this.worker = new Worker(base + facts.worker, options));
      if (!modules) {
        worker.terminate();
        this.state = "useless";
        for (const figure of figures) figure.rest(unsupported() || "This browser has no module workers, so the figure stays a picture.");
        return;
      }
      worker.onmessage = ({ data }) => worker === this.worker && this.hear(data);
      worker.onerror = (event) => {
        event.preventDefault();
        if (worker === this.worker) this.died(event.message || "its program could not be loaded");
      };
      const lock = `ngd-${Math.random()}`;
      worker.postMessage({ type: "boot", base, manifest: this.manifest, lock });
      this.watch();
      this.lock = lock;
    }

    /** Whoever is silent for a minute is said to have failed. */
    watch() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.give_up("No answer for a minute, so it was stopped."), PATIENCE);
    }

    hear(data) {
      this.watch();
      if (data.type === "progress") {
        const { loaded, total, step } = data;
        // Starting takes about as long as fetching from a quick network: a third of the bar.
        const share = (loaded / total) * 0.7 + step * 0.1;
        const mb = (bytes) => (bytes / 1e6).toFixed(1);
        this.say(step ? STEPS[step] : `${STEPS[0]}: ${mb(loaded)} of ${mb(total)} MB`, share);
      } else if (data.type === "ready") {
        this.state = "ready";
        performance.mark("ngd-ready");
        clearTimeout(this.timer);
        for (const figure of figures) figure.progress(null);
        const { worker } = this;
        // Granted when the worker is gone, however it went: a crash for want of memory sends no message.
        navigator.locks?.request(this.lock, () => { if (worker === this.worker) this.died("it ended unexpectedly"); });
        this.next();
      } else if (data.type === "dead") {
        this.died(data.line);
      } else {
        clearTimeout(this.timer);
        const figure = this.asked;
        this.asked = null;
        if (data.type === "frame") { this.restarts = 0; figure.show(data); }
        else figure.fail(data.line);
        this.next();
      }
    }

    next() {
      if (this.asked || !this.waiting.size) return;
      const waiting = [...this.waiting];
      const figure = waiting.find((f) => f === this.latest) ?? waiting.find((f) => f.visible) ?? waiting[0];
      this.waiting.delete(figure);
      this.asked = figure;
      figure.computing();
      this.worker.postMessage(figure.request());
      this.watch();
    }

    say(text, share = 0) {
      for (const figure of this.waiting) figure.progress(text, share);
    }

    died(why) {
      this.stop();
      if (this.restarts++ === 0) {
        if (this.asked) this.waiting.add(this.asked);
        this.asked = null;
        this.wake();
      } else {
        this.give_up(`Python stopped: ${why.replace(/\.$/, "")}.`);
      }
    }

    give_up(line) {
      this.stop();
      const hit = new Set(this.waiting);
      if (this.asked) hit.add(this.asked);
      this.asked = null;
      this.waiting.clear();
      for (const figure of hit) {
        figure.progress(null);
        figure.fail(`${line} Move a control to try again.`);
      }
    }

    stop() {
      clearTimeout(this.timer);
      this.worker?.terminate();
      this.worker = null;
      this.state = "asleep";
      for (const figure of figures) figure.forget();
    }

    /** Whether starting would fetch nothing. */
    async cached() {
      if (!self.caches || !(await caches.has(CACHE))) return false;
      this.manifest ??= await (await fetch(base + facts.manifest)).json();
      const cache = await caches.open(CACHE);
      const found = await Promise.all(Object.keys(this.manifest.files).map((name) => cache.match(base + name)));
      return found.every(Boolean);
    }
  }

  // -------------------------------------------------------------- one control

  const tidy = (value) => Number(value.toPrecision(12));
  const short = (value) => {
    const six = Number(value.toPrecision(6));
    const plain = six === 0 || (Math.abs(six) >= 1e-3 && Math.abs(six) < 1e7);
    return (plain ? String(six) : six.toExponential()).replace("e+", "e");
  };

  /** The values that a slider's positions stand for. */
  function positions(spec) {
    const { low, high, step } = spec;
    if (!spec.log) {
      const count = Math.round((high - low) / step);
      return Array.from({ length: count + 1 }, (_, k) => (k === count ? high : tidy(low + k * step)));
    }
    const count = Math.max(Math.round(Math.log10(high / low) / step), 1);
    let values = Array.from({ length: count + 1 }, (_, k) =>
      k === 0 ? low : k === count ? high : Number((low * (high / low) ** (k / count)).toPrecision(4)));
    if (spec.integer) values = [...new Set(values.map(Math.round))];
    return spec.zero ? [0, ...values] : values;
  }

  class Range {
    constructor(row, spec, moved) {
      this.spec = spec;
      this.input = row.querySelector("input[type=range]");
      this.typed = row.querySelector("input[type=text]");
      this.values = positions(spec);
      Object.assign(this.input, { min: 0, max: this.values.length - 1, step: 1 });
      this.set(spec.value);
      this.input.addEventListener("input", () => {
        this.value = this.values[Number(this.input.value)];
        this.write();
        moved();
      });
      this.typed.addEventListener("change", () => moved(this.type(this.typed.value)));
      for (const tick of row.querySelectorAll(".ngd-ticks button")) {
        tick.addEventListener("click", () => { this.set(Number(tick.dataset.value)); moved(); });
      }
    }

    /** Take what a reader typed or a link said, inside the range; what had to be changed, in words. */
    type(text) {
      const { label, low, high, integer, zero, log } = this.spec;
      const given = /^[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?$/i.test(text.trim()) ? Number(text.trim().replace(",", ".")) : NaN;
      if (!Number.isFinite(given)) {
        this.write();
        return `“${text.trim().slice(0, 20)}” is not a number, so ${label} stays ${this.text()}.`;
      }
      let value = Math.min(Math.max(given, low), high);
      if (integer) value = Math.round(value);
      if (zero && given < (log ? low * 10 ** (-this.spec.step / 2) : low)) value = 0;
      this.set(value);
      if (value === given) return "";
      const inside = given >= low && given <= high;
      return inside ? `${label} takes whole numbers: ${this.text()} is used.`
        : `${label} goes from ${short(zero ? 0 : low)} to ${short(high)} here: ${this.text()} is used.`;
    }

    set(value) {
      this.value = value;
      this.input.value = this.index(value);
      this.write();
    }

    index(value) {
      let best = 0;
      this.values.forEach((v, k) => { if (Math.abs(v - value) < Math.abs(this.values[best] - value)) best = k; });
      return best;
    }

    text() { return short(this.value) + (this.spec.unit ? ` ${this.spec.unit}` : ""); }

    write() {
      this.typed.value = short(this.value);
      this.input.setAttribute("aria-valuetext", this.text());
    }

    get inputs() { return [this.input, this.typed]; }
    /** As it stands in a link. */
    get written() { return String(this.value); }
    read(text) { if (text.length < 40) { const note = this.type(text); return note; } return ""; }
  }

  class Choice {
    constructor(row, spec, moved) {
      this.spec = spec;
      this.input = row.querySelector("select");
      this.set(spec.value);
      this.input.addEventListener("change", () => {
        this.value = spec.options[Number(this.input.value)][0];
        moved();
      });
    }

    set(value) {
      this.value = value;
      this.input.value = this.spec.options.findIndex(([option]) => option === value);
    }

    text() { return this.spec.options.find(([option]) => option === this.value)[1]; }
    get inputs() { return [this.input]; }
    get written() { return String(this.value); }
    read(text) {
      const found = this.spec.options.find(([option]) => String(option) === text);
      if (found) this.set(found[0]);
      return "";
    }
  }

  // -------------------------------------------------------------- one figure

  class Live {
    visible = false;
    answer = null; // the last frame's words and numbers
    pinned = false;
    pin = ""; // what to do with the pin at the next frame
    note = "";

    constructor(element) {
      this.element = element;
      element.ngdValues = () => this.values(); // for whoever wants to watch, as the tests do
      this.spec = JSON.parse(element.dataset.spec);
      this.part = (name) => element.querySelector(`.ngd-${name}`);
      this.short = element.id.replace(/^live-/, "");
      this.picture = this.part("picture");
      this.said = this.part("said");
      this.bar = Object.assign(document.createElement("progress"), { max: 1, value: 0, hidden: true, className: "ngd-progress" });
      this.bar.setAttribute("aria-label", "Starting Python in your browser");
      this.picture.append(this.bar);
      this.controls = {};
      for (const control of this.spec.controls) {
        const row = [...this.part("controls").children].find((r) => r.dataset.name === control.name);
        const Kind = control.kind === "choice" ? Choice : Range;
        this.controls[control.name] = new Kind(row, control, (note = "") => this.moved(note));
      }
      const why = unsupported();
      if (why) { this.rest(why); return; }
      for (const kind of ["pointerdown", "focusin"]) {
        this.part("controls").addEventListener(kind, () => this.touched(), { passive: true });
      }
      element.addEventListener("click", (event) => this.tool(event.target.closest("[data-do]")?.dataset.do));
      this.part("data").addEventListener("toggle", (event) => event.target.open && this.open());
      this.fromAddress();
    }

    /** A finger or the focus is on a control: be alive when it moves. */
    touched() {
      if (!this.answer && !save() && engine.asked !== this && !engine.waiting.has(this)) engine.ask(this);
    }

    moved(note = "") {
      this.note = note;
      if (note) this.announce(note);
      engine.ask(this);
      this.settle();
    }

    settle() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.toAddress();
        if (this.answer && !engine.waiting.has(this) && engine.asked !== this) {
          this.announce(this.answer.description);
          this.tabulate();
        }
      }, 500);
    }

    values() {
      return Object.fromEntries(Object.entries(this.controls).map(([name, control]) => [name, control.value]));
    }

    request() {
      const width = Math.round(this.picture.clientWidth);
      const size = { width, ratio: Math.min(devicePixelRatio || 1, 3), dark: dark() };
      const { pin } = this;
      this.pin = "";
      this.drawn = JSON.stringify(size);
      return { type: "frame", key: this.element.id, spec: this.element.dataset.spec, size, values: JSON.stringify(this.values()), pin };
    }

    // ---- what the worker says

    progress(text, share) {
      this.bar.hidden = text === null;
      if (text === null) return;
      this.bar.value = share;
      const said = `${text} …`;
      if (this.said.textContent === said) return;
      this.write(said, "starting");
      const stage = text.split(":")[0];
      if (this.stage !== stage) this.announce((this.stage = stage));
    }

    computing() {
      clearTimeout(this.slow);
      this.slow = setTimeout(() => this.write("Computing …", "computing"), 300);
    }

    show(answer) {
      clearTimeout(this.slow);
      const { width, height, pixels, description, milliseconds, note } = answer;
      if (!this.canvas) {
        this.canvas = document.createElement("canvas");
        this.canvas.setAttribute("role", "img");
        this.picture.append(this.canvas);
        this.ink = this.canvas.getContext("2d", { alpha: false });
      }
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
      this.ink.putImageData(new ImageData(pixels, width, height), 0, 0);
      this.canvas.setAttribute("aria-label", description);
      this.part("description").textContent = description;
      delete answer.pixels;
      const first = !this.answer;
      this.answer = answer;
      this.element.ngdAnswer = answer;
      const words = [note, this.note].filter(Boolean).join(" ");
      this.write(`Computed in your browser in ${Math.max(1, Math.round(milliseconds))} ms.${words ? ` ${words}` : ""}`, "live");
      this.element.dataset.frames = Number(this.element.dataset.frames ?? 0) + 1;
      if (first && this.part("data").open) this.tabulate();
      this.settle();
    }

    fail(line) {
      clearTimeout(this.slow);
      this.write(line, "error");
      this.announce(line);
    }

    /** The worker that knew this figure is gone. */
    forget() {
      clearTimeout(this.slow);
      this.pin = "";
      this.mark(false);
    }

    /** Nothing will ever be computed here. */
    rest(line) {
      this.write(line, "picture");
      for (const control of this.element.querySelectorAll("input, select, .ngd-ticks button, .ngd-tools button, .ngd-data button")) control.disabled = true;
    }

    write(text, state) {
      this.said.textContent = text;
      this.element.dataset.state = state;
    }

    announce(text) { this.part("announce").textContent = text; }

    // ---- tools

    tool(name) {
      if (name === "reset") {
        for (const control of Object.values(this.controls)) control.set(control.spec.value);
        if (this.pinned) this.pin = "unpin";
        this.mark(false);
        this.moved();
      } else if (name === "pin") {
        this.pin = this.pinned ? "unpin" : "pin";
        this.mark(!this.pinned);
        engine.ask(this);
      } else if (name === "link") {
        this.toAddress();
        const link = new URL(location);
        link.hash = this.element.id;
        this.copy(link.href, "The link to this setting is copied.", "The address bar has the link.");
      } else if (name === "csv") {
        if (this.answer) this.copy(this.csv(), "The numbers are copied.", "This browser does not let a page copy.");
        else engine.ask(this);
      } else if (name === "compute") {
        engine.ask(this);
      }
    }

    mark(pinned) {
      this.pinned = pinned;
      const button = this.element.querySelector("[data-do=pin]");
      button.setAttribute("aria-pressed", pinned);
      button.textContent = pinned ? "Unpin" : "Pin this curve";
    }

    async copy(text, done, refused) {
      let said = done;
      try { await navigator.clipboard.writeText(text); } catch { said = refused; }
      this.said.textContent = said;
      this.announce(said);
    }

    columns() { return Object.entries(JSON.parse(this.answer.numbers)); }

    csv() {
      const columns = this.columns();
      const rows = Math.max(...columns.map(([, column]) => column.length));
      const cell = (value) => (value === undefined || value === null ? "" : String(value));
      const head = columns.map(([name]) => (/[",\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name));
      const lines = Array.from({ length: rows }, (_, k) => columns.map(([, column]) => cell(column[k])).join(","));
      return [head.join(","), ...lines, ""].join("\n");
    }

    open() {
      if (this.answer) this.tabulate();
      else { this.part("table").textContent = "The numbers come with the first computed picture."; this.touched(); }
    }

    tabulate() {
      if (!this.part("data").open) return;
      const MOST = { rows: 100, columns: 12 };
      const all = this.columns();
      const columns = all.slice(0, MOST.columns);
      const longest = Math.max(...all.map(([, column]) => column.length));
      const table = document.createElement("table");
      const row = (parent, tag, texts) => {
        const tr = parent.insertRow();
        for (const text of texts) tr.append(Object.assign(document.createElement(tag), { textContent: text }));
      };
      row(table.createTHead(), "th", columns.map(([name]) => name));
      const body = table.createTBody();
      for (let k = 0; k < Math.min(longest, MOST.rows); k++) {
        row(body, "td", columns.map(([, column]) => (column[k] === undefined ? "" : column[k] === null ? "not finite" : short(Number(column[k])))));
      }
      const cut = all.length > columns.length || longest > MOST.rows;
      const note = Object.assign(document.createElement("p"), {
        textContent: cut ? `Shown are ${columns.length} of ${all.length} columns and at most ${MOST.rows} of ${longest} rows; the copy has all.` : "",
      });
      this.part("table").replaceChildren(table, note);
    }

    // ---- the address: figure.control=value, for what is not at its start

    toAddress() {
      const query = new URLSearchParams(location.search);
      for (const [name, control] of Object.entries(this.controls)) {
        const key = `${this.short}.${name}`;
        if (control.value === control.spec.value) query.delete(key);
        else query.set(key, control.written);
      }
      const text = query.toString();
      const address = location.pathname + (text ? `?${text}` : "") + location.hash;
      if (address !== location.pathname + location.search + location.hash) {
        try { history.replaceState(history.state, "", address); } catch { /* too often for this browser */ }
      }
    }

    /** Only names that are known and values that parse are taken; nothing is ever evaluated. */
    fromAddress() {
      const query = new URLSearchParams(location.search);
      const notes = [];
      for (const [name, control] of Object.entries(this.controls)) {
        const text = query.get(`${this.short}.${name}`);
        if (text !== null) notes.push(control.read(text));
      }
      const set = Object.values(this.controls).filter((control) => control.value !== control.spec.value);
      const note = (this.note = notes.filter(Boolean).join(" "));
      if (!set.length) { if (note) this.said.textContent = note; return; }
      this.linked = true;
      const setting = set.map((control) => `${control.spec.label} ${control.text()}`).join(", ");
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Compute it (${facts.size})` });
      button.dataset.do = "compute";
      this.said.replaceChildren(`The link asks for ${setting}; the picture shows the start. ${note} `, button);
    }
  }

  // -------------------------------------------------------------- the page

  const engine = new Engine();
  const figures = [];
  for (const element of document.querySelectorAll(".ngd-live[data-spec]")) figures.push(new Live(element));
  if (unsupported()) return;

  // Near the screen, and all files are here already: start without being asked.
  const near = new IntersectionObserver(async (entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    if (save() || !(await engine.cached().catch(() => false))) return;
    (window.requestIdleCallback ?? setTimeout)(() => {
      for (const figure of figures) if (figure.linked) engine.ask(figure);
      engine.wake();
    });
  }, { rootMargin: "300px" });
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) figures.find((f) => f.element === entry.target).visible = entry.isIntersecting;
  });
  // Another theme or another size: draw anew what is alive.
  let later;
  const redraw = (wait) => {
    clearTimeout(later);
    later = setTimeout(() => {
      for (const figure of figures) {
        if (!figure.answer) continue;
        const now = JSON.stringify({ width: Math.round(figure.picture.clientWidth), ratio: Math.min(devicePixelRatio || 1, 3), dark: dark() });
        if (now !== figure.drawn && figure.picture.clientWidth) engine.ask(figure);
      }
    }, wait);
  };
  const resized = new ResizeObserver(() => redraw(200));
  for (const figure of figures) {
    near.observe(figure.element);
    seen.observe(figure.element);
    resized.observe(figure.picture);
  }
  new MutationObserver(() => redraw(0)).observe(document.documentElement, { attributeFilter: ["data-theme"] });
})();
