// The stages of a job in a row: done, at work, to come; and the newest step's figures.

import { el } from "./dom.js";
import { HEADLINES } from "./figures.js";
import { duration, number } from "./format.js";
import { bar, OVER } from "./status.js";

export class Stages {
  constructor(spec) {
    this.items = new Map(spec.stages.map((stage) => [stage.name, { ...stage, step: 0, state: "to come" }]));
    this.list = el("ol", { class: "stages", "aria-label": "Stages" });
    this.tiles = el("dl", { class: "tiles" });
    this.element = el("div", {}, this.list, this.tiles);
    this.kept = {};
    this.left = null;
  }

  take({ event }) {
    const item = this.items.get(event.stage);
    if (!item) return;
    if (event.type === "stage_started") Object.assign(item, { state: "at work", step: event.from_step, steps: event.steps });
    if (event.type === "step") {
      Object.assign(item, { step: event.step, steps: event.steps });
      if (item.state === "to come") item.state = "at work";
      if (this.newest !== event.stage) this.kept = {};
      this.newest = event.stage;
      this.kind = event.report.kind;
      for (const [name, value] of Object.entries(event.report)) if (value !== null) this.kept[name] = value;
    }
    if (event.type === "stage_completed") Object.assign(item, { state: "done", seconds: event.seconds, step: item.steps });
    this.later();
  }

  show(job) {
    const left = job.status === "running" ? job.progress.eta_seconds : null;
    const stopped = OVER.includes(job.status) || job.status === "paused" ? (job.status === "paused" ? "paused" : "stopped") : null;
    if (left === this.left && job.progress.stage === this.at && stopped === this.stopped) return;
    Object.assign(this, { left, at: job.progress.stage, stopped });
    this.later();
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    this.list.replaceChildren(...[...this.items.values()].map((item) => {
      const took = item.seconds === undefined ? null : ` · took ${duration(item.seconds)}`;
      const left = item.name === this.at && item.state === "at work" && this.left !== null ? ` · ${duration(this.left)} left` : null;
      const state = item.state === "at work" ? this.stopped ?? item.state : item.state;
      return el("li", { dataset: { state } },
        el("div", {}, el("b", {}, item.name), item.type !== item.name && el("span", { class: "soft" }, ` ${item.type}`),
          el("span", { class: "state" }, state)),
        bar(`${item.name}: steps`, item.step, item.steps),
        el("div", { class: "soft small" }, `${item.step} / ${item.steps} steps`, took, left));
    }));
    const shown = (HEADLINES[this.kind] ?? []).filter(([, name]) => this.kept[name] !== undefined);
    this.tiles.replaceChildren(...shown.map(([title, name]) =>
      el("div", {}, el("dt", {}, title), el("dd", {}, number(this.kept[name])))));
  }
}
