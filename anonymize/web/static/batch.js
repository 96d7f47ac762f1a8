// Many photos: choosing and sending them. intake.js is loaded before it.
"use strict";
(() => {
  const { make } = window.anonymize.tools;
  const { send, taker, dropzone, clipsAside, PHOTOS } = window.anonymize.intake;

  const uploader = ({ element, props, trigger, watch }) => {
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
    const onfiles = async (given, unread = []) => {
      const { files, offer } = clipsAside(given);
      if (offer) root.prepend(offer);
      if (!sending) problems.replaceChildren();
      problems.append(...unread.map((text) => make("li", {}, text)));
      queue.push(...files);
      all += files.length;
      if (sending || !files.length) return;
      sending = over.disabled = true;
      bar.hidden = false;
      try {
        if (!batch) {
          const answer = await fetch("batches", { method: "POST" });
          if (!answer.ok) throw (await answer.json()).error;
          batch = (await answer.json()).id;
        }
        let sent = 0;
        const worker = async () => {
          for (let file; (file = queue.shift()); ) {
            const name = file.path_ || file.webkitRelativePath || file.name;
            try {
              const answer = await send(`batches/${batch}/files?name=${encodeURIComponent(name)}`, file, null, "photos and zips").done;
              taken = Math.max(taken, answer.photos);
            } catch (problem) { problems.append(make("li", {}, String(problem).includes(file.name) ? String(problem) : `${file.name}: ${problem}`)); }
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
    const zone = dropzone({ title: "Choose photos", accept: `${PHOTOS},.zip`, onfiles,
      hint: "or drop photos, folders or a zip file anywhere on the page." });
    const title = zone.querySelector(".az-drop-title");
    root.append(zone, make("div", { class: "az-bar" }, status, over), bar, problems);
    window.anonymize.unfinished.push(() => sending);
    // The page was opened anew: the batch that this visitor has.
    const restore = () => {
      if (batch || !props.value?.id) return;
      batch = props.value.id;
      taken = props.value.photos;
      ready();
    };
    watch("value", restore);
    restore();
    taker("batch", onfiles);
  };

  Object.assign(window.anonymize, { uploader });
})();
