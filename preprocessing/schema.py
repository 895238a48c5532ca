"""The on-disk names of a dataset directory: record keys, file names and the shard rule.

Writer (preprocessing) and reader (trainer) import this module, and nothing else spells these names. The keys are those
of the TPU reference trainers, so that their input pipelines read our shards and ours reads theirs.
"""

FORMAT_VERSION = 1

# Record keys.
IMAGE_ENCODED = "image/encoded"  # bytes: one JPEG or PNG file
IMAGE_FORMAT = "image/format"  # bytes: b"JPEG" or b"PNG"
IMAGE_HEIGHT = "image/height"  # int64, pixels, as stored
IMAGE_WIDTH = "image/width"  # int64, pixels, as stored
IMAGE_FILENAME = "image/filename"  # bytes: path relative to the input root
IMAGE_DIGEST = "image/digest"  # bytes: sha256 hex of the bytes the user gave us
CLASS_LABEL = "image/class/label"  # int64: 0-based unless the dataset says otherwise (label_offset)
CLASS_TEXT = "image/class/text"  # bytes: class name

# Files of a dataset directory.
DATASET_INFO_FILE = "dataset.json"  # written last: a directory without it is not a dataset
QUARANTINE_FILE = "quarantine.jsonl"  # rows that could not be used
CHANGES_FILE = "changes.jsonl"  # rows that were moved to another split or dropped on purpose
REPORT_HTML_FILE = "report.html"
REPORT_JSON_FILE = "report.json"
ISSUES_CSV_FILE = "issues.csv"

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)


def shard_file_name(split: str, index: int, num_shards: int) -> str:
    """Returns the file name of shard `index` of `num_shards`, such as `train-00003-of-00008.tfrecord`."""
    if not 0 <= index < num_shards:
        raise ValueError(f"shard index {index} is outside 0..{num_shards - 1}")
    return f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"
