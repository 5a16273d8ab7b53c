"""What to do about faults in a run: as `textclf run` treats them, with the flags that it has."""

import re
import shlex
from pathlib import Path

from textclf_jax.check.findings import Remedies
from textclf_jax.config.file import Kind
from textclf_jax.training.summary import COMMANDS

REMEDIES = Remedies(
    empty=("warning", "They are left out. Fill them in, if they should count."),
    unlabelled="They are for pretraining alone, if they are in the training split. Label them, if they should count.",
    across="Delete all but one of each from the files.",
    within="They count as often as they occur: delete those that should not.",
    contradicted="Decide on one label for each; texts with several labels are for textclf prepare --label-separator.",
    suspects="Go through them from the top, in suspects.csv of the run's folder: the model errs, too.",
    long="The encoder reads the beginnings of long texts, the linear path reads on; how far, the plan says.",
    alike="They stay classes of their own.",
)

WITH_LESS_MEMORY = (
    "End other programs, or take a device that has more (JAX_PLATFORMS=cpu: the memory of this computer): the same "
    "command then goes on from there. Otherwise begin anew, with another --out, and fewer texts or a smaller --budget, "
    "which may choose a smaller encoder."
)
OF_TRAINING = re.compile(r"(?<![\w-])--(?:fresh|changed-data)(?![\w-])")
OF_PREPARING = re.compile(r"textclf prepare --[a-z-]+")


def of_training(message: str, kind: Kind, name: str, command: str) -> str:
    """An error of a training with the command whose flags it names.

    Args:
      message: the error.
      kind: of the training.
      name: of its folder.
      command: of the run, which goes on when the error is mended.
    """
    training = f"textclf {COMMANDS[kind]} {shlex.quote(name)}"
    if not OF_TRAINING.search(message) or f"{training} --" in message:
        return message
    return f"{OF_TRAINING.sub(lambda flag: f'{training} {flag[0]}', message)} Then go on with: {command}"


def of_preparing(message: str, texts: Path) -> str:
    """What to do where a message on vocabulary and rows names flags of `textclf prepare`; empty where it names none.

    Args:
      message: in which these flags have their command.
      texts: the folder with the texts of the run.
    """
    if not OF_PREPARING.search(message):
        return ""
    files = " ".join(f"--{name} {shlex.quote(str(texts / f'{name}.jsonl'))}" for name in ("train", "val", "test"))
    return (
        "textclf run chooses vocabulary and rows by itself. With flags of textclf prepare, the same texts are for "
        f"trainings of your own: textclf prepare {files} --out data/NAME, and then textclf new."
    )
