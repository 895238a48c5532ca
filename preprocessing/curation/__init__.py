"""What is wrong with a dataset, told before anyone trains on it.

`facts.inspect_image` turns an image into a few hundred bytes of facts, once; all else works on facts alone:

1. `duplicate_groups.find_groups` names the group of each image that has copies or near-copies; a group gets one split.
"""
