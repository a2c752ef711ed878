// Asks before something that cannot be taken back.

import { el, newId } from "./dom.js";

export function confirmed(title, text, verb, otherwise = "Keep it running") {
  return new Promise((settle) => {
    const id = newId("dialog");
    const dialog = el("dialog", { "aria-labelledby": id, onclose: () => { dialog.remove(); settle(dialog.returnValue === "yes"); } },
      el("form", { method: "dialog" },
        el("h2", { id }, title), el("p", {}, text),
        el("p", { class: "actions" },
          el("button", { value: "no", autofocus: true }, otherwise),
          el("button", { value: "yes", class: "danger" }, verb))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
