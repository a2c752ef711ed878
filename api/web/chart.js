// A line chart of one figure over the steps, as plain SVG.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 320, HEIGHT = 160, LEFT = 6, TOP = 16, BOTTOM = 18;

export class Chart {
  constructor(title, host) {
    this.title = title;
    this.points = new Map(); // step → value; a repeated step overwrites
    const figure = host.appendChild(document.createElement("figure"));
    this.caption = figure.appendChild(document.createElement("figcaption"));
    this.svg = figure.appendChild(document.createElementNS(NS, "svg"));
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("role", "img");
    this.path = this.svg.appendChild(document.createElementNS(NS, "path"));
    this.labels = ["start", "start", "end"].map((anchor) => {
      const label = this.svg.appendChild(document.createElementNS(NS, "text"));
      label.setAttribute("text-anchor", anchor);
      return label;
    });
  }

  add(step, value) {
    this.points.set(step, value);
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const points = [...this.points].sort((a, b) => a[0] - b[0]);
    const steps = points.map((p) => p[0]), values = points.map((p) => p[1]);
    const first = steps[0], last = steps.at(-1);
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const x = (s) => LEFT + ((s - first) / (last - first || 1)) * (WIDTH - 2 * LEFT);
    const y = (v) => HEIGHT - BOTTOM - ((v - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
    const line = points.map(([s, v]) => `${x(s).toFixed(1)},${y(v).toFixed(1)}`).join("L");
    this.path.setAttribute("d", points.length > 1 ? `M${line}` : `M${line}h3`);
    this.place(0, LEFT, 11, figure(high));
    this.place(1, LEFT, HEIGHT - 5, figure(low));
    this.place(2, WIDTH - LEFT, HEIGHT - 5, `step ${last}`);
    const now = document.createElement("strong");
    now.textContent = figure(values.at(-1));
    this.caption.replaceChildren(`${this.title} `, now);
    const range = `from ${figure(low)} to ${figure(high)}`;
    this.svg.setAttribute("aria-label", `${this.title}: ${figure(values.at(-1))} at step ${last}, ${range}`);
  }

  place(index, x, y, text) {
    const label = this.labels[index];
    label.setAttribute("x", x);
    label.setAttribute("y", y);
    label.textContent = text;
  }
}

const figure = (value) => Number(value.toPrecision(4)).toString();
