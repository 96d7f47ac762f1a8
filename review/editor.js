// The review's editor: a photo with its regions. Drag draws, a click selects, the wheel zooms, keys decide.
// value: {photo, hash, src, width, height, regions: [{id, kind, box, state, text}], kind, kinds, problem, turn}
({ element, props, trigger, watch }) => {
  const NS = "http://www.w3.org/2000/svg";
  const host = element.querySelector(".rv-editor");
  const svg = document.createElementNS(NS, "svg");
  const say = document.createElement("p");
  say.className = "rv-say";
  say.setAttribute("role", "status");
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("aria-label", "Photo under review. Drag to draw a region; H hides, X rejects, A approves, F flags, N next, U undo.");
  let value = {}, chosen = "", start = null, view = null, busy = false;

  const make = (tag, attributes) => {
    const node = document.createElementNS(NS, tag);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    return node;
  };
  const at = (event) => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [Math.min(Math.max(p.x, 0), value.width), Math.min(Math.max(p.y, 0), value.height)];
  };
  const look = () => svg.setAttribute("viewBox", view.join(" "));
  const act = (what, more = {}) => {
    if (!value.photo || busy) return;
    busy = true;
    trigger("decided", { what, photo: value.photo, hash: value.hash, ...more });
  };
  const box = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];

  const draw = () => {
    host.replaceChildren(say, svg);
    say.textContent = value.problem || value.text || "";
    say.classList.toggle("rv-problem", Boolean(value.problem));
    svg.replaceChildren();
    svg.style.display = value.src ? "" : "none";
    if (!value.src) return;
    const image = make("image", { width: value.width, height: value.height });
    image.setAttribute("href", value.src);
    svg.append(image);
    for (const r of value.regions) {
      const [x1, y1, x2, y2] = r.box;
      const rect = make("rect", { x: x1, y: y1, width: Math.max(x2 - x1, 1), height: Math.max(y2 - y1, 1), "data-id": r.id });
      rect.setAttribute("class", `rv-region rv-${r.state}` + (r.id === chosen ? " rv-chosen" : ""));
      const title = make("title", {});
      title.textContent = r.text;
      rect.append(title);
      svg.append(rect);
    }
    const found = value.regions.find((r) => r.id === chosen);
    if (found && !value.problem) say.textContent = found.text;
  };

  svg.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    start = { at: at(e), id: e.target.dataset?.id || "", client: [e.clientX, e.clientY] };
    svg.setPointerCapture(e.pointerId);
  });
  svg.addEventListener("pointermove", (e) => {
    if (!start) return;
    svg.querySelector(".rv-drawing")?.remove();
    const [x1, y1, x2, y2] = box(start.at, at(e));
    const rect = make("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1 });
    rect.setAttribute("class", "rv-drawing");
    svg.append(rect);
  });
  svg.addEventListener("pointerup", (e) => {
    if (!start) return;
    const moved = Math.hypot(e.clientX - start.client[0], e.clientY - start.client[1]);
    svg.querySelector(".rv-drawing")?.remove();
    if (moved > 4) act("add", { box: box(start.at, at(e)), kind: value.kind });
    else { chosen = start.id === chosen ? "" : start.id; draw(); }
    start = null;
    svg.focus({ preventScroll: true });
  });
  svg.addEventListener("wheel", (e) => {
    e.preventDefault();
    const [x, y] = at(e), f = e.deltaY < 0 ? 0.8 : 1.25;
    const w = Math.min(view[2] * f, value.width), h = Math.min(view[3] * f, value.height);
    view = [x - (x - view[0]) * (w / view[2]), y - (y - view[1]) * (h / view[3]), w, h];
    view[0] = Math.min(Math.max(view[0], 0), value.width - w);
    view[1] = Math.min(Math.max(view[1], 0), value.height - h);
    look();
  }, { passive: false });
  svg.addEventListener("dblclick", () => { view = [0, 0, value.width, value.height]; look(); });

  const keys = { a: "approve", f: "flag", n: "next", u: "undo" };
  const onkey = (e) => {
    if (!element.isConnected) return document.removeEventListener("keydown", onkey);
    if (e.ctrlKey || e.metaKey || e.altKey || !element.offsetParent) return;
    if (e.target.closest?.("input, textarea, select, [contenteditable=true]")) return;
    const key = e.key.toLowerCase();
    if (keys[key]) act(keys[key]);
    else if (key === "h" && chosen) act("accept", { region: chosen });
    else if (key === "x" && chosen) act("reject", { region: chosen });
    else if (key === "k" && value.kinds?.length) {
      value.kind = value.kinds[(value.kinds.indexOf(value.kind) + 1) % value.kinds.length];
      say.textContent = `Drawing: ${value.kind}`;
    } else if ((key === "]" || key === "[") && value.regions?.length) {
      const some = value.regions.filter((r) => r.state !== "carrier");
      const i = some.findIndex((r) => r.id === chosen), n = some.length;
      if (n) chosen = some[(i + (key === "]" ? 1 : n - 1 + (i < 0))) % n].id;
      draw();
    } else return;
    e.preventDefault();
  };
  document.addEventListener("keydown", onkey);

  const show = () => {
    const before = value;
    value = props.value || {};
    busy = false;
    if (value.photo !== before.photo) { chosen = ""; view = null; }
    if (!view && value.width) { view = [0, 0, value.width, value.height]; look(); }
    draw();
  };
  element.rvChosen = () => chosen;
  watch("value", show);
  show();
}
