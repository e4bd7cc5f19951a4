"use strict";
const STEP = 2000, SVG = "http://www.w3.org/2000/svg";
const LEFT = 58, RIGHT = 8, TOP = 8, BOTTOM = 22, SPAN = 300;
const byId = (id) => document.getElementById(id);
const say = (id, text) => { byId(id).textContent = text; };

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 1000 && !Number.isInteger(value)) return String(Number(value.toPrecision(digits)));
  return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
}
function seconds(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) {
    if (value >= size * 0.9995 || unit === "µs") return `${Number((value / size).toPrecision(3))}\u202f${unit}`;
  }
}
function bytes(value) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}\u202f${unit}`;
  }
  return `${value}\u202fB`;
}
function span(total) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => total >= size);
  if (first < 0) return "0 s";
  const [unit, size] = units[first], rest = units[first + 1];
  const left = rest ? Math.floor((total % size) / rest[1]) : 0;
  return `${Math.floor(total / size)} ${unit}` + (left ? ` ${left} ${rest[0]}` : "");
}
const sum = (object) => Object.values(object).reduce((total, value) => total + value, 0);

function element(kind, style, ...content) {
  const made = document.createElement(kind);
  if (style) made.className = style;
  made.append(...content);
  return made;
}
function fill(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) => element("tr", "", ...cells)));
}
const cell = (text, style = "") => element("td", style, text);
// A name that may be cut where its parts end.
const long = (text, style = "") => element("td", `long ${style}`, ...text.split(/(?<=[._/-])/).flatMap((part) => [part, element("wbr")]));

function draw(id, history, lines, axis) {
  const plot = byId(id), parts = [], WIDTH = plot.clientWidth || 560, HEIGHT = plot.clientHeight || 208;
  const add = (kind, attributes, text) => {
    const made = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    parts.push(made);
  };
  const x = (age) => WIDTH - RIGHT - (WIDTH - LEFT - RIGHT) * Math.min(age / SPAN, 1);
  const y = (share) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
  plot.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  for (const [share, text] of axis.ticks) {
    add("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share)});
    add("text", {class: "tick", x: LEFT - 6, y: y(share) + 4, "text-anchor": "end"}, text);
  }
  for (const minutes of WIDTH < 430 ? [0, 5] : [0, 1, 2, 3, 4, 5]) {
    const anchor = minutes ? (minutes === 5 ? "start" : "middle") : "end";
    add("text", {class: "tick", x: x(minutes * 60), y: HEIGHT - 5, "text-anchor": anchor}, minutes ? `−${minutes} min` : "now");
  }
  let drawn = 0;
  for (const [name, style, area] of lines) {
    let run = [];
    const end = () => {
      if (run.length) {
        const points = run.map(([left, top]) => `${left.toFixed(1)},${top.toFixed(1)}`);
        if (run.length === 1) points.push(`${(run[0][0] + 1.5).toFixed(1)},${run[0][1].toFixed(1)}`);
        const floor = y(0).toFixed(1);
        if (area) add("polygon", {class: "area", points: [`${run[0][0].toFixed(1)},${floor}`, ...points, `${run.at(-1)[0].toFixed(1)},${floor}`].join(" ")});
        add("polyline", {class: `line ${style}`, points: points.join(" ")});
      }
      run = [];
    };
    history[name].forEach((value, index) => {
      if (value === null) { end(); return; }
      drawn += 1;
      run.push([x(history.age_seconds[index]), y(axis.place(value))]);
    });
    end();
  }
  if (!drawn) add("text", {class: "empty", x: (LEFT + WIDTH) / 2, y: HEIGHT / 2}, "nothing yet");
  plot.replaceChildren(...parts);
}
function linearAxis(values) {
  const most = Math.max(1, ...values), step = 10 ** Math.floor(Math.log10(most / 4));
  const size = [1, 2, 5, 10].map((factor) => factor * step).find((each) => most / each <= 4);
  const high = Math.ceil(most / size - 1e-9) * size, ticks = [];
  for (let at = 0; at <= high + size / 2; at += size) ticks.push([at / high, number(Number(at.toPrecision(6)))]);
  return {place: (value) => value / high, ticks};
}
function logAxis(values) {
  const low = Math.floor(Math.log10(values.length ? Math.min(...values) : 1e-4) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(values.length ? Math.max(...values) : 1e-1) - 1e-9));
  const ticks = [];
  for (let power = low; power <= high; power += 1) ticks.push([(power - low) / (high - low), seconds(10 ** power)]);
  return {place: (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low), ticks};
}

function showNow(found) {
  const recent = found.recent, queue = found.queue;
  say("rate", number(recent.answered_per_second));
  say("errors", number(recent.failed_per_second));
  byId("errors").className = recent.failed_per_second > 0 ? "bad" : "";
  say("rows", number(recent.rows_per_second));
  say("p50", seconds(recent.p50_seconds));
  say("p99", seconds(recent.p99_seconds));
  say("flight", number(queue.in_flight));
  say("queued", number(queue.rows));
  const history = found.history, kept = (...names) => names.flatMap((name) => history[name]).filter((value) => value !== null);
  draw("plot-rate", history, [["answered", "a", true], ["failed", "bad"]], linearAxis(kept("answered", "failed")));
  draw("plot-latency", history, [["p50", "a"], ["p99", "b"]], logAxis(kept("p50", "p99").filter((value) => value > 0)));
  const means = Object.entries(recent.stage_mean_seconds || {});
  const longest = Math.max(1e-9, ...means.map(([, mean]) => mean || 0));
  fill("stages", means.map(([stage, mean]) => {
    const bar = element("div");
    bar.style.width = `${100 * (mean || 0) / longest}%`;
    return [cell(stage), cell(seconds(mean), "n"), element("td", "bar", bar)];
  }));
  fill("shed", Object.entries(queue.shed).map(([reason, calls]) => [cell(reason), cell(number(calls), calls ? "n warn" : "n")]));
}
function showLog(log) {
  byId("log").hidden = !log;
  byId("no-log").hidden = Boolean(log);
  if (!log) return;
  const lost = sum(log.dropped) + log.dead_lettered;
  const pipe = [["delivered", log.delivered], ["spooled", log.spooled], ["lost", lost]].map(([style, count]) => {
    const part = element("div", style);
    part.style.width = `${100 * count / Math.max(1, log.accepted)}%`;
    part.title = `${style}: ${count}`;
    return part;
  });
  byId("pipe").replaceChildren(...pipe);
  const dropped = Object.entries(log.dropped).filter(([, count]) => count);
  const line = (name, value, style = "n") => [cell(name, "name"), cell(value, style)];
  fill("books", [
    line("accepted", number(log.accepted)),
    line("delivered", number(log.delivered)),
    line("spooled", number(log.spooled)),
    ...dropped.map(([reason, count]) => line(`dropped: ${reason}`, number(count), "n bad")),
    ...(dropped.length ? [] : [line("dropped", "0")]),
    line("dead-lettered", number(log.dead_lettered), log.dead_lettered ? "n bad" : "n"),
    line("in the channel", bytes(log.queued_bytes)),
    line("in the spool", bytes(log.spool_bytes)),
    line("oldest segment", span(log.oldest_seconds)),
    ...(log.dead_letter_segments ? [line("files in dead-letter", number(log.dead_letter_segments), "n bad")] : []),
    ...(log.crashes ? [line("tasks started again", number(log.crashes), "n bad")] : []),
  ]);
}
function plain(value) {
  if (Array.isArray(value)) return value.join("; ");
  if (value && typeof value === "object") return Object.entries(value).map(([name, item]) => `${name}: ${item}`).join("\n");
  return String(value);
}
function showTables(found) {
  fill("sinks", found.sinks.map((sink) => {
    const errors = Object.entries(sink.errors).filter(([, count]) => count).map(([reason, count]) => `${reason} ${number(count)}`);
    return [long(sink.name), cell(sink.up ? "up" : "down", sink.up ? "good" : "bad"), cell(errors.join(", ") || "0", "n")];
  }));
  const metrics = found.metrics, dropped = metrics.dropped_values ? `, ${number(metrics.dropped_values)} dropped` : "";
  say("lag", `Metrics: ${number(metrics.queued_values)} measured values wait to be counted${dropped}.`);
  const rows = [];
  for (const method of found.methods) {
    if (!method.started) continue;
    Object.entries(method.handled).forEach(([code, calls], index) => {
      rows.push([long(index ? "" : method.method), long(code, code === "OK" ? "" : "warn"), cell(number(calls), "n")]);
    });
    if (method.in_flight) rows.push([long(Object.keys(method.handled).length ? "" : method.method), cell("in flight", "dim"), cell(number(method.in_flight), "n")]);
  }
  fill("methods", rows.length ? rows : [[cell("none yet", "dim"), cell(""), cell("")]]);
  byId("features-box").hidden = !found.features.length;
  fill("features", found.features.map((each) => [
    long(each.feature), cell(number(each.missing), "n"), cell(number(each.unknown), "n"), cell(number(each.unparsable), each.unparsable ? "n bad" : "n"),
  ]));
  fill("facts", Object.entries(found.served).map(([name, value]) => [cell(name.replaceAll("_", " "), "name"), cell(plain(value))]));
}
function show(found) {
  const state = byId("state");
  state.textContent = found.state;
  state.className = `chip ${found.state === "ready" ? "good" : "warn"}`;
  const served = found.served;
  for (const each of document.querySelectorAll(".figures")) each.hidden = !served;
  if (served) {
    say("model", served.model_id);
    say("about", `version ${served.model_version} · ${served.runtime} · kernel ${served.kernel} · hushar ${served.hushar} · up ${span(found.uptime_seconds)}`);
    document.title = `${served.model_id} · hushar`;
    showNow(found);
    showLog(found.log);
    showTables(found);
  }
  fill("messages", found.messages.map((each) => [
    cell(new Date(each.time * 1000).toISOString().replace("T", " ").slice(0, 19), "dim"),
    cell(each.level, each.level === "warning" ? "warn" : "bad"), cell(each.message),
  ]));
  byId("no-messages").hidden = found.messages.length > 0;
  say("when", `As of ${new Date().toLocaleTimeString()}, every ${STEP / 1000} s.`);
}
let lastAnswer = Date.now();
async function refresh() {
  try {
    const answer = await fetch("/status.json", {cache: "no-store", signal: AbortSignal.timeout(10000)});
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    lastAnswer = Date.now();
    byId("silent").hidden = true;
    document.body.dataset.shown = "yes";
  } catch (error) {
    say("silent", `No answer for ${span((Date.now() - lastAnswer) / 1000)}: ${error.message}. What is below may be old.`);
    byId("silent").hidden = false;
    console.error(error);
  }
  setTimeout(refresh, document.hidden ? 5 * STEP : STEP);
}
refresh();
