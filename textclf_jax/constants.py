"""Names and numbers that stand for the same thing in several rooms of the package."""

SPLITS = ("train", "val", "test")

# in the folder of a dataset, as `textclf prepare` writes it
DATASET_FILE, LABELS_FILE, VOCAB_FOLDER = "dataset.json", "labels.txt", "vocab"

SHARDS_OF = "{}-*.pt"  # the files of a split, by its name, where `textclf prepare` makes several

SUSPECTS_FILE = "suspects.csv"  # of `textclf check` and `textclf run`: labels to go through

PAD_ID = 0  # of [PAD], as model and optimizer take it to be
IGNORED_LABEL = -100  # the MLM label of positions that are not predicted

LINEAR, LINEAR_PATH = "linear", "linear_path"  # the collection of a model's linear path, and the module's name in it
