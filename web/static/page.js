// What every page needs: times in the reader's own zone, and messages when a request fails.

const { zone: chosenZone, locale: chosenLocale } = document.body.dataset;

const own = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

/** The time zone of this page: the one that the server counts days in, if this browser knows it. */
export const zone = isZone(chosenZone) ? chosenZone : own;

function isZone(name) {
  try {
    return Boolean(name) && Boolean(new Intl.DateTimeFormat("en", { timeZone: name }));
  } catch {
    return false;
  }
}

/** How dates are written here: in the reader's language and zone. */
export function dates(options) {
  try {
    return new Intl.DateTimeFormat(chosenLocale || undefined, { ...options, timeZone: zone });
  } catch { // a language that this browser does not know
    return new Intl.DateTimeFormat(undefined, { ...options, timeZone: zone });
  }
}

const zoned = dates({ dateStyle: "medium", timeStyle: "medium" });

/** Show <time datetime> in the reader's zone, as its title; with data-full, as its text too. */
export function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    element.title = zoned.format(at);
    if ("full" in element.dataset) element.textContent = element.title;
  }
}

/** Say something to the reader, also to one who does not see it. */
export function say(text) {
  const place = document.getElementById("says");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 6000);
}

/** An address of this site, below the base path. */
export function address(path) {
  return document.body.dataset.base + path;
}

// Once a page: other modules may load this one a second time, below an address without a version.
if (!document.body.dataset.dressed) {
  document.body.dataset.dressed = "yes";
  // The server counts days and reads times of forms in this zone, unless the reader chose another.
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `time_zone=${own}; path=${address("") || "/"}; max-age=31536000; samesite=lax${secure}`;
  localise(document);
  document.body.addEventListener("htmx:afterSwap", (event) => localise(event.target));
  // A form that is sent back with its wrong field marked replaces the one that was sent.
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    if (detail.xhr.status !== 422 || !detail.serverResponse.includes('aria-invalid="true"')) return;
    detail.shouldSwap = true;
    detail.isError = false;
  });
  document.body.addEventListener("htmx:responseError", (event) => {
    const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    say(answer.body.textContent.trim() || "Something went wrong.");
  });
  document.body.addEventListener("htmx:sendError", () => say("The server cannot be reached."));
  // A button that asks first: data-confirm on a form.
  document.body.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
}
