"use strict";
// Shows the answers in #answers-data one at a time. Everything is put in as text; nothing is ever parsed as HTML.
(() => {
  const holder = document.getElementById("answers-data");
  if (!holder) return;
  const { filters, media, cards } = JSON.parse(holder.textContent);
  const [box, list, shown, found, find, clear] = ["browser", "list", "shown", "found", "find", "clear"].map((id) =>
    document.getElementById(id));
  const PAGE = 200;
  const MARKS = { right: "✓", wrong: "✗", quiet: "–" };
  const selects = new Map();
  let matching = [], drawn = 0, place = 0, open = false;

  function make(tag, kind, text) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function image(item) {
    const element = make("img", item.w < 100 ? "small" : "");
    Object.assign(element, { src: item.s, width: item.w, height: item.h, alt: `picture ${item.n}`, title: item.n });
    if (item.r) element.alt += ` at ${item.r}`;
    return element;
  }

  function strip(item, title) {
    const figure = make("figure", "film"), caption = make("figcaption"), frames = make("ol", "frames");
    caption.append(make("b", "", title || item.n), ` ${item.c}`);
    for (const frame of item.f) {
      const one = make("li");
      one.append(image(frame), make("span", "time", frame.r));
      frames.append(one);
    }
    figure.append(caption, frames);
    return figure;
  }

  function medium([number, title]) {
    const item = media[number];
    if (item.f) return strip(item, title);
    if (item.s) {
      if (!item.r) return image(item);
      const figure = make("figure", "still");
      figure.append(image(item), make("figcaption", "", item.r));
      return figure;
    }
    const missing = make("span", "missing");
    missing.append(make("b", "", (title ? `${title}: ` : "") + item.p), item.n);
    return missing;
  }

  function piece([text, kind, stage]) {
    if (!kind) return text;
    if (kind === 1) return make("span", "tag", text);
    const mark = make("mark", "forced", kind === 2 ? text : undefined);
    mark.title = `forced words, stage ${stage}`;
    if (kind === 3) mark.append(make("span", "tag", text));
    return mark;
  }

  function block(item) {
    const element = make("div", `block ${item.k}`);
    element.append(...item.p.map(piece));
    if (item.m) {
      const row = make("div", "media");
      row.append(...item.m.map(medium));
      element.append(row);
    }
    if (item.k !== "think") return element;
    const folded = make("details"), length = item.p.reduce((sum, [text]) => sum + text.length, 0);
    folded.open = open;
    folded.append(make("summary", "", `thoughts, ${length.toLocaleString("en")} characters`), element);
    return folded;
  }

  function reply(item) {
    const element = make("div", "reply"), chips = make("p", "chips"), text = make("div", "text");
    if (item.l) element.append(make("h4", "", item.l));
    chips.append(...item.c.map(([words, tone]) => make("span", `chip ${tone}`, words)));
    text.append(...item.b.map(block));
    if (!item.b.length) text.append(make("div", "block plain", "empty answer"));
    element.append(chips, text, ...item.n.map((words) => make("p", "remark", words)));
    return element;
  }

  const name = (card) => card.i + (card.d ? `, draw ${card.d + 1}` : "");

  function groups(card) {
    const told = /^(verdict|noted)/;
    return filters.filter(({ k }) => card.f[k] && !told.test(k)).map(({ k }) => `${k.replaceAll("_", " ")}: ${card.f[k].join(", ")}`).join(" · ");
  }

  function show() {
    shown.replaceChildren();
    const card = cards[matching[place]];
    if (!card) return;
    const walk = make("p", "walk"), question = make("div", "question"), asked = make("div");
    for (const [words, step] of [["← previous", -1], ["next →", 1]]) {
      const button = make("button", "", words);
      button.type = "button";
      button.disabled = !matching[place + step] && matching[place + step] !== 0;
      button.addEventListener("click", () => go(place + step));
      walk.append(button);
    }
    walk.append(`${(place + 1).toLocaleString("en")} of ${matching.length.toLocaleString("en")}`);
    if (card.m) question.append(...card.m.map(medium));
    asked.append(make("p", "asked", card.q));
    if (card.o) {
      const options = make("ul", "options");
      options.append(...card.o.map(([letter, text]) => make("li", "", `(${letter}) ${text}`)));
      asked.append(options);
    }
    const gold = make("p", "gold", card.g === undefined ? "no reference answer" : "right answer ");
    if (card.g !== undefined) gold.append(make("b", "", card.g));
    gold.append(" ", make("span", "id", name(card)));
    asked.append(gold, make("p", "groups", groups(card)));
    question.append(asked);
    const replies = make("div", "replies");
    replies.append(...card.r.map(reply));
    shown.append(walk, question, replies);
  }

  function item(number, at) {
    const card = cards[number], element = make("div", "item");
    element.id = `item-${number}`;
    element.setAttribute("role", "option");
    const marks = make("span");
    for (const tone of [card.t, ...(card.u ? [card.u[1]] : [])]) marks.append(make("span", `mark ${tone}`, MARKS[tone]));
    const said = card.u ? `${card.s || "nothing"} → ${card.u[0] || "nothing"}` : card.s || "nothing";
    element.append(make("span", "name", name(card)), make("span", "said", said), marks);
    element.title = said;
    element.addEventListener("click", () => go(at));
    return element;
  }

  function draw(upTo) {
    list.querySelector(".more")?.remove();
    const end = Math.min(matching.length, Math.max(upTo, drawn));
    for (; drawn < end; drawn++) list.append(item(matching[drawn], drawn));
    if (drawn < matching.length) {
      const more = make("button", "more", `${(matching.length - drawn).toLocaleString("en")} more`);
      more.type = "button";
      more.addEventListener("click", () => draw(drawn + PAGE));
      list.append(more);
    }
  }

  function go(to) {
    if (to < 0 || to >= matching.length) return;
    place = to;
    draw(to + 1);
    list.querySelector(".chosen")?.classList.remove("chosen");
    list.querySelectorAll("[aria-selected]").forEach((old) => old.removeAttribute("aria-selected"));
    const chosen = document.getElementById(`item-${matching[place]}`);
    chosen.classList.add("chosen");
    chosen.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", chosen.id);
    if (chosen.offsetTop < list.scrollTop) list.scrollTop = chosen.offsetTop;
    const below = chosen.offsetTop + chosen.offsetHeight - list.clientHeight;
    if (below > list.scrollTop) list.scrollTop = below;
    show();
    remember();
  }

  const haystacks = [];
  function haystack(number) {
    if (haystacks[number] === undefined) {
      const card = cards[number];
      const said = card.r.flatMap((one) => [...one.b.flatMap((part) => part.p.map(([text]) => text)), ...one.n,
        ...one.c.map(([text]) => text)]);
      haystacks[number] = [name(card), card.q, card.g ?? "", card.s, ...(card.o ?? []).flat(), ...said].join("\n").toLowerCase();
    }
    return haystacks[number];
  }

  function count(counts, key, card) {
    for (const label of card.f[key] ?? []) counts.get(key).set(label, (counts.get(key).get(label) ?? 0) + 1);
  }

  // A label is counted under all filters but its own: an answer that one filter alone refuses counts there.
  function choose(keep) {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const before = keep ? matching[place] : undefined;
    const set = [...selects].filter(([, select]) => select.value);
    const counts = new Map([...selects.keys()].map((key) => [key, new Map()]));
    matching = [];
    cards.forEach((card, number) => {
      const refused = set.filter(([key, select]) => !(card.f[key] ?? []).includes(select.value)).map(([key]) => key);
      if (refused.length > 1 || !words.every((word) => haystack(number).includes(word))) return;
      if (refused.length) return count(counts, refused[0], card);
      matching.push(number);
      for (const key of selects.keys()) count(counts, key, card);
    });
    for (const [key, select] of selects) {
      for (const option of select.options) {
        if (option.value) option.textContent = `${option.value} (${(counts.get(key).get(option.value) ?? 0).toLocaleString("en")})`;
      }
      select.classList.toggle("set", Boolean(select.value));
    }
    const narrowed = matching.length < cards.length;
    found.textContent = `${matching.length.toLocaleString("en")} of ${cards.length.toLocaleString("en")} answers`;
    clear.hidden = !narrowed && !find.value;
    list.replaceChildren();
    drawn = 0;
    list.scrollTop = 0;
    draw(PAGE);
    place = Math.max(0, matching.indexOf(before));
    if (matching.length) go(place);
    else {
      shown.replaceChildren(make("p", "note", "No answer fits."));
      remember();
    }
  }

  // The state stands behind the # so that a link leads to the same answer; browsers allow few changes in a row.
  let ready = false, writing;
  function remember() {
    clearTimeout(writing);
    if (ready) writing = setTimeout(write, 300);
  }

  function write() {
    const state = new URLSearchParams();
    for (const [key, select] of selects) if (select.value) state.set(key, select.value);
    if (find.value) state.set("words", find.value);
    if (matching.length && (place || [...state].length)) state.set("at", name(cards[matching[place]]));
    const text = state.toString();
    history.replaceState(null, "", text ? `#answers?${text}` : location.hash.startsWith("#answers?") ? "#answers" : location.hash || "#");
  }

  function recall() {
    if (!location.hash.startsWith("#answers?")) return;
    const state = new URLSearchParams(location.hash.slice("#answers?".length));
    for (const [key, select] of selects) select.value = state.get(key) ?? "";
    find.value = state.get("words") ?? "";
    choose();
    const at = matching.findIndex((number) => name(cards[number]) === state.get("at"));
    if (at > 0) go(at);
    document.getElementById("answers")?.scrollIntoView();
  }

  function keys(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "Escape" && event.target === find) { find.value = ""; find.blur(); choose(true); list.focus(); return; }
    if (event.key === "Enter" && event.target === find) { list.focus(); return; }
    if (typing) return;
    const inside = list.contains(event.target);
    const steps = { j: 1, k: -1, ...(inside ? { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -place, End: matching.length - 1 - place } : {}) };
    if (event.key in steps) {
      event.preventDefault();
      go(Math.max(0, Math.min(matching.length - 1, place + steps[event.key])));
    } else if (event.key === "/") {
      event.preventDefault();
      find.focus();
    } else if (event.key === "t") {
      open = !open;
      shown.querySelectorAll("details").forEach((one) => { one.open = open; });
    }
  }

  for (const { k, o } of filters) {
    const label = make("label", "", k.replaceAll("_", " ")), select = make("select");
    select.dataset.filter = k;
    select.append(new Option("all", ""), ...o.map((text) => new Option(text, text)));
    select.addEventListener("change", () => choose());
    label.append(select);
    document.getElementById("filters").append(label);
    selects.set(k, select);
  }
  let waiting;
  find.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 120); });
  clear.addEventListener("click", () => {
    for (const select of selects.values()) select.value = "";
    find.value = "";
    choose(true);
  });
  document.addEventListener("keydown", keys);
  window.addEventListener("hashchange", recall);
  box.hidden = false;
  choose();
  recall();
  ready = true;
})();
