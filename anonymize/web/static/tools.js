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

  window.anonymize = { tools: { make, svg, clamp, button, check } };
})();
