// Two to five jobs on one chart, figure by figure, and where their specifications differ.

import { get } from "./api.js";
import { Chart, Reading } from "./chart.js";
import { smoothing } from "./curves.js";
import { heldOut, heldOutTable, specTable } from "./differences.js";
import { el } from "./dom.js";
import { FIGURES, linesOf, measured } from "./figures.js";
import { MOST } from "./jobs.js";
import { picker } from "./samples.js";
import { badge, OVER } from "./status.js";

const EVERY = 4000; // milliseconds
const KINDS = { supervised: "SFT and pretraining", preference: "Reward models and DPO", ppo: "Policy gradients" };

export async function compareView(host, ids, signal) {
  const jobs = await Promise.all(ids.slice(0, MOST).map((id) => get(`/v1/jobs/${id}`, { signal })));
  const names = labels(jobs), legend = el("ul", { class: "jobs-legend" });
  const adder = await chooser(ids, signal);
  host.append(el("h2", { tabindex: -1 }, "Compare"), legend, adder);
  const comparison = new Comparison(jobs, names);
  const show = () => legend.replaceChildren(...jobs.map((job, i) => el("li", { class: `series s${i}` },
    el("span", { class: "swatch" }), el("a", { href: `#${job.id}` }, names[i]), " ", badge(job.status), " ",
    el("a", { class: "button quiet small", href: `#compare=${ids.filter((id) => id !== job.id).join(",")}`, "aria-label": `Leave ${names[i]} out` }, "×"))));
  show();
  if (jobs.length < 2) return;
  const findings = el("div", { class: "panel" });
  host.append(comparison.element, findings);
  async function load() {
    const over = jobs.map((job) => OVER.includes(job.status)); // before the look: its last steps are still to be read
    const fresh = await Promise.all(jobs.map((job) => get(`/v1/jobs/${job.id}`, { signal })));
    await Promise.all(fresh.map(async (job, i) => {
      if (!over[i] || !comparison.points[i]) comparison.points[i] = (await get(`/v1/jobs/${job.id}/metrics`, { signal })).data;
      jobs[i] = job;
    }));
    show();
    comparison.draw();
  }
  await load();
  const evaluations = await Promise.all(jobs.map((job) => heldOut(job.id, signal)));
  findings.replaceChildren(...heldOutTable(names, evaluations), ...specTable(jobs, names));
  const timer = setInterval(() => document.hidden || jobs.every((job) => OVER.includes(job.status)) || load().catch(() => {}), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

class Comparison {
  constructor(jobs, names) {
    Object.assign(this, { jobs, names, points: [], reading: new Reading(), kind: null, figure: null, charts: new Map() });
    this.bar = el("div", { class: "toolbar" });
    this.big = el("div", { class: "compared" });
    this.grid = el("div", { class: "charts" });
    this.element = el("div", {}, this.bar, this.big, this.grid);
  }

  draw() {
    const kinds = [...new Set(this.points.flat().map(({ report }) => report.kind))];
    if (!kinds.length) return this.big.replaceChildren(el("p", { class: "empty" }, "None of them has done a step yet."));
    if (!kinds.includes(this.kind)) Object.assign(this, { kind: kinds.at(-1), figure: null });
    const shape = `${kinds} ${this.kind} ${this.figure}`;
    if (this.shape !== shape) this.build(kinds);
    this.points.forEach((mine, i) => {
      const stage = mine.findLast(({ report }) => report.kind === this.kind)?.stage; // the newest of that kind
      for (const { step, report } of mine.filter((point) => point.stage === stage)) {
        const known = new Map(FIGURES[this.kind].flatMap((spec) => measured(spec, report)).map(([name, , value]) => [name, value]));
        for (const [name, charts] of this.charts) for (const chart of charts) chart.add(this.jobs[i].id, this.names[i], step, known.get(name));
      }
    });
  }

  build(kinds) {
    const again = (what) => { Object.assign(this, what); this.draw(); };
    const figures = FIGURES[this.kind].flatMap((spec) => linesOf(spec).map(([name, line], i, all) =>
      ({ ...spec, name, main: i === 0, title: all.length > 1 ? `${spec.title}: ${line}` : spec.title })));
    this.figure ??= figures[0].name;
    this.shape = `${kinds} ${this.kind} ${this.figure}`;
    const focused = document.activeElement?.dataset?.field;
    this.bar.replaceChildren(
      picker("Figure", figures.map((f) => [f.name, f.title]), this.figure, (figure) => again({ figure })),
      kinds.length > 1 ? picker("Stages", kinds.map((k) => [k, KINDS[k]]), this.kind, (kind) => again({ kind, figure: null })) : "",
      smoothing(this.reading));
    if (focused) this.bar.querySelector(`[data-field="${focused}"]`)?.focus();
    const made = (f, more = {}) => {
      const chart = new Chart(f.title, f.unit, this.reading, more);
      this.charts.set(f.name, [...(this.charts.get(f.name) ?? []), chart]);
      return chart.element;
    };
    this.charts = new Map();
    this.reading.smoothing = 0;
    this.big.replaceChildren(made(figures.find((f) => f.name === this.figure), { height: 300 }));
    this.grid.replaceChildren(...figures.filter((f) => f.main && f.name !== this.figure).map((f) => made(f, f)));
  }
}

// Same name twice: told apart by the end of the id.
function labels(jobs) {
  const count = (name) => jobs.filter((job) => job.name === name).length;
  return jobs.map((job) => (count(job.name) > 1 ? `${job.name} …${job.id.slice(-4)}` : job.name));
}

async function chooser(ids, signal) {
  if (ids.length >= MOST) return el("p", { class: "soft" }, `${MOST} jobs are the most that are compared at once.`);
  const { data } = await get("/v1/jobs?limit=100", { signal });
  const free = data.filter((job) => !ids.includes(job.id));
  if (!free.length) return el("p", { class: "empty" }, "There is no other job to compare with.");
  const choices = free.map((job) => [job.id, `${job.name} …${job.id.slice(-4)} (${job.status})`]);
  return el("div", { class: "toolbar" },
    picker(ids.length < 2 ? "Compare with" : "Add", [["", "choose a job …"], ...choices], "",
      (id) => { if (id) location.hash = `#compare=${[...ids, id].join(",")}`; }),
    ids.length < 2 && el("span", { class: "soft" }, "Two to five jobs share one chart."));
}
