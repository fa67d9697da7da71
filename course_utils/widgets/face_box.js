// A photograph with a square box to move and resize; what the box holds is cut out by the kernel.
const LEAST = 40; // CSS pixels: a smaller box could not be grabbed
const SETTLED_MS = 400; // a box is announced when it has come to rest
const CORNERS = [[-1, -1], [1, -1], [-1, 1], [1, 1]]; // x and y, seen from the middle of the box
const HELP = "Square box around the face: the arrow keys move it, with Shift further; plus and minus resize it";

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function node(tag, className, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), { className });
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const photo = node("img", "dtc-photo", { draggable: "false" });
  const handles = CORNERS.map(([x, y]) => node("span", x === y ? "dtc-corner" : "dtc-corner dtc-rising"));
  CORNERS.forEach(([x, y], k) => Object.assign(handles[k].style, { [x < 0 ? "left" : "right"]: 0, [y < 0 ? "top" : "bottom"]: 0 }));
  const frame = node("div", "dtc-box", { tabindex: "0", role: "application", "aria-label": HELP }, ...handles);
  const spoken = node("div", "dtc-spoken", { role: "status", "aria-live": "polite" });
  const stage = node("div", "dtc-stage", {}, photo, frame);
  const root = node("div", "dtc-face-box", { role: "group", "aria-label": "A photograph and the box around its face", "data-lm-suppress-shortcuts": "true" }, stage, spoken);
  let [box, dragged, shown, alarm] = [model.get("box"), null, null, null];

  const extent = () => model.get("extent"); // of the photograph in the kernel, in which the box is counted
  const scale = () => extent()[0] / stage.getBoundingClientRect().width;
  const least = () => Math.ceil(LEAST * scale());

  function place() {
    const [width, height] = extent();
    const [left, top, side] = box;
    const share = { left: left / width, top: top / height, width: side / width, height: side / height };
    for (const [name, value] of Object.entries(share)) frame.style[name] = `${100 * value}%`;
  }

  function announce() {
    clearTimeout(alarm);
    const [[left, top, side], [width, height]] = [box, extent()];
    const text = `Box: left ${left}, top ${top}, side ${side}, in a photograph of ${width} by ${height} pixels`;
    alarm = setTimeout(() => (spoken.textContent = text), SETTLED_MS);
  }

  function put(left, top, side) {
    const [width, height] = extent();
    side = clamp(Math.round(side), 1, Math.min(width, height));
    box = [clamp(Math.round(left), 0, width - side), clamp(Math.round(top), 0, height - side), side];
    place();
    announce();
    model.set("box", box);
    model.save_changes();
  }

  // The opposite corner stays where it is.
  function pull([left, top, side], [x, y], growth) {
    const [width, height] = extent();
    const room = Math.min(x > 0 ? width - left : left + side, y > 0 ? height - top : top + side);
    const wanted = Math.round(clamp(side + growth, Math.min(least(), side, room), room));
    put(x > 0 ? left : left + side - wanted, y > 0 ? top : top + side - wanted, wanted);
  }

  frame.addEventListener("pointerdown", (event) => {
    if (event.button > 0 || dragged) return;
    frame.setPointerCapture(event.pointerId);
    dragged = { id: event.pointerId, x: event.clientX, y: event.clientY, box, corner: CORNERS[handles.indexOf(event.target)] };
  });
  frame.addEventListener("pointermove", (event) => {
    if (event.pointerId !== dragged?.id) return;
    const [dx, dy] = [(event.clientX - dragged.x) * scale(), (event.clientY - dragged.y) * scale()];
    const [left, top, side] = dragged.box;
    if (!dragged.corner) return put(left + dx, top + dy, side);
    pull(dragged.box, dragged.corner, (dragged.corner[0] * dx + dragged.corner[1] * dy) / 2); // along the diagonal
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    frame.addEventListener(end, (event) => {
      if (event.pointerId !== dragged?.id) return;
      dragged = null;
      receive();
    });
  }
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's zoom stays the browser's
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const grow = { "+": 1, "=": 1, "-": -1, _: -1 }[event.key];
    if (!move && !grow) return;
    event.preventDefault();
    const [left, top, side] = box;
    const room = Math.min(...extent());
    const step = Math.max(1, Math.round(room / 100)) * (event.shiftKey && move ? 5 : 1);
    if (move) return put(left + step * move[0], top + step * move[1], side);
    const wanted = clamp(side + 2 * step * grow, Math.min(least(), side, room), room);
    put(left - (wanted - side) / 2, top - (wanted - side) / 2, wanted);
  });

  function receive() {
    if (dragged) return; // what the hand does now is newer than what the kernel sends
    box = model.get("box");
    place();
  }

  function load() {
    const bytes = model.get("photo");
    root.hidden = !bytes?.byteLength;
    if (root.hidden) return;
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    photo.src = url;
    photo.alt = model.get("alt");
    stage.style.width = `${model.get("width")}px`;
    stage.style.aspectRatio = extent().join(" / ");
    if (shown) URL.revokeObjectURL(shown);
    shown = url;
    dragged = null;
    receive();
  }

  const events = { "change:photo": load, "change:box": receive };
  for (const [name, handler] of Object.entries(events)) model.on(name, handler);
  el.append(root);
  load();

  return () => {
    for (const [name, handler] of Object.entries(events)) model.off(name, handler);
    clearTimeout(alarm);
    if (shown) URL.revokeObjectURL(shown);
  };
}

export default { render };
