// Charts over time, by uPlot: <div class="chart" data-src="/address/of.json" data-label="Tweets">.
//
// The JSON: {"times": [seconds since 1970, …],
//            "series": [{"label": "…", "values": [number or null, …], "unit": "bytes"}, …],
//            "gaps": [{"from": seconds, "to": seconds, "text": "why"}, …]}
// `unit` and `gaps` may be missing. Units: bytes, percent, seconds; else plain numbers.
// data-bars: bars of the first series, lines of the others. data-every: seconds between two readings.
import { address, dates, say, zone } from "./page.js";

const LINES = ["--accent", "--warn", "--good", "--bad", "--soft"];
const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3], [4, 4]];
const UNITS = { bytes: ["B", "kB", "MB", "GB", "TB"] };
const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const moment = dates({ dateStyle: "medium", timeStyle: "short" });
const known = new WeakMap();

/** A number with its unit, for people. */
export function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${plain.format(value)} %`;
  if (unit === "seconds") return value < 1 ? `${plain.format(value * 1000)} ms` : `${plain.format(value)} s`;
  if (unit === "bytes") {
    let step = 0;
    while (Math.abs(value) >= 1000 && step < UNITS.bytes.length - 1) { value /= 1000; step += 1; }
    return `${plain.format(value)} ${UNITS.bytes[step]}`;
  }
  return plain.format(value);
}

/** Draw what the element's address says, now and, with data-every, again and again. */
export function chart(element) {
  if (known.has(element)) return known.get(element);
  const drawn = new Chart(element);
  known.set(element, drawn);
  drawn.reload();
  return drawn;
}

class Chart {
  constructor(element) {
    this.element = element;
    this.plot = null;
    this.shape = "";
    this.data = { times: [], series: [], gaps: [] };
    this.table = this.makeTable();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(element);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", () => this.plot?.redraw(false, true));
    if (element.dataset.every) {
      this.timer = setInterval(() => this.again(), Number(element.dataset.every) * 1000);
    }
  }

  /** Ask again, of another address if one is given. */
  async reload(source) {
    if (source) this.element.dataset.src = source;
    const asked = this.element.dataset.src;
    try {
      const answer = await fetch(asked.startsWith("/") ? asked : address(`/${asked}`));
      if (!answer.ok) throw new Error(String(answer.status));
      const data = await answer.json();
      if (asked === this.element.dataset.src) this.show(data);
    } catch {
      if (!this.plot) this.element.setAttribute("aria-label", "This chart could not be loaded.");
      if (!this.told) say("A chart could not be loaded; retrying.");
      this.told = true;
    }
  }

  again() {
    if (!this.element.isConnected) return this.end();
    if (!document.hidden) this.reload();
    return undefined;
  }

  end() {
    clearInterval(this.timer);
    this.observer.disconnect();
    this.plot?.destroy();
  }

  show(data) {
    this.told = false;
    this.data = { gaps: [], ...data };
    const rows = [data.times, ...data.series.map((each) => each.values)];
    const shape = JSON.stringify(data.series.map((each) => [each.label, each.unit]));
    if (this.plot && shape === this.shape) {
      this.plot.setData(rows);
    } else {
      this.plot?.destroy();
      this.plot = new uPlot(this.options(data), rows, this.element);
      this.shape = shape;
    }
    this.describe();
    if (this.table.open) this.fillTable();
  }

  options(data) {
    const ink = () => css(this.element, "--soft");
    const grid = { stroke: () => css(this.element, "--line"), width: 1 };
    const unit = data.series[0]?.unit;
    return {
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
      width: Math.max(this.element.clientWidth, 200),
      height: 240,
      legend: { live: true },
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      scales: { x: { range: (_, low, high) => this.span(low, high) }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 0, unit === "seconds" ? 0.001 : 1) * 1.05] } },
      axes: [
        { stroke: ink, grid, ticks: grid },
        { stroke: ink, grid, ticks: grid, size: unit === "bytes" || unit === "seconds" ? 70 : 56,
          values: (_, values) => values.map((each) => unit ? written(each, unit) : short.format(each)) },
      ],
      series: [
        { label: `Time (${zone})`, value: (_, time) => time === null ? "–" : moment.format(new Date(time * 1000)) },
        ...data.series.map((each, at) => this.line(each, at)),
      ],
      hooks: { drawClear: [(plot) => this.shade(plot)] },
    };
  }

  /** Room for the last bar, which is drawn to the right of its time. */
  span(low, high) {
    const { times } = this.data;
    const step = "bars" in this.element.dataset && times.length > 1 ? times[1] - times[0] : 0;
    return [low, high === times.at(-1) ? high + step : high];
  }

  line(series, at) {
    const stroke = () => css(this.element, LINES[at % LINES.length]);
    const bars = "bars" in this.element.dataset && at === 0;
    return {
      label: series.label,
      stroke,
      fill: bars ? stroke : undefined,
      width: bars ? 0 : 2,
      dash: DASHES[at % DASHES.length],
      paths: bars ? uPlot.paths.bars({ size: [0.8, 60], align: 1 }) : undefined,
      points: bars ? { show: false } : undefined,
      value: (_, value) => written(value, series.unit),
    };
  }

  /** What could not be collected: shaded and hatched, so that no colour has to be told apart. */
  shade(plot) {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    ctx.fillStyle = css(this.element, "--shade");
    ctx.strokeStyle = css(this.element, "--soft");
    ctx.lineWidth = 1;
    for (const gap of this.data.gaps) {
      const from = plot.valToPos(gap.from, "x", true);
      const wide = Math.max(plot.valToPos(gap.to, "x", true) - from, 3);
      if (from + wide < left || from > left + width) continue;
      ctx.fillRect(from, top, wide, height);
      ctx.save();
      ctx.beginPath();
      ctx.rect(from, top, wide, height);
      ctx.clip();
      ctx.globalAlpha = 0.45;
      ctx.beginPath();
      const begin = Math.max(from, left) - height;
      const end = Math.min(from + wide, left + width);
      for (let x = begin - (begin % 9); x < end; x += 9) {
        ctx.moveTo(x, top + height);
        ctx.lineTo(x + height, top);
      }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  }

  resize() {
    const width = this.element.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: 240 });
  }

  /** For those who do not see it: what is drawn, in a sentence, and a table of it below. */
  describe() {
    const parts = this.data.series.map((each) => {
      const values = each.values.filter((value) => value !== null);
      if (!values.length) return `${each.label}: nothing`;
      const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
      return `${each.label}: at most ${written(high, each.unit)}, last ${written(values.at(-1), each.unit)}`;
    });
    const label = this.element.dataset.label ?? "Chart";
    const gaps = this.data.gaps.length ? ` ${this.data.gaps.length} gaps.` : "";
    this.plot.root.querySelector(".u-wrap").setAttribute("role", "img");
    this.plot.root.querySelector(".u-wrap").setAttribute("aria-label", `${label}. ${parts.join("; ")}.${gaps}`);
  }

  makeTable() {
    const details = document.createElement("details");
    details.className = "chart-table";
    details.append(element("summary", `${this.element.dataset.label ?? "The chart"}: data as a table`));
    const scroll = element("div");
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `${this.element.dataset.label ?? "The chart"} as a table`);
    details.append(scroll);
    details.addEventListener("toggle", () => details.open && this.fillTable());
    this.element.after(details);
    return details;
  }

  /** The newest first; what is empty in all series is left out. */
  fillTable() {
    const { times, series, gaps } = this.data;
    const table = element("table");
    const head = table.createTHead().insertRow();
    head.append(cell("th", `Time (${zone})`), ...series.map((each) => cell("th", each.label)));
    const body = table.createTBody();
    for (let at = times.length - 1; at >= 0 && body.rows.length < 500; at -= 1) {
      if (!series.some((each) => each.values[at])) continue;
      const row = body.insertRow();
      row.append(cell("td", moment.format(new Date(times[at] * 1000))));
      for (const each of series) row.append(cell("td", written(each.values[at], each.unit)));
    }
    const scroll = this.table.querySelector(".scroll");
    scroll.replaceChildren(body.rows.length ? table : element("p", "No data yet."));
    if (gaps.length) scroll.append(element("p", "Gaps:"), gapList(gaps));
  }
}

function gapList(gaps) {
  const list = element("ul");
  for (const gap of gaps.slice(-100).reverse()) {
    const times = [gap.from, gap.to].map((each) => moment.format(new Date(each * 1000)));
    list.append(element("li", `${times[0]} – ${times[1]}: ${gap.text}`));
  }
  return list;
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function cell(name, text) {
  const made = element(name, text);
  if (name === "th") made.scope = "col";
  return made;
}

function css(place, name) {
  return getComputedStyle(place).getPropertyValue(name).trim();
}

for (const each of document.querySelectorAll(".chart[data-src]")) chart(each);
document.body.addEventListener("htmx:load", (event) => {
  for (const each of event.target.querySelectorAll?.(".chart[data-src]") ?? []) chart(each);
});
