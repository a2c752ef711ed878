// The job's log, newest first. Steps are left out until asked for.

import { el } from "./dom.js";
import { clock, date, words } from "./format.js";
import { isGrave, sentence } from "./sentences.js";

const KEPT = 300; // entries in the page

export class Events {
  constructor() {
    this.records = [];
    this.waiting = null;
    this.list = el("ol", { class: "events", reversed: true });
    this.none = el("p", { class: "empty" }, "Nothing matches.");
    this.find = el("input", { type: "search", placeholder: "alarm, checkpoint, …", oninput: () => this.draw() });
    this.steps = el("input", { type: "checkbox", onchange: () => this.draw() });
    this.element = el("div", {},
      el("div", { class: "toolbar" },
        el("label", { class: "pick" }, el("span", {}, "Find"), this.find),
        el("label", { class: "check" }, this.steps, " Steps too")),
      this.none, this.list);
  }

  take(record) {
    this.records.push(record);
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.draw(); });
  }

  draw() {
    const wanted = this.find.value.trim().toLowerCase();
    const shown = this.records.filter(({ event }) =>
      (this.steps.checked || event.type !== "step") &&
      (!wanted || `${words(event.type)} ${sentence(event)}`.toLowerCase().includes(wanted)));
    this.none.hidden = shown.length > 0;
    this.list.replaceChildren(...shown.slice(-KEPT).toReversed().map(({ seq, created_at, event }) =>
      el("li", { value: seq, class: isGrave(event) && "grave" },
        el("time", { datetime: created_at, title: date(created_at) }, clock(created_at)),
        el("span", { class: "kind" }, words(event.type)),
        el("span", { class: "text" }, sentence(event)))));
  }
}
