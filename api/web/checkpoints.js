// What a job has saved and still keeps: whether each is whole, its figures, and a talk with it.

import { get } from "./api.js";
import { el, table } from "./dom.js";
import { ago, bytes, date, number, words } from "./format.js";

const PAUSE = 500; // milliseconds: several are told at once when a log is read
const FIGURES = ["score_mean", "kl", "loss", "validation_loss", "accuracy", "validation_accuracy"];

export class Checkpoints {
  constructor(jobId, signal) {
    Object.assign(this, { jobId, signal });
    this.none = el("p", { class: "empty" }, "No checkpoint in storage. A job saves one every few steps, and keeps the newest.");
    this.host = el("div", {});
    this.hint = el("p", { class: "soft small" }, "From a terminal: ", el("code", {}, `rlhf download ${jobId} checkpoints`));
    this.element = el("div", {}, this.none, this.host, this.hint);
    this.hint.hidden = true;
    this.later();
  }

  take({ event }) {
    if (event.type === "checkpoint" || event.type === "stage_completed") this.later();
  }

  later() {
    clearTimeout(this.due);
    this.due = setTimeout(() => this.read(), PAUSE);
  }

  async read() {
    if (this.signal.aborted) return;
    try {
      this.show((await get(`/v1/jobs/${this.jobId}/checkpoints`, { signal: this.signal })).data);
    } catch (fault) {
      this.none.hidden = true;
      if (!this.signal.aborted) this.host.replaceChildren(el("p", { class: "fault" }, fault.message));
    }
  }

  show(found) {
    this.none.hidden = found.length > 0;
    this.hint.hidden = !found.length;
    const rows = found.map((one) => [
      `${one.stage}, step ${one.step}`,
      el("time", { datetime: one.created_at, title: date(one.created_at) }, ago(one.created_at)),
      bytes(one.bytes),
      one.valid ? el("span", { class: "verdict higher" }, "whole") : el("span", { class: "verdict lower", title: one.fault }, "damaged"),
      figures(one.metrics),
      one.model ? el("a", { href: `#playground=${encodeURIComponent(one.model)}`, "aria-label": `Try ${one.id}` }, "Try it") : "",
    ]);
    this.host.replaceChildren(found.length
      ? table("Checkpoints in storage, newest first", ["After", "Saved", { text: "Size", number: true }, "State", "Figures of that step", ""], rows)
      : "");
  }
}

function figures(metrics) {
  const known = FIGURES.filter((name) => metrics[name] !== undefined);
  return known.map((name) => `${words(name).toLowerCase()} ${number(metrics[name], 3)}`).join(", ") || "–";
}
