// Boxes on the map, by pointer, keyboard, fields or text; the text of the value is what counts.

const SIDES = ["west", "south", "east", "north"];
const CLOSEST = 64;
const BOX = /^\s*[-+]?[\d.]+\s*(,\s*[-+]?[\d.]+\s*){3}$/;

/** Whether a piece of the text is a box, and no name of a place. */
export const isBox = (piece) => BOX.test(piece);

/** A box whose west is greater than its east crosses the date line: it is drawn in two. */
const halves = ([west, south, east, north]) =>
  west <= east ? [[west, south, east, north]] : [[west, south, 180, north], [-180, south, east, north]];
const outline = (box) => halves(box).map(([west, south, east, north]) => `M${west} ${-north}H${east}V${-south}H${west}Z`).join("");
const width = ([west, , east]) => (east - west + 360) % 360 || 360;

const between = (low, at, high) => Math.min(Math.max(at, low), high);

/** Keep the map `svg` and the boxes in the text field `value` in step. */
export function showMap(svg, value) {
  const part = svg.parentElement;
  const drawing = svg.querySelector(".box");
  const edges = Object.fromEntries([...svg.querySelectorAll(".edge")].map((e) => [e.dataset.edge, e]));
  const fields = Object.fromEntries([...part.querySelectorAll("[data-side]")].map((f) => [f.dataset.side, f]));
  let zoom = 1;
  let centre = [0, 0]; // longitude, latitude
  let adding = false;

  const pieces = () => value.value.split(";").filter((piece) => piece.trim());
  const parsed = (piece) => (isBox(piece) ? piece.split(",").map(Number) : null);

  /** The last box of the text; names of places have none. */
  function current() {
    const box = adding ? null : parsed(pieces().at(-1) ?? "");
    return box && box.every(Number.isFinite) && box[0] !== box[2] && box[1] < box[3] ? box : null;
  }

  /** Degrees, as exact as the map shows them. */
  function rounded(degrees) {
    const digits = zoom >= 16 ? 3 : zoom >= 4 ? 2 : 1;
    return Number(degrees.toFixed(digits));
  }

  function put(box) {
    const others = pieces();
    if (!adding && others.length && parsed(others.at(-1))) others.pop();
    adding = false;
    value.value = [...others.map((other) => other.trim()), box.join(",")].join("; ");
    value.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function place(element, attributes) {
    for (const [name, at] of Object.entries(attributes)) element.setAttribute(name, at);
  }

  function drawBox(box) {
    svg.classList.toggle("nothing", !box);
    if (!box) return;
    const [west, south, east, north] = box;
    drawing.setAttribute("d", outline(box));
    const [left, , right] = halves(box).sort((one, other) => width(other) - width(one))[0];
    place(edges.west, { x1: west, x2: west, y1: -north, y2: -south });
    place(edges.east, { x1: east, x2: east, y1: -north, y2: -south });
    place(edges.south, { x1: left, x2: right, y1: -south, y2: -south });
    place(edges.north, { x1: left, x2: right, y1: -north, y2: -north });
    SIDES.forEach((side, index) => edges[side].setAttribute("aria-valuenow", box[index]));
  }

  function drawOthers() {
    const group = svg.querySelector(".others");
    const boxes = (adding ? pieces() : pieces().slice(0, -1)).map(parsed).filter(Boolean);
    group.replaceChildren(...boxes.map((box) => {
      const other = document.createElementNS(svg.namespaceURI, "path");
      other.setAttribute("d", outline(box));
      return other;
    }));
  }

  function refresh() {
    const box = current();
    drawBox(box);
    drawOthers();
    SIDES.forEach((side, index) => {
      if (document.activeElement !== fields[side]) fields[side].value = box ? box[index] : "";
    });
  }

  function look(closer, at) {
    zoom = between(1, closer, CLOSEST);
    const width = 360 / zoom;
    centre = [between(-180 + width / 2, at[0], 180 - width / 2), between(-90 + width / 4, at[1], 90 - width / 4)];
    svg.setAttribute("viewBox", `${centre[0] - width / 2} ${-centre[1] - width / 4} ${width} ${width / 2}`);
    const cities = svg.querySelector(".cities");
    const pixel = width / (svg.clientWidth || 700);
    cities.setAttribute("font-size", 11 * pixel);
    for (const city of cities.children) {
      city.toggleAttribute("hidden", Number(city.dataset.rank) > (zoom >= 4 ? 2 : 1));
      city.style.display = city.hasAttribute("hidden") ? "none" : "";
      city.firstElementChild.setAttribute("r", 2 * pixel);
    }
  }

  function middle() {
    const box = current();
    if (!box) return centre;
    const longitude = box[0] + width(box) / 2;
    return [longitude > 180 ? longitude - 360 : longitude, (box[1] + box[3]) / 2];
  }

  /** As close as the box is small. */
  function fit() {
    const box = current();
    if (!box) return;
    const wide = box[0] < box[2] ? box[2] - box[0] : 360; // both sides of the date line are to be seen
    const closer = Math.min(360 / wide, 180 / (box[3] - box[1])) / 3;
    look(2 ** Math.floor(Math.log2(Math.max(closer, 1))), middle());
  }

  function where(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [rounded(between(-180, at.x, 180)), rounded(between(-90, -at.y, 90))];
  }

  let began = null;
  let drawn = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    began = where(event);
    drawn = null;
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!began) return;
    const [x, y] = where(event);
    drawn = [Math.min(began[0], x), Math.min(began[1], y), Math.max(began[0], x), Math.max(began[1], y)];
    drawBox(drawn);
  });
  svg.addEventListener("pointerup", () => {
    if (drawn && drawn[0] < drawn[2] && drawn[1] < drawn[3]) put(drawn);
    began = drawn = null;
    refresh();
  });
  svg.addEventListener("pointercancel", () => {
    began = drawn = null;
    refresh();
  });
  svg.addEventListener("dblclick", (event) => look(zoom * 2, where(event)));

  const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  svg.addEventListener("keydown", (event) => {
    const side = event.target.dataset?.edge;
    const step = STEPS[event.key];
    const box = current();
    if (!side || !step || !box) return;
    event.preventDefault();
    const index = SIDES.indexOf(side);
    const before = width(box);
    let moved = rounded(box[index] + step / zoom);
    if (index % 2) moved = between(-90, moved, 90);
    else if (Math.abs(moved) > 180) moved -= 360 * Math.sign(moved); // past the date line
    const other = box[(index + 2) % 4];
    if (index === 1 ? moved >= other : index === 3 && moved <= other) return;
    box[index] = moved;
    // An edge does not jump over the opposite one.
    if (box[0] === box[2] || Math.abs(width(box) - before) > 180) return;
    put(box);
    refresh();
  });
  for (const field of Object.values(fields)) {
    field.addEventListener("input", (event) => {
      event.stopPropagation(); // the value represents them
      const typed = SIDES.map((side) => (fields[side].value === "" ? NaN : Number(fields[side].value)));
      if (typed.every(Number.isFinite)) put(typed);
      drawBox(current());
    });
  }
  value.addEventListener("input", refresh);
  part.addEventListener("click", (event) => {
    const what = event.target.dataset?.map;
    if (what === "closer") look(zoom * 2, middle());
    if (what === "farther") look(zoom / 2, middle());
    if (what === "world") look(1, [0, 0]);
    if (what === "another") {
      adding = true;
      refresh();
    }
  });
  new ResizeObserver(() => look(zoom, centre)).observe(svg);
  refresh();
  fit();
  /** Choose a box, which is then shown as close as it is small. */
  function choose(box) {
    put(box);
    fit();
  }
  return { refresh, choose };
}
