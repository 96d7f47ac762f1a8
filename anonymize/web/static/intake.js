// How photos come in: chosen, dropped anywhere on the page, pasted, taken. They are sent as they are, not through Gradio's
// upload cache. editor.js is loaded before it.
"use strict";
(() => {
  const { make } = window.anonymize.tools;
  let unique = 0;

  const meta = (name) => document.querySelector(`meta[name="anonymize-${name}"]`)?.content || "";
  const most = Number(meta("most")) || Infinity, types = meta("types").split(",");
  const mostClip = Number(meta("most-clip")) || Infinity, clipTypes = meta("clips").split(",").filter(Boolean);
  const PHOTOS = types.map((type) => `.${type}`).join(","), CLIPS = clipTypes.map((type) => `.${type}`).join(",");
  const ending = (file) => file.name.toLowerCase().split(".").pop();
  const isClip = (file) => clipTypes.includes(ending(file));

  // Send a file. onprogress gets 0..1. Gives {done, abort}; done resolves to the answer's JSON, rejects with a sentence.
  // What is none of these by its name is not sent: the server says by the name alone what can be done about it.
  // kinds: "photos", "photos and zips" or "clips".
  const send = (url, file, onprogress, kinds = "photos") => {
    const limit = kinds === "clips" ? mostClip : most;
    const request = new XMLHttpRequest();
    const done = new Promise((resolve, reject) => {
      const isWanted = kinds === "clips" ? isClip(file) : types.includes(ending(file)) || (kinds !== "photos" && ending(file) === "zip");
      if (isWanted && file.size > limit) { reject(`${file.name} is too large: at most ${Math.round(limit / 1e6)} MB.`); return; }
      request.open("POST", url);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (e) => e.lengthComputable && onprogress?.(e.loaded / e.total);
      request.onerror = () => reject("The file could not be sent. Is the server still running?");
      request.onabort = () => reject("Cancelled.");
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
        if (request.status < 300) resolve(answer);
        else reject(answer.error || `The server refused the file (${request.status}).`);
      };
      request.send(isWanted ? file : new Blob([]));
    });
    return { done, abort: () => request.abort() };
  };

  // ---- who takes files: "photo", "batch" and "video", each (files, unread), where `unread` are sentences ----
  const takers = {}, waiting = {};
  const taker = (name, take) => {
    takers[name] = take;
    if (waiting[name]) { take(...waiting[name]); delete waiting[name]; }
  };
  const hand = (name, files, unread = []) => {
    if (takers[name]) takers[name](files, unread);
    else waiting[name] = [files, unread];
  };
  const isShown = (selector) => Boolean(document.querySelector(selector)?.offsetParent);
  const receive = (files, unread) => {
    if (!files.length && !unread.length) return;
    if (isShown(".az-clips")) { hand("video", files, unread); return; }
    if (isShown(".az-uploader")) { hand("batch", files, unread); return; }
    if (isShown(".az-viewer")) { hand("photo", files, unread); return; }
    const to = files.length && files.every(isClip) ? "video" : files.length > 1 ? "batch" : "photo";
    window.anonymize.go(to);
    hand(to, files, unread);
  };

  // Videos among files: the others, and an element that offers the Video tab for them, or null.
  const clipsAside = (files) => {
    const some = files.filter(isClip);
    if (!some.length) return { files, offer: null };
    const text = some.length === 1 ? `${some[0].name} is a video. ` : `${some.length} files are videos. `;
    const open = make("button", { type: "button", class: "az-button az-primary", onclick: () => { offer.remove(); window.anonymize.go("video"); hand("video", some); } },
      some.length === 1 ? "Open it in Video" : "Open them in Video");
    const offer = make("div", { class: "az-offer az-offer-clips", role: "group", "aria-label": "Videos" }, make("span", {}, text), open,
      make("button", { type: "button", class: "az-button", onclick: () => offer.remove() }, "No"));
    document.querySelectorAll(".az-offer-clips").forEach((old) => old.remove());
    return { files: files.filter((f) => !isClip(f)), offer };
  };

  // ---- a place to choose files, or to drop them: the whole page takes them ----
  const dropzone = ({ title, hint, accept, onfiles, more = [] }) => {
    const id = `az-file-${++unique}`;
    const input = make("input", { type: "file", id, accept, multiple: true, class: "az-file", onchange: () => {
      if (input.files.length) onfiles([...input.files], []);
      input.value = "";
    } });
    const zone = make("div", { class: "az-drop" },
      make("div", { class: "az-drop-icon", "aria-hidden": "true" }),
      make("label", { for: id, class: "az-drop-title" }, title),
      make("p", { class: "az-drop-hint" }, hint),
      input, ...more);
    zone.addEventListener("click", (e) => { if (e.target === zone || e.target.matches(".az-drop-icon, .az-drop-hint")) input.click(); });
    return zone;
  };
  const over = (on) => document.body.classList.toggle("az-over", on);
  document.addEventListener("dragover", (e) => {
    if (!e.dataTransfer?.types.includes("Files")) return;
    e.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) over(false); });
  document.addEventListener("drop", async (e) => {
    over(false);
    if (!e.dataTransfer || !(e.dataTransfer.files.length || e.dataTransfer.items.length)) return;
    e.preventDefault();
    const { files, unread } = await dropped(e.dataTransfer);
    receive(files, unread);
  });
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

  Object.assign(window.anonymize, { intake: { meta, send, taker, hand, dropzone, takePicture, ending, isClip, clipsAside, PHOTOS, CLIPS } });
})();
