// One job: its state and what can be asked of it, and everything its log says, live.

import { ask, get, newKey, post } from "./api.js";
import { Alarms } from "./alarms.js";
import { Checkpoints } from "./checkpoints.js";
import { Curves } from "./curves.js";
import { Details } from "./details.js";
import { confirmed } from "./dialog.js";
import { el } from "./dom.js";
import { Evaluation } from "./evaluation.js";
import { Events } from "./events.js";
import { failure } from "./failure.js";
import { Preflight } from "./preflight.js";
import { Samples } from "./samples.js";
import { Stages } from "./stages.js";
import { badge, can } from "./status.js";
import { follow } from "./stream.js";
import { tabs } from "./tabs.js";

const SAID = { live: "Live", waiting: "Connection lost, trying again …", over: "Log complete", refused: "The server refused the stream" };

export async function jobView(host, jobId, signal) {
  const job = await get(`/v1/jobs/${jobId}`, { signal });
  const head = new Head(job), failed = el("div", {}), details = new Details();
  const body = el("div", {});
  host.append(head.element, failed, body);
  let panels = [];
  let stages, reading, latest = job;
  const build = () => {
    const curves = new Curves(), alarms = new Alarms();
    stages = new Stages(job.spec);
    const found = { evaluation: new Evaluation(curves.reading), samples: new Samples(), checkpoints: new Checkpoints(jobId, reading.signal), preflight: new Preflight(), events: new Events() };
    panels = [curves, alarms, stages, ...Object.values(found)];
    body.replaceChildren(stages.element, alarms.element, tabs("Parts of the job", {
      Charts: curves.element, Evaluation: found.evaluation.element, Samples: found.samples.element,
      Checkpoints: found.checkpoints.element, Preflight: found.preflight.element, Events: found.events.element, Details: details.element,
    }));
  };
  const show = (now) => {
    latest = now;
    head.show(now);
    stages.show(now);
    details.show(now, reading.signal);
    failed.replaceChildren(failure(now) ?? "");
  };
  head.ask = async (verb) => {
    if (verb === "delete") {
      // What still read would be told that the job is gone before this is.
      reading.abort();
      await ask(`/v1/jobs/${jobId}`, { method: "DELETE" }).catch((fault) => {
        if (!signal.aborted) watch();
        throw fault;
      });
      location.hash = "";
    } else if (verb === "retry" || verb === "clone") {
      const made = await post(`/v1/jobs/${jobId}/${verb}`, {}, { "idempotency-key": newKey() });
      location.hash = `#${made.id}`;
    } else show(await post(`/v1/jobs/${jobId}/${verb}`));
  };
  const watch = () => {
    reading = new AbortController();
    const until = reading.signal;
    let due;
    const refresh = () => { due ??= setTimeout(async () => {
      due = undefined;
      if (!until.aborted) await get(`/v1/jobs/${jobId}`, { signal: until }).then(show, () => {});
    }, 400); };
    until.addEventListener("abort", () => clearTimeout(due));
    build();
    show(latest);
    follow(jobId, until, {
      onEvent: (record) => { for (const panel of panels) panel.take(record); refresh(); },
      onState: (state) => { head.live(state); refresh(); },
      onReset: build,
    });
  };
  signal.addEventListener("abort", () => reading.abort());
  watch();
  return job.name;
}

class Head {
  constructor(job) {
    this.status = el("span", { role: "status" });
    this.connection = el("span", { class: "connection", role: "status" });
    this.message = el("p", { class: "message" });
    this.fault = el("p", { class: "fault", role: "alert" });
    const action = (verb, text, before) => el("button", { type: "button", dataset: { verb }, onclick: (event) => this.act(event.target, verb, before) }, text);
    this.actions = [action("pause", "Pause"), action("resume", "Resume"), action("cancel", "Cancel", () => confirmed(
      `Cancel ${job.name}?`, "It stops for good. Its checkpoints and events stay. To go on later, pause it instead.", "Cancel the job")),
      action("retry", "Retry")];
    this.remove = action("delete", "Delete", () => confirmed(
      `Delete ${job.name}?`, "Its log, checkpoints and files go for good.", "Delete the job", "Keep it"));
    this.play = el("a", { class: "button", href: `#playground=${job.id}`, hidden: true }, "Try the model");
    this.element = el("header", { class: "job-head" },
      el("div", {},
        el("h2", { tabindex: -1 }, job.name),
        el("p", { class: "line" }, this.status, this.connection, el("code", { class: "soft" }, job.id)),
        this.message),
      el("div", { class: "actions" }, this.actions, this.play,
        // The opened page reads the key of this tab, which it may because this one opened it.
        el("a", { class: "button", href: `/web/report.html#${job.id}`, target: "_blank", rel: "opener" }, "Report"),
        el("button", { type: "button", onclick: () => this.save(job.id) }, "Save report"),
        el("a", { class: "button", href: `#submit=${job.id}` }, "Edit a copy"),
        el("a", { class: "button", href: `#compare=${job.id}` }, "Compare"), this.remove),
      this.fault);
  }

  async act(button, verb, before) {
    if (before && !(await before())) return;
    this.fault.textContent = "";
    button.disabled = true;
    await this.ask(verb).catch((fault) => { this.fault.textContent = fault.message; button.disabled = false; });
  }

  async save(jobId) {
    try {
      const page = URL.createObjectURL(await (await ask(`/v1/jobs/${jobId}/report.html`)).blob());
      el("a", { href: page, download: `${jobId}-report.html` }).click();
      setTimeout(() => URL.revokeObjectURL(page), 60_000);
    } catch (fault) {
      this.fault.textContent = fault.message;
    }
  }

  show(job) {
    if (this.shown !== job.status) this.status.replaceChildren(badge(job.status));
    this.shown = job.status;
    this.message.textContent = job.status === "failed" ? "" : job.message;
    this.play.hidden = job.status !== "succeeded";
    for (const button of [...this.actions, this.remove]) {
      const able = can[button.dataset.verb](job.status);
      button.disabled = !able;
      button.hidden = !able && !(button.dataset.verb === "cancel" && job.status === "cancelling");
    }
  }

  live(state) {
    this.connection.dataset.state = state;
    this.connection.textContent = SAID[state];
  }
}
