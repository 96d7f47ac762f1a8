// The Review tab: the queue beside the photo. One decision at a time, each names what was seen; and nothing is approved
// that was not painted. Asks /review/api, whose answers are Desk's (review/desk.py).
"use strict";
(() => {
  const { make, button } = window.anonymize.tools;
  const MOUNT = "review";                         // relative: the page may live below a prefix
  const SEEN = 150;                               // ms that a photo is there before it can be approved
  const STATUS = { pending: "", approved: "✓", flagged: "⚑", error: "!" };
  const KEYS = { a: "approve", f: "flag", n: "next", ArrowLeft: "previous", ArrowRight: "following" };
  const ask = async (what, data = {}) => {
    try {
      const answer = await fetch(`${MOUNT}/api/${what}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data) });
      const type = answer.headers.get("content-type") || "";
      return type.includes("json") ? await answer.json() : { error: `The server did not answer as expected (${answer.status}).` };
    } catch { return { error: "The server does not answer. Is it still running?" }; }
  };
  // A tab of the page by its title; a narrow window has those that do not fit in a menu.
  const tab = (title) => [...document.querySelectorAll("#az-tabs button[role=tab], #az-tabs .overflow-dropdown button")]
    .find((b) => b.textContent.trim() === title);
  let wanted = null, openWanted = () => {};       // what a link elsewhere on the page asked for

  const review = ({ element }) => {
    const host = element.querySelector(".az-review");
    if (host.dataset.ready) return;
    host.dataset.ready = "yes";
    let page = null;                              // what the server said last
    let batch = "", seenAt = 0, canBeSeen = true, decided = null, working = Promise.resolve();
    const pictures = new Map();                   // address -> a picture that was fetched ahead

    // --- what is open ---
    const source = make("select", { class: "rv-select", id: "rv-source", "aria-label": "Batch" });
    const path = make("input", { type: "text", id: "rv-path", class: "rv-path", placeholder: "or a records file: out/records.jsonl", "aria-label": "Records file", hidden: true });
    const open = button("Open", () => begin(path.value.trim() ? { records: path.value.trim() } : { batch: source.value }), { id: "rv-open" });
    const back = button("Back to Many photos", () => tab("Many photos")?.click(), { id: "rv-back", hidden: true });
    const status = make("p", { class: "az-status", role: "status" });
    const top = make("div", { class: "az-bar rv-top" }, back, source, path, open, status);

    // --- the photo and what to do with it ---
    const act = (what, more = {}) => {
      const photo = page?.photo?.photo;
      if (!photo) return what === "undo" && page ? send("decide", { photo: "", what }) : undefined;
      if (what === "approve" && !canApprove()) return undefined;
      if (what === "previous" || what === "following") return walk(what === "previous" ? -1 : 1);
      if (what === "next") return send("next", { photo });
      if (what === "undo") return send("decide", { photo: decided || photo, what });
      // After what is still on its way; then it is bound to the photo as it is by then, or dropped with it.
      return send("decide", () => page.photo?.photo === photo && { photo, what, hash: page.photo.hash, ...more });
    };
    const canApprove = () => Boolean(page?.photo) && canBeSeen && seenAt > 0 && performance.now() - seenAt >= SEEN;
    const approvable = () => { approve.disabled = !canApprove(); };
    const painted = (_, can) => {
      canBeSeen = can;
      seenAt = performance.now();
      host.dataset.painted = page.photo.photo;
      if (!can) say("This photo cannot be shown, so it cannot be approved.", true);
      setTimeout(approvable, SEEN);
    };
    const picture = window.anonymize.editor({ act, review: true, keys: KEYS, onpaint: painted });
    const approve = button("Approve (A)", () => act("approve"), { id: "rv-approve", class: "az-button az-primary" });
    const actions = make("div", { class: "az-bar rv-actions" }, approve,
      button("Flag (F)", () => act("flag"), { id: "rv-flag" }), button("Skip (N)", () => act("next"), { id: "rv-next" }));
    const progress = make("strong", { id: "rv-progress" });
    const meter = make("progress", { max: "1", value: "0", "aria-label": "Photos reviewed" });
    const name = make("code"), about = make("span"), reasons = make("ul", { class: "rv-reasons", "aria-label": "Why look here" });
    const list = make("ol", { class: "rv-list", "aria-label": "Photos in this review", tabindex: "0" });
    const more = make("div", { class: "rv-more" });
    const side = make("aside", { class: "rv-side", id: "rv-side" }, make("div", {}, progress, meter), actions,
      make("div", { class: "az-bar rv-photo" }, button("←", () => act("previous"), { id: "rv-previous", "aria-label": "Previous photo" }),
        make("div", {}, name, make("br"), about), button("→", () => act("following"), { id: "rv-following", "aria-label": "Following photo" })),
      reasons, list, more);
    const stage = make("div", { class: "rv-picture" }, picture.root, make("p", { class: "rv-keys" },
      "A approve · F flag · N skip · ← → walk · U undo · click selects: H hide, X false alarm · K kind of a new box · wheel zooms, 0 fits"));
    const main = make("div", { class: "rv-main", hidden: true, tabindex: "-1" }, stage, side);
    host.append(top, main);
    // A held key decides once, on a focused button, too.
    host.addEventListener("keydown", (e) => { if (e.repeat && e.target.closest("button") && /^(Enter| )$/.test(e.key)) e.preventDefault(); }, true);

    const say = (text, isProblem = false) => {
      status.textContent = text;
      status.classList.toggle("problem", isProblem);
    };
    // One request after the other. data may be a function: what it is by then, or nothing any more.
    const send = (what, data) => (working = working.then(async () => {
      const given = typeof data === "function" ? data() : data;
      if (!given) return;
      const started = performance.now();
      const answer = await ask(what, { review: page.review, ...given });
      const before = page?.photo?.photo;
      show(answer);
      host.dataset.answered = Math.round(performance.now() - started);
      if (answer.error || what !== "decide") decided = null;
      else if (given.what === "approve" || given.what === "flag") decided = before;  // what U takes back
      else decided = null;
    }));
    const walk = (by) => {
      const to = page.list.findIndex((i) => i.photo === page.photo.photo) + by;
      if (page.list[to]) send("show", { photo: page.list[to].photo });
    };

    const show = (answer) => {
      if (answer.review) page = answer;
      say(answer.error || answer.text || page?.photo?.problem || "", Boolean(answer.error || page?.photo?.problem));
      if (!answer.review) return;
      main.hidden = false;
      // Keys are for the photo now, arrows, too.
      if (document.activeElement?.matches("[role=tab], body, .overflow-menu *")) main.focus({ preventScroll: true });
      const photo = page.photo;
      if (photo) {
        if (host.dataset.painted !== photo.photo) { delete host.dataset.painted; seenAt = 0; }
        picture.show({ ...photo, before: MOUNT + photo.before, whole: MOUNT + photo.whole, after: MOUNT + photo.after, picture: pictures.get(photo.before) });
        pictures.delete(photo.before);
      } else {
        picture.hide();
        const others = page.list.filter((i) => i.elsewhere && i.status === "pending");
        const open = others.length ? ` ${others.length} still open elsewhere: choose one in the list to take it over.` : " Nothing is left to review.";
        say(`${page.error || page.text}${open}`.trim(), Boolean(page.error));
      }
      stage.classList.toggle("done", !photo);
      approvable();
      tell(photo);
      fetchAhead();
      fitScreen();
    };
    const tell = (photo) => {
      progress.textContent = page.progress.text;
      meter.max = Math.max(1, page.progress.photos);
      meter.value = page.progress.done;
      name.textContent = photo ? photo.photo : "";
      about.textContent = photo ? photo.about : "";
      reasons.replaceChildren(...(photo?.reasons || []).map((r) => make("li", {},
        r.box ? button(r.text, () => { picture.zoomTo(r.box); picture.select(r.region); }, { title: r.why }) : make("span", { title: r.why }, r.text))));
      list.start = page.start;
      list.replaceChildren(...page.list.map((i) => {
        const here = i.photo === photo?.photo;
        const words = i.elsewhere ? `open elsewhere (${i.elsewhere}): take over` : i.status === "pending" ? `risk ${i.risk} %` : i.status;
        return make("li", { class: `${i.status}${here ? " here" : ""}` },
          make("button", { type: "button", "aria-current": here && "true", onclick: () => send("show", { photo: i.photo }) },
            make("span", { class: "rv-mark", "aria-hidden": "true" }, STATUS[i.status]), make("span", { class: "rv-name" }, i.photo), make("small", {}, words)));
      }));
      const here = list.querySelector(".here");
      if (here) list.scrollTop = here.offsetTop - list.clientHeight / 3;
      for (const b of side.querySelectorAll(".rv-actions button, .rv-photo button")) if (b !== approve) b.disabled = !photo;
      tellMore();
    };
    const fetchAhead = () => {
      for (const address of pictures.keys()) if (!page.ahead.includes(address)) pictures.delete(address);
      for (const address of page.ahead) {
        if (pictures.has(address)) continue;
        const fetched = new Image();
        fetched.src = MOUNT + address;
        fetched.decode().catch(() => {});
        pictures.set(address, fetched);
      }
    };

    // --- all photos: thresholds, export, FiftyOne ---
    const sliders = ["face", "plate"].map((kind) => {
      const input = make("input", { type: "number", min: "0.001", max: "1", step: "any", id: `rv-${kind}`, onchange: () => explore() });
      return { kind, input, line: make("div", { class: "az-row" }, make("label", { for: `rv-${kind}` }, kind === "face" ? "Hide faces from a score of" : "Hide plates from a score of"), input) };
    });
    const explored = make("p", { class: "az-small", role: "status" });
    const scores = () => Object.fromEntries(sliders.map(({ kind, input }) => [kind, Number(input.value)]));
    const explore = async () => {
      const { rows = [], error } = await ask("explore", { review: page.review, ...scores() });
      const change = (kind) => {
        const [now, then] = ["now", "then"].map((w) => rows.find((r) => r.kind === kind && r.which === w).regions);
        return `${then} ${kind}${then === 1 ? "" : "s"} hidden (now ${now})`;
      };
      explored.textContent = error || `${sliders.map(({ kind }) => change(kind)).join(", ")}.`;
    };
    const use = button("Apply (resets approvals)", () => send("use", scores()), { id: "rv-use" });
    const thresholds = make("details", { name: "rv-more" }, make("summary", {}, "Thresholds for all photos"), ...sliders.map((s) => s.line), explored, use);
    const unreviewed = make("input", { type: "checkbox", id: "rv-unreviewed" });
    const audited = make("input", { type: "checkbox", id: "rv-audit" });
    const exported = make("div", { id: "rv-exported", role: "status" });
    const write = button("Export approved photos", async () => {
      exported.replaceChildren("Writing …");
      const asked = page.review;
      let done = await ask("export", { review: asked, unreviewed: unreviewed.checked, audit: audited.checked });
      const meter = make("progress", { "aria-label": "Looked at for leaks" }), text = make("p", { class: "az-small" });
      const cancel = button("Cancel", () => { cancel.disabled = true; ask("cancel", { review: asked }); }, { id: "rv-cancel" });
      if (done.running) exported.replaceChildren(meter, text, cancel);
      while (done.running) {
        meter.value = done.running.share;
        text.textContent = done.running.text;
        await new Promise((resolve) => { setTimeout(resolve, 1000); });
        done = await ask("exported", { review: asked });
      }
      const problem = done.error || done.warning;
      exported.replaceChildren(...(done.text ? [make("p", {}, done.text)] : []), ...(problem ? [make("p", { class: "az-status problem" }, problem)] : []),
        ...(done.zip ? [make("p", {}, make("a", { href: MOUNT + done.zip, class: "az-button az-primary", download: "" }, "Download as ZIP"))] : []),
        ...(done.folder ? [make("p", {}, "They are in ", make("code", {}, done.folder))] : []),
        make("ul", {}, ...(done.lines || []).map((text) => make("li", {}, text))));
    }, { id: "rv-export" });
    const exporting = make("details", { name: "rv-more" }, make("summary", {}, "Export"), make("p", {}, write),
      make("span", { class: "az-check" }, unreviewed, make("label", { for: "rv-unreviewed" }, "Export unreviewed photos, too (not safe)")),
      make("span", { class: "az-check" }, audited, make("label", { for: "rv-audit" }, "Look for leaks in what was written (seconds per photo)")), exported);
    const note = make("p", { class: "az-small" }), fiftyone = make("p", { class: "az-small" });
    more.append(thresholds, exporting, make("details", { name: "rv-more" }, make("summary", {}, "More"), note, fiftyone));
    const tellMore = () => {
      thresholds.hidden = exporting.hidden = Boolean(page.is_sample);
      for (const { kind, input } of sliders) if (document.activeElement !== input) input.value = Number(page.thresholds[kind].toPrecision(3));
      note.textContent = page.note;
      fiftyone.hidden = page.fiftyone === "nothing";
      fiftyone.replaceChildren(...(page.fiftyone === "link"
        ? [make("a", { class: "az-link", href: `${MOUNT}/open?name=${encodeURIComponent(page.review)}`, target: "_blank", rel: "noopener" }, "Open in FiftyOne"), " (takes some seconds)"]
        : ["At home, FiftyOne shows the same review, and where detectors are wrong: ", make("code", {}, "python -m review records.jsonl"),
          make("img", { src: `${MOUNT}/fiftyone.jpg`, loading: "lazy", style: "width: 100%", alt: "FiftyOne's App with plates that were found in teal, false positives in amber, misses in magenta" })]));
      more.lastElementChild.hidden = !page.note && page.fiftyone === "nothing";
    };

    // --- opening ---
    let opening = null;                           // what was asked for last; nothing else opens by itself meanwhile
    const begin = (what) => { opening = what; return (working = working.then(async () => {
      let answer = await ask("open", what);
      while (answer.preparing && opening === what) {
        say(answer.preparing);
        await new Promise((resolve) => { setTimeout(resolve, 1000); });
        if (opening === what) answer = await ask("open", what);
      }
      if (opening !== what) return;               // another one was asked for meanwhile
      opening = null;
      if (!answer.error) {
        batch = answer.batch;
        if (batch) source.value = batch;
        decided = null;
        pictures.clear();
        exported.replaceChildren();
        explored.textContent = "";
      }
      show(answer);
    })); };
    const offer = async () => {
      const { batches = [], paths = false, error } = await ask("batches");
      if (error) return say(error, true);
      const kept = source.value;
      const ids = batches.map((b) => b.id).join();
      if (ids !== source.dataset.ids) {
        source.replaceChildren(...batches.map((b) => make("option", { value: b.id }, b.label)));
        if (batches.some((b) => b.id === kept)) source.value = kept;
        else if (batches.length) source.value = batches.at(-1).id;
        source.dataset.ids = ids;
      }
      path.hidden = !paths;
      path.placeholder = `${batches.length ? "or a" : "A"} records file: out/records.jsonl`;
      source.hidden = !batches.length;
      open.hidden = !batches.length && !paths;
      if (wanted) openWanted();
      else if (!page && !opening && batches.length) begin({ batch: source.value });
      else if (!page && !opening) say("Hide faces and plates in some photos first (Many photos); then check them here, the riskiest first.");
      return undefined;
    };
    openWanted = () => {
      const { batch: id, photo } = wanted;
      wanted = null;
      back.hidden = false;
      if (photo && page?.review && batch === id) send("show", { photo });
      else begin({ batch: id, ...(photo ? { photo } : {}) });
    };
    // The height that is left below the tabs, so that nothing scrolls but the list.
    const fitScreen = () => host.style.setProperty("--rv-top", `${Math.round((main.hidden ? host : main).getBoundingClientRect().top + scrollY)}px`);
    let looking = 0;
    new IntersectionObserver(([{ isIntersecting }]) => {
      clearInterval(looking);
      if (!isIntersecting) return;
      fitScreen();
      offer();
      looking = setInterval(() => { if (!page || document.activeElement !== source) offer(); }, 4000);
    }).observe(host);
    addEventListener("resize", fitScreen);
  };

  // Open a batch, at a photo: {batch, photo}. Any element with data-review (a batch) and data-photo does so on a click.
  const openReview = (what) => {
    wanted = what;
    const ours = tab("Review");
    if (ours?.getAttribute("aria-selected") === "true") openWanted();
    else ours?.click();
  };
  document.addEventListener("click", (e) => {
    const link = e.target.closest?.("[data-review]");
    if (link) openReview({ batch: link.dataset.review, photo: link.dataset.photo || "" });
  });

  Object.assign(window.anonymize, { review, openReview });
})();
