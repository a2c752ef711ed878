// What needs attention: raised alarms with their advice, warnings of the preflight, prompts set aside.

import { el } from "./dom.js";
import { number, words } from "./format.js";

export class Alarms {
  constructor() {
    this.raised = new Map();
    this.cleared = [];
    this.aside = new Map(); // stage → { count, message }
    this.live = el("div", { role: "region", "aria-label": "Alarms", "aria-live": "polite" });
    this.past = el("div", {});
    this.element = el("div", { class: "alarms", hidden: true }, this.live, this.past);
  }

  take({ event }) {
    const name = `${event.stage} ${event.alarm}`;
    if (event.type === "alarm") {
      this.raised.set(name, event);
    } else if (event.type === "alarm_cleared" && this.raised.has(name)) {
      this.cleared.push({ ...this.raised.get(name), until: event.step });
      this.raised.delete(name);
    } else if (event.type === "preflight" && event.warnings.length) {
      event.warnings.forEach((advice, i) => this.raised.set(`preflight ${event.stage} ${i}`, { ...event, advice }));
    } else if (event.type === "prompt_quarantined") {
      const { count } = this.aside.get(event.stage) ?? { count: 0 };
      this.aside.set(event.stage, { count: count + 1, message: event.message });
    } else return;
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const aside = [...this.aside].map(([stage, { count, message }]) => notice("warning",
      `${count} ${count === 1 ? "prompt" : "prompts"} of ${stage} set aside: no score could be had`,
      `The newest: ${message}`));
    this.live.replaceChildren(...[...this.raised.values()].map((alarm) => alarm.type === "preflight"
      ? notice("warning", `Before the first step of ${alarm.stage}`, alarm.advice)
      : notice("alarm", `${words(alarm.alarm)} in ${alarm.stage}, since step ${alarm.step}`, alarm.advice, figures(alarm))), ...aside);
    this.past.replaceChildren(this.cleared.length ? el("details", {},
      el("summary", {}, `${this.cleared.length} ${this.cleared.length === 1 ? "alarm" : "alarms"} cleared`),
      this.cleared.map((alarm) => notice("past", `${words(alarm.alarm)} in ${alarm.stage}, steps ${alarm.step} to ${alarm.until}`, alarm.advice, figures(alarm)))) : "");
    this.element.hidden = !this.raised.size && !this.cleared.length && !aside.length;
  }
}

const figures = (alarm) => `${number(alarm.value, 3)}, threshold ${number(alarm.threshold, 3)}`;

export function notice(kind, title, advice, more) {
  return el("div", { class: `notice ${kind}` },
    el("p", {}, el("b", {}, title), more && el("span", { class: "soft" }, ` (${more})`)),
    advice && el("p", { class: "advice" }, sentence(advice)));
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
