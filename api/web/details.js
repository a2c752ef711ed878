// What a job is made of: its times, attempts and specification.

import { get } from "./api.js";
import { el, section, table } from "./dom.js";
import { bytes, date, duration, signed, words } from "./format.js";
import { logButton } from "./failure.js";

export class Details {
  constructor() {
    this.facts = el("div", {});
    this.attempts = el("div", {});
    this.plan = el("div", {});
    this.spec = el("pre", { class: "log", tabindex: 0, "aria-label": "The specification as JSON" });
    this.copy = el("div", { class: "actions" });
    this.element = el("div", {}, this.facts,
      section("Attempts", {}, this.attempts), this.plan,
      section("Specification", {}, this.copy, this.spec));
  }

  show(job, signal) {
    const labels = Object.entries(job.labels).map(([name, value]) => `${name}=${value}`).join(", ");
    const facts = [
      ["Id", el("code", {}, job.id)], ["Created", date(job.created_at)],
      ["Started", job.started_at && date(job.started_at)], ["Finished", job.finished_at && date(job.finished_at)],
      ["Ran for", job.started_at && duration((new Date(job.finished_at ?? Date.now()) - new Date(job.started_at)) / 1000)],
      ["Priority", job.spec.priority ? String(job.spec.priority) : null], ["Makes room for others", job.spec.preemptible ? "yes" : null],
      ["Starts after", job.spec.after?.length ? el("span", {}, job.spec.after.map((id) => [el("a", { href: `#${id}` }, id), " "]).flat()) : null],
      ["Made from", job.parent && el("span", {}, `${words(job.parent.kind)} of `, el("a", { href: `#${job.parent.id}` }, job.parent.id))],
      ["Labels", labels], ["Model folder", job.result?.model && el("code", {}, job.result.model)],
    ].filter(([, value]) => value);
    this.facts.replaceChildren(el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
    if (this.known === job.attempts.length && this.ended === Boolean(job.finished_at)) return;
    Object.assign(this, { known: job.attempts.length, ended: Boolean(job.finished_at) });
    const rows = job.attempts.map((a) => [`Attempt ${a.number}`, a.submitted_at && date(a.submitted_at), a.ended_at && date(a.ended_at), a.outcome && words(a.outcome)]);
    this.attempts.replaceChildren(
      rows.length ? table("Attempts", ["Attempt", "Submitted", "Ended", "Outcome"], rows) : el("p", { class: "empty" }, "Not submitted to the cluster yet."),
      el("div", {}, ...logButton(job.id)));
    this.compare(job.id, signal);
    const text = JSON.stringify(job.spec, null, 2);
    this.spec.textContent = text;
    this.copy.replaceChildren(
      el("a", { class: "button", href: `#submit=${job.id}` }, "Edit and submit a copy"),
      el("button", { type: "button", onclick: async (event) => {
        await navigator.clipboard.writeText(text);
        event.target.textContent = "Copied";
      } }, "Copy JSON"));
  }

  // What was planned beside what it took. A job from before there were plans has none.
  async compare(jobId, signal) {
    const found = await get(`/v1/jobs/${jobId}/plan`, { signal }).catch(() => null);
    if (!found?.errors.length) return;
    const write = (what) => (what.startsWith("memory") ? bytes : duration);
    const rows = found.errors.map(({ what, planned, actual, error }) =>
      [words(what), write(what)(planned), write(what)(actual), `${signed(100 * error, 2)} %`]);
    const numeric = (text) => ({ text, number: true });
    this.plan.replaceChildren(section("Planned, and what it took", {},
      table("Planned and measured", ["Figure", numeric("Planned"), numeric("Measured"), numeric("Off by")], rows)));
  }
}
