// What Gradio has no component for: dropping a photo in without it passing through Gradio's upload cache, and a slider for
// thresholds. Each is a function that fills an element of a gr.HTML; the picture itself is editor.js, which is loaded first.
"use strict";
(() => {
  const { make, clamp, button } = window.anonymize.tools;
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

    const again = make("input", { type: "file", accept: PHOTOS, class: "az-file", tabindex: "-1", "aria-label": "Choose another photo",
      onchange: () => { if (again.files[0]) open(again.files[0]); again.value = ""; } });
    const picture = window.anonymize.editor({
      act: (what, more = {}) => trigger("corrected", { what, ...more }), extra: [button("New photo", () => again.click()), again] });
    root.append(zone, status, picture.root);

    document.addEventListener("paste", (e) => {
      if (!root.offsetParent || e.target.matches?.("input, textarea")) return;
      const file = [...(e.clipboardData?.files || [])].find((f) => f.type.startsWith("image/"));
      if (file) open(file);
    });

    const update = () => {
      const value = props.value;
      if (!value || typeof value !== "object") return;
      if (value.problem) { say(value.problem, true); if (!value.id) return; }
      else say("");
      zone.hidden = Boolean(value.id);
      if (!value.id) { picture.hide(); return; }
      root.dataset.version = value.version;
      picture.show(value);
    };
    watch("value", update);
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
      make("div", { class: "az-row az-ends", "aria-hidden": "true" }, make("span", {}, "hide more"), make("span", {}, "hide only certain")));
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

  // Tell the server when the last page closes, so that it deletes the photos; and that this page is still here.
  addEventListener("pagehide", () => fetch("/visit/leave", { method: "POST", keepalive: true }).catch(() => {}));
  setInterval(() => fetch("/visit/here", { method: "POST" }).catch(() => {}), 30000);
  addEventListener("pageshow", (e) => { if (e.persisted) fetch("/visit/here", { method: "POST" }).catch(() => {}); });

  Object.assign(window.anonymize, { viewer, threshold, uploader, clicks, starting });
})();
