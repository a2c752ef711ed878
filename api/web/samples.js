// Responses to read: held-out ones of two policies side by side, and those of training steps.

import { el, newId } from "./dom.js";
import { number, signed } from "./format.js";
import { choice } from "./tabs.js";

export class Samples {
  constructor() {
    this.sets = { evaluation: new Map(), samples: new Map() }; // kind → stage → step → samples
    this.kind = null;
    this.none = el("p", { class: "empty" }, "No sample yet. Evaluations and every few steps show some responses here.");
    this.bar = el("div", { class: "toolbar" });
    this.host = el("div", { class: "samples" });
    this.element = el("div", {}, this.none, this.bar, this.host);
  }

  take({ event }) {
    const kind = this.sets[event.type];
    if (!kind || !event.samples.length) return;
    if (!kind.has(event.stage)) kind.set(event.stage, new Map());
    kind.get(event.stage).set(event.step, event.samples);
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const kinds = [["evaluation", "Held out: before and after"], ["samples", "While training"]].filter(([k]) => this.sets[k].size);
    this.none.hidden = kinds.length > 0;
    if (!kinds.length) return;
    const kind = kinds.some(([k]) => k === this.kind) ? this.kind : kinds[0][0];
    const stages = [...this.sets[kind].keys()], stage = stages.includes(this.stage) ? this.stage : stages.at(-1);
    const sets = new Map([...this.sets[kind].get(stage)].sort((a, b) => a[0] - b[0])), steps = [...sets.keys()];
    const to = steps.includes(this.to) ? this.to : steps.at(-1);
    const from = steps.includes(this.from) ? this.from : steps[0];
    // Live events must not take away a control that somebody is using.
    const shape = JSON.stringify([kinds, kind, stages, stage, steps, from, to]);
    if (shape === this.shape) return;
    this.shape = shape;
    const again = (what) => { Object.assign(this, what); this.draw(); };
    const named = (step) => (step === 0 ? "before the first step" : `after step ${step}`);
    const pick = (label, value, field) => picker(label, steps.map((s) => [s, named(s)]), value, (v) => again({ [field]: Number(v) }));
    const focused = document.activeElement?.dataset.field;
    this.bar.replaceChildren(
      kinds.length > 1 ? choice("Which samples", kinds, kind, (k) => again({ kind: k })) : "",
      stages.length > 1 ? picker("Stage", stages.map((s) => [s, s]), stage, (s) => again({ stage: s })) : "",
      kind === "evaluation" && steps.length > 1 ? pick("Left", from, "from") : "",
      pick(kind === "evaluation" && steps.length > 1 ? "Right" : "Policy", to, "to"));
    if (focused) this.bar.querySelector(`[data-field="${focused}"]`)?.focus();
    const after = sets.get(to), before = kind === "evaluation" && steps.length > 1 ? sets.get(from) : null;
    this.host.replaceChildren(...after.map((sample, i) => {
      const old = before?.[i]?.prompt === sample.prompt ? before[i] : before?.find((s) => s.prompt === sample.prompt);
      return card(sample, old, named(from), named(to));
    }));
  }
}

function card(sample, old, before, after) {
  return el("article", { class: "sample" },
    el("div", { class: "prompt" }, el("span", { class: "soft small" }, "Prompt"), el("p", { class: "text" }, sample.prompt || "(empty)")),
    el("div", { class: old ? "sides" : "" }, old && side(before, old), side(after, sample, old)));
}

function side(title, sample, old) {
  const parts = Object.entries(sample.components);
  return el("div", { class: "side" },
    el("div", { class: "side-head" }, el("span", { class: "soft small" }, title),
      el("span", { class: "score" }, number(sample.score, 3),
        old && sample.score !== old.score && el("span", { class: `delta ${sample.score > old.score ? "higher" : "lower"}` }, ` ${signed(sample.score - old.score)}`))),
    el("p", { class: "text" }, sample.response || "(empty)"),
    sample.truncated && el("p", { class: "soft small" }, "cut off at the length limit"),
    parts.length > 0 && el("dl", { class: "parts" }, parts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, number(value, 3))))));
}

export function picker(label, choices, value, onChoose) {
  const id = newId("pick");
  return el("div", { class: "pick" }, el("label", { for: id }, label),
    el("select", { id, dataset: { field: label }, onchange: (event) => onChoose(event.target.value) },
      choices.map(([v, text]) => el("option", { value: v, selected: v === value }, text))));
}
