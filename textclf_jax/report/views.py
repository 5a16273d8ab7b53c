"""Facts in the words and tables of a page: what the templates of a run show, still without HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textclf_jax.errors import one_line
from textclf_jax.observe.confusion_picture import MAX_CLASSES, grouped, most_mistaken
from textclf_jax.report.facts import Answers, Mistake, RunFacts, Word
from textclf_jax.tasks.metrics import shown

TITLES = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "subset_accuracy": "all labels right",
    "balanced_accuracy": "balanced accuracy",
    "average_precision_macro": "average precision",
    "loss": "loss, nats",
    "perplexity": "perplexity",
    "f1_samples": "F1 of a text, mean",
    "top3_accuracy": "true class among the best 3",
    "top5_accuracy": "true class among the best 5",
    "num_examples": "texts",
    "num_tokens": "masked tokens",
}
SHOWN_METRICS = tuple(TITLES)  # of a run's own figures; the others are in its csv files
# those at the top, where no answers are known
TOP = ("accuracy", "f1_micro", "f1_macro", "subset_accuracy", "loss", "perplexity")
COLUMN_TITLES = {"label": "class", "support": "texts", "f1": "F1", "average_precision": "average precision"}
LEFT_OUT_COLUMNS = {"class"}  # the number of a class, where its name is told
SHOWN_CLASSES = 200
SHOWN_WORDS = 5  # of each kind, in words
FAINT = 0.05  # a smaller share of the strongest effect has no colour
SPLITS = {"train": "training", "val": "validation", "test": "test"}
SUSPECTS = ("suspects", "label_suspects")  # names in a check of the data


def score(value: float | None) -> str:
    """Four decimals, or more where it is tiny; a dash for nothing."""
    if value is None or value != value:
        return "–"
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"


def count(value: int | float | None) -> str:
    """With commas; a dash for nothing."""
    return "–" if value is None else f"{value:,.0f}"


def cell(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, float):
        return score(value)
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else plain(value)


def plain(value: Any) -> str:
    """A value of JSON in words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def context(run: RunFacts) -> dict[str, Any]:
    """What the template of a run shows, but for figures."""
    answers, check = run.answers, dict(run.check or {})
    suspects = next((check.pop(name) for name in SUSPECTS if name in check), None)
    confusion = confusion_view(answers) if answers and answers.confusion else None
    view = {
        "run": run,
        "headline": headline(run),
        "tiles": tiles(run),
        "basis": basis(run),
        "results": results_view(run),
        "answers": answers,
        "confusion": confusion,
        "suspects": suspects,
        "check": check,
        "data": data_view(run),
        "cost": cost_view(run),
        "repeat_remark": repeat_remark(run),
        "verdict": run.verdict,
    }
    if answers:
        view |= {"classes": classes_view(answers), "parts": parts_view(answers)}
        view |= {"mistakes_sentence": mistakes_sentence(answers)}
        view["mistakes"] = [mistake_view(each, i) for i, each in enumerate(answers.mistakes, start=1)]
    return view


def sections(view: Mapping[str, Any], has_curves: bool) -> list[tuple[str, str]]:
    """Anchors and names of the sections that a page has."""
    answers = view["answers"]
    wanted = [
        ("verdict", "Verdict", view["run"].verdict),
        ("result", "Result", True),
        ("curves", "Learning curves", has_curves),
        ("confusion", "Confusion matrix", view["confusion"]),
        ("calibration", "Calibration", answers),
        ("classes", "Classes", answers),
        ("parts", "Encoder and linear path", answers and view["parts"]),
        ("mistakes", "Worst mistakes", answers),
        ("suspects", "Label suspects", view["suspects"]),
        ("data", "Data", True),
        ("repeat", "To repeat it", True),
        ("cost", "Cost and environment", True),
        ("configuration", "Configuration", True),
        ("missing", "What is not told", view["run"].missing),
    ]
    return [(anchor, name) for anchor, name, is_there in wanted if is_there]


# --- result -----------------------------------------------------------------------------------------------------


def headline(run: RunFacts) -> str:
    """What the run is, in a line."""
    attention = run.config["architecture"]["attention"]["kind"]
    what = {"pretraining": "masked language model", "finetuning": "text classifier"}[run.kind]
    if run.labels:
        several = ", several labels a text" if run.multi_label else ""
        what = f"{what} of {len(run.labels)} classes{several}"
    model = "" if run.which is None else f"; {run.which} model"
    if run.place:
        model += f" of update {run.place.get('update', 0):,} (epoch {run.place.get('epoch', 0)})"
    if run.chosen_by:
        model += f", by validation {run.chosen_by}"
    return f"{run.state.capitalize()} {run.kind} run: {what}, attention {attention}{model}."


def tiles(run: RunFacts) -> list[tuple[str, str, str]]:
    """Name, value and interval of the scores at the top."""
    if run.answers:
        return [
            (TITLES[f.name], score(f.value), "" if f.low is None else f"95%: {score(f.low)} to {score(f.high)}")
            for f in run.answers.figures
        ]
    split = next((split for split in ("test", "val") if run.results.get(split)), None)
    told = run.results[split] if split else {}
    return [(TITLES[name], score(told[name]), "") for name in shown(TOP, dict.fromkeys(told, 0.0))]


def basis(run: RunFacts) -> str:
    """What the scores at the top rest on."""
    answers = run.answers
    if answers is None:
        split = next((split for split in ("test", "val") if run.results.get(split)), "")
        return f"On the {SPLITS.get(split, split)} split, as the run ended; without intervals."
    text = f"On the {SPLITS[answers.split]} split, {answers.rows:,} texts. Intervals hold 95% of {answers.draws:,} "
    text += "bootstrap draws of the texts: the luck of which texts were tested, not that of training."
    if answers.split == "val":
        text += " The model was chosen by this split, so new texts will be answered a little worse."
    return text


def results_view(run: RunFacts) -> dict[str, Any] | None:
    """A table of the run's own metrics by split."""
    splits = [split for split in ("val", "test") if run.results.get(split)]
    names = shown(SHOWN_METRICS, {name: 0.0 for split in splits for name in run.results[split]})
    if not names:
        return None
    rows = []
    for name in names:
        form = count if name.startswith("num_") else score
        title = TITLES.get(name, name.replace("_", " "))
        rows.append([title, *(form(run.results[split].get(name)) for split in splits)])
    return {"splits": [SPLITS[s] for s in splits], "rows": rows, "numbers": tuple(range(1, len(splits) + 1))}


# --- answers ----------------------------------------------------------------------------------------------------


def confusion_view(answers: Answers) -> dict[str, Any]:
    """The cells of the matrix; of many classes those in most mistakes, and the others as one."""
    matrix, names = np.array(answers.confusion, np.int64), [record["label"] for record in answers.classes]
    chosen = most_mistaken(matrix, MAX_CLASSES)
    cells, labels = grouped(matrix, chosen), [one_line(names[i], 60) for i in chosen]
    remark, others = "", len(names) - len(chosen)
    if others:
        labels.append(f"{others} others")
        remark = f" Of {len(names)} classes these are the {len(chosen)} in most mistakes, and the others as one."
    shares = 100 * cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    rows = [
        (label, [(count(int(n)), round(float(shares[i, j])), i == j) for j, n in enumerate(cells[i])])
        for i, label in enumerate(labels)
    ]
    return {"names": labels, "rows": rows, "remark": remark}


def classes_view(answers: Answers) -> dict[str, Any]:
    """The table of classes; of very many those of the lowest F1."""
    records, caption = answers.classes, ""
    if len(records) > SHOWN_CLASSES:
        records = sorted(records, key=lambda r: (r["support"] == 0, r["f1"] is None or r["f1"]))[:SHOWN_CLASSES]
        caption = f"The {SHOWN_CLASSES} of lowest F1, of {len(answers.classes):,}"
    names = [name for name in records[0] if name not in LEFT_OUT_COLUMNS]
    names.sort(key=lambda name: name != "label")
    rows = [[plain(record[name]) if name == "label" else cell(record[name]) for name in names] for record in records]
    columns = [COLUMN_TITLES.get(name, name.replace("_", " ")) for name in names]
    return {"columns": columns, "rows": rows, "numbers": tuple(range(1, len(names))), "caption": caption}


def parts_view(answers: Answers) -> dict[str, Any] | None:
    """What encoder and linear path give."""
    parts = answers.parts
    if parts is None:
        return None
    title = TITLES[parts.score_name] + (" at the threshold 0.5" if parts.score_name == "f1_micro" else "")
    rows = [
        [f"{p.name} alone", score(p.score), score(p.loss), f"{p.weight:.3f}", f"{p.share:.0%}"] for p in parts.parts
    ]
    rows.append(["both together", score(parts.score), score(parts.loss), "", ""])
    shares = " and ".join(f"{part.share:.0%} from the {part.name}" for part in parts.parts)
    sentence = (
        f"Of what decides, {shares}: of the log odds of the answers that each part adds, by magnitude, with the "
        "weights that fit the validation split."
    )
    columns = ["part", title, "loss, nats", "weight", "share in what decides"]
    agreement = [(name, count(texts)) for name, texts in parts.agreement.items()]
    return {"columns": columns, "rows": rows, "sentence": sentence, "agreement": agreement}


def mistakes_sentence(answers: Answers) -> str:
    """How many there are, and which are shown."""
    told = f" These are the {len(answers.mistakes)} " if len(answers.mistakes) > 1 else ""
    if answers.confusion is None:
        what = "labels are wrongly given, or wrongly not given, on"
        told += "that lie furthest on the wrong side of their thresholds." if told else ""
        return f"{answers.wrong:,} {what} {answers.rows:,} texts.{told}"
    told += "whose right answers the model found least likely." if told else ""
    return f"{answers.wrong:,} of {answers.rows:,} answers are wrong.{told}"


def mistake_view(mistake: Mistake, number: int) -> dict[str, Any]:
    """A mistake: its text with colours, and in words what mattered."""
    words = []
    for word, share in _with_shares(mistake):
        kind = "" if share < FAINT or not word.effect else "for" if word.effect > 0 else "against"
        text = word.text.lstrip(" ")
        words.append((word.text[: len(word.text) - len(text)], text, kind, round(100 * share)))
    several = mistake.threshold is not None
    heading = f"{number}. {one_line(mistake.true, 80)} "
    heading += f"is {mistake.predicted}" if several else f"taken for {one_line(mistake.predicted, 80)}"
    right = "the right answer" if several else "the true class"
    details = (
        f"Row {mistake.row:,}; probability {score(mistake.probability)}, of {right} {score(mistake.true_probability)}"
    )
    details += "" if mistake.threshold is None else f"; threshold of the class {score(mistake.threshold)}"
    details += "".join(f"; {name} {value:+.2f}" for name, value in mistake.from_parts.items())
    if mistake.read < mistake.tokens:
        details += f"; the model reads {mistake.read:,} of the {mistake.tokens:,} tokens"
    if mistake.words and all(word.effect is None for word in mistake.words):
        details += "; too long to leave its words out"
    label = f"Text of mistake {number}"
    return {"heading": heading, "details": f"{details}.", "label": label, "words": words, "summary": in_words(mistake)}


def _with_shares(mistake: Mistake) -> list[tuple[Word, float]]:
    """Words, and how large the effect of each is beside the largest."""
    sizes = [abs(word.effect or 0.0) for word in mistake.words]
    largest = max(sizes, default=0.0)
    return [(word, size / largest if largest else 0.0) for word, size in zip(mistake.words, sizes, strict=True)]


def in_words(mistake: Mistake) -> str:
    """The strongest words for and against an answer."""
    told = []
    for name, sign in (("For it", 1), ("Against it", -1)):
        strong = [(s, word) for word, s in _with_shares(mistake) if s >= FAINT and sign * (word.effect or 0.0) > 0]
        strong.sort(key=lambda each: -each[0])
        if strong:
            words = ", ".join(f"{one_line(word.text, 40)} ({word.effect:+.2f})" for _, word in strong[:SHOWN_WORDS])
            told.append(f"{name}: {words}.")
    return " ".join(told)


# --- the rest ---------------------------------------------------------------------------------------------------


def data_view(run: RunFacts) -> dict[str, Any]:
    """Tables of the data."""
    splits = run.data.splits
    rows = [[SPLITS[s.split], count(s.texts), count(s.tokens), s.path, s.fingerprint] for s in splits]
    counted = [s for s in splits if len(s.class_counts) == len(run.labels) and run.labels]
    classes = [
        [one_line(label, 60), *(count(s.class_counts[i]) for s in counted)] for i, label in enumerate(run.labels)
    ]
    return {
        "columns": ["split", "texts", "tokens", "file", "fingerprint"],
        "rows": rows,
        "numbers": (1, 2),
        "classes": classes[:SHOWN_CLASSES] if counted else [],
        "class_columns": ["class", *(SPLITS[s.split] for s in counted)],
        "class_numbers": tuple(range(1, len(counted) + 1)),
        "sources": [list(each.values()) for each in run.data.sources],
    }


def cost_view(run: RunFacts) -> list[tuple[str, str]]:
    """Names and values of what the run has cost."""
    cost, unknown = run.cost, "not recorded"
    minutes = unknown if cost.minutes is None else f"{cost.minutes:,.1f} minutes, evaluations not counted"
    speed = unknown if cost.tokens_per_second is None else f"{cost.tokens_per_second:,.0f} real tokens a second"
    memory = unknown if cost.peak_memory_mb is None else f"{cost.peak_memory_mb:,.0f} MB"
    told = [("training", minutes), ("speed", speed), ("peak memory", memory)]
    told.append(("updates", unknown if cost.updates is None else count(cost.updates)))
    if cost.parameters is not None:
        told.append(("parameters", count(cost.parameters)))
    return told


def repeat_remark(run: RunFacts) -> str:
    """What the commands need, and what they replace."""
    names = ", ".join(f"{s.path} ({s.fingerprint})" for s in run.data.splits)
    text = f"In the folder of the project, with the same data: {names}. " if names else ""
    if run.starts_from:
        text += f"It starts from {run.starts_from}, which has to be there. "
    text += "--fresh replaces the results in the folder of the run: copy what you want to keep."
    if str(run.environment.get("git_commit", "")).endswith("-dirty"):
        text += f" The code had changes that were not committed ({run.environment['git_commit']})."
    return text
