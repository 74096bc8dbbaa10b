// The form of a track: the map and its fields in step with the value.
import { isBox, showMap } from "./edit_map.js";

const form = document.getElementById("edit");
const value = document.getElementById("value");

let chosen = form.querySelector('input[name="kind"]:checked').value;
let place = ""; // the place that was typed, in case the user returns to this kind

/** Boxes are not words: only names of places are kept. */
function keepBoxes(kind) {
  if (chosen === "place") {
    place = value.value;
    const names = place.split(";").map((piece) => piece.trim()).filter((piece) => piece && !isBox(piece));
    if (names.length < place.split(";").filter((piece) => piece.trim()).length)
      value.value = names.join(kind === "query" ? " OR " : ", ");
  } else if (kind === "place" && !value.value.trim()) value.value = place;
  chosen = kind;
}

/** The map is there for places only. */
function chooseKind() {
  const kind = form.querySelector('input[name="kind"]:checked').value;
  if (kind !== chosen) keepBoxes(kind);
  document.getElementById("map-part").hidden = kind !== "place";
  value.setAttribute("aria-describedby", `about-${kind}`);
  if (kind === "place") map.refresh();
}

const map = showMap(document.getElementById("map"), value);
const cities = document.getElementById("city-search");
for (const what of ["input", "change"])
  cities.addEventListener(what, (event) => event.stopPropagation()); // what is searched is no field of the track
cities.addEventListener("click", (event) => {
  const button = event.target.closest("[data-box]");
  if (button) map.choose(button.dataset.box.split(",").map(Number));
});
for (const radio of form.querySelectorAll('input[name="kind"]'))
  radio.addEventListener("change", chooseKind);
chooseKind();
document.body.addEventListener("htmx:afterSwap", () => {
  const wrong = document.getElementById("mistake") !== null;
  value.setAttribute("aria-invalid", String(wrong));
});
