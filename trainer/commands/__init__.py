"""What each `tpu-images` command does: reads its arguments, calls the library, prints for people."""
