"use strict";
const SHOWN = 10; // most probable classes
const MARKS = {
  is_unsure: "The model says that it does not know.",
  is_empty: "There is no word in this text: this is what the model says of nothing.",
  is_cut: "The text is longer than the model reads: its end was not read.",
  is_cut_for_one: "One part of the model did not read the end of this text.",
  is_unknown: "The vocabulary lacks more than half of this text: the answer says little.",
};
const form = document.getElementById("form");
const text = document.getElementById("text");
const lines = document.getElementById("lines");
const told = document.getElementById("status");
const answers = document.getElementById("answers");

// texts of strangers are always set as text, never as HTML
function element(name, content, className) {
  const made = document.createElement(name);
  if (content !== undefined) made.textContent = content;
  if (className) made.className = className;
  return made;
}

function shown(prediction, of) {
  const part = element("article");
  const labels = "labels" in prediction ? prediction.labels : prediction.label === null ? [] : [prediction.label];
  part.append(element("h2", labels.length ? labels.join(", ") : prediction.is_unsure ? "don't know" : "no label"));
  if (of !== null) part.append(element("p", of, "quiet"));
  for (const [mark, words] of Object.entries(MARKS)) {
    if (prediction[mark]) part.append(element("p", words, "note"));
  }
  const table = element("table");
  const sorted = Object.entries(prediction.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, share] of sorted.slice(0, SHOWN)) {
    const row = table.insertRow();
    const head = element("th", label);
    head.scope = "row";
    const bar = element("meter");
    bar.value = share;
    bar.setAttribute("aria-hidden", "true");
    const cell = element("td");
    cell.append(bar);
    row.append(head, element("td", share.toFixed(4)), cell);
  }
  part.append(table);
  return part;
}

async function classify() {
  const texts = lines.checked ? text.value.split("\n").filter((line) => line.trim()) : [text.value];
  told.textContent = "…";
  answers.replaceChildren();
  try {
    const response = await fetch("predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ texts }),
    });
    const content = await response.json();
    if (!response.ok) throw new Error(content.error);
    told.textContent = texts.length === 1 ? "1 text" : `${texts.length} texts`;
    answers.append(...content.predictions.map((each, i) => shown(each, texts.length > 1 ? texts[i] : null)));
  } catch (error) {
    told.textContent = `No answer: ${error.message}`;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  classify();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
