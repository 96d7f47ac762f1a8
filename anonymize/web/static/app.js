// The page itself: which tab is open and its address, sliders for thresholds, whether the server is ready, leaving.
"use strict";
(() => {
  const { make, clamp } = window.anonymize.tools;
  let unique = 0;

  // ---- tabs have addresses: /#batch ----
  const here = () => location.hash.slice(1) || "photo";
  const scrolls = {};  // tab -> how far down it was
  let now = "photo", went = null;
  const tabOf = (button) => button?.id.match(/^az-tab-(.+)-button$/)?.[1];
  const address = ({ element, trigger }) => {
    const root = element.querySelector(".az-address");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    went = (id) => trigger("went", { id });
    addEventListener("popstate", () => went(here()));
    // A tab that was chosen before this script listened.
    const chosen = tabOf(document.querySelector("[role=tab][aria-selected=true]"));
    if (!location.hash && chosen && chosen !== now) at(chosen);
    back(5);
  };
  // A page that is busy with its first answers may not hear it: then the tab of its address stayed closed.
  const back = (tries) => {
    if (here() === now || !tries) return;
    went(here());
    setTimeout(back, 3000, tries - 1);
  };
  const go = (id) => went?.(id);
  // A tab is open now.
  const at = (id) => {
    if (here() !== id) history.pushState(null, "", id === "photo" ? location.pathname + location.search : `#${id}`);
    if (id === now) return;
    now = id;
    requestAnimationFrame(() => scrollTo(0, scrolls[id] || 0));
  };
  // Something new is shown in a tab: from its beginning.
  const top = (id) => {
    scrolls[id] = 0;
    if (id === now) scrollTo(0, 0);
  };
  document.addEventListener("click", ({ target }) => {
    scrolls[now] = scrollY;
    // Gradio tells of a tab only some time after it can be chosen.
    const id = tabOf(target.closest?.("[role=tab]"));
    if (id) setTimeout(() => at(id));
  }, true);

  // ---- downloads in a frame of another site (a Space) ----
  // Chromium asks for a link's download there without the partitioned cookie, so that the server knows nobody; a script's
  // request has it. What came is saved from the browser's own memory or disk.
  const save = async (link) => {
    link.setAttribute("aria-busy", "true");
    link.nextElementSibling?.classList.contains("problem") && link.nextElementSibling.remove();
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || `The server answered ${answer.status}.`);
      const said = answer.headers.get("content-disposition") || "";
      const name = /filename\*=utf-8''([^;]+)/i.exec(said)?.[1], plain = /filename="([^"]+)"/i.exec(said)?.[1];
      const address = URL.createObjectURL(await answer.blob());
      const saving = make("a", { href: address, download: name ? decodeURIComponent(name) : plain || link.download || "download" });
      document.body.append(saving);
      saving.click();
      saving.remove();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (problem) {
      link.after(make("span", { class: "az-status problem", role: "alert" }, ` ${problem.message}`));
    }
    link.removeAttribute("aria-busy");
  };
  if (window.top !== window) document.addEventListener("click", (e) => {
    const link = e.target.closest?.("a[download]");
    if (!link || !link.href.startsWith(location.origin) || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    save(link);
  });

  // ---- what thresholds' sliders tell: "photo" or "batch" -> {counts, now} ----
  const told = {}, tellers = [];
  const tell = (of, value) => { told[of] = value; tellers.forEach((f) => f()); };
  const tellBatch = ({ props, watch }) => {
    watch("value", () => tell("batch", props.value || {}));
    tell("batch", props.value || {});
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
    const line = make("p", { class: "az-would", id: `${id}-would` });
    range.setAttribute("aria-describedby", line.id);
    const number = make("input", { type: "number", min: "0.001", max: "1", step: "any", "aria-label": `${root.dataset.label}: score, from 0.001 to 1` });
    root.append(
      make("div", { class: "az-row" }, make("label", { for: id }, root.dataset.label), number), range,
      make("div", { class: "az-row az-ends", "aria-hidden": "true" }, make("span", {}, "hide more"), make("span", {}, "hide only certain")), line);
    // What is hidden now, and what the next place that changes anything would change.
    const { of, kind } = root.dataset;
    const would = () => {
      const { counts, now } = told[of] || {}, row = counts?.[kind];
      if (!row) { line.textContent = ""; return; }
      const at = Math.round(Number(range.value) * 2), here = row[at];
      if (now) {
        const before = Math.round(toPosition(now[kind]) * 2), more = here - row[before];
        line.textContent = at === before ? `${here} hidden` : more ? `${Math.abs(more)} ${more > 0 ? "more" : "fewer"} would be hidden` : "no change";
        return;
      }
      const lower = row.findLastIndex((n, i) => i < at && n > here);
      line.textContent = `${here} hidden; ${lower < 0 ? "no more below" : `${row[lower] - here} more from ${toValue(lower / 2)}`}`;
    };
    if (of) tellers.push(would);
    const show = (t, all = true) => {
      if (document.activeElement !== range || all) range.value = toPosition(t);
      if (document.activeElement !== number || all) number.value = t;
      range.setAttribute("aria-valuetext", `hidden from a score of ${t}`);
      range.style.setProperty("--filled", `${toPosition(t)}%`);
      would();
    };
    const set = (t) => { props.value = t; show(t, false); trigger("input", { value: t }); };
    range.addEventListener("input", () => set(toValue(Number(range.value))));
    number.addEventListener("change", () => { const t = clamp(Number(number.value) || 0.001, 0.001, 1); number.value = t; set(t); });
    watch("value", () => show(Number(props.value), false));
    show(Number(props.value));
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
      try { now = await (await fetch("healthz")).json(); } catch { /* it may come back */ }
      status.hidden = now.status === "ok";
      status.classList.toggle("problem", now.status === "failing");
      status.classList.toggle("az-spin", now.status === "starting");
      const text = now.status === "failing"
        ? "The detectors could not be loaded. Add a photo to try again and see why."
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

  // ---- leaving ----
  // Whoever has something under way that would be lost puts a function here that says so.
  const unfinished = [() => Boolean(document.querySelector("[data-busy]"))];
  addEventListener("beforeunload", (e) => { if (unfinished.some((f) => f())) e.preventDefault(); });
  // Tell the server when the last page closes, so that it deletes the photos; and that this page is still here.
  addEventListener("pagehide", () => fetch("visit/leave", { method: "POST", keepalive: true }).catch(() => {}));
  setInterval(() => fetch("visit/here", { method: "POST" }).catch(() => {}), 30000);
  addEventListener("pageshow", (e) => { if (e.persisted) fetch("visit/here", { method: "POST" }).catch(() => {}); });

  Object.assign(window.anonymize, { address, at, go, top, tell, told: tellBatch, threshold, clicks, starting, unfinished });
})();
