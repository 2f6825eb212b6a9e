// Shows a run as it goes on. Without this file the page reloads itself now and then.

const run = document.getElementById("run");
const said = document.getElementById("said");
const MOST_LINES = 2000;
const POLL_MS = 2000;
const TRIES = 3;
let after = Number(run.dataset.after);
let asked = false;

function addLine(number, text) {
  if (number <= after) return;
  after = number;
  // Who has scrolled up to read is left there.
  const atEnd = said.scrollHeight - said.scrollTop - said.clientHeight < 40;
  said.append(`${text}\n`);
  while (said.childNodes.length > MOST_LINES) said.firstChild.remove();
  if (atEnd) said.scrollTop = said.scrollHeight;
  run.querySelector("[data-nothing]")?.remove();
}

function setText(name, text) {
  // Only what differs is written: a screen reader says every change.
  const place = run.querySelector(`[data-${name}]`);
  if (place && place.textContent !== text) place.textContent = text;
}

function show(now) {
  setText("state", now.says);
  setText("ahead", now.ahead ? `${now.ahead} ${now.ahead === 1 ? "run is" : "runs are"} before it.` : "");
  if (!now.total) return;
  setText("far", `${now.done} of ${now.total}`);
  const bar = document.getElementById("far");
  bar.max = now.total;
  bar.value = now.done;
}

function over() {
  if (asked) return;
  asked = true;
  location.reload();  // the server's page has the results
}

async function poll() {
  try {
    const answer = await fetch(`${run.dataset.api}?after=${after}`, {cache: "no-store"});
    if (answer.status === 404) return over();
    if (answer.ok) {
      const now = await answer.json();
      for (const line of now.lines) addLine(line.number, line.text);
      show(now);
      if (now.over) return over();
    }
  } catch {
    // the server is away for a moment
  }
  setTimeout(poll, POLL_MS);
}

function listen() {
  let failed = 0;
  const source = new EventSource(`${run.dataset.events}?after=${after}`);
  source.addEventListener("line", (event) => {
    failed = 0;
    addLine(Number(event.lastEventId), event.data);
  });
  source.addEventListener("state", (event) => {
    failed = 0;
    show(JSON.parse(event.data));
  });
  source.addEventListener("end", () => {
    source.close();
    over();
  });
  source.addEventListener("error", () => {
    failed += 1;
    // Closed: the server refused, and the browser will not try again by itself.
    if (source.readyState === EventSource.CLOSED || failed >= TRIES) {
      source.close();
      poll();
    }
  });
}

if (window.EventSource) listen();
else poll();
