// What needs attention: raised alarms with their advice, warnings of the preflight, prompts set aside.

import { el } from "./dom.js";
import { number, words } from "./format.js";

export class Alarms {
  constructor() {
    this.stage = ""; // the newest
    this.raised = new Map();
    this.cleared = [];
    this.aside = new Map(); // stage → { count, message }
    this.live = el("div", { role: "region", "aria-label": "Alarms", "aria-live": "polite" });
    this.past = el("div", {});
    this.element = el("div", { class: "alarms", hidden: true }, this.live, this.past);
  }

  take({ event }) {
    const name = `${event.stage} ${event.alarm}`;
    if (event.type === "stage_started") {
      this.stage = event.stage;
    } else if (event.type === "alarm") {
      this.raised.set(name, event);
    } else if (event.type === "alarm_cleared" && this.raised.has(name)) {
      this.cleared.push({ ...this.raised.get(name), until: event.step });
      this.raised.delete(name);
    } else if (event.type === "preflight" && event.warnings.length) {
      this.raised.set(`preflight ${event.stage}`, event);
    } else if (event.type === "prompt_quarantined") {
      const { count } = this.aside.get(event.stage) ?? { count: 0 };
      this.aside.set(event.stage, { count: count + 1, message: event.message });
    } else return;
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const aside = [...this.aside].map(([stage, { count, message }]) => ({ stage, box: notice("warning",
      `${count} ${count === 1 ? "prompt" : "prompts"} of ${stage} set aside: no score could be had`,
      [`The newest: ${message}`]) }));
    const raised = [...this.raised.values()].map((alarm) => ({ stage: alarm.stage, box: alarm.type === "preflight"
      ? notice("warning", `Before the first step of ${alarm.stage}`, alarm.warnings)
      : notice("alarm", `${words(alarm.alarm)} in ${alarm.stage}, since step ${alarm.step}`, [alarm.advice], figures(alarm)) }));
    const isNew = ({ stage }) => stage === this.stage || !this.stage;
    const all = [...raised, ...aside], earlier = all.filter((one) => !isNew(one)).map(({ box }) => box);
    const cleared = this.cleared.map((alarm) =>
      notice("past", `${words(alarm.alarm)} in ${alarm.stage}, steps ${alarm.step} to ${alarm.until}`, [alarm.advice], figures(alarm)));
    this.live.replaceChildren(...all.filter(isNew).map(({ box }) => box));
    this.past.replaceChildren(folded(earlier, "notice of an earlier stage", "notices of earlier stages"), folded(cleared, "alarm cleared", "alarms cleared"));
    this.element.hidden = !all.length && !cleared.length;
  }
}

const figures = (alarm) => `${number(alarm.value, 3)}, threshold ${number(alarm.threshold, 3)}`;

const folded = (boxes, one, several) => boxes.length
  ? el("details", {}, el("summary", {}, `${boxes.length} ${boxes.length === 1 ? one : several}`), boxes) : "";

export function notice(kind, title, advice, more) {
  return el("div", { class: `notice ${kind}` },
    el("p", {}, el("b", {}, title), more && el("span", { class: "soft" }, ` (${more})`)),
    advice.map((text) => el("p", { class: "advice" }, sentence(text))));
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
