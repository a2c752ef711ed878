// What a job found out: alarms, held-out differences, the newest samples.

const number = (value, digits = 4) => (value === null ? "–" : Number(value).toPrecision(digits));

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  if (className) made.className = className;
  return made;
}

function table(caption, heads, rows) {
  const made = document.createElement("table");
  made.append(element("caption", caption));
  const head = made.createTHead().insertRow();
  for (const name of heads) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const cell of cells) row.insertCell().append(cell);
  }
  return made;
}

export class Findings {
  constructor(places) {
    this.places = places;
    this.alarms = new Map();
    for (const place of Object.values(places)) {
      place.hidden = true;
      place.querySelector("div").replaceChildren();
    }
  }

  take(event) {
    const shown = {
      alarm: () => this.alarm(event),
      alarm_cleared: () => this.alarm(event),
      preflight: () => event.warnings.length && this.warn(event),
      evaluation_compared: () => this.differences(event),
      samples: () => this.samples(event),
    }[event.type];
    if (shown) shown();
  }

  fill(name, ...content) {
    this.places[name].querySelector("div").replaceChildren(...content);
    this.places[name].hidden = content.length === 0;
  }

  alarm(event) {
    const key = `${event.stage} ${event.alarm}`;
    if (event.type === "alarm") {
      const said = `${event.stage}, step ${event.step}: ${event.alarm} ${number(event.value, 3)}`;
      this.alarms.set(key, `${said} (threshold ${event.threshold}). ${event.advice}`);
    } else this.alarms.delete(key);
    this.tell();
  }

  warn(event) {
    event.warnings.forEach((text, i) => this.alarms.set(`preflight ${event.stage} ${i}`, `${event.stage}, reward preflight: ${text}`));
    this.tell();
  }

  tell() {
    this.fill("alarms", ...[...this.alarms.values()].map((text) => element("p", text, "alarm")));
  }

  differences(event) {
    const rows = event.differences.map((d) => [
      d.name, number(d.before), number(d.after), number(d.difference, 3),
      `${number(d.low, 3)} … ${number(d.high, 3)}`, number(d.p_value, 2),
    ]);
    const heads = ["Figure", "Before", "After", "Difference", "95 % interval", "p"];
    this.fill("results", table(`${event.stage}: held-out prompts before and after`, heads, rows));
  }

  samples(event) {
    const rows = event.samples.map((s) => {
      const parts = Object.entries(s.components).map(([name, value]) => `${name} ${number(value, 3)}`);
      return [element("span", s.prompt, "text"), element("span", s.response, "text"), number(s.score, 3), parts.join(", ")];
    });
    this.fill("samples", table(`${event.stage}, step ${event.step}`, ["Prompt", "Response", "Score", "Parts"], rows));
  }
}
