// The page without this script tells the essentials; this draws every key's timeline, searches the
// index of keys and copies the line to replay. It takes texts from the run only as text, never as
// markup, and asks no network for anything.
"use strict";
(function () {
  const root = document.documentElement;
  window.addEventListener("error", function (event) {
    root.setAttribute("data-error", String(event.message));
  });
  document.addEventListener("securitypolicyviolation", function (event) {
    root.setAttribute("data-error", "policy: " + event.violatedDirective);
  });

  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 60, ROW = 28, BAR = 22, TOP = 26, GAP = 12, CHAR = 6.7, CARRIED = 40;
  const OUTCOMES = ["ok", "fail", "info"], SIGNS = ["", "✗ ", "? "];
  const at = function (id) { return document.getElementById(id); };

  function html(tag, look, text) {
    const made = document.createElement(tag);
    if (look) made.className = look;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function svg(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function whole(number) { return number.toLocaleString("en-US"); }

  function duration(micros) {
    if (micros < 0) return "";
    if (micros >= 1e6) return +(micros / 1e6).toPrecision(3) + " s";
    if (micros >= 1e3) return +(micros / 1e3).toPrecision(3) + " ms";
    return micros + " µs";
  }

  // --- the line to replay ---

  const copy = at("copy");
  if (copy) {
    copy.hidden = false;
    copy.addEventListener("click", function () {
      const line = at("replay");
      const done = function () {
        copy.textContent = "Copied";
        setTimeout(function () { copy.textContent = "Copy"; }, 1600);
      };
      const byHand = function () {
        const range = document.createRange();
        range.selectNodeContents(line);
        const selection = window.getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        if (document.execCommand("copy")) done();
        else copy.textContent = "Selected: press Ctrl+C";
      };
      if (navigator.clipboard) navigator.clipboard.writeText(line.textContent).then(done, byHand);
      else byHand();
    });
  }

  // What is folded on a screen is needed on paper.
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details.printed").forEach(function (each) { each.open = true; });
  });

  // The operation in question is where one looks first.
  function centre(timeline) {
    const target = timeline.querySelector("[data-target]");
    if (!target) return false;
    const box = timeline.getBoundingClientRect(), place = target.getBoundingClientRect();
    timeline.scrollLeft += place.left + place.width / 2 - box.left - box.width * 0.6;
    return true;
  }
  document.querySelectorAll(".from-right").forEach(centre);

  // --- the operations of a key ---

  const holder = at("data");
  const data = holder ? JSON.parse(holder.textContent) : null;

  function unpack(key) {
    const columns = key[8], operations = [];
    let start = 0;
    for (let i = 0; i < columns[0].length; i++) {
      start += columns[0][i];
      operations.push({
        start: start, took: columns[1][i], process: data.texts[columns[2][i]],
        f: data.texts[columns[3][i]], outcome: columns[4][i],
        argument: data.texts[columns[5][i]], result: data.texts[columns[6][i]],
        bad: key[7] + i === key[6], number: i, until: columns[7][i] < 0 ? -1 : i + 1 + columns[7][i]
      });
    }
    return operations;
  }

  function label(operation) {
    let text = (operation.bad ? "✖ " : SIGNS[operation.outcome]) + operation.f;
    if (operation.argument) text += " " + operation.argument;
    if (operation.outcome === 0 && operation.result) text += " → " + operation.result;
    return text.length > 60 ? text.slice(0, 29) + "…" + text.slice(-30) : text;
  }

  function told(operation) {
    const end = operation.took < 0 ? "no answer" : duration(operation.took);
    return label(operation) + "\nprocess " + operation.process + ", " + OUTCOMES[operation.outcome] +
      (operation.outcome && operation.result ? ": " + operation.result : "") +
      (data.timed ? "\nbegan at " + (operation.start / 1e6).toFixed(6) + " s, " + end : "");
  }

  // Places as in the drawings made without a script: order of events, bars as wide as labels.
  // An operation ends before the one begins that has the number its own `until` says.
  function layOut(operations, first, last) {
    const from = [], to = [], ending = [];
    operations.forEach(function (operation, place) {
      if (operation.until < 0) return;
      const until = Math.min(operation.until, last);
      if (operation.until <= last) (ending[until - first] = ending[until - first] || []).push(place);
    });
    let x = 4;
    function finish(place) {
      x = Math.max(x, from[place] + label(operations[place]).length * CHAR + 14);
      to[place] = x;
      x += GAP;
    }
    operations.forEach(function (operation, place) {
      if (operation.number >= first)
        (ending[operation.number - first] || []).forEach(finish);
      from[place] = x;
      if (operation.number >= first) x += GAP;
    });
    (ending[last - first] || []).forEach(finish);
    let right = x + GAP;
    operations.forEach(function (operation, place) {
      if (to[place] === undefined)
        right = Math.max(right, from[place] + label(operation).length * CHAR + 24);
    });
    return { from: from, to: to, right: right };
  }

  function drawTimeline(operations, first, last) {
    const places = layOut(operations, first, last);
    const processes = Array.from(new Set(operations.map(function (each) { return each.process; })));
    processes.sort(function (a, b) { return a - b || (a < b ? -1 : a > b ? 1 : 0); });
    const height = TOP + ROW * processes.length + 6;
    const widest = processes.reduce(function (most, each) { return Math.max(most, each.length); }, 0);
    const width = Math.max(64, widest * CHAR + 24);
    const names = svg("svg", { "class": "names", width: width, height: height, "aria-hidden": "true" });
    const bars = svg("svg", {
      "class": "bars", width: places.right, height: height, role: "img",
      "aria-label": "Operations as bars, by process"
    });
    processes.forEach(function (process, row) {
      const y = TOP + row * ROW;
      names.append(svg("text", { x: width - 8, y: y + 15, "text-anchor": "end" }, process));
      bars.append(svg("line", { "class": "row", x1: 0, x2: places.right, y1: y + 25, y2: y + 25 }));
    });
    let lastTick = -1e9;
    const decimals = operations.length &&
      operations[operations.length - 1].start - operations[0].start > 1e5 ? 3 : 6;
    operations.forEach(function (operation, number) {
      const x = places.from[number];
      if (!data.timed || operation.number < first || x - lastTick < 12 * CHAR) return;
      lastTick = x;
      bars.append(svg("line", { "class": "tick", x1: x, x2: x, y1: 16, y2: height }));
      bars.append(svg("text", { "class": "tick-text", x: x, y: 11 },
        (operation.start / 1e6).toFixed(decimals) + " s"));
    });
    operations.forEach(function (operation, number) {
      const x = places.from[number], y = TOP + processes.indexOf(operation.process) * ROW;
      const open = operation.until < 0, goesOn = places.to[number] === undefined;
      const end = goesOn ? places.right : places.to[number];
      const group = svg("g", { "class": "bar " + OUTCOMES[operation.outcome] + (operation.bad ? " bad" : "") });
      group.append(svg("title", {}, told(operation)));
      if (open) group.append(svg("path", {
        d: "M" + end + " " + y + "H" + (x + 3) + "a3 3 0 0 0 -3 3v16a3 3 0 0 0 3 3H" + end
      }));
      else {
        const box = { x: x, y: y, width: end - x, height: BAR, rx: 3 };
        group.append(svg("rect", box));
        if (operation.outcome === 1) group.append(svg("rect", Object.assign({ "class": "hatched" }, box)));
      }
      group.append(svg("text", { x: x + 7, y: y + 15 }, label(operation)));
      if (operation.bad) group.dataset.target = "yes";
      bars.append(group);
    });
    return [names, bars];
  }

  function drawTable(operations) {
    const table = html("table", "told");
    const head = html("tr");
    [["Process", "right"], ["Operation", ""], ["Argument", ""], ["Result or error", ""],
      ["Outcome", ""]].concat(data.timed ? [["Began", "right"], ["Took", "right"]] : []).forEach(function (each) {
      const cell = html("th", each[1], each[0]);
      cell.scope = "col";
      head.append(cell);
    });
    const thead = html("thead");
    thead.append(head);
    const body = html("tbody");
    operations.forEach(function (operation) {
      const row = html("tr", operation.bad ? "wrong" : "");
      row.append(html("td", "right", operation.process), html("td", "", operation.f),
        html("td", "value", operation.argument), html("td", "value", operation.result));
      const outcome = html("td");
      outcome.append(html("span", "swatch " + OUTCOMES[operation.outcome],
        SIGNS[operation.outcome] + OUTCOMES[operation.outcome]));
      row.append(outcome);
      if (data.timed) row.append(html("td", "right", (operation.start / 1e6).toFixed(6) + " s"),
        html("td", "right", duration(operation.took)));
      body.append(row);
    });
    table.append(thead, body);
    return table;
  }

  // --- one key, page by page ---

  const shown = { key: null, operations: [], page: 0 };

  // Where in the run an operation began, from 0 to 1; by number where nobody recorded times.
  function place(operations) {
    const first = operations[0].start, span = operations[operations.length - 1].start - first;
    return function (operation) {
      return span > 0 ? (operation.start - first) / span : operation.number / operations.length;
    };
  }

  function drawOverview() {
    const picture = at("overview"), operations = shown.operations;
    const cells = Math.max(30, Math.min(300, operations.length)), counts = new Array(cells).fill(0);
    picture.replaceChildren();
    picture.setAttribute("viewBox", "0 0 " + cells + " 30");
    if (!operations.length) return;
    const when = place(operations);
    const cell = function (operation) {
      return Math.min(cells - 1, Math.floor(when(operation) * cells));
    };
    operations.forEach(function (each) { counts[cell(each)]++; });
    const most = Math.max.apply(null, counts);
    let path = "";
    counts.forEach(function (count, x) {
      if (count) path += "M" + x + " 30v-" + (3 + 25 * count / most).toFixed(1) + "h1V30z";
    });
    const from = cell(operations[shown.page * PAGE]);
    const to = cell(operations[Math.min(operations.length, (shown.page + 1) * PAGE) - 1]);
    picture.append(svg("rect", { "class": "here", x: from, y: 0, width: to - from + 1, height: 30 }));
    picture.append(svg("path", { "class": "much", d: path }));
    operations.forEach(function (each) {
      if (each.bad) picture.append(svg("rect", { "class": "there", x: cell(each), y: 0, width: cells / 250, height: 30 }));
    });
  }

  function pages() { return Math.max(1, Math.ceil(shown.operations.length / PAGE)); }

  function turn(page) {
    shown.page = Math.min(pages() - 1, Math.max(0, page || 0));
    const first = shown.page * PAGE, last = Math.min(shown.operations.length, first + PAGE);
    const now = shown.operations.slice(first, last);
    const still = shown.operations.slice(0, first).filter(function (each) { return each.until > first; });
    const timeline = at("explorer-timeline");
    timeline.replaceChildren.apply(timeline, drawTimeline(still.slice(-CARRIED).concat(now), first, last));
    if (!centre(timeline)) timeline.scrollLeft = 0;
    at("explorer-table").replaceChildren(drawTable(now));
    at("page").value = shown.page + 1;
    at("page").max = pages();
    at("pages").textContent = whole(pages());
    at("page-before").disabled = at("page-first").disabled = shown.page === 0;
    at("page-after").disabled = at("page-last").disabled = shown.page === pages() - 1;
    drawOverview();
  }

  function badPage() {
    const found = shown.operations.findIndex(function (each) { return each.bad; });
    return found < 0 ? -1 : Math.floor(found / PAGE);
  }

  function open(number, focus) {
    const key = data.keys[number];
    shown.key = number;
    shown.operations = unpack(key);
    const several = data.keys.length + data.left_out > 1;
    at("explorer").hidden = false;
    at("explorer-title").textContent = several ? "Key " + key[0] : "All operations";
    const from = key[7] + 1, to = key[7] + shown.operations.length;
    const parts = shown.operations.length < key[1]
      ? "This file holds operations " + whole(from) + " to " + whole(to) + " of " + whole(key[1])
      : whole(key[1]) + (key[1] === 1 ? " operation" : " operations");
    at("explorer-note").textContent = shown.operations.length
      ? parts + ", " + PAGE + " on a page, in the order in which they began."
      : "This file does not hold the " + whole(key[1]) + " operations of this key: there was no more room.";
    const bad = badPage();
    at("page-bad").hidden = bad < 0;
    turn(bad < 0 ? 0 : bad);
    if (focus) {
      at("explorer-title").focus({ preventScroll: true });
      at("explorer").scrollIntoView({ block: "start" });
    }
  }

  function bindPages() {
    at("page-first").addEventListener("click", function () { turn(0); });
    at("page-before").addEventListener("click", function () { turn(shown.page - 1); });
    at("page-after").addEventListener("click", function () { turn(shown.page + 1); });
    at("page-last").addEventListener("click", function () { turn(pages() - 1); });
    at("page-bad").addEventListener("click", function () { turn(badPage()); });
    at("page").addEventListener("change", function () { turn(at("page").valueAsNumber - 1); });
    at("overview").addEventListener("click", function (event) {
      const box = at("overview").getBoundingClientRect(), operations = shown.operations;
      if (!operations.length) return;
      const when = place(operations), wanted = (event.clientX - box.left) / box.width;
      const found = operations.findIndex(function (each) { return when(each) >= wanted; });
      turn(Math.floor((found < 0 ? operations.length - 1 : found) / PAGE));
    });
  }

  // --- the index of keys ---

  const LISTED = 200;

  function listKeys(word) {
    const body = at("keys-table").tBodies[0], rows = [];
    const wanted = word.toLowerCase();
    let matching = 0;
    data.keys.forEach(function (key, number) {
      if (wanted && !key[0].toLowerCase().includes(wanted)) return;
      matching++;
      if (rows.length < LISTED) rows.push(keyRow(key, number));
    });
    body.replaceChildren.apply(body, rows);
    const all = data.keys.length + data.left_out;
    at("keys-caption").textContent = (rows.length < matching ? "The worst " + whole(rows.length) + " of " : "") +
      whole(matching) + (matching === 1 ? " key" : " keys") +
      (word ? " with “" + word + "”" : data.left_out ? ", of " + whole(all) + " in the run" : "") +
      ". Choose one to see its operations.";
    if (at("found")) at("found").textContent = word ? whole(matching) + " found" : "";
  }

  function keyRow(key, number) {
    const wrong = key[6] >= 0, row = html("tr", wrong ? "wrong" : "");
    const name = html("th"), button = html("button", "key", key[0] || (data.keys.length > 1 ? "(no key)" : "(one object)"));
    button.type = "button";
    button.addEventListener("click", function () { open(number, true); });
    name.scope = "row";
    name.append(button);
    row.append(name, html("td", "", wrong ? "✖ no" : root.dataset.verdict === "yes" ? "✓ yes" : "—"));
    key.slice(1, 5).forEach(function (count) { row.append(html("td", "right", whole(count))); });
    row.append(html("td", "right", data.timed && key[5] >= 0 ? duration(key[5]) : "—"));
    return row;
  }

  if (data && at("keys-table")) {
    listKeys("");
    bindPages();
    if (at("search-box")) {
      at("search-box").hidden = false;
      at("search").addEventListener("input", function () { listKeys(at("search").value); });
    }
    if (data.keys.length) open(0, false);
  }
  root.setAttribute("data-ready", "yes");
})();
