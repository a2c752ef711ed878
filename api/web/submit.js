// A new job: from a recipe, from an earlier job, or as JSON or YAML of one's own.

import { get, newKey, post } from "./api.js";
import { el, newId } from "./dom.js";
import { planView } from "./plan.js";

const START = `name: my-first
seed: 0
model: {type: scratch, architecture: llama, hidden_size: 128, num_layers: 2, num_heads: 4,
        context_length: 64, vocab_size: 1024}
stages:
  - type: sft
    data: {path: /absolute/path/sft.jsonl}   # {"prompt": …, "completion": …} a line
    steps: 100
    max_length: 64
`;

export async function submitView(host, copied, signal) {
  const id = newId("text"), faults = el("div", { role: "alert" }), said = el("p", { role: "status", class: "soft" }), plan = el("div", {});
  const text = el("textarea", { id, rows: 18, spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-describedby": newId("hint"), oninput: () => { faults.replaceChildren(); plan.replaceChildren(); } });
  const check = el("button", { type: "button", onclick: () => act(false) }, "Check and plan");
  const submit = el("button", { type: "submit", class: "primary" }, "Submit");
  // Sending the same text twice, because an answer was lost, must not make two jobs.
  let sent = { text: null, key: null };

  const fill = (value, note) => { text.value = value; faults.replaceChildren(); plan.replaceChildren(); said.textContent = note; };

  async function act(submitting) {
    check.disabled = submit.disabled = true;
    faults.replaceChildren();
    said.textContent = "Checking …";
    try {
      const { spec, faults: found, note } = await post("/v1/specs/check", { text: text.value });
      if (found.length) return tell(found);
      if (!submitting) {
        const stages = spec.stages.map((stage) => `${stage.name} (${stage.steps} steps)`).join(", then ");
        plan.replaceChildren();
        said.textContent = `Nothing wrong with ${spec.name}: ${stages}.${note ? ` Note: ${note}` : ""}`;
        await showPlan(spec);
        return;
      }
      if (sent.text !== text.value) sent = { text: text.value, key: newKey() };
      const job = await post("/v1/jobs", spec, { "idempotency-key": sent.key });
      location.hash = `#${job.id}`;
    } catch (fault) {
      tell(fault.faults ?? [{ field: null, message: fault.message }]);
    } finally {
      check.disabled = submit.disabled = false;
    }
  }

  // What it would need. A service without a planner says nothing.
  async function showPlan(spec) {
    plan.replaceChildren(el("p", { class: "soft", role: "status" }, "Working out what it needs …"));
    try {
      plan.replaceChildren(planView(await post("/v1/jobs:plan", spec)));
    } catch (fault) {
      plan.replaceChildren(fault.status === 404 || fault.status === 405 ? "" : el("p", { class: "fault" }, `No plan: ${fault.message}`));
    }
  }

  function tell(found) {
    plan.replaceChildren();
    said.textContent = "";
    text.setAttribute("aria-invalid", "true");
    text.addEventListener("input", () => text.removeAttribute("aria-invalid"), { once: true });
    faults.replaceChildren(el("div", { class: "notice alarm" },
      el("p", {}, el("b", {}, found.length === 1 ? "One thing to mend" : `${found.length} things to mend`)),
      el("ul", { class: "faults" }, found.map(({ field, message, line }) => el("li", {},
        field && el("code", {}, field), field && " ", message, " ",
        line && el("button", { type: "button", class: "quiet small", onclick: () => go(line) }, `Line ${line}`))))));
    if (found[0].line) go(found[0].line, false);
  }

  function go(line, focus = true) {
    const lines = text.value.split("\n"), start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    if (focus) text.focus();
    text.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    text.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(text).lineHeight));
  }

  const recipes = el("div", { class: "recipes" }, el("p", { class: "soft" }, "Reading the recipes …"));
  host.append(
    el("h2", { tabindex: -1 }, "New job"),
    el("section", { "aria-label": "Recipes" }, el("h3", {}, "Start from a recipe"),
      el("p", { class: "soft" }, "Complete jobs on real data. The data is written when you choose one; nothing runs until you submit."), recipes),
    el("form", { onsubmit: (event) => { event.preventDefault(); act(true); } },
      el("h3", {}, el("label", { for: id }, "The job as YAML or JSON")), text,
      el("p", { id: text.getAttribute("aria-describedby"), class: "soft small" }, "Every field is described in ", el("a", { href: "/openapi.json", target: "_blank", rel: "noopener" }, "the API's schema"), " under JobSpec."),
      faults, said, el("p", { class: "actions" }, submit, check), plan));

  if (copied) {
    const job = await get(`/v1/jobs/${copied}`, { signal });
    fill(JSON.stringify(job.spec, null, 2), `A copy of ${job.name}. Nothing is submitted yet.`);
  } else {
    fill(START, "");
  }
  offer(recipes, fill, signal);
}

async function offer(host, fill, signal) {
  try {
    const { data } = await get("/v1/recipes", { signal });
    const seed = el("input", { type: "number", min: 0, max: 2 ** 31 - 1, step: 1, value: 0 });
    const told = el("p", { role: "status", class: "soft" });
    const use = async (recipe, buttons) => {
      buttons.forEach((button) => { button.disabled = true; });
      told.textContent = `Writing the data of ${recipe.name} …`;
      try {
        const { text } = await post(`/v1/recipes/${recipe.name}/prepare`, { seed: Number(seed.value) });
        fill(text, `The recipe ${recipe.name} is ready. Change what you like, then submit.`);
        told.textContent = "";
      } catch (fault) {
        told.textContent = fault.message;
      }
      buttons.forEach((button) => { button.disabled = false; });
    };
    const buttons = data.map((recipe) => el("button", { type: "button", class: "recipe", onclick: () => use(recipe, buttons) },
      el("b", {}, recipe.name), el("span", { class: "soft small" }, recipe.title)));
    host.replaceChildren(el("label", { class: "pick" }, el("span", {}, "Seed"), seed), el("div", { class: "recipe-grid" }, buttons), told);
  } catch (fault) {
    if (!signal.aborted) host.replaceChildren(el("p", { class: "fault" }, fault.message));
  }
}
