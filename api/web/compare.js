// Two to five jobs on one chart, figure by figure, and where their specifications differ.

import { Chart, Reading } from "./chart.js";
import { get } from "./api.js";
import { smoothing } from "./curves.js";
import { el, section, table } from "./dom.js";
import { FIGURES, GROUPS } from "./figures.js";
import { number } from "./format.js";
import { MOST } from "./jobs.js";
import { picker } from "./samples.js";
import { badge, OVER } from "./status.js";

const EVERY = 4000; // milliseconds
const at = (report, path) => path.split(".").reduce((value, name) => value?.[name], report);

export async function compareView(host, ids, signal) {
  const jobs = await Promise.all(ids.slice(0, MOST).map((id) => get(`/v1/jobs/${id}`, { signal })));
  const names = labels(jobs), reading = new Reading();
  const bar = el("div", { class: "toolbar" }), grid = el("div", {}), results = el("div", {}), differences = el("div", {});
  const legend = el("ul", { class: "jobs-legend" });
  const others = el("div", {});
  host.append(el("h2", { tabindex: -1 }, "Compare"), legend, others);
  await chooser(others, ids, signal);
  if (jobs.length < 2) return;
  host.append(bar, grid, results, differences);
  let kind, charts = new Map(), points = [];

  const show = (jobsNow) => legend.replaceChildren(...jobsNow.map((job, i) => el("li", { class: `series s${i}` },
    el("span", { class: "swatch" }), el("a", { href: `#${job.id}` }, names[i]), " ", badge(job.status), " ",
    el("a", { class: "button quiet small", href: `#compare=${ids.filter((id) => id !== job.id).join(",")}`, "aria-label": `Leave ${names[i]} out` }, "×"))));

  function build() {
    charts = new Map();
    const specs = FIGURES[kind].flatMap((spec) => Object.entries(spec.lines).map(([path, label]) => ({ ...spec, path, label, title: Object.keys(spec.lines).length > 1 ? `${spec.title}: ${label}` : spec.title })));
    grid.replaceChildren(...GROUPS.map((group) => specs.filter((s) => s.group === group)).filter((g) => g.length).map((some) => {
      const made = some.map((spec) => { const chart = new Chart(spec.title, spec.unit, reading, spec); charts.set(spec.path, chart); return chart.element; });
      return el("section", { class: "group" }, el("h3", {}, some[0].group), el("div", { class: "charts" }, made));
    }));
  }

  function draw() {
    const kinds = [...new Set(points.flatMap((p) => p.map(({ report }) => report.kind)))];
    if (!kinds.length) { grid.replaceChildren(el("p", { class: "empty" }, "None of them has done a step yet.")); return; }
    if (!kinds.includes(kind)) kind = kinds.at(-1);
    const named = { supervised: "SFT and pretraining", preference: "Reward models and DPO", ppo: "Policy gradients" };
    const shape = `${kinds} ${kind}`;
    if (bar.dataset.shape !== shape) {
      bar.dataset.shape = shape;
      bar.replaceChildren(kinds.length > 1 ? picker("Stages of kind", kinds.map((k) => [k, named[k]]), kind, (k) => { kind = k; draw(); }) : "", smoothing(reading));
      build();
    }
    points.forEach((mine, i) => {
      const stage = mine.findLast(({ report }) => report.kind === kind)?.stage; // the newest of that kind
      for (const point of mine.filter((p) => p.stage === stage)) {
        for (const [path, chart] of charts) chart.add(jobs[i].id, names[i], point.step, at(point.report, path));
      }
    });
  }

  async function load() {
    const fresh = await Promise.all(jobs.map((job) => get(`/v1/jobs/${job.id}`, { signal })));
    points = await Promise.all(jobs.map(async (job, i) => (points[i] && OVER.includes(jobs[i].status) ? points[i] : (await get(`/v1/jobs/${job.id}/metrics`, { signal })).data)));
    fresh.forEach((job, i) => { jobs[i] = job; });
    show(jobs);
    draw();
  }

  await load();
  const reports = await Promise.all(jobs.map((job) => heldOut(job.id, signal)));
  results.replaceChildren(...heldOutTable(names, reports));
  differences.replaceChildren(...specTable(jobs, names));
  const timer = setInterval(() => document.hidden || jobs.every((job) => OVER.includes(job.status)) || load().catch(() => {}), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

// Same name twice: told apart by the end of the id.
function labels(jobs) {
  const count = (name) => jobs.filter((job) => job.name === name).length;
  return jobs.map((job) => (count(job.name) > 1 ? `${job.name} …${job.id.slice(-4)}` : job.name));
}

async function chooser(host, ids, signal) {
  if (ids.length >= MOST) return;
  const { data } = await get("/v1/jobs?limit=100", { signal });
  const free = data.filter((job) => !ids.includes(job.id));
  if (!free.length) { host.append(el("p", { class: "empty" }, "There is no other job to compare with.")); return; }
  host.append(el("div", { class: "toolbar" }, picker(ids.length < 2 ? "Compare with" : "Add", [["", "choose a job …"], ...free.map((job) => [job.id, `${job.name} …${job.id.slice(-4)} (${job.status})`])], "",
    (id) => { if (id) location.hash = `#compare=${[...ids, id].join(",")}`; })));
}

async function heldOut(jobId, signal) {
  const found = [];
  for (let after = 0, more = true; more;) {
    const page = await get(`/v1/jobs/${jobId}/events?limit=1000&after=${after}`, { signal });
    for (const { event } of page.data) if (event.type === "evaluation") found.push(event);
    [after, more] = [page.last_id ?? after, page.has_more];
  }
  return found;
}

function heldOutTable(names, evaluations) {
  const rows = evaluations.flatMap((events, i) => {
    if (!events.length) return [];
    const before = events[0], after = events.at(-1), figures = (e) => [{ name: "reward", ...e }, ...e.metrics];
    return figures(after).map((f) => {
      const old = figures(before).find(({ name }) => name === f.name);
      return [names[i], f.name, `${number(old?.mean)} ± ${number(old?.standard_error, 2)}`, `${number(f.mean)} ± ${number(f.standard_error, 2)}`, String(f.n)];
    });
  });
  const numeric = (text) => ({ text, number: true });
  return rows.length ? [section("Held-out results", {}, table("Held-out results", ["Job", "Figure", numeric("First evaluation"), numeric("Newest"), numeric("Responses")], rows))] : [];
}

function specTable(jobs, names) {
  const flat = jobs.map((job) => flatten(job.spec));
  const fields = [...new Set(flat.flatMap((one) => [...one.keys()]))];
  const unlike = fields.filter((field) => new Set(flat.map((one) => one.get(field))).size > 1);
  const rows = unlike.map((field) => [el("code", {}, field), ...flat.map((one) => one.get(field) ?? "–")]);
  return [section("What differs in their specifications", {}, rows.length
    ? table("Fields that differ", ["Field", ...names], rows) : el("p", { class: "empty" }, "Nothing: they are the same job."))];
}

function flatten(value, path = "", into = new Map()) {
  if (value !== null && typeof value === "object") {
    for (const [name, inner] of Object.entries(value)) flatten(inner, Array.isArray(value) ? `${path}[${name}]` : path ? `${path}.${name}` : name, into);
  } else into.set(path, String(value));
  return into;
}
