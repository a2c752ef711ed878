// The charts of a job, one stage at a time: the newest, until another is chosen.

import { Chart, Reading } from "./chart.js";
import { el } from "./dom.js";
import { FIGURES, GROUPS, measured } from "./figures.js";
import { Phases } from "./phases.js";
import { choice } from "./tabs.js";

export class Curves {
  constructor() {
    this.reading = new Reading();
    this.stages = new Map(); // name → { element, charts }
    this.attempts = new Map(); // stage and step → attempt that reported it
    this.picker = el("div", {});
    this.host = el("div", {});
    this.none = el("p", { class: "empty" }, "No step yet. Charts appear with the first one.");
    this.element = el("div", {}, el("div", { class: "toolbar" }, this.picker, smoothing(this.reading)), this.none, this.host);
  }

  take({ attempt, event }) {
    if (event.type !== "step") return;
    const place = `${event.stage} ${event.step}`;
    if ((this.attempts.get(place) ?? 0) > attempt) return; // late news of an older attempt
    this.attempts.set(place, attempt);
    this.none.hidden = true;
    const stage = this.stages.get(event.stage) ?? this.open(event.stage, event.report.kind);
    for (const { spec, chart } of stage.charts) {
      for (const [name, label, value] of measured(spec, event.report)) chart.add(name, label, event.step, value);
    }
    stage.phases.take(event.step, event.report);
    for (const { element, charts } of stage.groups) {
      element.hidden = charts.every((chart) => chart.element.hidden || chart.lines.size === 0);
    }
  }

  open(name, kind) {
    const charts = FIGURES[kind].map((spec) => ({ spec, chart: new Chart(spec.title, spec.unit, this.reading, spec) }));
    const groups = GROUPS.map((group) => charts.filter(({ spec }) => spec.group === group)).filter((some) => some.length).map((some) => ({
      charts: some.map(({ chart }) => chart),
      element: el("section", { class: "group" }, el("h3", {}, some[0].spec.group),
        el("div", { class: "charts" }, some.map(({ chart }) => chart.element))),
    }));
    const phases = new Phases();
    const stage = { charts, groups, phases, element: el("div", {}, groups.map(({ element }) => element), phases.element) };
    this.stages.set(name, stage);
    this.host.append(stage.element);
    if (!this.chosen) this.show(name);
    this.pick();
    return stage;
  }

  pick() {
    const names = [...this.stages.keys()];
    const choose = (name) => { this.chosen = name; this.show(name); };
    this.picker.replaceChildren(names.length > 1 ? choice("Stage", names.map((n) => [n, n]), this.shown, choose) : "");
  }

  show(name) {
    this.shown = name;
    for (const [other, { element }] of this.stages) element.hidden = other !== name;
  }
}

export function smoothing(reading) {
  const said = el("output", {}, "off");
  return el("label", { class: "smoothing" }, "Smoothing ",
    el("input", { type: "range", min: 0, max: 0.95, step: 0.05, value: 0, oninput: (event) => {
      const weight = Number(event.target.value);
      said.textContent = weight ? weight.toFixed(2) : "off";
      reading.change({ smoothing: weight });
    } }), " ", said);
}
