// The Video tab: clips come in, are played beside their clean copies, and corrected track by track. player.js, editor.js
// and intake.js are loaded before it.
"use strict";
(() => {
  const { make, button } = window.anonymize.tools;
  const { send, taker, dropzone, isClip, CLIPS } = window.anonymize.intake;
  const { player, load } = window.anonymize;
  const NAMES = { face: "Face", plate: "License plate", other: "Drawn area" };
  const named = (t) => NAMES[t.kind] || t.kind;

  const clips = ({ element, props, trigger, watch }) => {
    const root = element.querySelector(".az-clips");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    const value = () => (props.value && typeof props.value === "object" ? props.value : {});
    let mode = "play", sending = null, changed = false, chosen = "", info = null, infoOf = "", selecting = false;

    // ---- coming in ----
    const status = make("p", { class: "az-status", role: "status", "aria-live": "polite" });
    const problems = make("ul", { class: "az-problems" });
    const bar = make("progress", { max: "1", hidden: true, "aria-label": "Progress" });
    const local = make("video", { class: "az-preview", controls: true, muted: true, playsinline: true, hidden: true,
      "aria-label": "The clip as it came, not anonymized yet", onerror: () => { local.hidden = true; } });
    let seen = null;  // the file that `local` shows
    const showLocal = (file) => {
      if (seen === file) return;
      seen = file;
      if (local.src) URL.revokeObjectURL(local.src);
      local.hidden = !file;
      if (file) local.src = URL.createObjectURL(file);
      else local.removeAttribute("src");
    };
    const queue = [];
    let index = 0, mine = {};  // mine: id -> the file, to be seen while it is searched
    const take = async (files, unread = []) => {
      if (!sending) problems.replaceChildren();
      const others = files.filter((f) => !isClip(f));
      problems.append(...[...unread, ...others.map((f) => `${f.name} is no video. Photos go to One photo or Many photos.`)].map((t) => make("li", {}, t)));
      queue.push(...files.filter(isClip));
      if (sending || !queue.length) return;
      index = 0;
      for (let file; (file = queue.shift()); ) {
        sending = send(`videos?name=${encodeURIComponent(file.name)}`, file, (p) => { bar.value = p; }, "clips");
        update();
        status.textContent = `Sending ${file.name} …`;
        bar.hidden = false;
        try {
          const answer = await sending.done;
          mine[answer.id] = file;
          trigger("opened", { id: answer.id, index: index++ });
        } catch (problem) { problems.append(make("li", {}, String(problem).includes(file.name) ? String(problem) : `${file.name}: ${problem}`)); }
      }
      sending = null;
      update();
    };
    const zone = dropzone({ title: "Choose a clip", accept: CLIPS, onfiles: take,
      hint: `or drop one or more anywhere on the page. ${root.dataset.label}` });
    const title = zone.querySelector(".az-drop-title");

    // ---- which clip, and what is being done ----
    const list = make("ul", { class: "az-cliplist", "aria-label": "Clips" });
    const stop = button("Cancel", () => {
      if (sending) { queue.length = 0; sending.abort(); return; }
      trigger("chosen", { what: "stop", id: value().id });
    });
    const start = button("Go on", () => trigger("chosen", { what: "start", id: value().id }), { class: "az-button az-primary" });
    const remove = button("Remove this clip", () => trigger("chosen", { what: "remove", id: value().id }));
    const actions = make("div", { class: "az-bar az-doing" }, status, stop, start);

    // ---- playing, and correcting a frame ----
    const playTab = button("Watch", () => setMode("play"));
    const correctTab = button("Correct", () => setMode("correct"));
    const tabs = make("div", { class: "az-segments az-modes", role: "group", "aria-label": "View" }, playTab, correctTab);
    const audit = button("Look for leaks", () => trigger("chosen", { what: "audit", id: value().id }));
    const top = make("div", { class: "az-bar", hidden: true }, tabs, make("span", { class: "az-space" }), audit, remove);
    const films = player({ onframe: (n) => { if (mode === "correct") frame(n); } });
    const act = (what, more = {}) => {
      changed = true;
      const n = films.frame();
      const region = shown?.regions.find((r) => r.id === more.region);
      if (what === "undo") trigger("corrected", { what });
      else if (what === "add") { selecting = true; trigger("corrected", { what: "draw", kind: more.kind, frame: n, box: more.box }); }
      else if (what === "move" || (what === "accept" && region?.far)) trigger("corrected", { what: "extend", track: more.region, frame: n, box: more.box || region.box });
      else trigger("corrected", { what, track: more.region });
    };
    const editor = window.anonymize.editor({ act, clip: true });
    let shown = null, asked = "";
    const frame = async (n) => {
      const now = value(), key = `${now.id} ${n} ${now.version} ${chosen}`;
      if (!now.before || asked === key) return;
      asked = key;
      try {
        const answer = await fetch(`videos/${now.id}/frames/${n}.json?${new URLSearchParams({ track: chosen, v: now.version })}`);
        if (!answer.ok) throw (await answer.json()).error;
        const next = await answer.json();
        await Promise.all([load(next.before), load(next.after)]);
        if (asked !== key) return;
        const first = shown?.id !== next.id;
        shown = next;
        editor.show(next);
        if (first) editor.misses();
        editor.root.dataset.frame = n;
      } catch (problem) { if (asked === key) { asked = ""; status.textContent = String(problem); } }
    };
    const setMode = (to) => {
      mode = to;
      playTab.setAttribute("aria-pressed", to === "play");
      correctTab.setAttribute("aria-pressed", to === "correct");
      root.dataset.view = to;
      films.pause();
      if (to === "correct") frame(films.frame());
    };
    const jump = (track, n) => {
      chosen = track;
      films.pause();
      films.seek(n);
      paintTracks();
      films.root.scrollIntoView({ block: "nearest" });
    };

    // ---- tracks ----
    const look = make("ol", { class: "az-look", "aria-label": "Look here first" });
    const tracks = make("ul", { class: "az-tracks", "aria-label": "Faces and plates" });
    const lookTitle = make("h2", {}, "Look here first"), tracksTitle = make("h2", {});
    const panel = make("div", { class: "az-bar az-chosen", role: "group", "aria-label": "The chosen track", hidden: true });
    const undo = button("Undo", () => act("undo"));
    const others = make("ul", { class: "az-tracks", "aria-label": "Possible ones" }), othersTitle = make("summary");
    const possible = make("details", { class: "az-possible" }, othersTitle, others);
    const FIRST = 6;  // places to look at; the rest on demand
    let allPlaces = false;
    const panels = make("div", { class: "az-card az-trackcard", hidden: true }, panel, lookTitle, look, make("div", { class: "az-row" }, tracksTitle, undo), tracks, possible);
    const decide = (t) => (t.hidden
      ? button(t.status === "manual" ? "Remove" : "Do not hide", () => act("reject", { region: t.id }))
      : button("Hide", () => act("accept", { region: t.id })));
    const row = (t) => {
      const img = make("img", { src: `videos/${value().id}/thumbs/${t.id}.jpg`, alt: "", loading: "lazy", width: "56", height: "56" });
      const sure = t.status === "manual" ? "added by you" : `score ${t.score.toFixed(2)}`;
      const about = make("span", { class: "az-trackname" }, make("strong", {}, named(t)), ` ${t.time} · ${sure} · ${t.hidden ? "hidden" : "not hidden"}`);
      const go = make("button", { type: "button", class: "az-go", onclick: () => jump(t.id, t.best) }, img, about);
      return make("li", { class: `${t.hidden ? "on" : "off"}${t.id === chosen ? " chosen" : ""}`, "data-track": t.id, "data-kind": t.kind }, go, decide(t));
    };
    const paintTracks = () => {
      if (!info) return;
      const hidden = info.tracks.filter((t) => t.hidden).length;
      tracksTitle.textContent = `Faces and plates: ${info.hidden} hidden${info.hidden < hidden ? `, in ${hidden} tracks` : ""}`;
      othersTitle.textContent = `${info.tracks.length - hidden} not hidden: likeliest first`;
      const at = document.activeElement?.closest?.("[data-track]")?.dataset.track;
      tracks.replaceChildren(...info.tracks.filter((t) => t.hidden).map(row));
      others.replaceChildren(...info.tracks.filter((t) => !t.hidden).sort((a, b) => b.score - a.score).map(row));
      possible.hidden = hidden === info.tracks.length;
      if (info.tracks.some((t) => t.id === chosen && !t.hidden)) possible.open = true;
      if (at) panels.querySelector(`[data-track="${at}"] button`)?.focus({ preventScroll: true });
      look.hidden = lookTitle.hidden = !info.look.length;
      const places = info.look.map((w) => make("li", {}, button(`${w.time}  ${w.text}`, () => { jump(w.track, w.frame); setMode("correct"); })));
      const rest = allPlaces ? 0 : places.length - FIRST;
      look.replaceChildren(...(rest > 0 ? places.slice(0, FIRST) : places));
      if (rest > 0) look.append(make("li", { class: "az-rest" }, button(`Show ${rest} more`, () => { allPlaces = true; paintTracks(); look.children[FIRST]?.querySelector("button").focus(); })));
      const t = info.tracks.find((k) => k.id === chosen);
      panel.hidden = !t;
      if (!t) return;
      panel.replaceChildren(make("span", {}, make("strong", {}, named(t)), ` ${t.time}`),
        button("To its first frame", () => jump(t.id, t.first)), button("To its last frame", () => jump(t.id, t.last)),
        ...(t.first > 0 ? [button("Hide from the beginning", () => reach(t, 0))] : []),
        ...(t.last < value().frames - 1 ? [button("Hide to the end", () => reach(t, value().frames - 1))] : []),
        decide(t), ...(t.status === "accepted" || t.status === "rejected" ? [button("Reset to automatic", () => act("reset", { region: t.id }))] : []));
    };
    const reach = (t, n) => { changed = true; trigger("corrected", { what: "extend", track: t.id, frame: n }); };
    const fetchTracks = async (now) => {
      const key = `${now.id} ${now.version}`;
      if (infoOf === key) return;
      infoOf = key;
      const answer = await fetch(`videos/${now.id}/tracks.json?v=${encodeURIComponent(now.version)}`);
      if (!answer.ok || infoOf !== key) { if (infoOf === key) infoOf = ""; return; }
      const known = new Set((info?.of === now.id ? info.tracks : []).map((t) => t.id));
      info = { ...(await answer.json()), of: now.id };
      if (selecting) chosen = info.tracks.find((t) => t.status === "manual" && !known.has(t.id))?.id || chosen;
      selecting = false;
      update();
      paintTracks();
    };

    const update = () => {
      const now = value(), has = Boolean(now.id);
      root.dataset.state = now.state || "";
      root.classList.toggle("has", has || Boolean(sending));
      title.textContent = has ? "Add another clip" : "Choose a clip";
      const busy = ["waiting", "searching", "writing", "auditing"].includes(now.state);
      if (!sending) {
        status.textContent = now.problem || now.said || "";
        status.classList.toggle("problem", Boolean(now.problem));
        bar.hidden = !busy;
        if (now.done == null) bar.removeAttribute("value"); else bar.value = now.done;
      }
      status.toggleAttribute("data-busy", busy || Boolean(sending));
      stop.hidden = !(busy || sending);
      start.hidden = Boolean(sending) || busy || !has || !["stopped", "failed"].includes(now.state);
      start.textContent = now.version ? "Write the clean clip" : "Go on";
      undo.disabled = !now.undo;
      const listed = now.clips || [];
      list.hidden = listed.length < 2;
      list.replaceChildren(...listed.map((c) => make("li", {}, button(`${c.name} · ${c.said}`, () => {
        chosen = "";
        trigger("chosen", { what: "show", id: c.id });
      }, { "aria-pressed": c.id === now.id }))));
      window.anonymize.tell("video", now.before ? { counts: now.counts } : {});
      const ready = Boolean(now.before), listedTracks = ready && info?.of === now.id;
      if (!ready) { showLocal(mine[now.id]); shown = null; asked = ""; } else { showLocal(null); delete mine[now.id]; fetchTracks(now); }
      top.hidden = !has;
      audit.hidden = !now.audits;
      audit.disabled = busy;
      tabs.hidden = panels.hidden = !listedTracks;
      if (!listedTracks) { films.hide(); editor.hide(); return; }
      if (films.root.dataset.shows !== `${now.id} ${now.version} ${now.clean}`) {
        films.root.dataset.shows = `${now.id} ${now.version} ${now.clean}`;
        films.show(now, info.times);
      }
      if (mode === "correct") frame(films.frame());
    };
    document.addEventListener("click", (e) => { if (e.target.closest?.("#az-video-result a[download]")) changed = false; });
    root.append(list, zone, problems, actions, bar, top, local, editor.root, films.root, panels);
    setMode("play");
    taker("video", take);
    window.anonymize.unfinished.push(() => Boolean(sending) || (changed && Boolean(value().id)));
    watch("value", update);
    update();
  };

  Object.assign(window.anonymize, { clips });
})();
