"""What to do about faults in the data of a run: as `textclf run` treats them, with the flags that it has."""

from textclf_jax.check.findings import Remedies

REMEDIES = Remedies(
    empty=("warning", "They are left out. Fill them in, if they should count."),
    unlabelled="They are for pretraining alone, if they are in the training split. Label them, if they should count.",
    across="Delete all but one of each from the files.",
    within="They count as often as they occur: delete those that should not.",
    contradicted="Decide on one label for each; texts with several labels are for textclf prepare --label-separator.",
    suspects="Go through them from the top, in suspects.csv of the run's folder: the model errs, too.",
    long="The encoder reads the beginnings of long texts, the linear path reads on.",
)
