// The page of a track: times of the filter in the reader's zone, and languages by their names.

const pad = (value) => String(value).padStart(2, "0");

/** For a field datetime-local. */
function local(time) {
  return `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}T${pad(time.getHours())}:${pad(time.getMinutes())}`;
}

for (const form of document.querySelectorAll("form[data-times]")) {
  const fields = form.querySelectorAll("input[type=datetime-local]");
  for (const field of fields) {
    if (field.value) field.value = local(new Date(`${field.value}Z`));
  }
  for (const note of form.querySelectorAll("[data-zone]")) note.textContent = "(your time)";
  form.addEventListener("formdata", (event) => {
    for (const field of fields) {
      const time = new Date(field.value);
      if (field.value && !Number.isNaN(time.getTime())) event.formData.set(field.name, time.toISOString());
    }
  });
}

// Each choice changes its own part of the address (data-own) and leaves the others as they are now,
// whatever they were when the page was made.
document.body.addEventListener("htmx:configRequest", (event) => {
  const own = event.target.dataset?.own?.split(" ");
  if (!own) return;
  const asked = new URL(event.detail.path, location.href);
  const kept = new URLSearchParams(location.search);
  kept.delete("cursor");
  for (const name of own) {
    kept.delete(name);
    const value = event.detail.formData.get(name) ?? asked.searchParams.get(name);
    if (value) kept.set(name, value);
  }
  for (const name of [...event.detail.formData.keys()]) event.detail.formData.delete(name);
  event.detail.path = asked.pathname + (kept.size ? `?${kept}` : "");
});

let names = null;
try {
  names = new Intl.DisplayNames(undefined, { type: "language" });
} catch { /* the codes stay */ }

function name(root) {
  for (const element of root.querySelectorAll?.("[data-lang]") ?? []) {
    try {
      element.textContent = `${names.of(element.dataset.lang)} (${element.dataset.lang})`;
    } catch { /* a code that is none */ }
  }
}

if (names) {
  name(document);
  document.body.addEventListener("htmx:afterSwap", (event) => name(event.target));
}
