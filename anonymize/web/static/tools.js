// What the page's scripts share: elements in a line each. Loaded before all others.
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
  const button = (text, onclick, extra = {}) => make("button", { type: "button", class: "az-button", onclick, ...extra }, text);
  let unique = 0;
  const check = (text, onchange) => {
    const id = `az-check-${++unique}`;
    const input = make("input", { type: "checkbox", id, onchange: () => onchange(input.checked) });
    return make("span", { class: "az-check" }, input, make("label", { for: id }, text));
  };

  // Labels of boxes, so that they keep their size on the screen (px: of the photo, for each of the screen) and do not lie
  // over each other: the selected one first, then those of large boxes; above its box, else below it, else not at all.
  const apart = (texts, px) => {
    const taken = [], chosen = (t) => t.classList.contains("selected");
    for (const t of texts) Object.assign(t.style, { display: "", fontSize: `${12 * px}px`, strokeWidth: `${3 * px}px` });
    const widths = new Map(texts.map((t) => [t, t.getComputedTextLength() + 5 * px]));
    for (const t of texts.sort((a, b) => chosen(b) - chosen(a))) {
      const x = t.x.baseVal[0].value, top = t.y.baseVal[0].value, width = widths.get(t);
      const dy = [chosen(t) ? -11 * px : -4 * px, Number(t.dataset.height) + (chosen(t) ? 20 : 13) * px].find((by) =>
        !taken.some((o) => x < o.x + o.width && o.x < x + width && Math.abs(top + by - o.y) < 15 * px));
      if (dy === undefined) { t.style.display = "none"; continue; }
      t.setAttribute("dy", dy);
      taken.push({ x, y: top + dy, width });
    }
  };

  window.anonymize = { tools: { make, svg, clamp, button, check, apart } };
})();
