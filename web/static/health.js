// The page about health: keeps open what was opened, announces changes, and when the database is away.

import { say } from "./page.js";

const away = document.getElementById("away");
const open = new Set();
const sentence = () => document.querySelector("#now h1")?.textContent;
let announced = sentence();

document.body.addEventListener("htmx:beforeSwap", (event) => {
  open.clear();
  for (const each of event.detail.target.querySelectorAll("details[open][id]")) open.add(each.id);
});
document.body.addEventListener("htmx:afterSwap", () => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (sentence() === announced) return;
  announced = sentence();
  say(announced);
});
document.body.addEventListener("htmx:afterRequest", (event) => {
  const { successful, xhr } = event.detail;
  if (successful) away.hidden = true;
  else if (xhr.status === 0 || xhr.status >= 500) away.hidden = false;
});
