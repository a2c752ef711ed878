// The list of jobs: filtered by state and name, kept fresh, and chosen from for a comparison.

import { get } from "./api.js";
import { el } from "./dom.js";
import { ago, date } from "./format.js";
import { badge, FILTERS, progress } from "./status.js";
import { choice } from "./tabs.js";

const PAGE = 25, EVERY = 3000; // jobs, milliseconds
export const MOST = 5; // jobs compared at once

export async function jobsView(host, signal) {
  const state = { filter: "all", search: "", limit: PAGE, chosen: new Set(), rows: new Map() };
  const rows = el("tbody", {}), none = el("div", { class: "empty" });
  const more = el("button", { type: "button", hidden: true, onclick: () => { state.limit += PAGE; load(); } }, "Show more");
  const fault = el("p", { class: "fault", role: "alert" });
  const count = el("p", { class: "hidden-text", role: "status" });
  const compare = el("a", { class: "button primary" });
  const tray = el("div", { class: "tray", hidden: true, role: "region", "aria-label": "Comparison" }, el("span", { role: "status" }), compare,
    el("button", { type: "button", class: "quiet", onclick: () => { state.chosen.clear(); choose(); } }, "Clear"));
  const grid = el("div", { class: "scroll cards" }, el("table", {},
    el("caption", { class: "hidden-text" }, "Jobs, newest first"),
    el("thead", {}, el("tr", {}, ["Compare", "Name", "Status", "Progress", "Created"].map((text) => el("th", { scope: "col" }, text)))),
    rows));
  let typing;
  const search = el("input", { type: "search", placeholder: "name or id", oninput: () => {
    clearTimeout(typing);
    typing = setTimeout(() => { state.search = search.value.trim(); state.limit = PAGE; load(); }, 150);
  } });

  function choose() {
    for (const { box } of state.rows.values()) {
      box.checked = state.chosen.has(box.value);
      box.disabled = !box.checked && state.chosen.size >= MOST;
    }
    tray.hidden = state.chosen.size === 0;
    const enough = state.chosen.size >= 2;
    tray.firstChild.textContent = enough ? `${state.chosen.size} jobs chosen` : "Choose one more to compare";
    compare.textContent = "Compare on one chart";
    compare.hidden = !enough;
    compare.href = `#compare=${[...state.chosen].join(",")}`;
  }

  function row(job) {
    const box = el("input", { type: "checkbox", value: job.id, "aria-label": `Compare ${job.name}`, checked: state.chosen.has(job.id), onchange: () => {
      if (box.checked) state.chosen.add(job.id); else state.chosen.delete(job.id);
      choose();
    } });
    const status = el("td", {}), made = el("td", {}), steps = el("td", {});
    const stages = job.spec.stages.map((stage) => stage.type).join(" → ");
    const element = el("tr", {}, el("td", { class: "pick-cell" }, box),
      el("th", { scope: "row" }, el("a", { href: `#${job.id}` }, job.name), el("div", { class: "soft small" }, stages)),
      status, steps, made);
    return { box, element, show(now) {
      element.dataset.status = now.status;
      status.replaceChildren(badge(now.status), now.message && el("div", { class: "soft small clip", title: now.message }, now.message) || "");
      steps.replaceChildren(progress(now));
      made.replaceChildren(el("time", { datetime: now.created_at, title: date(now.created_at) }, ago(now.created_at)));
    } };
  }

  async function load() {
    const asked = new URLSearchParams({ limit: Math.min(state.limit, 1000), search: state.search });
    for (const status of FILTERS.find(([name]) => name === state.filter)[2]) asked.append("status", status);
    const question = String(asked);
    state.asked = question;
    try {
      const { data, has_more } = await get(`/v1/jobs?${asked}`, { signal });
      if (state.asked !== question) return; // an answer to an older question
      fault.textContent = "";
      const seen = new Map(data.map((job) => [job.id, state.rows.get(job.id) ?? row(job)]));
      data.forEach((job) => seen.get(job.id).show(job));
      const order = [...seen.values()].map(({ element }) => element);
      if (order.length !== rows.children.length || order.some((element, i) => element !== rows.children[i])) rows.replaceChildren(...order);
      state.rows = seen;
      more.hidden = !has_more;
      grid.hidden = data.length === 0;
      none.hidden = data.length > 0;
      none.replaceChildren(...(state.filter === "all" && !state.search ? welcome() : [el("p", {}, "No job matches.")]));
      const told = `${data.length}${has_more ? " or more" : ""} ${data.length === 1 ? "job" : "jobs"}`;
      if (count.textContent !== told) count.textContent = told;
      choose();
    } catch (trouble) {
      if (!signal.aborted) fault.textContent = trouble.message;
    }
  }

  host.append(
    el("div", { class: "title-line" }, el("h2", { tabindex: -1 }, "Jobs"), el("a", { class: "button primary", href: "#submit" }, "New job")),
    el("div", { class: "toolbar" },
      choice("State", FILTERS.map(([name, text]) => [name, text]), "all", (name) => { state.filter = name; state.limit = PAGE; load(); }),
      el("label", { class: "pick grow" }, el("span", { class: "hidden-text" }, "Find jobs"), search)),
    fault, count, none, grid, more, tray);
  await load();
  const timer = setInterval(() => document.hidden || load(), EVERY);
  signal.addEventListener("abort", () => { clearInterval(timer); clearTimeout(typing); });
}

const welcome = () => [
  el("p", {}, el("b", {}, "No job yet.")),
  el("p", {}, "Start with a recipe: it brings its own data and runs on two CPU cores."),
  el("p", {}, el("a", { class: "button primary", href: "#submit" }, "Submit the first job")),
];
