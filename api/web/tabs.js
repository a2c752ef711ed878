// Tabs: arrow keys move between them, and only the chosen one's panel is there.

import { el, newId } from "./dom.js";

export function tabs(label, panels) {
  const buttons = [], hosts = [];
  const choose = (index, focus = false) => {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
      hosts[i].hidden = i !== index;
    });
    if (focus) buttons[index].focus();
  };
  for (const [name, content] of Object.entries(panels)) {
    const at = buttons.length, id = newId("tab"), host = newId("panel");
    buttons.push(el("button", { type: "button", role: "tab", id, "aria-controls": host, onclick: () => choose(at) }, name));
    hosts.push(el("div", { role: "tabpanel", id: host, "aria-labelledby": id, class: "panel" }, content));
  }
  const list = el("div", { role: "tablist", "aria-label": label, class: "tabs", onkeydown: (event) => {
    const now = buttons.indexOf(document.activeElement), count = buttons.length;
    const to = { ArrowRight: (now + 1) % count, ArrowLeft: (now + count - 1) % count, Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to, true);
  } }, buttons);
  choose(0);
  return el("div", {}, list, hosts);
}

// One of several, as a row of radio buttons. choices: [[value, text]].
export function choice(label, choices, chosen, onChoose) {
  const name = newId("choice");
  return el("fieldset", { class: "choice" }, el("legend", { class: "hidden-text" }, label), choices.map(([value, text]) =>
    el("label", {},
      el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onChoose(value) }),
      el("span", {}, text))));
}
