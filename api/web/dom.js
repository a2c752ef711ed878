// Making elements. Text is only ever set as text: what models wrote is shown, never obeyed.

const SVG = "http://www.w3.org/2000/svg";

// el("button", { class: "quiet", type: "button", onclick }, "Save")
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(made, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (name === "value" && "value" in made) made.value = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// A table with a caption for screen readers. A head is text, or { text, number: true }.
export function table(caption, heads, rows, { visible = false } = {}) {
  const numeric = heads.map((head) => Boolean(head.number));
  const columns = heads.map((head, i) =>
    el("th", { scope: "col", class: numeric[i] && "number" }, head.text ?? head));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, i) =>
    el(i === 0 ? "th" : "td", { scope: i === 0 && "row", class: numeric[i] && "number" }, cell ?? "–"))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { class: visible ? null : "hidden-text" }, caption),
      el("thead", {}, el("tr", {}, columns)),
      el("tbody", {}, body)));
}

let ids = 0;
export const newId = (stem) => `${stem}-${++ids}`;

// A titled part of a page, named for screen readers.
export function section(title, props = {}, ...children) {
  const id = newId("title");
  return el("section", { ...props, "aria-labelledby": id }, el("h3", { id }, title), ...children);
}
