// Axes: round ticks, and lines with no more points than pixels can show.

export function ticks(low, high, count) {
  if (low === high) { const pad = Math.abs(low) * 0.1 || 1; low -= pad; high += pad; }
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].find((u) => u * power >= rough) * power;
  const first = Math.floor(low / unit), last = Math.ceil(high / unit);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * unit).toPrecision(12)));
}

// Ticks as texts, each with just the digits that tell it from its neighbours.
export function label(marks) {
  const unit = marks[1] - marks[0], most = Math.max(...marks.map(Math.abs));
  const minus = (text) => text.replaceAll("-", "−");
  if (most < 1e-3 || most >= 1e6) return marks.map((mark) => minus(mark === 0 ? "0" : String(Number(mark.toPrecision(3)).toExponential()).replace("e+", "e")));
  const fine = Number((unit * 10 ** -Math.floor(Math.log10(unit))).toPrecision(6)) % 1 !== 0; // 2.5
  const digits = Math.max(0, (fine ? 1 : 0) - Math.floor(Math.log10(unit) + 1e-9));
  return marks.map((mark) => minus(mark.toFixed(Math.min(digits, 12))));
}

export function stepTicks(first, last, count) {
  if (first === last) return [first];
  const inside = ticks(first, last, count).filter((t) => Number.isInteger(t) && t > first && t <= last);
  const near = (inside[1] ?? last) - (inside[0] ?? first);
  return inside.length && inside[0] - first < near / 2 ? inside : [first, ...inside];
}

// points: [[step, value]] in order. In each bucket the lowest and the highest stay, so no spike is lost.
export function thinned(points, most) {
  if (points.length <= most) return points;
  const size = Math.ceil(points.length / (most / 2)), kept = [];
  for (let at = 0; at < points.length; at += size) {
    const bucket = points.slice(at, at + size);
    let low = bucket[0], high = bucket[0];
    for (const point of bucket) {
      if (point[1] < low[1]) low = point;
      if (point[1] > high[1]) high = point;
    }
    kept.push(...(low[0] <= high[0] ? [low, high] : [high, low]).filter((p, i, both) => i === 0 || p !== both[0]));
  }
  if (kept.at(-1) !== points.at(-1)) kept.push(points.at(-1));
  return kept;
}

// Exponential moving average without the bias of its start; weight 0 changes nothing.
export function smoothed(points, weight) {
  if (!weight) return points;
  let mean = 0, mass = 0;
  return points.map(([step, value]) => {
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return [step, mean / mass];
  });
}
