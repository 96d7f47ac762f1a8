// What Gradio has no component for: dropping a photo in without it passing through Gradio's upload cache, a picture that can be
// compared, zoomed and corrected, and a slider for thresholds. Each is a function that fills an element of a gr.HTML.
"use strict";
(() => {
  const make = (tag, props = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const svg = (tag, props) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
    return node;
  };
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  let unique = 0;

  // Send a file as it is. onprogress gets 0..1. Resolves to the answer's JSON, rejects with a sentence.
  const most = Number(document.querySelector('meta[name="anonymize-most"]')?.content) || Infinity;
  const send = (url, file, onprogress) =>
    new Promise((resolve, reject) => {
      if (file.size > most) { reject(`That is too large: at most ${Math.round(most / 1e6)} MB.`); return; }
      const request = new XMLHttpRequest();
      request.open("POST", url);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (e) => e.lengthComputable && onprogress?.(e.loaded / e.total);
      request.onerror = () => reject("The photo could not be sent. Is the server still running?");
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
        if (request.status < 300) resolve(answer);
        else reject(answer.error || `The server refused the photo (${request.status}).`);
      };
      request.send(file);
    });

  // ---- a place to drop files ----
  // onfiles gets the files, and a sentence for each that a drop had and that cannot be read.
  const dropzone = ({ title, hint, multiple, accept, onfiles, camera }) => {
    const id = `az-file-${++unique}`;
    const input = make("input", { type: "file", id, accept, multiple, class: "az-file", onchange: () => {
      if (input.files.length) onfiles([...input.files]);
      input.value = "";
    } });
    const zone = make("div", { class: "az-drop" },
      make("div", { class: "az-drop-icon", "aria-hidden": "true" }),
      make("label", { for: id, class: "az-drop-title" }, title),
      make("p", { class: "az-drop-hint" }, hint),
      input);
    if (camera) zone.append(make("button", { type: "button", class: "az-button", onclick: camera }, "Take a picture"));
    zone.addEventListener("dragover", (e) => { e.preventDefault(); zone.classList.add("over"); });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", async (e) => {
      e.preventDefault();
      zone.classList.remove("over");
      const { files, unread } = await dropped(e.dataTransfer);
      if (files.length || unread.length) onfiles(multiple ? files : files.slice(0, 1), unread);
    });
    zone.addEventListener("click", (e) => { if (e.target === zone || e.target.matches(".az-drop-icon, .az-drop-hint")) input.click(); });
    return zone;
  };
  // Files of a drop, folders opened; each with its path below the drop in `file.path_`. `unread`: what could not be.
  const dropped = async (transfer) => {
    const entries = [...transfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return { files: [...transfer.files], unread: [] };
    const files = [], unread = [];
    const walk = async (entry) => {
      const path = entry.fullPath.replace(/^\//, "");
      try {
        if (entry.isFile) {
          const file = await new Promise((ok, no) => entry.file(ok, no));
          file.path_ = path;
          files.push(file);
        } else {
          const reader = entry.createReader();
          for (;;) {
            const some = await new Promise((ok, no) => reader.readEntries(ok, no));
            if (!some.length) break;
            for (const e of some) await walk(e);
          }
        }
      } catch (problem) { unread.push(`${path}: it cannot be read (${problem.name || problem})`); }
    };
    for (const entry of entries) await walk(entry);
    return { files, unread };
  };

  const takePicture = async (onfile, onproblem) => {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 4096 } } });
    } catch {
      onproblem("There is no camera here, or the browser may not use it.");
      return;
    }
    const video = make("video", { autoplay: true, playsinline: true, muted: true });
    video.srcObject = stream;
    const done = () => { stream.getTracks().forEach((t) => t.stop()); dialog.close(); dialog.remove(); };
    const shoot = () => {
      const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => { done(); onfile(new File([blob], "camera.png", { type: "image/png" })); }, "image/png");
    };
    const dialog = make("dialog", { class: "az-camera", "aria-label": "Camera" }, video,
      make("div", { class: "az-bar" },
        make("button", { type: "button", class: "az-button az-primary", onclick: shoot }, "Take this picture"),
        make("button", { type: "button", class: "az-button", onclick: done }, "Cancel")));
    document.body.append(dialog);
    dialog.addEventListener("cancel", done);
    dialog.showModal();
  };

  // ---- the photo ----
  const PHOTOS = "image/*,.heic,.heif,.tif,.tiff";
  const viewer = ({ element, props, trigger, watch }) => {
    const root = element.querySelector(".az-viewer");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    let state = null;          // what the server said last
    let mode = "compare";      // or "correct"
    let tool = null;           // kind that is being drawn
    let selected = null;       // id of a region
    let divider = 0.5, zoom = 1, panX = 0, panY = 0;
    let showOthers = false, showOriginal = false;

    const say = (text, problem = false) => {
      status.textContent = text;
      status.classList.toggle("problem", problem);
      root.classList.toggle("busy", Boolean(text) && !problem);
    };
    const open = async (file) => {
      say("Sending the photo …");
      try {
        const answer = await send(`/photos?name=${encodeURIComponent(file.name)}`, file, (p) =>
          say(p < 1 ? `Sending the photo … ${Math.round(p * 100)} %` : "Looking for faces and plates …"));
        say("Looking for faces and plates …");
        trigger("opened", answer);
      } catch (problem) { say(String(problem), true); }
    };
    const camera = () => takePicture(open, (p) => say(p, true));
    const zone = dropzone({ title: "Choose a photo", accept: PHOTOS, camera,
      onfiles: ([file], [problem] = []) => (file ? open(file) : say(problem, true)),
      hint: `or drop it here, or paste it. ${root.dataset.label}` });
    const status = make("p", { class: "az-status", role: "status", "aria-live": "polite" });

    // stage
    const before = make("img", { class: "az-before", alt: "The original photo", draggable: "false" });
    const after = make("img", { class: "az-after", alt: "The photo with faces and plates hidden", draggable: "false" });
    const boxes = svg("svg", { class: "az-boxes", preserveAspectRatio: "none" });
    const canvas = make("div", { class: "az-canvas" }, after, before, boxes);
    const handle = make("div", { class: "az-divider", role: "slider", tabindex: "0", "aria-label": "Compare: original on the left, clean photo on the right",
      "aria-valuemin": "0", "aria-valuemax": "100" }, make("span", { "aria-hidden": "true" }, "‹ ›"));
    const tagBefore = make("span", { class: "az-tag left", "aria-hidden": "true" }, "original");
    const tagAfter = make("span", { class: "az-tag right", "aria-hidden": "true" }, "clean");
    const stage = make("div", { class: "az-stage", tabindex: "-1" }, canvas, handle, tagBefore, tagAfter);

    const button = (text, onclick, extra = {}) => make("button", { type: "button", class: "az-button", onclick, ...extra }, text);
    const compareTab = button("Compare", () => setMode("compare"));
    const correctTab = button("Correct", () => setMode("correct"));
    const zoomText = make("output", { class: "az-zoom", "aria-live": "off" }, "100 %");
    const bar = make("div", { class: "az-bar az-top" },
      make("div", { class: "az-segments", role: "group", "aria-label": "View" }, compareTab, correctTab),
      make("div", { class: "az-segments", role: "group", "aria-label": "Zoom" },
        button("−", () => zoomBy(1 / 1.4), { "aria-label": "Zoom out" }), zoomText,
        button("+", () => zoomBy(1.4), { "aria-label": "Zoom in" }),
        button("Fit", () => { zoom = 1; panX = panY = 0; place(); })),
      make("span", { class: "az-space" }),
      button("Another photo", () => again.click()));
    const again = make("input", { type: "file", accept: PHOTOS, class: "az-file", tabindex: "-1", "aria-label": "Choose another photo",
      onchange: () => { if (again.files[0]) open(again.files[0]); again.value = ""; } });
    const drawing = {};
    for (const [kind, text] of [["face", "Draw a face"], ["plate", "Draw a plate"], ["other", "Draw other"]])
      drawing[kind] = button(text, () => { tool = tool === kind ? null : kind; selected = null; paint(); });
    const undo = button("Undo", () => trigger("corrected", { what: "undo" }));
    const check = (text, onchange) => {
      const id = `az-check-${++unique}`;
      const input = make("input", { type: "checkbox", id, onchange: () => onchange(input.checked) });
      return make("span", { class: "az-check" }, input, make("label", { for: id }, text));
    };
    const correctBar = make("div", { class: "az-bar az-correct" }, ...Object.values(drawing), undo, make("span", { class: "az-space" }),
      check("Show the original", (on) => { showOriginal = on; place(); }),
      check("Show what was not hidden", (on) => { showOthers = on; paint(); }));
    const about = make("div", { class: "az-about", "aria-live": "polite" });
    const body = make("div", { class: "az-body", hidden: true }, bar, correctBar, stage, about, again);
    root.append(zone, status, body);

    const setMode = (m) => { mode = m; tool = selected = null; paint(); place(); };

    // geometry: the canvas fills the stage's width at zoom 1; pan is in stage px
    const place = () => {
      if (!state) return;
      const w = stage.clientWidth, h = stage.clientHeight;
      panX = clamp(panX, w * (1 - zoom), 0);
      panY = clamp(panY, h * (1 - zoom), 0);
      canvas.style.transform = `translate(${panX}px, ${panY}px) scale(${zoom})`;
      zoomText.textContent = `${Math.round(zoom * 100)} %`;
      const comparing = mode === "compare";
      const cut = comparing ? divider : showOriginal ? 1 : 0;
      const right = 100 - clamp(((cut * w - panX) / zoom / w) * 100, 0, 100);
      before.style.clipPath = `inset(0 ${right}% 0 0)`;
      before.style.visibility = cut > 0 ? "visible" : "hidden";
      handle.hidden = tagBefore.hidden = tagAfter.hidden = !comparing;
      handle.style.left = `${divider * 100}%`;
      handle.setAttribute("aria-valuenow", Math.round(divider * 100));
      stage.style.setProperty("--zoom", zoom);
      label();
    };
    const zoomBy = (f, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
      const to = clamp(zoom * f, 1, 12);
      panX = x - ((x - panX) * to) / zoom;
      panY = y - ((y - panY) * to) / zoom;
      zoom = to;
      place();
    };
    // stage px -> photo px
    const point = (e) => {
      const r = stage.getBoundingClientRect();
      return [((e.clientX - r.left - panX) / zoom / r.width) * state.width, ((e.clientY - r.top - panY) / zoom / r.height) * state.height];
    };
    stage.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !e.metaKey && zoom === 1 && e.deltaY > 0) return; // the page scrolls
      if (!e.ctrlKey && !e.metaKey && !e.altKey) return;
      e.preventDefault();
      const r = stage.getBoundingClientRect();
      zoomBy(Math.exp(-e.deltaY / 300), e.clientX - r.left, e.clientY - r.top);
    }, { passive: false });

    // pointers: divider, pan, draw, move, resize
    let drag = null;
    const pointers = new Map();
    stage.addEventListener("pointerdown", (e) => {
      if (!state || e.button > 0) return;
      pointers.set(e.pointerId, [e.clientX, e.clientY]);
      if (pointers.size === 2) { drag = { what: "pinch", far: distance(), zoom }; return; }
      stage.setPointerCapture(e.pointerId);
      const region = e.target.closest?.("[data-id]");
      const start = point(e);
      if (tool) drag = { what: "draw", start };
      else if (mode === "correct" && region) {
        const of = state.regions.find((r) => r.id === region.dataset.id);
        drag = { what: e.target.dataset.corner ? "resize" : "move", corner: e.target.dataset.corner, start, of, box: [...of.box], moved: false };
        select(of.id);
      } else if (mode === "compare" && (e.target.closest(".az-divider") || zoom === 1)) { drag = { what: "divide" }; slide(e); }
      else { drag = { what: "pan", x: e.clientX - panX, y: e.clientY - panY }; if (mode === "correct") select(null); }
    });
    const distance = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    const slide = (e) => {
      const r = stage.getBoundingClientRect();
      divider = clamp((e.clientX - r.left) / r.width, 0, 1);
      place();
    };
    stage.addEventListener("pointermove", (e) => {
      if (!drag) return;
      if (pointers.has(e.pointerId)) pointers.set(e.pointerId, [e.clientX, e.clientY]);
      if (drag.what === "pinch") { zoomBy((drag.zoom * distance()) / drag.far / zoom); return; }
      if (drag.what === "divide") slide(e);
      else if (drag.what === "pan") { panX = e.clientX - drag.x; panY = e.clientY - drag.y; place(); }
      else {
        const [x, y] = point(e), [sx, sy] = drag.start;
        if (drag.what === "draw") drag.box = [Math.min(x, sx), Math.min(y, sy), Math.max(x, sx), Math.max(y, sy)];
        else {
          const b = drag.of.box, dx = x - sx, dy = y - sy;
          if (!drag.moved && Math.hypot(dx, dy) * (stage.clientWidth / state.width) * zoom < 4) return;
          drag.moved = true;
          drag.box = drag.what === "move" ? [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy] : resized(b, drag.corner, dx, dy);
        }
        outline(drag.box);
      }
    });
    const resized = (b, corner, dx, dy) => [
      corner.includes("w") ? b[0] + dx : b[0], corner.includes("n") ? b[1] + dy : b[1],
      corner.includes("e") ? b[2] + dx : b[2], corner.includes("s") ? b[3] + dy : b[3]];
    const up = (e) => {
      pointers.delete(e.pointerId);
      const d = drag;
      drag = null;
      if (!d || e.type === "pointercancel") { outline(null); return; }
      if (d.what === "draw") {
        outline(null);
        const b = d.box || [0, 0, 0, 0];
        if (b[2] - b[0] > 2 && b[3] - b[1] > 2) { trigger("corrected", { what: "add", kind: tool, box: b }); tool = null; paint(); }
      } else if ((d.what === "move" || d.what === "resize") && d.moved) trigger("corrected", { what: "move", region: d.of.id, box: d.box });
    };
    stage.addEventListener("pointerup", up);
    stage.addEventListener("pointercancel", up);
    const outline = (box) => {
      boxes.querySelector(".az-new")?.remove();
      if (box) boxes.append(rect(box, "az-new"));
    };
    const rect = (b, cls) => svg("rect", { x: Math.min(b[0], b[2]), y: Math.min(b[1], b[3]), width: Math.abs(b[2] - b[0]), height: Math.abs(b[3] - b[1]), class: cls });

    // keyboard
    handle.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[e.key];
      if (step) { divider = clamp(divider + step, 0, 1); place(); e.preventDefault(); }
    });
    root.addEventListener("keydown", (e) => {
      if (!state || mode !== "correct" || e.target.matches("input")) return;
      if (e.key === "Escape") { tool = selected = null; paint(); return; }
      if ((e.ctrlKey || e.metaKey) && e.key === "z") { trigger("corrected", { what: "undo" }); e.preventDefault(); return; }
      if (tool && e.key === "Enter" && e.target === stage) {
        const [x, y] = [(stage.clientWidth / 2 - panX) / zoom / stage.clientWidth * state.width, (stage.clientHeight / 2 - panY) / zoom / stage.clientHeight * state.height];
        const s = state.width / 20 / zoom;
        trigger("corrected", { what: "add", kind: tool, box: [x - s, y - s, x + s, y + s] });
        tool = null; e.preventDefault(); return;
      }
      const region = state.regions.find((r) => r.id === (e.target.closest?.("[data-id]")?.dataset.id));
      if (!region) return;
      const step = Math.max(1, Math.round(state.width / 200));
      const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key] || [0, 0];
      if (dx || dy) {
        const b = region.box;
        trigger("corrected", { what: "move", region: region.id, box: e.shiftKey ? [b[0], b[1], Math.max(b[0] + 1, b[2] + dx), Math.max(b[1] + 1, b[3] + dy)] : [b[0] + dx, b[1] + dy, b[2] + dx, b[3] + dy] });
        selected = region.id;
      } else if (e.key === "Enter" || e.key === " ") select(region.id);
      else if (e.key === "Delete" || e.key === "Backspace") trigger("corrected", { what: "reject", region: region.id });
      else return;
      e.preventDefault();
    });
    document.addEventListener("paste", (e) => {
      if (!root.offsetParent || e.target.matches?.("input, textarea")) return;
      const file = [...(e.clipboardData?.files || [])].find((f) => f.type.startsWith("image/"));
      if (file) open(file);
    });

    const select = (id) => { selected = id; paint(); boxes.querySelector(`[data-id="${id}"]`)?.focus(); };
    const NAMES = { face: "Face", plate: "License plate", other: "Drawn region", vehicle: "Vehicle", person: "Person" };
    const named = (r) => NAMES[r.kind] || r.kind;

    const paint = () => {
      if (!state) return;
      const correcting = mode === "correct";
      root.dataset.mode = mode;
      root.classList.toggle("drawing", Boolean(tool));
      stage.tabIndex = tool ? 0 : -1;
      compareTab.setAttribute("aria-pressed", !correcting);
      correctTab.setAttribute("aria-pressed", correcting);
      for (const [kind, b] of Object.entries(drawing)) b.setAttribute("aria-pressed", tool === kind);
      undo.disabled = !state.undo;
      boxes.setAttribute("viewBox", `0 0 ${state.width} ${state.height}`);
      const focused = document.activeElement?.dataset?.id;
      boxes.replaceChildren();
      if (correcting) {
        const shown = state.regions.filter((r) => r.hidden || showOthers || r.status !== "auto" || r.id === selected);
        // small ones last, so that they can be clicked on top of large ones
        shown.sort((a, b) => (b.box[2] - b.box[0]) * (b.box[3] - b.box[1]) - (a.box[2] - a.box[0]) * (a.box[3] - a.box[1]));
        for (const r of shown) {
          const node = rect(r.box, `az-region ${r.hidden ? "on" : "off"} ${r.id === selected ? "selected" : ""}`);
          node.dataset.id = r.id;
          node.dataset.kind = r.kind;
          node.setAttribute("tabindex", "0");
          node.setAttribute("role", "button");
          node.setAttribute("aria-label", `${named(r)}, ${r.hidden ? "hidden" : "not hidden"}, score ${r.score.toFixed(2)}`);
          boxes.append(node);
          const text = svg("text", { x: r.box[0], y: r.box[1], class: `az-label ${r.id === selected ? "selected" : ""}`, "aria-hidden": "true" });
          text.textContent = r.status === "manual" ? "added by you" : r.score.toFixed(2);
          boxes.append(text);
          if (r.id === selected)
            for (const c of ["nw", "ne", "sw", "se"]) {
              const s = svg("circle", { cx: c.includes("w") ? r.box[0] : r.box[2], cy: c.includes("n") ? r.box[1] : r.box[3], class: "az-corner" });
              s.dataset.corner = c;
              s.dataset.id = r.id;
              boxes.append(s);
            }
        }
        if (focused) boxes.querySelector(`rect[data-id="${focused}"]`)?.focus();
      }
      explain();
      label();
    };
    // texts and corners keep their size on the screen whatever the zoom
    const label = () => {
      if (!state || !stage.clientWidth) return;
      const px = state.width / stage.clientWidth / zoom;
      for (const t of boxes.querySelectorAll("text")) { t.style.fontSize = `${12 * px}px`; t.setAttribute("dy", (t.classList.contains("selected") ? -11 : -4) * px); t.style.strokeWidth = `${3 * px}px`; }
      for (const c of boxes.querySelectorAll("circle")) c.setAttribute("r", 7 * px);
    };
    const explain = () => {
      about.replaceChildren();
      if (mode !== "correct") return;
      const r = state.regions.find((x) => x.id === selected);
      if (tool) about.append(`Draw a box over what must be hidden: press, drag, let go. (Keyboard: focus the photo and press Enter, then move the box with the arrow keys.)`);
      else if (!r) about.append(`Select a box to see why it is there, to move it or to switch it off. Draw a box where something was missed.`);
      else {
        about.append(make("strong", {}, `${named(r)}: ${r.hidden ? "hidden" : "not hidden"}. `), r.why + " ");
        const act = (text, what) => about.append(button(text, () => trigger("corrected", { what, region: r.id })));
        if (r.hidden) act(r.status === "manual" ? "Remove this box" : "Do not hide this", "reject");
        else act("Hide this", "accept");
        if (r.status === "accepted" || r.status === "rejected") act("Let the score decide", "reset");
      }
    };

    const update = () => {
      const value = props.value;
      if (!value || typeof value !== "object") return;
      if (value.problem) { say(value.problem, true); if (!value.id) return; }
      else say("");
      if (!value.id) { state = null; body.hidden = true; zone.hidden = false; return; }
      const other = !state || state.id !== value.id;
      const ids = new Set((state?.regions || []).map((r) => r.id));
      state = value;
      zone.hidden = true;
      body.hidden = false;
      stage.style.aspectRatio = `${value.width} / ${value.height}`;
      stage.style.maxWidth = `calc(72vh * ${value.width / value.height})`;
      if (other) {
        before.src = value.before;
        zoom = 1; panX = panY = 0; divider = 0.5; selected = tool = null; mode = "compare";
        after.src = value.after;
      } else {
        const drawn = value.regions.find((r) => r.status === "manual" && !ids.has(r.id));
        if (drawn && mode === "correct") { selected = drawn.id; setTimeout(() => boxes.querySelector(`rect[data-id="${drawn.id}"]`)?.focus()); }
        if (selected && !value.regions.some((r) => r.id === selected)) selected = null;
        if (after.getAttribute("src") !== value.after) {
          const next = new Image(); // the old picture stays until the new one is there
          next.onload = () => { if (state.after === value.after) after.src = value.after; };
          next.src = value.after;
        }
      }
      root.dataset.version = value.version;
      paint();
      place();
    };
    watch("value", update);
    new ResizeObserver(place).observe(stage);
    update();
  };

  // ---- a threshold from 0.001 to 1 whose low end has room ----
  const threshold = ({ element, props, trigger, watch }) => {
    const root = element.querySelector(".az-threshold");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    const id = `az-threshold-${++unique}`;
    const toPosition = (t) => ((Math.log10(clamp(t, 0.001, 1)) + 3) / 3) * 100;
    const toValue = (p) => Number((10 ** (-3 + (3 * p) / 100)).toPrecision(2));
    const range = make("input", { type: "range", id, min: "0", max: "100", step: "0.5" });
    const number = make("input", { type: "number", min: "0.001", max: "1", step: "any", "aria-label": `${root.dataset.label}: score, from 0.001 to 1` });
    root.append(
      make("div", { class: "az-row" }, make("label", { for: id }, root.dataset.label), number), range,
      make("div", { class: "az-row az-ends", "aria-hidden": "true" }, make("span", {}, "hide even doubtful ones"), make("span", {}, "only sure ones")));
    const show = (t, all = true) => {
      if (document.activeElement !== range || all) range.value = toPosition(t);
      if (document.activeElement !== number || all) number.value = t;
      range.setAttribute("aria-valuetext", `hidden from a score of ${t}`);
      range.style.setProperty("--filled", `${toPosition(t)}%`);
    };
    const set = (t) => { props.value = t; show(t, false); trigger("input", { value: t }); };
    range.addEventListener("input", () => set(toValue(Number(range.value))));
    number.addEventListener("change", () => { const t = clamp(Number(number.value) || 0.001, 0.001, 1); number.value = t; set(t); });
    watch("value", () => show(Number(props.value), false));
    show(Number(props.value));
  };

  // ---- many photos ----
  const uploader = ({ element, trigger }) => {
    const root = element.querySelector(".az-uploader");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    let batch = null, taken = 0, sending = false;
    const status = make("p", { class: "az-status", role: "status", "aria-live": "polite" });
    // Other photos instead of more of them: the server forgets those it has.
    const over = make("button", { type: "button", class: "az-button", hidden: true, onclick: () => {
      trigger("cleared", { id: batch });
      batch = null;
      taken = 0;
      problems.replaceChildren();
      ready();
      zone.querySelector("input").focus();
    } }, "Start over");
    const ready = () => {
      status.textContent = !taken ? "" : taken === 1 ? "1 photo is ready." : `${taken} photos are ready.`;
      over.hidden = !taken;
      title.textContent = taken ? "Add more photos" : "Choose photos";
      root.classList.toggle("has", taken > 0);
    };
    const bar = make("progress", { max: "1", value: "0", hidden: true, "aria-label": "Sending photos" });
    const problems = make("ul", { class: "az-problems" });
    const queue = [];  // of what is sent now; more may come in meanwhile
    let all = 0;
    const onfiles = async (files, unread = []) => {
      if (!sending) problems.replaceChildren();
      problems.append(...unread.map((text) => make("li", {}, text)));
      queue.push(...files);
      all += files.length;
      if (sending || !files.length) return;
      sending = over.disabled = true;
      bar.hidden = false;
      try {
        if (!batch) {
          const answer = await fetch("/batches", { method: "POST" });
          if (!answer.ok) throw (await answer.json()).error;
          batch = (await answer.json()).id;
        }
        let sent = 0;
        const worker = async () => {
          for (let file; (file = queue.shift()); ) {
            const name = file.path_ || file.webkitRelativePath || file.name;
            try {
              const answer = await send(`/batches/${batch}/files?name=${encodeURIComponent(name)}`, file);
              taken = Math.max(taken, answer.photos);
            } catch (problem) { problems.append(make("li", {}, `${file.name}: ${problem}`)); }
            bar.value = ++sent / all;
            status.textContent = `Sending: ${sent} of ${all} …`;
          }
        };
        await Promise.all([worker(), worker(), worker()]);
        ready();
      } catch (problem) { problems.append(make("li", {}, String(problem))); status.textContent = ""; }
      bar.hidden = true;
      queue.length = all = 0;
      sending = over.disabled = false;
      trigger("ready", { id: batch, photos: taken });
    };
    const zone = dropzone({ title: "Choose photos", multiple: true, accept: `${PHOTOS},.zip`, onfiles,
      hint: "or drop photos, folders or a zip file here." });
    const title = zone.querySelector(".az-drop-title");
    root.append(zone, make("div", { class: "az-bar" }, status, over), bar, problems);
  };

  // While the server still fetches or loads its detectors, say so; a photo that comes meanwhile is looked at afterwards.
  const starting = ({ element }) => {
    const root = element.querySelector(".az-starting");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    const status = make("p", { class: "az-status az-spin", role: "status", hidden: true });
    root.append(status);
    const look = async () => {
      let now = { status: "starting" };
      try { now = await (await fetch("/healthz")).json(); } catch { /* it may come back */ }
      status.hidden = now.status === "ok";
      status.classList.toggle("problem", now.status === "failing");
      status.classList.toggle("az-spin", now.status === "starting");
      const text = now.status === "failing"
        ? "The detectors could not be loaded, so no photo can be looked at. Adding a photo tries again and says why."
        : `Getting ready${now.doing ? `: ${now.doing}` : ""} … You can add a photo already.`;
      if (!status.hidden && status.textContent !== text) status.textContent = text;
      if (now.status !== "ok") setTimeout(look, now.status === "starting" ? 700 : 5000);
    };
    look();
  };

  // A link or a button anywhere on the page with data-event sends that to a gr.HTML around it.
  const clicks = ({ element, trigger }) =>
    element.addEventListener("click", (e) => {
      const target = e.target.closest("[data-event]");
      if (target) trigger("chosen", { ...target.dataset });
    });

  // Tell the server when the last page closes, so that it deletes the photos; and that this page is still here.
  addEventListener("pagehide", () => fetch("/visit/leave", { method: "POST", keepalive: true }).catch(() => {}));
  setInterval(() => fetch("/visit/here", { method: "POST" }).catch(() => {}), 30000);
  addEventListener("pageshow", (e) => { if (e.persisted) fetch("/visit/here", { method: "POST" }).catch(() => {}); });

  window.anonymize = { viewer, threshold, uploader, clicks, starting };
})();
