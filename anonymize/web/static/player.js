// A clip and its clean copy, played together with a divider between them; single frames of both while there is no clean
// copy to play. tools.js is loaded before it.
"use strict";
(() => {
  const { make, clamp, button } = window.anonymize.tools;

  // 63.25 -> 1:03.2
  const clock = (s) => `${Math.floor(s / 60)}:${(Math.floor((s % 60) * 10) / 10).toFixed(1).padStart(4, "0")}`;
  const load = (src) => new Promise((done) => {
    const picture = new Image();
    picture.onload = picture.onerror = done;
    picture.src = src;
  });

  // onframe: another frame is shown, its number.
  const player = ({ onframe }) => {
    let state = null, times = null, frame = 0, divider = 0.5, fails = false, wanted = -1;
    const video = (what, label) => make("video", { class: what, "aria-label": label, muted: true, playsinline: true, preload: "auto",
      onerror: (e) => { if (e.target.getAttribute("src")) { fails = true; paint(); } } });
    const picture = (what, alt) => make("img", { class: what, alt, draggable: "false" });
    const before = video("az-before", "The original clip"), after = video("az-after", "The clip with faces and plates hidden");
    const stillBefore = picture("az-before", "A frame of the original clip"), stillAfter = picture("az-after", "The frame with faces and plates hidden");
    const handle = make("div", { class: "az-divider", role: "slider", tabindex: "0", "aria-label": "Compare: original on the left, clean clip on the right",
      "aria-valuemin": "0", "aria-valuemax": "100" }, make("span", { "aria-hidden": "true" }, "‹ ›"));
    const tagBefore = make("span", { class: "az-tag left", "aria-hidden": "true" }, "original");
    const tagAfter = make("span", { class: "az-tag right", "aria-hidden": "true" }, "clean");
    const canvas = make("div", { class: "az-canvas" }, after, before, stillAfter, stillBefore);
    const stage = make("div", { class: "az-stage" }, canvas, handle, tagBefore, tagAfter);
    const play = button("Play", () => (after.paused ? after.play() : after.pause()), { class: "az-button az-play" });
    const range = make("input", { type: "range", min: "0", step: "1", value: "0", class: "az-seek", "aria-label": "Position in the clip",
      oninput: () => seek(Number(range.value)) });
    const time = make("output", { class: "az-time" });
    const sound = button("Sound on", () => { after.muted = !after.muted; paint(); });
    const step = (by, label, text) => button(text, () => { after.pause(); seek(frame + by); }, { "aria-label": label });
    const bar = make("div", { class: "az-bar az-transport" }, play, step(-1, "One frame back", "‹"), range, step(1, "One frame on", "›"), time, sound);
    const root = make("div", { class: "az-body az-player", hidden: true }, stage, bar);

    const timeOf = (n) => (Array.isArray(times) ? times[n] : times.first + times.step * n);
    const frameAt = (t) => {
      if (!Array.isArray(times)) return clamp(Math.floor((t - times.first) / times.step + 0.01), 0, state.frames - 1);
      let low = 0, high = times.length - 1;
      while (low < high) { const middle = (low + high + 1) >> 1; if (times[middle] <= t + 1e-4) low = middle; else high = middle - 1; }
      return low;
    };
    // A moment well inside of a frame: at its very beginning a browser may show the one before.
    const inside = (n) => timeOf(n) + (n + 1 < state.frames ? Math.min(0.02, (timeOf(n + 1) - timeOf(n)) / 2) : 0.001);
    const plays = () => Boolean(state?.clean) && !fails;

    const told = (n) => {
      frame = n;
      range.value = n;
      const at = clock(timeOf(n));
      time.textContent = `${at} / ${clock(timeOf(state.frames - 1))}`;
      range.setAttribute("aria-valuetext", `${at}, frame ${n + 1} of ${state.frames}`);
      onframe(n);
    };
    const seek = (n) => {
      if (!state || !times) return;
      n = clamp(Math.round(n), 0, state.frames - 1);
      if (plays()) { wanted = n; after.currentTime = inside(n); }
      told(n);
      if (!plays()) still();
    };
    const address = (n, what) => `videos/${state.id}/frames/${n}-${what}.jpg`;
    const still = async () => {
      const n = frame, version = state.version;
      const original = address(n, "original"), clean = `${address(n, "clean")}?v=${version}`;
      await Promise.all([load(original), load(clean)]);
      if (frame !== n || state.version !== version) return;
      stillBefore.src = original;
      stillAfter.src = clean;
      stage.dataset.frame = n;
    };

    // the two videos go together: the clean one leads
    const follow = (most) => { if (Math.abs(before.currentTime - after.currentTime) > most) before.currentTime = after.currentTime; };
    after.addEventListener("play", () => { wanted = -1; follow(0); before.play().catch(() => {}); paint(); });
    after.addEventListener("pause", () => { before.pause(); follow(0); paint(); });
    after.addEventListener("seeking", () => follow(0));
    after.addEventListener("seeked", () => { if (wanted >= 0) stage.dataset.frame = wanted; });
    after.addEventListener("timeupdate", () => {
      if (!state || !times || !plays()) return;
      follow(after.paused ? 0 : 0.1);
      if (!after.paused) told(frameAt(after.currentTime));
    });
    after.addEventListener("loadeddata", () => { if (plays()) seek(frame); });

    const place = () => {
      const cut = `inset(0 ${100 - divider * 100}% 0 0)`;
      before.style.clipPath = stillBefore.style.clipPath = cut;
      handle.style.left = `${divider * 100}%`;
      handle.setAttribute("aria-valuenow", Math.round(divider * 100));
      tagBefore.hidden = divider < 0.1;
    };
    const slide = (e) => { const r = stage.getBoundingClientRect(); divider = clamp((e.clientX - r.left) / r.width, 0, 1); place(); };
    stage.addEventListener("pointerdown", (e) => { if (e.button === 0) { stage.setPointerCapture(e.pointerId); slide(e); } });
    stage.addEventListener("pointermove", (e) => { if (stage.hasPointerCapture(e.pointerId)) slide(e); });
    handle.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[e.key];
      if (by) { divider = clamp(divider + by, 0, 1); place(); e.preventDefault(); }
    });

    const paint = () => {
      const on = plays();
      after.hidden = before.hidden = !on;
      stillAfter.hidden = stillBefore.hidden = on;
      play.disabled = !on;
      play.textContent = after.paused ? "Play" : "Pause";
      sound.hidden = !on;
      sound.textContent = after.muted ? "Sound on" : "Sound off";
      tagAfter.textContent = on || !state?.before ? "clean" : "this frame, clean";
      stage.dataset.plays = on ? "yes" : "no";
    };
    const set = (node, src) => {
      if ((node.getAttribute("src") || "") === src) return;
      if (src) node.setAttribute("src", src);
      else { node.removeAttribute("src"); node.load(); }
    };
    // value: of clip_view.view; when: of clip_view.track_list, `times`.
    const show = (value, when) => {
      if (state?.id !== value.id) { frame = 0; fails = false; divider = 0.5; }
      else if (state.clean !== value.clean) fails = false;
      const other = state?.version !== value.version || state?.id !== value.id;
      state = value;
      times = when;
      range.max = value.frames - 1;
      root.hidden = false;
      stage.style.aspectRatio = `${value.width} / ${value.height}`;
      stage.style.maxWidth = `calc(var(--az-stage-height, 66vh) * ${value.width / value.height})`;
      after.pause();
      after.muted = true;
      set(before, value.clean ? value.before : "");
      set(after, value.clean);
      paint();
      place();
      told(Math.min(frame, value.frames - 1));
      if (!plays() && (other || !stillAfter.getAttribute("src"))) still();
    };
    const hide = () => { root.hidden = true; after.pause(); };
    return { root, show, hide, seek, frame: () => frame, pause: () => after.pause() };
  };

  Object.assign(window.anonymize, { player, load });
})();
