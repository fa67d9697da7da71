// Draw-your-own: a canvas to paint on and a canvas that shows the generated cloud. Training runs in the kernel.
const MAX_POINTS = 6000;
const BRUSH = 0.03; // standard deviation of the spray, in units of half the canvas
const SPACING = 0.008; // one point per this length of stroke
const ERASER = 0.09;
const DOT = 0.013;
const HALF = 1.08; // half width of the view: points at the border stay whole
const GLIDE_MS = 350; // the cloud glides to its next state
const SILENCE_MS = 6000; // longer than this without an answer, and the reader is told

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const floats = (view) => (view ? new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)) : new Float32Array());

const gauss = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

// Colours follow the theme: light text means a dark page. Okabe & Ito's palette in both.
function palette(el) {
  const [r, g, b] = getComputedStyle(el).color.match(/[\d.]+/g).map(Number);
  const dark = 0.3 * r + 0.6 * g + 0.1 * b > 128;
  return dark ? { paint: "#56B4E9", cloud: "#E69F00", ring: "#fff" } : { paint: "#0072B2", cloud: "#D55E00", ring: "#222" };
}

// A square canvas with x and y in [-1, 1], y upwards, sharp on any display.
function plane(label, attributes) {
  const canvas = make("canvas", { class: "dtc-plane", "aria-label": label, ...attributes });
  const context = canvas.getContext("2d");
  return {
    canvas,
    clear() {
      const size = Math.round(canvas.clientWidth * window.devicePixelRatio);
      if (canvas.width !== size) canvas.width = canvas.height = size;
      const unit = size / (2 * HALF);
      context.setTransform(unit, 0, 0, -unit, size / 2, size / 2);
      context.clearRect(-HALF, -HALF, 2 * HALF, 2 * HALF);
    },
    dots(points, colour, alpha, radius) {
      context.fillStyle = colour;
      context.globalAlpha = alpha;
      context.beginPath();
      for (let i = 0; i < points.length; i += 2) {
        context.moveTo(points[i] + radius, points[i + 1]);
        context.arc(points[i], points[i + 1], radius, 0, 2 * Math.PI);
      }
      context.fill();
    },
    ring([x, y], colour, radius) {
      context.globalAlpha = 0.8;
      context.strokeStyle = colour;
      context.lineWidth = 0.008;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.stroke();
    },
    at(event) {
      const box = canvas.getBoundingClientRect();
      return [
        (((event.clientX - box.left) / box.width) * 2 - 1) * HALF,
        (1 - ((event.clientY - box.top) / box.height) * 2) * HALF,
      ];
    },
  };
}

// Painting: strokes, eraser, undo. `points` is a flat array x, y, x, y…
function painter(model, board, redraw) {
  let points = Array.from(floats(model.get("points")));
  let undo = [];
  let [erasing, cursor, timer] = [false, null, null];

  function spray([x0, y0], [x1, y1]) {
    const count = Math.max(1, Math.round(Math.hypot(x1 - x0, y1 - y0) / SPACING));
    for (let i = 0; i < count && points.length < 2 * MAX_POINTS; i++) {
      const u = Math.random();
      for (const value of [x0 + u * (x1 - x0), y0 + u * (y1 - y0)]) {
        points.push(Math.min(1, Math.max(-1, value + BRUSH * gauss())));
      }
    }
  }

  function erase([x, y]) {
    const kept = [];
    for (let i = 0; i < points.length; i += 2) {
      if (Math.hypot(points[i] - x, points[i + 1] - y) > ERASER) kept.push(points[i], points[i + 1]);
    }
    points = kept;
  }

  const apply = (from, to, rub) => (rub ? erase(to) : spray(from, to));
  const remember = () => (undo = [...undo.slice(-49), points.slice()]);
  const bytes = () => Float32Array.from(points).buffer;

  function save() {
    model.set("points", new DataView(bytes()));
    model.save_changes();
    redraw();
  }

  board.addEventListener("pointerdown", (event) => {
    if (event.button > 0 && event.button !== 5) return; // 5: the eraser end of a pen
    board.setPointerCapture(event.pointerId);
    remember();
    const rub = erasing || event.button === 5;
    cursor = board.plane.at(event);
    apply(cursor, cursor, rub);
    timer = setInterval(() => (apply(cursor, cursor, rub), redraw()), 40); // a spray can goes on while held still
    board.onpointermove = (move) => {
      for (const part of move.getCoalescedEvents?.() ?? [move]) {
        const next = board.plane.at(part);
        apply(cursor, next, rub);
        cursor = next;
      }
      redraw();
    };
    redraw();
  });
  const hover = (event) => ((cursor = board.plane.at(event)), redraw());
  board.onpointermove = hover;
  for (const end of ["pointerup", "pointercancel"]) {
    board.addEventListener(end, () => {
      if (timer === null) return;
      clearInterval(timer);
      timer = null;
      board.onpointermove = hover;
      save();
    });
  }
  board.addEventListener("pointerleave", () => ((cursor = null), redraw()));
  board.addEventListener("blur", () => ((cursor = null), redraw()));
  board.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    cursor ??= [0, 0];
    if (step) cursor = cursor.map((value, k) => Math.min(1, Math.max(-1, value + 0.05 * step[k])));
    else {
      remember();
      for (let i = 0; i < 6; i++) apply(cursor, cursor, erasing);
      save();
    }
    redraw();
  });

  return {
    bytes,
    get points() { return points; },
    get full() { return points.length >= 2 * MAX_POINTS; },
    get ring() { return cursor && [cursor, erasing ? ERASER : 1.5 * BRUSH]; },
    erase: (on) => (erasing = on),
    remember,
    reload() { points = Array.from(floats(model.get("points"))); },
    undo() { if (undo.length) { points = undo.pop(); save(); } },
    clear() { if (points.length) { remember(); points = []; save(); } },
  };
}

function render({ model, el }) {
  const left = plane("Drawing canvas: paint with mouse, pen or finger; with the keyboard, arrow keys move the brush and space sprays", { tabindex: "0", role: "application" });
  const right = plane("", { role: "img" });
  left.canvas.plane = left;
  let [shown, target, since, frame, colours, alarm] = [floats(model.get("cloud")), null, 0, 0, palette(el), null];

  const redraw = () => (frame ||= requestAnimationFrame(draw));
  const paint = painter(model, left.canvas, redraw);

  function draw(now) {
    frame = 0;
    left.clear();
    left.dots(paint.points, colours.paint, 0.85, DOT);
    if (paint.ring) left.ring(paint.ring[0], colours.ring, paint.ring[1]);
    right.clear();
    right.dots(paint.points, colours.paint, 0.16, DOT);
    right.dots(glide(now), colours.cloud, 0.9, DOT);
    count.textContent = `${(paint.points.length / 2).toLocaleString("en")} points${paint.full ? ": the canvas is full" : ""}`;
  }

  // Each point of the cloud keeps its noise between two updates, so it can glide from its old place to the new one.
  function glide(now) {
    if (!target) return shown;
    const u = still() || target.length !== shown.length ? 1 : Math.min(1, (now - since) / GLIDE_MS);
    const between = u === 1 ? target : shown.map((value, i) => value + u * (target[i] - value));
    if (u === 1) [shown, target] = [target, null];
    else redraw();
    return between;
  }

  function send(content) {
    clearTimeout(alarm);
    alarm = setTimeout(() => say("The kernel does not answer: it is busy, or it was stopped."), SILENCE_MS);
    model.send(content, undefined, [paint.bytes()]);
  }

  const button = (text, title, onclick, extra = {}) => make("button", { type: "button", title, onclick, ...extra }, text);
  const tool = (on) => () => {
    paint.erase(on);
    spray.setAttribute("aria-pressed", String(!on));
    eraser.setAttribute("aria-pressed", String(on));
  };
  const spray = button("Spray", "Spray points", tool(false), { "aria-pressed": "true" });
  const eraser = button("Eraser", "Erase points", tool(true), { "aria-pressed": "false" });
  const outlines = model.get("outlines").map((name) =>
    button(name, `Start from the ${name} outline`, () => (paint.remember(), model.send({ do: "load", outline: name }))));
  const train = button("Train", "Train a model on the drawing", () => send({ do: "train" }), { class: "dtc-main" });
  const stop = button("Stop", "Stop training", () => send({ do: "stop" }));
  const again = button("Sample again", "Generate a new cloud from new noise", () => send({ do: "sample" }));
  const count = make("span", { class: "dtc-count" });
  const bar = make("progress", { max: "1", "aria-label": "Training progress" });
  const status = make("div", { class: "dtc-status", role: "status" });

  function say(text) {
    clearTimeout(alarm);
    status.textContent = text;
  }

  function update() {
    const state = model.get("state");
    const busy = state === "training" || state === "sampling";
    status.setAttribute("aria-live", busy ? "off" : "polite"); // a counter read aloud ten times a second helps nobody
    root.dataset.state = state;
    bar.value = model.get("fraction");
    stop.disabled = !busy;
    again.disabled = !model.get("cloud")?.byteLength;
    train.textContent = state === "training" ? "Restart" : "Train";
    right.canvas.setAttribute("aria-label", `Generated cloud of ${shown.length / 2} points, ${model.get("status")}`);
    say(model.get("status"));
  }

  function receive() {
    shown = glide(performance.now());
    [target, since] = [floats(model.get("cloud")), performance.now()];
    if (!shown.length) shown = target;
    update();
    redraw();
  }

  const root = make("div", { class: "dtc-draw", role: "group", "aria-label": "Draw your own data set", "data-lm-suppress-shortcuts": "true" },
    make("section", {}, make("h4", {}, "Your drawing ", count), left.canvas,
      make("div", { class: "dtc-row" }, spray, eraser, button("Undo", "Undo", () => paint.undo()), button("Clear", "Clear the canvas", () => paint.clear())),
      make("div", { class: "dtc-row", role: "group", "aria-label": "Start from an outline" }, make("span", {}, "start from"), ...outlines)),
    make("section", {}, make("h4", {}, "What the model generates"), right.canvas,
      make("div", { class: "dtc-row" }, train, stop, again), bar, status));
  el.append(root);

  const reload = () => (paint.reload(), redraw());
  const recolour = () => ((colours = palette(root)), redraw());
  const events = { "change:points": reload, "change:cloud": receive, "change:state": update, "change:status": update, "change:fraction": update };
  for (const [name, handler] of Object.entries(events)) model.on(name, handler);
  const theme = new MutationObserver(() => setTimeout(recolour, 50));
  theme.observe(document.body, { attributes: true });
  const resize = new ResizeObserver(recolour);
  resize.observe(left.canvas);
  update();

  return () => {
    for (const [name, handler] of Object.entries(events)) model.off(name, handler);
    theme.disconnect();
    resize.disconnect();
    clearTimeout(alarm);
    cancelAnimationFrame(frame);
  };
}

export default { render };
