// The picture editor that One photo and Review share: a photo with its regions, which can be compared,
// zoomed, drawn on and corrected, with a pointer, by touch or by keyboard. It sends what corrections.parse reads.
"use strict";
(() => {
  const { make, svg, clamp, button, check, apart } = window.anonymize.tools;

  const NAMES = { face: "Face", plate: "License plate", other: "Drawn region", vehicle: "Vehicle", person: "Person" };
  const DRAW = { face: "Draw a face", plate: "Draw a plate", other: "Draw another area" };
  const KEYS = { h: "accept", x: "reject", Delete: "reject", Backspace: "reject" };
  const named = (r) => NAMES[r.kind] || r.kind;
  // A percentage is a chance, as Review gives it; a decimal number is a score, as the sliders have it.
  const sure = (r) => (r.sure === undefined ? r.score.toFixed(2) : `${Math.round(100 * r.sure)} %`);
  const sureInWords = (r) => (r.sure === undefined ? `score ${sure(r)}` : `${sure(r)} likely`);
  const sides = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const rect = ([x1, y1, x2, y2], cls) =>
    svg("rect", { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1), class: cls });

  // Options. act: gets a correction, (what, its arguments). review: whether it is Review's: always correcting, with the
  // original and every region shown, and a kind at hand, so that a mouse's drag draws (a finger's scrolls, unless a kind
  // was chosen); clip: its frames; the player is the other view. keys: of the photo (a: "approve"). onpaint: it can be seen now, or not.
  // The value that `show` gets: id, width, height, before and after (addresses of pictures), kinds, undo, and regions,
  // each with id, kind, box, score, status, state, hidden, why. `picture`: of before, fetched already; `whole`: the address
  // of before with all its pixels, for who zooms in.
  const editor = ({ act, review = false, clip = false, keys = {}, extra = [], onpaint = () => {} }) => {
    let state = null;                             // what the server said last
    let mode = review ? "correct" : "compare";
    let tool = null, atHand = null;               // kind that is being drawn; kind that a mouse's drag draws in Review
    let selected = null;                          // id of a region
    let divider = 0.5, zoom = 1, panX = 0, panY = 0;
    let showOthers = review, showOriginal = review, peek = null;  // peek: "clean" or "original", while a key is held
    let sweeping = 0, turn = 0;                   // since when the divider moves by itself; how many photos were shown

    let before = make("img", { class: "az-before", alt: "The original photo", draggable: "false" });
    const after = make("img", { class: "az-after", alt: "The photo with faces and plates hidden", draggable: "false", hidden: review });
    after.addEventListener("load", () => place());
    const boxes = svg("svg", { class: "az-boxes", preserveAspectRatio: "none" });
    const canvas = make("div", { class: "az-canvas" }, after, before, boxes);
    const handle = make("div", { class: "az-divider", role: "slider", tabindex: "0", "aria-label": "Compare: original on the left, clean photo on the right",
      "aria-valuemin": "0", "aria-valuemax": "100" }, make("span", { "aria-hidden": "true" }, "‹ ›"));
    const tagBefore = make("span", { class: "az-tag left", "aria-hidden": "true" }, "original");
    const tagAfter = make("span", { class: "az-tag right", "aria-hidden": "true" }, "clean");
    const stage = make("div", { class: "az-stage", tabindex: "-1" }, canvas, handle, tagBefore, tagAfter);

    const compareTab = button("Compare", () => setMode("compare"));
    const correctTab = button("Correct", () => setMode("correct"));
    const zoomText = make("output", { class: "az-zoom", "aria-live": "off" }, "100 %");
    const bar = make("div", { class: "az-bar az-top" },
      ...(review || clip ? [] : [make("div", { class: "az-segments", role: "group", "aria-label": "View" }, compareTab, correctTab)]),
      make("div", { class: "az-segments", role: "group", "aria-label": "Zoom" },
        button("−", () => zoomBy(1 / 1.4), { "aria-label": "Zoom out" }), zoomText,
        button("+", () => zoomBy(1.4), { "aria-label": "Zoom in" }),
        button("Fit", () => fit())),
      make("span", { class: "az-space" }), ...extra);
    const drawing = make("div", { class: "az-bar", role: "group", "aria-label": "New box" });
    const undo = button(review ? "Undo (U)" : "Undo", () => act("undo"));
    const others = check("Show possible misses", (on) => { showOthers = on; paint(); });
    others.classList.add("az-misses");
    const held = (text, what) => button(text, () => {}, { onpointerdown: () => look(what), onpointerup: () => look(null), onpointerleave: () => look(null),
      onkeydown: (e) => e.key === " " && look(what), onkeyup: () => look(null), onblur: () => look(null) });
    const correctBar = make("div", { class: "az-bar az-correct" }, drawing, undo,
      ...(review ? [held("Clean (hold C)", "clean"), held("Original (hold O)", "original")]
        : [make("span", { class: "az-space" }), check("Show the original", (on) => { showOriginal = on; place(); }), others]));
    const about = make("div", { class: "az-about", "aria-live": "polite" });
    if (review || clip) bar.prepend(correctBar);  // one row, so that the photo has the height
    const root = make("div", { class: "az-body", hidden: true }, bar, ...(review || clip ? [] : [correctBar]), stage, about);

    const setMode = (m) => { mode = m; tool = selected = null; paint(); place(); };
    const fit = () => { zoom = 1; panX = panY = 0; place(); };
    const setTool = (kind) => { tool = tool === kind ? null : kind; atHand = kind; selected = null; paint(); place(); };
    const look = (what) => {
      if (peek === what) return;
      peek = what;
      after.hidden = peek !== "clean";
      if (peek === "clean" && after.getAttribute("src") !== state?.after) after.src = state.after;
      place();
    };
    const find = (id) => state?.regions.find((r) => r.id === id);

    // geometry: the canvas fills the stage's width at zoom 1; pan is in stage px
    const place = () => {
      if (!state) return;
      const w = stage.clientWidth, h = stage.clientHeight;
      panX = clamp(panX, w * (1 - zoom), 0);
      panY = clamp(panY, h * (1 - zoom), 0);
      canvas.style.transform = `translate(${panX}px, ${panY}px) scale(${zoom})`;
      zoomText.textContent = `${Math.round(zoom * 100)} %`;
      const comparing = mode === "compare";
      const isClean = peek === "clean" && after.complete && after.naturalWidth > 0;
      const cut = comparing ? divider : isClean ? 0 : showOriginal ? 1 : 0;
      boxes.style.visibility = peek ? "hidden" : "";
      stage.style.touchAction = zoom > 1 || tool ? "none" : "pan-y";  // else a finger scrolls the page
      const right = 100 - clamp(((cut * w - panX) / zoom / w) * 100, 0, 100);
      before.style.clipPath = cut < 1 ? `inset(0 ${right}% 0 0)` : "";
      before.style.visibility = cut > 0 ? "visible" : "hidden";
      handle.hidden = !comparing;
      tagBefore.hidden = comparing ? cut < 0.1 : peek !== "original";
      tagAfter.hidden = !comparing && !isClean;
      if (state.whole && !before.dataset.whole && zoom * w * devicePixelRatio > 1.05 * before.naturalWidth && before.naturalWidth) sharpen(state);
      handle.style.left = `${divider * 100}%`;
      handle.setAttribute("aria-valuenow", Math.round(divider * 100));
      label();
    };
    const sharpen = async ({ id, whole }) => {
      const old = before, fresh = make("img", { src: whole, class: "az-before", alt: old.alt, draggable: "false", "data-whole": "yes" });
      old.dataset.whole = "comes";
      try { await fresh.decode(); } catch { return; }
      if (state?.id === id && before === old) { old.replaceWith(fresh); before = fresh; place(); }
    };
    const zoomBy = (f, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
      const to = clamp(zoom * f, 1, 12);
      panX = x - ((x - panX) * to) / zoom;
      panY = y - ((y - panY) * to) / zoom;
      zoom = to;
      place();
    };
    const zoomTo = ([x1, y1, x2, y2]) => {
      const w = stage.clientWidth, h = stage.clientHeight, px = w / state.width;
      zoom = clamp(0.3 * Math.min(w / ((x2 - x1) * px), h / ((y2 - y1) * px)), 1, 12);
      panX = w / 2 - ((x1 + x2) / 2) * px * zoom;
      panY = h / 2 - ((y1 + y2) / 2) * px * zoom;
      place();
    };
    // stage px -> photo px
    const toPhoto = (x, y) => [
      clamp(((x - panX) / zoom / stage.clientWidth) * state.width, 0, state.width),
      clamp(((y - panY) / zoom / stage.clientHeight) * state.height, 0, state.height)];
    const point = (e) => { const r = stage.getBoundingClientRect(); return toPhoto(e.clientX - r.left, e.clientY - r.top); };
    stage.addEventListener("wheel", (e) => {
      if (!review && !e.ctrlKey && !e.metaKey && !e.altKey) return; // the page scrolls
      e.preventDefault();
      const r = stage.getBoundingClientRect();
      zoomBy(Math.exp(-e.deltaY / 300), e.clientX - r.left, e.clientY - r.top);
    }, { passive: false });
    if (review) stage.addEventListener("dblclick", fit);

    // pointers: divider, pan, draw, move, resize. Only the selected region moves: who draws over another one would
    // uncover what that one hides.
    let drag = null;
    const pointers = new Map();
    stage.addEventListener("pointerdown", (e) => {
      if (!state || e.button > 0) return;
      pointers.set(e.pointerId, [e.clientX, e.clientY]);
      if (pointers.size === 2) { drag = { what: "pinch", far: distance(), zoom }; return; }
      stage.setPointerCapture(e.pointerId);
      const region = mode === "correct" && find(e.target.closest?.("[data-id]")?.dataset.id);
      const start = point(e);
      if (region && region.id === selected) {
        const corner = e.target.dataset.corner;
        drag = { what: corner ? "resize" : "move", corner, start, region, box: region.box };
      } else if (tool || (review && e.pointerType !== "touch" && !e.shiftKey)) drag = { what: "draw", start, region };
      else if (region) select(region.id);
      else if (mode === "compare" && (e.target.closest(".az-divider") || zoom === 1)) { drag = { what: "divide", start }; if (e.target.closest(".az-divider")) slide(e); }
      else { drag = { what: "pan", x: e.clientX - panX, y: e.clientY - panY }; if (mode === "correct") select(null); }
    });
    const distance = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    const slide = (e) => {
      const r = stage.getBoundingClientRect();
      sweeping = 0;
      divider = clamp((e.clientX - r.left) / r.width, 0, 1);
      place();
    };
    stage.addEventListener("pointermove", (e) => {
      if (!drag) return;
      if (pointers.has(e.pointerId)) pointers.set(e.pointerId, [e.clientX, e.clientY]);
      if (drag.what === "pinch") { zoomBy((drag.zoom * distance()) / drag.far / zoom); return; }
      if (drag.what === "divide") { drag.moved = true; slide(e); return; }
      if (drag.what === "pan") { panX = e.clientX - drag.x; panY = e.clientY - drag.y; place(); return; }
      const at = point(e), dx = at[0] - drag.start[0], dy = at[1] - drag.start[1];
      if (!drag.moved && Math.hypot(dx, dy) * (stage.clientWidth / state.width) * zoom < 4) return;
      drag.moved = true;
      const b = drag.region?.box;
      drag.box = drag.what === "draw" ? sides(drag.start, at)
        : drag.what === "move" ? [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy] : resized(b, drag.corner, dx, dy);
      outline(drag.box);
    });
    const resized = (b, corner, dx, dy) => [
      corner.includes("w") ? b[0] + dx : b[0], corner.includes("n") ? b[1] + dy : b[1],
      corner.includes("e") ? b[2] + dx : b[2], corner.includes("s") ? b[3] + dy : b[3]];
    const up = (e) => {
      pointers.delete(e.pointerId);
      const d = drag;
      drag = null;
      outline(null);
      if (!d || e.type === "pointercancel") return;
      if (d.what === "draw") {
        if (d.moved) drawn(d.box);
        else if (review) select(d.region ? d.region.id : null);
      } else if (d.what === "divide" && !d.moved) touch(d.start, e);
      else if (d.region && d.moved) act("move", { region: d.region.id, box: d.box });
      else if (d.region && review) select(null);
    };
    stage.addEventListener("pointerup", up);
    stage.addEventListener("pointercancel", up);
    // A click on what is hidden, while comparing: correct it. Elsewhere the divider comes.
    const touch = ([x, y], e) => {
      const on = state.regions.filter((r) => r.hidden && x >= r.box[0] && x < r.box[2] && y >= r.box[1] && y < r.box[3]);
      if (!on.length) { slide(e); return; }
      setMode("correct");
      select(on.sort((a, b) => area(a) - area(b))[0].id);
    };
    // Once for each photo: the clean picture, a look at the original, and back.
    const sweep = () => {
      if (review || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      const from = sweeping = performance.now();
      const step = (now) => {
        const t = (now - from) / 1400;
        if (sweeping !== from || mode !== "compare") return;
        divider = t < 1 ? Math.max(0, Math.sin(Math.PI * t)) * 0.6 : 0;
        place();
        if (t < 1) requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    };
    const drawn = (box) => {
      act("add", { kind: tool || atHand, box });
      tool = null;
      paint();
      place();
    };
    const outline = (box) => {
      boxes.querySelector(".az-new")?.remove();
      if (box) boxes.append(rect(box, "az-new"));
    };

    // keyboard
    handle.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[e.key];
      if (step) { sweeping = 0; divider = clamp(divider + step, 0, 1); place(); e.preventDefault(); }
    });
    const onkey = (e) => {
      if (!root.isConnected) { document.removeEventListener("keydown", onkey); document.removeEventListener("keyup", onkeyup); return; }
      if (!state || mode !== "correct" || !root.offsetParent) return;
      if (e.target.closest?.("input, textarea, select, dialog, [contenteditable=true]")) return;
      if (e.key.startsWith("Arrow") && e.target.closest?.("[role=tab]")) return;
      if (press(e)) e.preventDefault();
    };
    const onkeyup = (e) => { if (/^[co]$/i.test(e.key)) look(null); };
    const press = (e) => {
      const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
      const of = e.target.closest?.("[data-id]"), isMove = of && key.startsWith("Arrow");
      if (e.repeat && !isMove) return Boolean(keys[key]);  // a held key decides once
      if (e.ctrlKey || e.metaKey || e.altKey) return key === "z" && (act("undo"), true);
      if (keys[key] && !isMove) return act(keys[key]), true;
      if (key === "u") return act("undo"), true;
      if (review && (key === "c" || key === "o")) return look(key === "c" ? "clean" : "original"), true;
      if (review && key === "0") return fit(), true;
      if (key === "Escape") { selected = tool = null; of?.blur(); return paint(), place(), true; }
      if (key === "k") { if (review) return atHand = state.kinds[(state.kinds.indexOf(atHand) + 1) % state.kinds.length], paint(), true; return setTool(state.kinds[(state.kinds.indexOf(tool) + 1) % state.kinds.length]), true; }
      if (key === "]" || key === "[") {
        const some = visible().filter((r) => r.state !== "carrier"), n = some.length;
        const i = some.findIndex((r) => r.id === selected);
        return n && select(some[(i + (key === "]" ? 1 : n - 1 + (i < 0))) % n].id), true;
      }
      if (tool && key === "Enter" && e.target === stage) {
        const [x, y] = toPhoto(stage.clientWidth / 2, stage.clientHeight / 2), s = state.width / 20 / zoom;
        return drawn([x - s, y - s, x + s, y + s]), true;
      }
      const focused = find(of?.dataset.id), region = focused || find(selected);
      if (!region) return false;
      if (KEYS[key]) return act(KEYS[key], { region: region.id }), true;
      const step = Math.max(1, Math.round(state.width / 200));
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[key];
      if (by && focused) {
        const [x1, y1, x2, y2] = region.box, [dx, dy] = by;
        selected = region.id;
        const box = e.shiftKey ? [x1, y1, Math.max(x1 + 1, x2 + dx), Math.max(y1 + 1, y2 + dy)] : [x1 + dx, y1 + dy, x2 + dx, y2 + dy];
        return act("move", { region: region.id, box }), true;
      }
      if (focused && (key === "Enter" || key === " ")) return select(region.id), true;
      return false;
    };
    document.addEventListener("keydown", onkey);
    document.addEventListener("keyup", onkeyup);
    addEventListener("blur", () => look(null));

    const select = (id) => { selected = id; paint(); boxes.querySelector(`rect[data-id="${id}"]`)?.focus({ preventScroll: true }); };
    const visible = () => state.regions.filter((r) => r.hidden || showOthers || r.status !== "auto" || r.id === selected);
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);

    const paint = () => {
      if (!state) return;
      const correcting = mode === "correct";
      root.parentNode.dataset.mode = mode;
      root.parentNode.classList.toggle("drawing", Boolean(tool));
      stage.tabIndex = tool ? 0 : -1;
      compareTab.setAttribute("aria-pressed", !correcting);
      correctTab.setAttribute("aria-pressed", correcting);
      for (const b of drawing.children) {
        b.setAttribute("aria-pressed", tool === b.dataset.kind);
        b.classList.toggle("at-hand", review && !tool && atHand === b.dataset.kind);
      }
      undo.disabled = state.undo === false;
      boxes.setAttribute("viewBox", `0 0 ${state.width} ${state.height}`);
      const focused = document.activeElement?.dataset?.id;
      boxes.replaceChildren();
      // small ones last, so that they can be clicked on top of large ones; and on top of vehicles and persons
      const rank = (r) => (r.state === "carrier" ? Infinity : area(r));
      if (correcting) visible().sort((a, b) => rank(b) - rank(a)).forEach(box);
      if (focused) boxes.querySelector(`rect[data-id="${focused}"]`)?.focus({ preventScroll: true });
      explain();
      label();
    };
    const box = (r) => {
      const chosen = r.id === selected ? " selected" : "";
      const node = rect(r.box, `az-region ${r.hidden ? "on" : "off"} ${r.state}${chosen}`);
      Object.assign(node.dataset, { id: r.id, kind: r.kind });
      node.setAttribute("tabindex", "0");
      node.setAttribute("role", "button");
      node.setAttribute("aria-label", `${named(r)}, ${r.hidden ? "hidden" : "not hidden"}, ${sureInWords(r)}`);
      const title = svg("title", {});
      title.textContent = r.why;
      node.append(title);
      boxes.append(node);
      if (r.state === "carrier") return;
      const text = svg("text", { x: r.box[0], y: r.box[1], class: `az-label${chosen}`, "aria-hidden": "true", "data-height": r.box[3] - r.box[1] });
      text.textContent = r.status === "manual" ? "added by you" : sure(r);
      boxes.append(text);
      for (const c of chosen ? ["nw", "ne", "sw", "se"] : []) {
        const s = svg("circle", { cx: c.includes("w") ? r.box[0] : r.box[2], cy: c.includes("n") ? r.box[1] : r.box[3], class: "az-corner" });
        Object.assign(s.dataset, { corner: c, id: r.id });
        boxes.append(s);
      }
    };
    // texts and corners keep their size on the screen whatever the zoom
    const label = () => {
      if (!state || !stage.clientWidth) return;
      const px = state.width / stage.clientWidth / zoom;
      apart([...boxes.querySelectorAll("text")], px);
      for (const c of boxes.querySelectorAll("circle")) c.setAttribute("r", 7 * px);
    };
    const explain = () => {
      about.replaceChildren();
      if (mode !== "correct") return;
      const r = find(selected);
      if (!r) {
        about.append(review ? (tool ? `Drag over the ${tool} that was missed. Esc ends drawing.` : `Click a box to hide it, call it a false alarm, move or resize it. ${matchMedia("(pointer: coarse)").matches ? "Choose face or plate, then draw" : "Drag to draw"} a box where something was missed.`)
          : !tool ? "Select a box to see why it is there, move it, or switch it off. Where something was missed, choose what to draw, then draw a box."
          : "Draw a box over what must be hidden: press, drag, let go. (Keyboard: focus the photo and press Enter, then move the box with the arrow keys.)");
        return;
      }
      about.append(make("strong", {}, `${named(r)}: ${r.hidden ? "hidden" : "not hidden"}. `), `${r.why} `);
      const offer = (text, what) => about.append(button(text, () => act(what, { region: r.id })));
      if (!r.hidden) offer(review ? "Hide this (H)" : "Hide this", "accept");
      if (r.status === "manual") offer("Remove this box", "reject");
      else if (r.hidden || (review && r.status === "auto")) offer(review ? "False alarm (X)" : "Do not hide this", "reject");
      if (r.status === "accepted" || r.status === "rejected") offer("Reset to automatic", "reset");
    };

    // Another photo: nothing is seen of the one before, and it is told when this one is.
    const shown = async (value) => {
      const fresh = value.picture || make("img", { src: value.before });
      Object.assign(fresh, { className: "az-before", alt: "The original photo", draggable: false });
      before.replaceWith(fresh);
      before = fresh;
      after.removeAttribute("src");
      let can = true;
      const mine = ++turn; // the picture itself may have been replaced by then, by the same at full size (`sharpen`)
      try { await fresh.decode(); } catch { can = fresh.complete && fresh.naturalWidth > 0; }
      requestAnimationFrame(() => setTimeout(() => state?.id === value.id && turn === mine && onpaint(value.id, can)));
    };
    const show = (value) => {
      const other = state?.id !== value.id, ids = new Set((state?.regions || []).map((r) => r.id));
      const kinds = String(state?.kinds), last = state;
      state = value;
      root.hidden = false;
      stage.style.aspectRatio = `${value.width} / ${value.height}`;
      stage.style.maxWidth = `calc(var(--az-stage-height, 72vh) * ${value.width / value.height})`;
      if (kinds !== String(value.kinds)) {
        drawing.replaceChildren(...value.kinds.map((kind) => button(DRAW[kind] || `Draw a ${kind}`, () => setTool(kind), { "data-kind": kind })));
        tool = null;
        if (!value.kinds.includes(atHand)) atHand = value.kinds.find((kind) => kind === "plate") || value.kinds[0];
      }
      if (other) {
        if (review) shown(value);
        else before.src = value.before;
        if (value.after && !review) after.src = value.after;
        zoom = 1; panX = panY = 0; divider = review ? 0.5 : 0; selected = tool = peek = null;
        sweeping = 0;
        if (!review) { mode = "compare"; after.addEventListener("load", sweep, { once: true }); }
      } else {
        // Another frame of the same clip: its pictures are fetched already.
        if (!review && value.before !== last.before) before.src = value.before;
        const fresh = !review && mode === "correct" && value.frame === last.frame && value.regions.find((r) => r.status === "manual" && !ids.has(r.id));
        if (fresh) { selected = fresh.id; setTimeout(() => boxes.querySelector(`rect[data-id="${fresh.id}"]`)?.focus()); }
        if (!find(selected)) selected = null;
        if (value.after && !review && after.getAttribute("src") !== value.after) {
          const next = new Image(); // the old picture stays until the new one is there
          next.onload = () => { if (state.after === value.after) after.src = value.after; };
          next.src = value.after;
        }
      }
      paint();
      place();
    };
    new ResizeObserver(place).observe(stage);
    // What was not hidden and may be something, shown to be corrected.
    const misses = () => { setMode("correct"); root.querySelector(".az-misses input").checked = showOthers = true; paint(); };
    return { root, show, misses, zoomTo, select, hide: () => { state = null; root.hidden = true; } };
  };

  Object.assign(window.anonymize, { editor });
})();
