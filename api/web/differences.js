// What sets compared jobs apart: held-out results, and fields of their specifications.

import { get } from "./api.js";
import { el, section, table } from "./dom.js";
import { number } from "./format.js";

// Every evaluation of a job, in order.
export async function heldOut(jobId, signal) {
  const found = [];
  for (let after = 0, more = true; more;) {
    const page = await get(`/v1/jobs/${jobId}/events?limit=1000&after=${after}`, { signal });
    for (const { event } of page.data) if (event.type === "evaluation") found.push(event);
    [after, more] = [page.last_id ?? after, page.has_more];
  }
  return found;
}

const figures = (event) => [{ name: "reward", ...event }, ...event.metrics];
const said = (f) => (f ? `${number(f.mean)} ± ${number(f.standard_error, 2)}` : "–");

export function heldOutTable(names, evaluations) {
  const rows = evaluations.flatMap((events, i) => {
    const stage = events.at(-1)?.stage, mine = events.filter((event) => event.stage === stage); // the last one's
    return mine.length === 0 ? [] : figures(mine.at(-1)).map((f) =>
      [names[i], f.name, said(figures(mine[0]).find(({ name }) => name === f.name)), said(f), String(f.n)]);
  });
  const numeric = (text) => ({ text, number: true });
  const heads = ["Job", "Figure", numeric("First evaluation"), numeric("Newest"), numeric("Responses")];
  return rows.length ? [section("Held-out results", {}, table("Held-out results, mean ± standard error", heads, rows))] : [];
}

export function specTable(jobs, names) {
  const flat = jobs.map((job) => flatten(job.spec));
  const fields = [...new Set(flat.flatMap((one) => [...one.keys()]))];
  const unlike = fields.filter((field) => new Set(flat.map((one) => one.get(field))).size > 1);
  const rows = unlike.map((field) => [el("code", {}, field), ...flat.map((one) => one.get(field) ?? "–")]);
  return [section("What differs in their specifications", {}, rows.length
    ? table("Fields that differ", ["Field", ...names], rows)
    : el("p", { class: "empty" }, "Nothing: they are the same job."))];
}

function flatten(value, path = "", into = new Map()) {
  if (value !== null && typeof value === "object") {
    for (const [name, inner] of Object.entries(value)) {
      flatten(inner, Array.isArray(value) ? `${path}[${name}]` : path ? `${path}.${name}` : name, into);
    }
  } else if (value !== null) into.set(path, String(value));
  return into;
}
