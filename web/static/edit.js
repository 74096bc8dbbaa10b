// The form of a track: the map and its fields in step with the value, times in the reader's zone.
import { isBox, showMap } from "./edit_map.js";

const form = document.getElementById("edit");
const value = document.getElementById("value");

let chosen = form.querySelector('input[name="kind"]:checked').value;
let place = ""; // what was written as a place, should the reader come back to it

/** Boxes are no words: only names of places are taken along. */
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

/** 2026-01-31T18:00 in the reader's zone, of a time in UTC. */
function local(utc) {
  const at = new Date(utc.endsWith("Z") ? utc : `${utc}Z`);
  const shifted = new Date(at.getTime() - at.getTimezoneOffset() * 60000);
  return Number.isNaN(at.getTime()) ? "" : shifted.toISOString().slice(0, 16);
}

/** What is shown is local; what is sent says that it is UTC. */
function zoneTimes() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const input of form.querySelectorAll("input[data-utc]")) {
    const sent = document.createElement("input");
    Object.assign(sent, { type: "hidden", name: input.name });
    input.removeAttribute("name");
    input.value = local(input.dataset.utc);
    input.after(sent);
    const tell = () => {
      const at = new Date(input.value);
      sent.value = Number.isNaN(at.getTime()) ? "" : at.toISOString();
    };
    input.addEventListener("input", tell);
    tell();
  }
  for (const hint of form.querySelectorAll(".zone"))
    hint.textContent = hint.textContent.replace("UTC", `your zone, ${zone}`);
}

const map = showMap(document.getElementById("map"), value);
for (const radio of form.querySelectorAll('input[name="kind"]'))
  radio.addEventListener("change", chooseKind);
zoneTimes();
chooseKind();
document.body.addEventListener("htmx:afterSwap", () => {
  const wrong = document.getElementById("mistake") !== null;
  value.setAttribute("aria-invalid", String(wrong));
});
