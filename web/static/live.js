// Shows tweets as they arrive; the server filters them.
import { dates, say } from "./page.js";

const MOST = 200; // tweets on the page
const ANNOUNCE_EVERY = 15; // seconds, for screen readers
const FIRST_WAIT = 0.5, LONGEST_WAIT = 15; // seconds before connecting again
const KINDS = { reply: "reply", repost: "repost", quote: "quote" };

const form = document.getElementById("wanted");
const box = form.elements.query, choice = form.elements.track;
const list = document.getElementById("tweets"), none = document.getElementById("none");
const pauseButton = document.getElementById("pause");
const [state, wrong, left, sampled, heard] = ["state", "wrong", "left", "sampled", "heard"]
  .map((id) => document.getElementById(id));
const clock = dates({ timeStyle: "medium" });
const full = dates({ dateStyle: "medium", timeStyle: "medium" });
const count = new Intl.NumberFormat("en");

let socket = null;
let wanted = { query: box.value.trim(), track: choice.value };
let cursor = null; // how far we have seen; from there it goes on
let paused = false, over = false, opened = false;
let wait = FIRST_WAIT;
let unheard = 0;

function show(words, kind = "") {
  state.textContent = words;
  state.className = `state ${kind}`;
}

function send(wish) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
}

function watch() {
  const wish = { do: "watch", query: wanted.track ? "" : wanted.query };
  if (wanted.track) wish.track = wanted.track;
  if (cursor) wish.cursor = cursor;
  send(wish);
}

// -- the connection ------------------------------------------------------------------------------

function connect() {
  const place = new URL(form.dataset.socket, location.href);
  place.protocol = place.protocol.replace("http", "ws");
  opened = false;
  socket = new WebSocket(place);
  socket.onopen = () => {
    opened = true;
    if (!paused) return watch();
    pauseButton.disabled = false;
    show("Paused");
  };
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = () => {
    pauseButton.disabled = true;
    if (!over) again();
  };
}

async function again() {
  show("Reconnecting …", "warn");
  if (!opened && (await isRefused())) return;
  setTimeout(connect, 1000 * wait * (0.5 + Math.random()));
  wait = Math.min(LONGEST_WAIT, wait * 2);
}

/** A socket does not say why it was not opened; the same address, asked plainly, does. */
async function isRefused() {
  try {
    const answer = await fetch(form.dataset.socket, { redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect") {
      end("You are logged out. Log in again to continue.");
      return true;
    }
    if (answer.status === 429 || answer.status === 403) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      complain((page.querySelector("main") ?? page.body).textContent.trim().replace(/\s+/g, " "));
      wait = LONGEST_WAIT;
    }
  } catch {
    // The server cannot be reached: retry.
  }
  return false;
}

function end(sentence) {
  over = true;
  show("Ended", "bad");
  complain(sentence);
}

// -- what the server says ------------------------------------------------------------------------

const HEARS = {
  watching(message) {
    cursor = message.cursor;
    wait = FIRST_WAIT;
    paused = false;
    pauseButton.disabled = false;
    pauseButton.textContent = "Pause";
    show("Live", "good");
  },
  tweets(message) {
    if (paused) return;
    if (message.cursor) cursor = message.cursor;
    if (message.away) show("The database is unavailable; waiting for it", "warn");
    else if (message.incomplete.length) {
      show(`Live, without the tweets of ${message.incomplete.join(", ")}`, "warn");
    } else show("Live", "good");
    document.getElementById("rate").textContent = count.format(message.rate);
    document.getElementById("all").textContent = count.format(message.all);
    sampled.hidden = message.rate <= 20;
    tellLeft(message);
    for (const each of message.tweets) add(each);
  },
  checked(message) {
    if (message.query === box.value) complain(message.message, true);
  },
  refused(message) {
    if (message.code === "unavailable") {
      show(message.message, "warn");
      setTimeout(() => paused || watch(), 2000);
    } else if (message.field === "cursor") {
      cursor = null;
      watch();
    } else {
      complain(message.message, message.field === "query");
      show("Not connected", "bad");
    }
  },
  ended(message) {
    if (message.code === "unavailable") return; // the server ends, or a role changed: tried again
    end(message.message);
  },
};

function hear(message) {
  HEARS[message.kind]?.(message);
}

function complain(sentence, ofBox = false) {
  wrong.textContent = sentence;
  wrong.hidden = !sentence;
  box.setAttribute("aria-invalid", String(Boolean(sentence) && ofBox));
}

function tellLeft({ missed, skipped }) {
  if (!missed && !skipped) return;
  const parts = [];
  if (missed) parts.push(`${count.format(missed)} tweets could not be shown.`);
  if (skipped) parts.push(`${count.format(skipped)} stored tweets were skipped.`);
  left.textContent = parts.join(" ");
  left.hidden = false;
}

// -- tweets --------------------------------------------------------------------------------------

function add({ tweet, author, segments, reason }) {
  const id = `tweet-${tweet.id}`;
  if (document.getElementById(id)) return; // seen before the connection was cut
  none.hidden = true;
  const made = document.getElementById("tweet").content.cloneNode(true).firstElementChild;
  made.id = id;
  const name = made.querySelector("[data-author]"), page = made.querySelector("[data-author-page]");
  name.textContent = author.name;
  if (author.url) page.href = author.url;
  else page.replaceWith(name);
  made.querySelector("[data-network]").textContent = author.network;
  made.querySelector("[data-kind]").textContent = KINDS[tweet.kind] ?? "";
  made.querySelector("[data-lang]").textContent = tweet.lang ?? "";
  made.querySelector("[data-why]").textContent = reason;
  const at = new Date(tweet.received_at), time = made.querySelector("time");
  time.dateTime = tweet.received_at;
  time.textContent = clock.format(at);
  time.title = full.format(at);
  const link = made.querySelector("[data-open]");
  if (tweet.url) link.href = tweet.url;
  else link.remove();
  made.querySelector("[data-text]").append(...segments.map(piece));
  made.classList.add("new");
  list.prepend(made);
  while (list.childElementCount > MOST) list.lastElementChild.remove();
  unheard += 1;
}

function piece({ text, marked }) {
  if (!marked) return text;
  const mark = document.createElement("mark");
  mark.textContent = text;
  return mark;
}

// Not each tweet: a screen reader would read nothing else.
setInterval(() => {
  if (!unheard) return;
  heard.textContent = unheard === 1 ? "1 new tweet" : `${count.format(unheard)} new tweets`;
  unheard = 0;
}, 1000 * ANNOUNCE_EVERY);

// -- what the reader does ------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  if (event.submitter?.hasAttribute("formaction")) return; // to another page
  event.preventDefault();
  wanted = { query: box.value.trim(), track: choice.value };
  cursor = null;
  left.hidden = sampled.hidden = true;
  list.replaceChildren(none);
  none.hidden = false;
  complain("");
  const address = new URL(form.action);
  if (wanted.track) address.searchParams.set("track", wanted.track);
  else if (wanted.query) address.searchParams.set("query", wanted.query);
  history.replaceState(null, "", address);
  watch();
});

// One or the other: what is typed goes through all tracks.
choice.addEventListener("change", () => {
  if (choice.value) box.value = "";
  complain("");
});
let typed = 0;
box.addEventListener("input", () => {
  if (box.value) choice.value = "";
  clearTimeout(typed);
  typed = setTimeout(() => send({ do: "check", query: box.value }), 250);
});

pauseButton.addEventListener("click", () => {
  if (paused) {
    left.hidden = true;
    watch();
    return;
  }
  paused = true;
  send({ do: "pause" });
  show("Paused");
  pauseButton.textContent = "Resume";
  say("Paused. Resume continues from here.");
});

connect();
