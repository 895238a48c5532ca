"""What is wrong with a dataset, told before anyone trains on it.

`facts.inspect_image(data, digest, row, header)` decodes an image once and returns less than a kilobyte of facts, or
raises RejectedError. Everything else works on facts:

1. `duplicate_groups.find_groups` names the group of each image that has copies or near-copies; a group gets one split.
2. `group_findings.of_group`, `image_findings.of_image` and `dataset_findings.of_dataset` say what is wrong, in terms of
   the closed list in `issues`. They come after the splits, which the facts then hold.
3. `drops.DropRules.reason` says whether an image is left out, and for which finding.
4. `report.write` makes `report.html`, `report.json` and `issues.csv` from a `report_content.ReportContent`.

In a Beam job, `transforms.curate` does the first three: `InspectedBatch` elements -> the images that are kept by split,
the changes, the findings, and a `dataset_summary.DatasetSummary`. No step holds an image, and none but the grouping of
possible duplicates holds the facts of many.
"""
