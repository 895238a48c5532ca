"""One command to the cloud: requests are built by pure functions from tables, and sent by thin clients."""
