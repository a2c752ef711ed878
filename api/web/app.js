// The page: a list of jobs, and one job live. `#job-…` in the address picks the job.

import { Chart } from "./chart.js";
import { Findings } from "./findings.js";
import { follow } from "./stream.js";

const FIGURES = {
  ppo: { score_mean: "Reward", kl: "KL to the reference", policy_loss: "Policy loss", entropy: "Entropy" },
  supervised: { loss: "Loss", validation_loss: "Validation loss" },
  preference: { loss: "Loss", accuracy: "Accuracy", validation_accuracy: "Validation accuracy" },
};
const KEPT = 200; // newest events shown
const $ = (id) => document.getElementById(id);
const headers = () => ({ authorization: `Bearer ${sessionStorage.getItem("key")}` });
let leaving = new AbortController();

async function call(path, method = "GET") {
  const answer = await fetch(path, { method, headers: headers() });
  const body = await answer.json();
  if (answer.status === 401) { sessionStorage.removeItem("key"); show("door"); }
  if (!answer.ok) throw new Error(body.detail ?? answer.statusText);
  return body;
}

function show(section) {
  for (const id of ["door", "list", "job"]) $(id).hidden = id !== section;
  $("leave").hidden = section === "door";
  if (section === "door") $("key").focus();
}

function badge(element, status) {
  element.textContent = status;
  element.dataset.status = status;
}

function progress({ stage, step, steps, eta_seconds }) {
  if (!stage) return "";
  const left = eta_seconds === null ? "" : `, ${Math.ceil(eta_seconds)} s left`;
  return `${stage} ${step}/${steps}${left}`;
}

async function list() {
  const { data } = await call("/v1/jobs?limit=50");
  $("none").hidden = data.length > 0;
  $("rows").replaceChildren(...data.map((job) => {
    const row = document.createElement("tr"), link = document.createElement("a");
    link.href = `#${job.id}`;
    link.textContent = job.name;
    const status = document.createElement("span");
    status.className = "badge";
    badge(status, job.status);
    for (const item of [link, status, progress(job.progress), new Date(job.created_at).toLocaleString()]) {
      row.insertCell().append(item);
    }
    return row;
  }));
}

async function refresh(jobId) {
  const job = await call(`/v1/jobs/${jobId}`);
  $("job-title").textContent = `${job.name} (${job.id})`;
  badge($("status"), job.status);
  $("message").textContent = job.message;
  $("progress").textContent = progress(job.progress);
  const over = ["cancelled", "succeeded", "failed"].includes(job.status);
  for (const button of document.querySelectorAll("[data-verb]")) {
    const isResume = button.dataset.verb === "resume";
    button.disabled = over || isResume !== (job.status === "paused") && button.dataset.verb !== "cancel";
    button.onclick = () => call(`/v1/jobs/${jobId}/${button.dataset.verb}`, "POST")
      .catch((fault) => { $("message").textContent = fault.message; })
      .then(() => refresh(jobId));
  }
}

function watch(jobId) {
  const charts = new Map();
  const findings = new Findings({ alarms: $("alarms"), results: $("results"), samples: $("samples") });
  let due;
  $("report").onclick = () => report(jobId).catch((fault) => { $("message").textContent = fault.message; });
  for (const id of ["charts", "events"]) $(id).replaceChildren();
  follow(jobId, headers(), leaving.signal, ({ seq, event }) => {
    if (event.type === "step") {
      for (const [name, title] of Object.entries(FIGURES[event.report.kind])) {
        if (event.report[name] === null) continue;
        const key = `${event.stage} ${name}`;
        if (!charts.has(key)) charts.set(key, new Chart(`${event.stage}: ${title}`, $("charts")));
        charts.get(key).add(event.step, event.report[name]);
      }
    }
    findings.take(event);
    const line = document.createElement("li");
    line.value = seq;
    line.textContent = describe(event);
    $("events").prepend(line);
    if ($("events").childElementCount > KEPT) $("events").lastChild.remove();
    due ??= setTimeout(() => { due = undefined; refresh(jobId).catch(() => {}); }, 300);
  });
}

async function report(jobId) {
  // The API wants the key in a header, which a link cannot carry.
  const answer = await fetch(`/v1/jobs/${jobId}/report.html`, { headers: headers() });
  if (!answer.ok) throw new Error((await answer.json()).detail ?? answer.statusText);
  const page = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  Object.assign(link, { href: page, download: `${jobId}-report.html` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(page), 60_000);
}

function describe(event) {
  const { type, report, samples, scores, metrics, differences, ...rest } = event;
  const said = Object.entries(rest).filter(([, value]) => value !== null && value !== "");
  return `${type} ${said.map(([name, value]) => `${name}=${value}`).join(" ")}`;
}

async function route() {
  leaving.abort();
  leaving = new AbortController();
  if (!sessionStorage.getItem("key")) return show("door");
  const jobId = location.hash.slice(1), { signal } = leaving;
  try {
    if (jobId) {
      await refresh(jobId);
      show("job");
      $("job-title").focus();
      watch(jobId);
    } else {
      await list();
      show("list");
      const timer = setInterval(() => list().catch(() => {}), 3000);
      signal.addEventListener("abort", () => clearInterval(timer));
    }
    $("refusal").textContent = "";
  } catch (fault) {
    $("refusal").textContent = fault.message;
    show("door");
  }
}

$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value.trim());
  $("key").value = "";
  route();
});
$("leave").addEventListener("click", () => { sessionStorage.removeItem("key"); location.hash = ""; route(); });
addEventListener("hashchange", route);
route();
