"""`tpu-images inspect DATASET`: verifies a dataset directory, prints what is in it, draws a contact sheet."""

import argparse
import itertools
import sys
from collections.abc import Sequence

from preprocessing import command_line, contact_sheet, inspection, schema, stratification, summary
from preprocessing.errors import UserError, one_line

_MAX_SHOWN = 1_000
_SHEET_SUFFIXES = (".png", ".jpg")


def main(argv: Sequence[str]) -> int:
    """Verifies the dataset that the arguments name, prints what is in it, and returns the exit status.

    Raises:
      UserError: when there is no dataset, or it is damaged; each damage is printed first.
    """
    arguments = _parser().parse_args(argv)
    if not 0 <= arguments.show <= _MAX_SHOWN:
        raise UserError(f"must lie between 0 and {_MAX_SHOWN}", where="--show")
    if arguments.show:
        _check_show_file(arguments.show_file)
        inspection.read_info(arguments.dataset).split(arguments.split, where=arguments.dataset)
    result = inspection.inspect(arguments.dataset)
    print(_describe(result))
    for problem in result.problems:
        print(one_line(problem), file=sys.stderr)
    if result.problems:
        what = f"is damaged in {len(result.problems)} places"
        raise UserError(what, where=arguments.dataset, remedy="convert the images again")
    print("every checksum and count is right")
    if arguments.show:
        _show(arguments, result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_line.CommandParser("tpu-images inspect", "Verify a dataset directory and show what is in it.")
    parser.add_argument("dataset", metavar="DATASET", help="dataset directory, local or gs://")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="draw a contact sheet of N images")
    parser.add_argument("--split", default=schema.TRAIN, help="split to draw (%(default)s)")
    parser.add_argument(
        "--show_file", default="contact_sheet.png", metavar="FILE", help="where to draw it (%(default)s)"
    )
    return parser


def _check_show_file(path: str) -> None:
    if not path.lower().endswith(_SHEET_SUFFIXES):
        raise UserError("unknown kind of picture", where=path, remedy=f"end its name in {' or '.join(_SHEET_SUFFIXES)}")
    command_line.file_to_write(path)


def _describe(result: inspection.Inspection) -> str:
    info = result.info
    lines = [summary.split_table(info), "", *map(str, stratification.split_shares(info))]
    lines += summary.empty_classes(info)
    for name, contents in result.contents.items():
        formats = ", ".join(f"{number:,} {image_format}" for image_format, number in sorted(contents.formats.items()))
        split = info.splits[name]
        lines.append(
            f"{name}: {len(split.shards)} shards, {split.num_bytes / 1e6:,.1f} MB; {formats}; {_sizes(contents)}"
        )
    lines.append(f"images that two splits hold: {result.num_shared:,}")
    lines.append(summary.row_counts(info.counts))
    lines.append(f"label offset {info.label_offset}, fingerprint {info.fingerprint}")
    return "\n".join(lines)


def _sizes(contents: inspection.SplitContents) -> str:
    if not contents.sizes:
        return "no images"
    smallest, largest = (choose(contents.sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
    return f"{smallest[0]}x{smallest[1]} to {largest[0]}x{largest[1]} pixels"


def _show(arguments: argparse.Namespace, result: inspection.Inspection) -> None:
    examples = inspection.read_examples(arguments.dataset, result.info, arguments.split)
    pictures = [
        (example[schema.IMAGE_ENCODED][0], example[schema.CLASS_TEXT][0].decode())
        for example in itertools.islice(examples, arguments.show)
    ]
    if not pictures:
        raise UserError("holds no images to show", where=arguments.split)
    contact_sheet.draw(pictures).save(arguments.show_file)
    print(f"contact sheet: {arguments.show_file}")


if __name__ == "__main__":
    sys.exit(command_line.run(main, "tpu-images inspect"))
