// One photo: it is shown while it is sent and looked at, then in the editor. intake.js and editor.js are loaded before it.
"use strict";
(() => {
  const { make, button } = window.anonymize.tools;
  const { meta, send, taker, hand, dropzone, takePicture, ending, clipsAside, PHOTOS } = window.anonymize.intake;

  const viewer = ({ element, props, trigger, watch }) => {
    const root = element.querySelector(".az-viewer");
    if (root.dataset.ready) return;
    root.dataset.ready = "yes";
    let pending = null;   // the photo that is on its way: {file, abort, id}
    let shown = "";       // id of the photo in the editor
    const status = make("p", { class: "az-status", role: "status", "aria-live": "polite" });
    const say = (text, problem = false) => {
      status.textContent = text;
      status.classList.toggle("problem", problem);
      root.classList.toggle("busy", Boolean(text) && !problem);
    };

    // What stands beside the picture is of the photo before: while another one is on its way it cannot be used.
    const wait = (on) => {
      root.classList.toggle("waiting", on);
      const card = document.querySelector("#az-result");
      if (card) card.inert = on;
    };
    const preview = make("img", { class: "az-preview", alt: "The photo as it came, not anonymized yet", onerror: () => { preview.hidden = true; } });
    const cancel = button("Cancel", () => { stop(); say(""); update(); root.querySelector("input[type=file]").focus(); });
    const waiting = make("div", { class: "az-waiting", hidden: true }, cancel, preview);
    const forget = () => {
      pending = null;
      wait(false);
      waiting.hidden = true;
      if (preview.src) URL.revokeObjectURL(preview.src);
      preview.removeAttribute("src");
    };
    const stop = () => {
      if (!pending) return;
      pending.abort?.();
      if (pending.id) trigger("cancelled", { id: pending.id });
      forget();
    };

    const open = async (file) => {
      stop();
      const mine = (pending = { file });
      offer.hidden = true;
      wait(true);
      picture.hide();
      shown = "";
      zone.hidden = true;
      walk.hidden = true;
      waiting.hidden = preview.hidden = false;
      preview.src = URL.createObjectURL(file);
      say("Sending the photo …");
      try {
        const sending = send(`photos?name=${encodeURIComponent(file.name)}`, file, (p) =>
          pending === mine && say(p < 1 ? `Sending the photo … ${Math.round(p * 100)} %` : "Looking for faces and plates …"));
        mine.abort = sending.abort;
        const answer = await sending.done;
        if (pending !== mine) { trigger("cancelled", { id: answer.id }); return; }
        mine.id = answer.id;
        say("Looking for faces and plates …");
        trigger("opened", answer);
      } catch (problem) {
        if (pending !== mine) return;
        forget();
        update();
        say(String(problem), true);
      }
    };

    // Several files, or a zip: this tab takes one photo, the next one takes them all.
    const offer = make("div", { class: "az-offer", role: "group", "aria-label": "Several photos", hidden: true });
    const take = (given, unread = []) => {
      const { files, offer: videos } = clipsAside(given);
      if (videos) offer.after(videos);
      if (unread.length) say(unread.join(" "), true);
      if (files.length === 1 && ending(files[0]) !== "zip") { open(files[0]); return; }
      if (!files.length) return;
      const some = files.length > 1;
      const all = button(some ? `Open all ${files.length} in Many photos` : "Open it in Many photos", () => {
        offer.hidden = true;
        window.anonymize.go("batch");
        hand("batch", files);
      }, { class: "az-button az-primary" });
      offer.replaceChildren(make("span", {}, some ? `${files.length} files. ` : "A zip may have many photos. "), all,
        ...(some ? [button("Only the first", () => open(files[0]))] : []), button("Neither", () => { offer.hidden = true; }));
      offer.hidden = false;
      all.focus();
    };
    taker("photo", take);

    const camera = () => takePicture(open, (p) => say(p, true));
    const titles = meta("samples").split("|").filter(Boolean);
    const sample = async (title, number) => {
      const answer = await fetch(`samples/${number}.jpg`);
      if (answer.ok) open(new File([await answer.blob()], `${title}.jpg`, { type: "image/jpeg" }));
      else say("The sample is not there.", true);
    };
    const tries = titles.length ? [make("p", { class: "az-drop-samples" }, "No photo at hand? Try: ",
      ...titles.map((title, number) => button(title, () => sample(title, number), { class: "az-link" })))] : [];
    const zone = dropzone({ title: "Choose a photo", accept: PHOTOS, onfiles: take,
      hint: `or drop it anywhere on the page, or paste it. ${root.dataset.label}`,
      more: [button("Take a picture", camera), ...tries] });
    const again = make("input", { type: "file", accept: PHOTOS, multiple: true, class: "az-file", tabindex: "-1", "aria-label": "Choose another photo",
      onchange: () => { if (again.files.length) take([...again.files]); again.value = ""; } });
    let changed = false;  // a correction that no download has yet
    const picture = window.anonymize.editor({
      act: (what, more = {}) => { changed = true; trigger("corrected", { what, ...more }); },
      extra: [button("New photo", () => again.click()), again] });

    // A photo of a batch: on to the next one, or back to all of them.
    const step = (text, what) => button(text, () => trigger("walked", { ...value().batch, what }));
    const walk = make("div", { class: "az-bar az-walk", hidden: true, role: "group", "aria-label": "Photos of the batch" },
      step("Back to the batch", "back"), step("Previous photo", "previous"), step("Next photo", "next"));
    root.append(zone, offer, status, waiting, walk, picture.root);

    document.addEventListener("paste", (e) => {
      if (!root.offsetParent || e.target.matches?.("input, textarea")) return;
      const file = [...(e.clipboardData?.files || [])].find((f) => f.type.startsWith("image/"));
      if (file) open(file);
    });
    document.addEventListener("click", (e) => {
      if (e.target.closest?.('[data-shows="misses"]')) { picture.misses(); picture.root.scrollIntoView({ block: "nearest" }); }
      if (e.target.closest?.("#az-result a[download]")) changed = false;
    });

    const value = () => (props.value && typeof props.value === "object" ? props.value : {});
    const update = () => {
      const now = value();
      // While a photo is on its way, only the answer to it counts.
      if (pending && (!pending.id || (now.id !== pending.id && !(now.problem && !now.id)))) return;
      if (pending) { forget(); changed = false; }
      say(now.problem || "", Boolean(now.problem));
      zone.hidden = Boolean(now.id);
      walk.hidden = !now.batch;
      window.anonymize.tell("photo", now.id ? { counts: now.counts } : {});
      if (!now.id) { picture.hide(); shown = ""; return; }
      root.dataset.version = now.version;
      if (now.id !== shown) { shown = now.id; window.anonymize.top("photo"); }
      picture.show(now);
    };
    window.anonymize.unfinished.push(() => Boolean(pending) || (changed && Boolean(shown)));
    watch("value", update);
    update();
  };

  Object.assign(window.anonymize, { viewer });
})();
